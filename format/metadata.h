#pragma once
// Owned metadata, for writing. Reading hands out views instead: see gguf.h.
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "format/gguf.h"

namespace ingot {

struct MetadataArray;

/// An owned metadata value. The alternative decides the stored type: uint32_t -> uint32, std::string ->
/// string …
using MetadataValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                                   std::string, uint64_t, int64_t, double, MetadataArray>;

/// An owned array. Either of fixed-size scalars (typed vectors), of strings, or of arrays.
struct MetadataArray {
    std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
                 std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>, std::vector<bool>,
                 std::vector<std::string>, std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>,
                 std::vector<MetadataArray>>
        elements;
};

/// Keys and values in the order in which they are written. Lookup is O(1), erase() O(n).
class Metadata {
  public:
    /// Replaces the value of an existing key, in its place, or appends. Throws Error on an empty or too long
    /// key.
    void set(std::string key, MetadataValue value);
    // A template, so that GCC does not take uint32_t(0) for a null pointer to text.
    template <typename Text>
    requires std::same_as<Text, const char*> || std::same_as<Text, std::string_view>
    void set(std::string key, Text text) { set(std::move(key), MetadataValue(std::string(text))); }
    bool erase(std::string_view key);
    const MetadataValue* find(std::string_view key) const;
    const std::vector<std::pair<std::string, MetadataValue>>& entries() const { return entries_; }

    /// A deep copy of a value that was read.
    static MetadataValue copy_of(const Value& value);

  private:
    uint32_t position_of(std::string_view key) const;  // NameIndex::kNotFound when absent
    void rebuild_index(size_t n_keys);

    std::vector<std::pair<std::string, MetadataValue>> entries_;
    NameIndex index_;
};

}  // namespace ingot
