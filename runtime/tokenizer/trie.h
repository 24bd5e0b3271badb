#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace ingot::runtime {

/// Texts → numbers, walked byte by byte. A double array (Aoe, 1989): from state s the byte b leads to state
/// base[s] + b, if check there says s. Immutable and thread-safe once built.
class Trie {
  public:
    static constexpr int32_t kRoot = 0, kNone = -1;

    Trie() : states_(1) {}
    /// Of equal texts the first counts. Empty texts are left out. Linear in their bytes, in practice.
    explicit Trie(std::vector<std::pair<std::string_view, int32_t>> entries);

    /// The state after `byte`, or kNone.
    int32_t next(int32_t state, uint8_t byte) const {
        const uint32_t target = uint32_t(states_[size_t(state)].base) + byte;
        return target < states_.size() && states_[target].check == state ? int32_t(target) : kNone;
    }
    /// The number of the text that ends here, or kNone.
    int32_t value(int32_t state) const { return states_[size_t(state)].value; }
    bool empty() const { return states_.size() == 1; }

  private:
    struct State {
        int32_t base = 0;
        int32_t check = kNone;  // the state before
        int32_t value = kNone;
    };
    size_t find_base(std::span<const uint8_t> bytes);

    std::vector<State> states_;
    size_t first_free_ = 1;
};

}  // namespace ingot::runtime
