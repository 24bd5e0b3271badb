#pragma once
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

/// 64-bit hash of a short text; not for anything that an attacker must not steer.
inline uint64_t hash_text(std::string_view text) {
    constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
    uint64_t hash = text.size() * kMultiplier;
    const char* bytes = text.data();
    size_t remaining = text.size();
    for (; remaining >= 8; bytes += 8, remaining -= 8) {
        uint64_t word;
        std::memcpy(&word, bytes, 8);
        hash = (hash ^ word) * kMultiplier;
        hash ^= hash >> 29;
    }
    uint64_t word = 0;
    for (size_t i = 0; i < remaining; ++i) word |= uint64_t(uint8_t(bytes[i])) << (8 * i);
    hash = (hash ^ word) * kMultiplier;
    return hash ^ (hash >> 32);
}

/// Text → token id. Open addressing, at most half full; keeps views, so the texts must outlive it.
class TextIndex {
  public:
    static constexpr Token kAbsent = -1;

    explicit TextIndex(size_t capacity = 0) {
        size_t n_slots = 16;
        while (n_slots < 2 * capacity) n_slots *= 2;
        slots_.resize(n_slots);
    }

    /// Keeps the first id of a text that comes twice.
    void insert(std::string_view text, Token id) {
        if (2 * (size_ + 1) > slots_.size()) grow();
        if (place(text, id)) ++size_;
    }

    /// kAbsent when there is none. O(length).
    Token find(std::string_view text) const {
        const size_t mask = slots_.size() - 1;
        for (size_t i = hash_text(text) & mask;; i = (i + 1) & mask) {
            const Slot& slot = slots_[i];
            if (slot.id == kAbsent) return kAbsent;
            if (slot.size == text.size() && std::memcmp(slot.data, text.data(), slot.size) == 0)
                return slot.id;
        }
    }

  private:
    struct Slot {
        const char* data = nullptr;
        uint32_t size = 0;  // bytes
        Token id = kAbsent;
    };

    bool place(std::string_view text, Token id) {
        const size_t mask = slots_.size() - 1;
        for (size_t i = hash_text(text) & mask;; i = (i + 1) & mask) {
            Slot& slot = slots_[i];
            if (slot.id == kAbsent) {
                slot = {text.data(), uint32_t(text.size()), id};
                return true;
            }
            if (std::string_view(slot.data, slot.size) == text) return false;
        }
    }

    void grow() {
        std::vector<Slot> old(2 * slots_.size());
        old.swap(slots_);
        for (const Slot& slot : old) {
            if (slot.id != kAbsent) place({slot.data, slot.size}, slot.id);
        }
    }

    std::vector<Slot> slots_;  // a power of two
    size_t size_ = 0;
};

}  // namespace ingot::runtime
