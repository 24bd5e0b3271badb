#pragma once
// Finds a name's position in a list. Names come from files, so that a file must not be able to choose where
// they land: the hash is seeded once per process.
#include <cstdint>
#include <string_view>
#include <vector>

namespace ingot {

/// An open-addressing table of positions; the names stay where they are, and `name_at(position)` shows them.
/// Four bytes a slot, at most seven of eight slots in use. Copyable. Not thread-safe while being filled.
class NameIndex {
  public:
    static constexpr uint32_t kNotFound = UINT32_MAX;

    /// Room for `n_names` without growing.
    explicit NameIndex(size_t n_names = 0) {
        size_t n_slots = 8;
        while (n_slots / 8 * 7 < n_names) n_slots *= 2;
        slots_.assign(n_slots, kNotFound);
    }

    /// Names that there is room for.
    size_t capacity() const { return slots_.size() / 8 * 7; }

    /// Adds the name at `position`, or returns the position of the same name that is there already. At most
    /// as many names as there is room for.
    template <typename NameAt>
    uint32_t insert(uint32_t position, const NameAt& name_at) {
        uint32_t& slot = slots_[slot_of(name_at(position), name_at)];
        if (slot != kNotFound) return slot;
        slot = position;
        return kNotFound;
    }

    /// O(1): the position of the name, or kNotFound.
    template <typename NameAt>
    uint32_t find(std::string_view name, const NameAt& name_at) const {
        return slots_[slot_of(name, name_at)];
    }

  private:
    static uint64_t hash(std::string_view name);

    /// The slot that holds the name, or the free one where it would go.
    template <typename NameAt>
    size_t slot_of(std::string_view name, const NameAt& name_at) const {
        const size_t mask = slots_.size() - 1;
        size_t slot = hash(name) & mask;
        while (slots_[slot] != kNotFound && name_at(slots_[slot]) != name) slot = (slot + 1) & mask;
        return slot;
    }

    std::vector<uint32_t> slots_;  // a power of two of them
};

}  // namespace ingot
