#include "format/metadata.h"

#include <cstring>

#include "format/error.h"
#include "format/utf8.h"

namespace ingot {
namespace {

template <typename T>
T load(std::span<const std::byte> encoded) {
    T value;
    std::memcpy(&value, encoded.data(), sizeof value);
    return value;
}

/// Fixed-size scalars lie in the file as in memory.
template <typename T>
MetadataArray copy_scalars(const Value& array) {
    std::vector<T> elements(array.count());
    if (!elements.empty()) std::memcpy(elements.data(), array.encoded().data(), array.encoded().size());
    return {std::move(elements)};
}

/// One element at a time: bools (packed in memory), strings and arrays.
template <typename T, typename Read>
MetadataArray copy_each(const Value& array, const Read& read) {
    std::vector<T> elements;
    elements.reserve(array.count());
    for (const Value element : array.elements()) elements.push_back(read(element));
    return {std::move(elements)};
}

MetadataArray copy_array(const Value& array) {
    switch (array.element_type()) {
        case ValueType::Uint8:
            return copy_scalars<uint8_t>(array);
        case ValueType::Int8:
            return copy_scalars<int8_t>(array);
        case ValueType::Uint16:
            return copy_scalars<uint16_t>(array);
        case ValueType::Int16:
            return copy_scalars<int16_t>(array);
        case ValueType::Uint32:
            return copy_scalars<uint32_t>(array);
        case ValueType::Int32:
            return copy_scalars<int32_t>(array);
        case ValueType::Float32:
            return copy_scalars<float>(array);
        case ValueType::Uint64:
            return copy_scalars<uint64_t>(array);
        case ValueType::Int64:
            return copy_scalars<int64_t>(array);
        case ValueType::Float64:
            return copy_scalars<double>(array);
        case ValueType::Bool:
            return copy_each<bool>(array, [](const Value& element) { return element.as_bool(); });
        case ValueType::String:
            return copy_each<std::string>(
                array, [](const Value& element) { return std::string(element.as_string()); });
        case ValueType::Array:
            return copy_each<MetadataArray>(array, copy_array);
    }
    fail("value type {} does not exist", uint32_t(array.element_type()));
}

/// For NameIndex: the key at a position.
struct KeyAt {
    const std::vector<std::pair<std::string, MetadataValue>>& entries;
    std::string_view operator()(uint32_t position) const { return entries[position].first; }
};

}  // namespace

void Metadata::set(std::string key, MetadataValue value) {
    if (key.empty()) fail("a metadata key is empty");
    if (key.size() > kMaxKeyBytes) {
        fail("key {}: at most {} bytes are allowed", printable(key), grouped(kMaxKeyBytes));
    }
    if (!is_utf8(key) || key.find('\0') != key.npos) {
        fail("key {}: is not valid UTF-8 without NUL", printable(key));
    }
    const uint32_t position = position_of(key);
    if (position != NameIndex::kNotFound) {
        entries_[position].second = std::move(value);
        return;
    }
    entries_.emplace_back(std::move(key), std::move(value));
    if (entries_.size() > index_.capacity()) {
        rebuild_index(2 * entries_.size());
    } else {
        index_.insert(uint32_t(entries_.size() - 1), KeyAt{entries_});
    }
}

bool Metadata::erase(std::string_view key) {
    const uint32_t position = position_of(key);
    if (position == NameIndex::kNotFound) return false;
    entries_.erase(entries_.begin() + position);
    rebuild_index(entries_.size());
    return true;
}

const MetadataValue* Metadata::find(std::string_view key) const {
    const uint32_t position = position_of(key);
    return position == NameIndex::kNotFound ? nullptr : &entries_[position].second;
}

uint32_t Metadata::position_of(std::string_view key) const {
    return index_.find(key, KeyAt{entries_});
}

void Metadata::rebuild_index(size_t n_keys) {
    index_ = NameIndex(n_keys);
    for (uint32_t i = 0; i < entries_.size(); ++i) index_.insert(i, KeyAt{entries_});
}

MetadataValue Metadata::copy_of(const Value& value) {
    const std::span<const std::byte> encoded = value.encoded();
    switch (value.type()) {
        case ValueType::Uint8:
            return load<uint8_t>(encoded);
        case ValueType::Int8:
            return load<int8_t>(encoded);
        case ValueType::Uint16:
            return load<uint16_t>(encoded);
        case ValueType::Int16:
            return load<int16_t>(encoded);
        case ValueType::Uint32:
            return load<uint32_t>(encoded);
        case ValueType::Int32:
            return load<int32_t>(encoded);
        case ValueType::Float32:
            return load<float>(encoded);
        case ValueType::Bool:
            return value.as_bool();
        case ValueType::String:
            return std::string(value.as_string());
        case ValueType::Array:
            return copy_array(value);
        case ValueType::Uint64:
            return load<uint64_t>(encoded);
        case ValueType::Int64:
            return load<int64_t>(encoded);
        case ValueType::Float64:
            return load<double>(encoded);
    }
    fail("value type {} does not exist", uint32_t(value.type()));
}

}  // namespace ingot
