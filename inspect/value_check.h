#pragma once
// What is wrong or odd about a tensor's values.
#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/gguf_model.h"
#include "inspect/lint.h"
#include "inspect/magnitudes.h"

namespace ingot::inspect {

/// Looks at one tensor's values, piece by piece: NaN, infinities, nothing but zeros, blocks that are many
/// times larger than the others. What the scales of a block (or the bits of floats) tell is not decoded, so
/// that memory is the limit; what they leave open is. Layouts that cannot be decoded are passed over. Memory:
/// some KiB.
class ValueCheck {
  public:
    /// Pieces but the last are a whole number of this many elements: blocks of every layout.
    static constexpr uint64_t kUnitElements = 256;

    explicit ValueCheck(const TensorInfo& tensor);
    /// The next bytes of the tensor.
    void add(std::span<const std::byte> bytes);
    /// After all of them. `bytes` are the tensor's, of which some are read again where something is odd.
    void judge(std::span<const std::byte> bytes, std::vector<Finding>& findings) const;

  private:
    void count(std::span<const Magnitude> magnitudes);
    uint64_t n_blocks(int magnitude) const { return counts_[size_t(magnitude)] + others_[size_t(magnitude)]; }
    template <typename Take>
    void for_batches(std::span<const std::byte> bytes, const Take& take) const;
    template <typename Take>
    void decode_block(const std::byte* block, uint64_t n_elements, const Take& take) const;
    uint64_t find_first(std::span<const std::byte> bytes, int from) const;

    const TensorInfo& tensor_;
    const MagnitudeReader*
        reader_;            // of the layout; of the floats it is decoded to where it has none; or null
    bool decodes_ = false;  // all of it, as there is no other way
    uint64_t n_seen_ = 0;   // elements
    uint64_t n_nan_ = 0, n_infinite_ = 0, first_odd_ = 0;
    bool has_value_ = false;                             // one that is not zero
    std::array<uint64_t, kMagnitudes> counts_, others_;  // blocks by magnitude, of even and odd number
};

/// Tensors with the bytes of one before them. `checksums` are all tensors' or none.
std::vector<Finding> duplicate_data(const GgufModel& model, std::span<const std::string> checksums,
                                    int n_threads, const std::atomic<bool>* stop);

}  // namespace ingot::inspect
