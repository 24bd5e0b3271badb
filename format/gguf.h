#pragma once
// What a GGUF file says about itself: constants, value types, and the views that the reader hands out.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/error.h"
#include "format/mapped_file.h"
#include "format/name_index.h"
#include "format/tensor_type.h"

namespace ingot {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place: the host is little-endian");

inline constexpr uint32_t kGgufMagic = 0x46554747;  // "GGUF", little-endian
inline constexpr uint32_t kDefaultAlignment = 32;   // bytes
inline constexpr uint32_t kMinAlignment = 8;        // bytes
inline constexpr uint32_t kMaxAlignment = 1 << 20;  // bytes
inline constexpr uint64_t kMaxKeyBytes = 64 << 10;
inline constexpr uint64_t kMaxStringBytes = 64 << 20;
inline constexpr uint32_t kMaxArrayDepth = 64;
inline constexpr uint32_t kMaxDimensions = 4;

/// Thrown where there would be more to read: the bytes at hand are only the beginning of the header.
class TruncatedError : public Error {
  public:
    using Error::Error;
};

// clang-format off
enum class ValueType : uint32_t {
    Uint8 = 0, Int8 = 1, Uint16 = 2, Int16 = 3, Uint32 = 4, Int32 = 5, Float32 = 6, Bool = 7,
    String = 8, Array = 9, Uint64 = 10, Int64 = 11, Float64 = 12,
};
// clang-format on
std::string_view name(ValueType type);  // "uint32", "string", ...
/// Bytes of one value of a fixed-size type; 0 for strings and arrays.
constexpr uint32_t scalar_bytes(ValueType type) {
    constexpr uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // in order of number
    return uint32_t(type) < std::size(kBytes) ? kBytes[uint32_t(type)] : 0;
}

class Value;

/// The elements of an array value, front to back. Copyable view. A step over a scalar or a string is O(1),
/// over an array linear in what it holds.
class ArrayElements {
  public:
    class Iterator {
      public:
        using value_type = Value;
        using difference_type = std::ptrdiff_t;
        Value operator*() const;
        Iterator& operator++();
        void operator++(int) { ++*this; }
        bool operator==(const Iterator& other) const { return remaining_ == other.remaining_; }

      private:
        friend class ArrayElements;
        ValueType type_{};
        uint64_t remaining_ = 0;  // elements
        const std::byte* position_ = nullptr;
    };
    Iterator begin() const;
    Iterator end() const { return {}; }

  private:
    friend class Value;
    ValueType type_{};
    uint64_t count_ = 0;
    const std::byte* data_ = nullptr;
};

/// A metadata value as a view into the header's bytes, already validated: no access can leave the file.
/// Accessors convert between integer types when the number fits, and throw Error otherwise.
class Value {
  public:
    ValueType type() const { return type_; }
    /// For arrays: the elements' type and number. For scalars: type() and 1.
    ValueType element_type() const { return element_type_; }
    uint64_t count() const { return count_; }

    uint64_t as_uint() const;
    int64_t as_int() const;
    double as_float() const;  // floats and integers
    bool as_bool() const;
    std::string_view as_string() const;
    ArrayElements elements() const;
    /// Encoded elements of an array of fixed-size scalars (little-endian, no alignment), or of a scalar.
    std::span<const std::byte> encoded() const { return encoded_; }

  private:
    friend class ArrayElements;
    friend class GgufParser;
    ValueType type_{};
    ValueType element_type_{};
    uint64_t count_ = 1;
    std::span<const std::byte> encoded_;  // scalars: the value; strings: the text; arrays: the elements
};

struct KeyValue {
    std::string_view key;
    Value value;
};

/// One tensor of the file. `shape[0]` is the row length: the dimension that is contiguous in memory
/// (the last one in PyTorch's order). Dimensions beyond n_dims are 1.
struct TensorInfo {
    std::string_view name;
    TensorType type{};
    uint32_t n_dims = 0;
    std::array<uint64_t, kMaxDimensions> shape{1, 1, 1, 1};
    uint64_t n_elements = 0;
    uint64_t offset = 0;      // bytes from the start of the file
    uint64_t size_bytes = 0;  // without padding
    uint32_t shard = 0;       // of a split model, which file: see GgufModel

    uint64_t row_elements() const { return shape[0]; }
    uint64_t n_rows() const { return shape[0] == 0 ? 0 : n_elements / shape[0]; }
};

/// A parsed and fully validated header. Every extent it names lies inside the file. Views into the bytes it
/// was parsed from: they must outlive it. Immutable and thread-safe. Cost: linear in the header.
class GgufHeader {
  public:
    /// Reads versions 2 and 3. `file` is the whole file (or at least its header, with the real length in
    /// `file_size_bytes`). Throws Error on anything that SPEC.md does not allow, and TruncatedError where
    /// `file` is too short to tell.
    static GgufHeader parse(std::span<const std::byte> file, uint64_t file_size_bytes);
    static GgufHeader parse(std::span<const std::byte> file) { return parse(file, file.size()); }

    uint32_t version() const { return version_; }
    uint32_t alignment() const { return alignment_; }      // bytes
    uint64_t data_offset() const { return data_offset_; }  // bytes from the start of the file
    const std::vector<KeyValue>& metadata() const { return metadata_; }
    const std::vector<TensorInfo>& tensors() const { return tensors_; }

    const Value* find(std::string_view key) const;               // O(1); null when absent
    const TensorInfo* find_tensor(std::string_view name) const;  // O(1); null when absent

    // Typed access by key. The optional forms give nothing when the key is absent and throw Error naming
    // the key when its type is wrong; the require forms also throw when it is absent.
    std::optional<uint64_t> get_uint(std::string_view key) const;
    std::optional<double> get_float(std::string_view key) const;
    std::optional<bool> get_bool(std::string_view key) const;
    std::optional<std::string_view> get_string(std::string_view key) const;
    uint64_t require_uint(std::string_view key) const;
    double require_float(std::string_view key) const;
    std::string_view require_string(std::string_view key) const;
    /// Arrays; empty when absent. Throw Error naming the key when the value is no array of that kind.
    std::vector<std::string_view> strings(std::string_view key) const;
    std::vector<float> floats(std::string_view key) const;
    std::vector<int64_t> ints(std::string_view key) const;

  private:
    friend class GgufModel;
    friend class GgufParser;
    uint32_t version_ = 0;
    uint32_t alignment_ = kDefaultAlignment;
    uint64_t data_offset_ = 0;
    std::vector<KeyValue> metadata_;
    std::vector<TensorInfo> tensors_;
    NameIndex key_index_;
    NameIndex tensor_index_;
};

/// One GGUF file; a model may be split into several (GgufModel). Mapped, or fetched as its bytes are needed
/// where the path is a URL, "-" (standard input), or a packed file. Views of the header stay valid while it
/// lives. Thread-safe once constructed. Errors are prefixed with the file's path.
class GgufFile {
  public:
    explicit GgufFile(const std::filesystem::path& path);
    const std::filesystem::path& path() const { return file_.path(); }
    const GgufHeader& header() const { return header_; }
    const MappedFile& file() const { return file_; }
    bool is_plain() const { return file_.is_plain(); }
    /// All of them; where the file is not plain, only the header's are there before tensor_bytes() is called.
    std::span<const std::byte> bytes() const { return file_.bytes(); }
    /// Reads, downloads or unpacks them where the file is not mapped. Throws Error when that fails.
    std::span<const std::byte> tensor_bytes(const TensorInfo& tensor) const {
        file_.require(tensor.offset, tensor.size_bytes);
        return file_.bytes().subspan(tensor.offset, tensor.size_bytes);
    }

  private:
    MappedFile file_;
    GgufHeader header_;
};

}  // namespace ingot
