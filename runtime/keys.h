#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace ingot::runtime {

// Widths above these belong to no model, and below them no product of a few of them leaves 64 bits.
inline constexpr uint64_t kMaxWidth = 1 << 24;  // elements: embedding, feed-forward
inline constexpr uint64_t kMaxHeads = 1 << 16;
inline constexpr uint64_t kMaxContext = 1ull << 31;  // positions are int32_t
inline constexpr uint64_t kMaxExperts = 1 << 16;

/// The keys of a family, `llama.block_count` and so on, each checked for its range. Errors name the key, what
/// was found and what was expected.
class Keys {
  public:
    Keys(const GgufHeader& header, std::string_view prefix) : header_(header), prefix_(prefix) {}

    std::string full(std::string_view key) const;
    bool has(std::string_view key) const { return header_.find(full(key)) != nullptr; }

    /// 1 … max.
    int64_t require_count(std::string_view key, uint64_t max) const;
    int64_t count(std::string_view key, uint64_t max, uint64_t otherwise) const;
    /// Likewise; 0 is as good as absent.
    int64_t count_or_none(std::string_view key, uint64_t max, uint64_t otherwise) const;
    /// A number for every layer, or an array with one for each. `least` is 0 or 1.
    std::vector<int64_t> counts(std::string_view key, uint64_t least, uint64_t max, uint64_t otherwise,
                                int64_t n_layers) const;
    /// Whether each layer has something: from an array with one value for each, or from the period whose last
    /// layer has not; a number is the period.
    std::vector<bool> pattern(std::string_view key, int64_t period, int64_t n_layers) const;

    float positive(std::string_view key, double otherwise) const;
    /// Finite and not negative; 0 is as good as absent.
    float positive_or_none(std::string_view key, double otherwise) const;
    bool flag(std::string_view key, bool otherwise) const;
    std::string_view text(std::string_view key) const;  // empty when absent

  private:
    const GgufHeader& header_;
    std::string_view prefix_;
};

}  // namespace ingot::runtime
