#pragma once
// Builds GGUF bytes by hand, well-formed or not: nothing is checked, every field is written as told.
#include <cstdint>
#include <cstring>
#include <ctime>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "format/error.h"
#include "format/gguf.h"

namespace ingot::test {

class GgufBytes {
  public:
    /// The 24 bytes of a header.
    explicit GgufBytes(uint64_t n_tensors, uint64_t n_keys, uint32_t version = 3) {
        text("GGUF").u32(version).u64(n_tensors).u64(n_keys);
    }
    /// Without a header.
    GgufBytes() = default;

    GgufBytes& u8(uint8_t value) { return raw(&value, sizeof value); }
    GgufBytes& u32(uint32_t value) { return raw(&value, sizeof value); }
    GgufBytes& u64(uint64_t value) { return raw(&value, sizeof value); }
    GgufBytes& f32(float value) { return raw(&value, sizeof value); }
    GgufBytes& type(ValueType value) { return u32(uint32_t(value)); }
    GgufBytes& text(std::string_view text) { return raw(text.data(), text.size()); }
    GgufBytes& string(std::string_view string) { return u64(string.size()).text(string); }
    GgufBytes& zeros(size_t count) {
        bytes_.resize(bytes_.size() + count);
        return *this;
    }
    GgufBytes& pad(size_t alignment = kDefaultAlignment) { return zeros(-bytes_.size() & (alignment - 1)); }

    /// A key and its value's type; the value follows.
    GgufBytes& key(std::string_view name, ValueType value_type) { return string(name).type(value_type); }
    GgufBytes& key_u32(std::string_view name, uint32_t value) {
        return key(name, ValueType::Uint32).u32(value);
    }
    /// A key that is an array; the elements follow.
    GgufBytes& key_array(std::string_view name, ValueType element_type, uint64_t count) {
        return key(name, ValueType::Array).type(element_type).u64(count);
    }
    GgufBytes& tensor(std::string_view name, std::initializer_list<uint64_t> shape, uint32_t tensor_type,
                      uint64_t offset) {
        string(name).u32(uint32_t(shape.size()));
        for (const uint64_t dimension : shape) u64(dimension);
        return u32(tensor_type).u64(offset);
    }

    size_t size() const { return bytes_.size(); }
    std::vector<std::byte> bytes() const { return bytes_; }  // a fresh copy of exactly this size

  private:
    GgufBytes& raw(const void* source, size_t size_bytes) {
        const size_t end = bytes_.size();
        bytes_.resize(end + size_bytes);
        if (size_bytes != 0) std::memcpy(bytes_.data() + end, source, size_bytes);
        return *this;
    }

    std::vector<std::byte> bytes_;
};

/// Bytes that this process has asked `new` for so far (counted in allocation_meter.cpp).
uint64_t allocated_bytes();

/// What a parse came to, and what it took.
struct Outcome {
    std::string error;       // empty: it was accepted
    double seconds = 0;      // of processor time: the machine may be busy
    uint64_t allocated = 0;  // bytes, in all: at least the peak

    /// The bounds that every file, however hostile, is read within.
    bool modest(size_t file_bytes) const {
        return seconds < 1.0 && allocated <= (uint64_t(64) << 20) + 4 * file_bytes;
    }
};

inline Outcome outcome_of(const std::vector<std::byte>& bytes) {
    Outcome outcome;
    const uint64_t allocated_before = allocated_bytes();
    const std::clock_t start = std::clock();
    try {
        GgufHeader::parse(bytes);
    } catch (const Error& error) {
        outcome.error = error.what();
    }
    outcome.seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
    outcome.allocated = allocated_bytes() - allocated_before;
    return outcome;
}
inline Outcome outcome_of(const GgufBytes& file) {
    return outcome_of(file.bytes());
}

}  // namespace ingot::test

/// The file is refused with a message that contains `part`, quickly, and without memory to speak of: what is
/// refused must be refused before anything of a declared size is allocated.
#define CHECK_REFUSED(file, part)                             \
    do {                                                      \
        const auto outcome = ::ingot::test::outcome_of(file); \
        CHECK_THAT(outcome.error, ContainsSubstring(part));   \
        CHECK(outcome.seconds < 1.0);                         \
        CHECK(outcome.allocated < (64 << 10));                \
    } while (false)
