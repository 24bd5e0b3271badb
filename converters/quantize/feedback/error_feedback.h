#pragma once
// Rounding with error feedback: what a column's rounding does to a product is taken back by the columns that
// are not rounded yet (Frantar et al. 2022, "GPTQ", arXiv 2210.17323), inside the ordinary block layouts.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "converters/quantize/feedback/matrix.h"
#include "converters/quantize/feedback/second_moments.h"
#include "format/tensor_type.h"

namespace ingot::converters::feedback {

/// What a matrix's inputs say about its columns. With H = Σ x xᵀ, a row w that is encoded as q has the
/// squared error (w - q) H (w - q)ᵀ in its products.
struct Curvature {
    /// H, symmetric, in units of the mean of its diagonal, to which the damping was added: (n, n).
    Matrix moments;
    float unit = 1;  // that mean
    /// Columns in the order in which they are rounded: chunk after chunk, the largest moments first. Early
    /// columns have the most others left to take their errors.
    std::vector<Index> order;
    /// U, upper, with H⁻¹ = Uᵀ U, rows and columns in that order. An error e of column i is best taken back
    /// by adding -e U(i, k) / U(i, i) to the columns k behind it, and then costs (e / U(i, i))².
    Matrix factor;
    /// What is added to a matrix W before it is rounded, W shift: (n, n), or empty. The inputs x come through
    /// matrices that are quantized already; W + W shift does to them, as nearly as can be, what W does to the
    /// inputs r that were meant: shift = Σ (r - x) xᵀ H⁻¹ (least squares; Li et al. 2025, arXiv 2504.02692),
    /// less where that explains little more of r - x than it would of noise: a short text, or hardly any
    /// drift.
    Matrix shift;
    /// What an error of a column costs once those behind it took their part, by column; mean 1.
    std::vector<float> weights;

    Index n_columns() const { return moments.rows(); }
};

/// Columns whose scales are chosen together, before the first of them is rounded: a super-block.
inline constexpr Index kChunk = 256;

struct FeedbackOptions {
    double damping = 0.01;  // of the mean of H's diagonal: directions that the text did not show
    int n_sweeps = 4;       // of the refinement at most; see RowTile::refine()
};

/// Quantizes matrices whose inputs have given second moments. Immutable and thread-safe.
/// Memory: 12 n² bytes, and 16 n² more while it is made.
class ErrorFeedback {
  public:
    static constexpr uint64_t kTileRows = 32;

    /// `moments` are full. Throws Error when they are not finite.
    explicit ErrorFeedback(const SecondMoments& moments, const FeedbackOptions& options = {});

    /// Encodes rows (n_rows, n_columns) as `type`, for which find_codec() knows a codec; magnitudes up to
    /// 2^28. The same bytes in whatever pieces of kTileRows rows they come.
    void quantize(TensorType type, std::span<const float> rows, std::span<std::byte> destination) const;

    const Curvature& curvature() const { return curvature_; }

  private:
    FeedbackOptions options_;
    Curvature curvature_;
};

}  // namespace ingot::converters::feedback
