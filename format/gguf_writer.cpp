#include "format/gguf_writer.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include "format/error.h"
#include "format/utf8.h"

namespace ingot {
namespace {

constexpr uint32_t kWrittenVersion = 3;
constexpr size_t kMaxWrittenNameBytes = 63;  // llama.cpp's limit, which ends names with a NUL

template <typename T>
constexpr ValueType type_of() {
    if constexpr (std::is_same_v<T, uint8_t>) return ValueType::Uint8;
    if constexpr (std::is_same_v<T, int8_t>) return ValueType::Int8;
    if constexpr (std::is_same_v<T, uint16_t>) return ValueType::Uint16;
    if constexpr (std::is_same_v<T, int16_t>) return ValueType::Int16;
    if constexpr (std::is_same_v<T, uint32_t>) return ValueType::Uint32;
    if constexpr (std::is_same_v<T, int32_t>) return ValueType::Int32;
    if constexpr (std::is_same_v<T, float>) return ValueType::Float32;
    if constexpr (std::is_same_v<T, bool>) return ValueType::Bool;
    if constexpr (std::is_same_v<T, std::string>) return ValueType::String;
    if constexpr (std::is_same_v<T, uint64_t>) return ValueType::Uint64;
    if constexpr (std::is_same_v<T, int64_t>) return ValueType::Int64;
    if constexpr (std::is_same_v<T, double>) return ValueType::Float64;
    if constexpr (std::is_same_v<T, MetadataArray>) return ValueType::Array;
}

/// Appends values as SPEC.md section 1 encodes them.
class Encoder {
  public:
    template <typename T>
    void scalar(T value) {
        append(&value, sizeof value);
    }

    void string(const std::string& text) {
        if (text.size() > kMaxStringBytes) {
            fail("a string of {} bytes; at most {} are allowed", grouped(text.size()),
                 grouped(kMaxStringBytes));
        }
        scalar(uint64_t(text.size()));
        append(text.data(), text.size());
    }

    /// `depth` is 1 for an array that is no element of another.
    void array(const MetadataArray& array, uint32_t depth) {
        if (depth > kMaxArrayDepth) fail("arrays are nested more than {} deep", kMaxArrayDepth);
        std::visit(
            [&]<typename T>(const std::vector<T>& elements) {
                scalar(uint32_t(type_of<T>()));
                scalar(uint64_t(elements.size()));
                if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
                    append(elements.data(), elements.size() * sizeof(T));
                } else {
                    for (const auto& element : elements) value<T>(element, depth);
                }
            },
            array.elements);
    }

    template <typename T>
    void value(const T& value, uint32_t depth = 0) {
        if constexpr (std::is_same_v<T, MetadataArray>) {
            array(value, depth + 1);
        } else if constexpr (std::is_same_v<T, std::string>) {
            string(value);
        } else if constexpr (std::is_same_v<T, bool>) {
            scalar(uint8_t(value));
        } else {
            scalar(value);
        }
    }

    void key_value(const std::string& key, const MetadataValue& key_value) {
        try {
            string(key);
            std::visit(
                [&]<typename T>(const T& typed) {
                    scalar(uint32_t(type_of<T>()));
                    value(typed);
                },
                key_value);
        } catch (const Error& error) {
            fail("key {}: {}", printable(key), error.what());
        }
    }

    void pad_to(uint64_t size_bytes) { bytes_.resize(size_bytes); }
    uint64_t size() const { return bytes_.size(); }
    std::vector<std::byte> finish() { return std::move(bytes_); }

  private:
    void append(const void* source, size_t size_bytes) {
        if (size_bytes == 0) return;
        const size_t end = bytes_.size();
        bytes_.resize(end + size_bytes);
        std::memcpy(bytes_.data() + end, source, size_bytes);
    }

    std::vector<std::byte> bytes_;
};

uint64_t aligned(uint64_t offset, uint32_t alignment, std::string_view tensor) {
    uint64_t end = 0;
    if (__builtin_add_overflow(offset, uint64_t(alignment - 1), &end)) {
        fail("tensor {}: the file would exceed 2^64 bytes", printable(tensor));
    }
    return end & ~uint64_t(alignment - 1);
}

uint32_t alignment_in(const Metadata& metadata) {
    const MetadataValue* value = metadata.find("general.alignment");
    if (value == nullptr) return kDefaultAlignment;
    const uint32_t* alignment = std::get_if<uint32_t>(value);
    if (alignment == nullptr) fail("key general.alignment: expected uint32");
    if (!std::has_single_bit(*alignment) || *alignment < kMinAlignment || *alignment > kMaxAlignment) {
        fail("key general.alignment: is {}; expected a power of two from {} to {}", grouped(*alignment),
             kMinAlignment, grouped(kMaxAlignment));
    }
    return *alignment;
}

void check_name(const std::string& name) {
    if (name.empty()) fail("a tensor has no name");
    if (name.size() > kMaxWrittenNameBytes) {
        fail("tensor {}: its name has {} bytes; other readers allow {}", printable(name), name.size(),
             kMaxWrittenNameBytes);
    }
    if (!is_utf8(name) || name.find('\0') != name.npos) {
        fail("tensor {}: its name is not valid UTF-8 without NUL", printable(name));
    }
}

/// Fills in what follows from shape and type.
void measure(TensorPlan& tensor) {
    if (tensor.shape.empty() || tensor.shape.size() > kMaxDimensions) {
        fail("tensor {}: has {} dimensions; expected 1 to {}", tensor.name, tensor.shape.size(),
             kMaxDimensions);
    }
    tensor.n_elements = 1;
    for (const uint64_t dimension : tensor.shape) {
        if (__builtin_mul_overflow(tensor.n_elements, dimension, &tensor.n_elements) ||
            tensor.n_elements > uint64_t(INT64_MAX)) {
            fail("tensor {}: its dimensions multiply to more than 2^63 elements", tensor.name);
        }
    }
    try {
        row_bytes(tensor.type, tensor.shape[0]);  // throws when blocks would span rows
        tensor.size_bytes = row_bytes(tensor.type, tensor.n_elements);
    } catch (const Error& error) {
        fail("tensor {}: {}", tensor.name, error.what());
    }
}

/// Everything up to the padding. Offsets in `tensors` are positions in the file; `data_offset` turns them
/// into those that the header holds.
Encoder encode(const Metadata& metadata, const std::vector<TensorPlan>& tensors, uint64_t data_offset) {
    Encoder encoder;
    encoder.scalar(kGgufMagic);
    encoder.scalar(kWrittenVersion);
    encoder.scalar(uint64_t(tensors.size()));
    encoder.scalar(uint64_t(metadata.entries().size()));
    for (const auto& [key, value] : metadata.entries()) encoder.key_value(key, value);
    for (const TensorPlan& tensor : tensors) {
        encoder.string(tensor.name);
        encoder.scalar(uint32_t(tensor.shape.size()));
        for (const uint64_t dimension : tensor.shape) encoder.scalar(dimension);
        encoder.scalar(uint32_t(tensor.type));
        encoder.scalar(tensor.offset - data_offset);
    }
    return encoder;
}

}  // namespace

std::vector<std::byte> encode_key_value(const std::string& key, const MetadataValue& value) {
    Encoder encoder;
    encoder.key_value(key, value);
    return encoder.finish();
}

GgufLayout::GgufLayout(Metadata metadata, std::vector<TensorPlan> tensors)
    : metadata_(std::move(metadata)), tensors_(std::move(tensors)), alignment_(alignment_in(metadata_)) {
    NameIndex names(tensors_.size());
    const auto name_at = [this](uint32_t position) -> std::string_view { return tensors_[position].name; };
    for (uint32_t i = 0; i < tensors_.size(); ++i) {
        check_name(tensors_[i].name);
        if (names.insert(i, name_at) != NameIndex::kNotFound)
            fail("tensor {}: occurs twice", tensors_[i].name);
        measure(tensors_[i]);
    }
    data_offset_ = aligned(encode(metadata_, tensors_, 0).size(), alignment_, "header");
    uint64_t end = data_offset_;
    for (TensorPlan& tensor : tensors_) {
        tensor.offset = end;
        if (__builtin_add_overflow(end, tensor.size_bytes, &end)) {
            fail("tensor {}: the file would exceed 2^64 bytes", tensor.name);
        }
        end = aligned(end, alignment_, tensor.name);
    }
    file_size_bytes_ = end;
}

std::vector<std::byte> GgufLayout::encode_header() const {
    Encoder encoder = encode(metadata_, tensors_, data_offset_);
    const uint64_t fits_from = data_offset_ - std::min<uint64_t>(data_offset_, alignment_ - 1);
    if (encoder.size() > data_offset_ || encoder.size() < fits_from ||
        alignment_in(metadata_) != alignment_) {
        fail(
            "the header now takes {} bytes, but tensors were placed behind {}; only values "
            "of unchanged size can be replaced once the layout is made",
            grouped(encoder.size()), grouped(data_offset_));
    }
    encoder.pad_to(data_offset_);
    return encoder.finish();
}

}  // namespace ingot
