#pragma once
// Coordinate descent on one block of one row.
#include "converters/quantize/feedback/block_codec.h"
#include "converters/quantize/feedback/matrix.h"

namespace ingot::converters::feedback {

/// Adding s v to a block's values q changes the row's error (w - q) H (w - q)ᵀ by s (s vᵀ H v - 2 vᵀ p),
/// where p = H (w - q) is the pull towards w. The best s is vᵀ p / vᵀ H v, and what the layout can store near
/// it is taken where that lowers the error.
class BlockRefinement {
  public:
    /// `moments` (n, n): the block's part of H. `pull` (n): the block's part of p. `steps` (n): what is added
    /// to the values is added to it, too.
    BlockRefinement(const BlockCodec& codec, const Matrix& moments, BlockParts& parts, const float* pull,
                    float* steps);

    /// One round over quants, integer scales and minimums, and units. True when anything changed.
    bool sweep();

  private:
    bool move_codes();
    bool move_integers();
    bool move_units();

    /// vᵀ p and vᵀ H v of a direction that is zero but for elements first … first + count - 1.
    struct Slope {
        double pull = 0, curvature = 0;
        double best() const { return pull / curvature; }
        bool gains(double step) const { return step != 0 && step * (step * curvature - 2 * pull) < 0; }
    };
    Slope slope(int first, int count) const;
    void move(float step, int first, int count);

    const BlockCodec& codec_;
    const Matrix& moments_;
    BlockParts& parts_;
    float* steps_;
    alignas(32) float pull_[kMostElements];
    alignas(32) float direction_[kMostElements];
};

}  // namespace ingot::converters::feedback
