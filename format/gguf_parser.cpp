// Bytes -> GgufHeader. Every length is compared with what is left before a byte behind it is touched, and
// nothing is allocated that the remaining bytes could not fill. SPEC.md, section 1.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "format/error.h"
#include "format/gguf.h"
#include "format/utf8.h"

namespace ingot {
namespace {

// The shortest possible encodings: what a count that the file declares is compared with.
constexpr uint64_t kMinStringBytes = sizeof(uint64_t);
constexpr uint64_t kMinArrayBytes = sizeof(uint32_t) + sizeof(uint64_t);            // type, count
constexpr uint64_t kMinKeyValueBytes = kMinStringBytes + 1 + sizeof(uint32_t) + 1;  // key, type, value
constexpr uint64_t kMinTensorBytes =
    kMinStringBytes + 1 + 2 * sizeof(uint32_t) + sizeof(uint64_t);  // name, dimensions, type, offset

// Why a number that once was a tensor type is none any more.
std::string_view fate_of_type(uint32_t number) {
    switch (number) {
        case 4:
        case 5:
            return " (Q4_2 and Q4_3 were removed in 2023)";
        case 31:
        case 32:
        case 33:
            return " (the interleaved Q4_0 types were removed in 2024; use Q4_0)";
        case 36:
        case 37:
        case 38:
            return " (the interleaved IQ4_NL types were removed in 2024; use IQ4_NL)";
        default:
            return "";
    }
}

}  // namespace

/// One pass over one header, front to back; gone when it is done.
class GgufParser {
  public:
    GgufParser(std::span<const std::byte> bytes, uint64_t file_size_bytes)
        : bytes_(bytes), file_size_bytes_(file_size_bytes) {}

    GgufHeader parse() {
        read_preamble();
        read_metadata();
        read_alignment();
        read_tensors();
        place_tensors();
        return std::move(header_);
    }

  private:
    // ---- errors ------------------------------------------------------------------------------------------

    /// What is being read, for messages: "key general.name", or "key #3" while its name is unknown.
    struct Subject {
        std::string_view kind;
        uint64_t ordinal = 0;  // from 1
        std::string_view name{};
    };

    template <typename... Args>
    [[noreturn]] void fail_here(fmt::format_string<Args...> format, Args&&... args) const {
        std::string where(subject_.kind);
        if (!subject_.name.empty()) {
            where += ' ' + printable(subject_.name);
        } else if (subject_.ordinal != 0) {
            where += fmt::format(" #{}", grouped(subject_.ordinal));
        }
        fail("{} at byte {}: {}", where, grouped(position_),
             fmt::format(format, std::forward<Args>(args)...));
    }

    /// Only the beginning of the file is at hand: what does not fit may stand further on.
    void ask_for_more() const {
        if (bytes_.size() < file_size_bytes_)
            throw TruncatedError("the header is longer than what was read of it");
    }

    [[noreturn]] void fail_short(std::string_view what, uint64_t needed) const {
        ask_for_more();
        fail_here(
            "{} needs {} bytes, but the file ends {} bytes further on; the download is incomplete or the "
            "file damaged",
            what, grouped(needed), grouped(left()));
    }

    // ---- bytes -------------------------------------------------------------------------------------------

    uint64_t left() const { return bytes_.size() - position_; }

    std::span<const std::byte> take(uint64_t size_bytes, std::string_view what) {
        if (size_bytes > left()) fail_short(what, size_bytes);
        const auto taken = bytes_.subspan(position_, size_bytes);
        position_ += size_bytes;
        return taken;
    }

    template <typename T>
    T read(std::string_view what) {
        T value;
        std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
        return value;
    }

    std::span<const std::byte> read_string(uint64_t max_bytes, std::string_view what) {
        const uint64_t size_bytes = read<uint64_t>(what);
        if (size_bytes > left()) fail_short(what, size_bytes);
        if (size_bytes > max_bytes) {
            fail_here("{} of {} bytes; at most {} are allowed", what, grouped(size_bytes),
                      grouped(max_bytes));
        }
        return take(size_bytes, what);
    }

    /// Vocabularies are most of a header: one tight loop over what is well-formed, and read_string() for the
    /// rest, which is an error.
    void skip_strings(uint64_t count) {
        const std::byte* const end = bytes_.data() + bytes_.size();
        const std::byte* next = bytes_.data() + position_;
        for (; count > 0 && uint64_t(end - next) >= kMinStringBytes; --count) {
            uint64_t size_bytes;
            std::memcpy(&size_bytes, next, sizeof size_bytes);
            if (size_bytes > std::min(uint64_t(end - next) - kMinStringBytes, kMaxStringBytes)) break;
            next += kMinStringBytes + size_bytes;
        }
        position_ = uint64_t(next - bytes_.data());
        for (; count > 0; --count) read_string(kMaxStringBytes, "string");
    }

    /// The name of a key or tensor: not empty, valid UTF-8 without NUL.
    std::string_view read_name() {
        const std::span<const std::byte> bytes = read_string(kMaxKeyBytes, "name");
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        if (text.empty()) fail_here("its name is empty");
        if (!is_utf8(text)) fail_here("its name is not valid UTF-8");
        if (text.find('\0') != text.npos) fail_here("its name contains a NUL byte");
        subject_.name = text;
        return text;
    }

    // ---- preamble ----------------------------------------------------------------------------------------

    void read_preamble() {
        subject_ = {.kind = "GGUF header"};
        const uint32_t magic = read<uint32_t>("magic");
        if (magic != kGgufMagic) {
            if (magic == __builtin_bswap32(kGgufMagic)) fail_byte_order();
            position_ = 0;
            fail_here(
                "starts with bytes {:02x} {:02x} {:02x} {:02x}, not with \"GGUF\"; this is no GGUF file",
                magic & 0xff, magic >> 8 & 0xff, magic >> 16 & 0xff, magic >> 24);
        }
        header_.version_ = read<uint32_t>("version");
        if (header_.version_ != 2 && header_.version_ != 3) {
            const uint32_t swapped = __builtin_bswap32(header_.version_);
            if (swapped >= 1 && swapped <= 0xffff) fail_byte_order();
            if (header_.version_ == 1) {
                fail_here(
                    "is version 1, whose counts have 32 bits; Ingot reads versions 2 and 3; convert the "
                    "model again from its source");
            }
            fail_here("is version {}; Ingot reads versions 2 and 3", header_.version_);
        }
        n_tensors_ = read<uint64_t>("tensor count");
        n_keys_ = read<uint64_t>("key count");
        check_count("tensors", n_tensors_, kMinTensorBytes);
        check_count("keys", n_keys_, kMinKeyValueBytes);
    }

    [[noreturn]] void fail_byte_order() const {
        fail_here(
            "the file is big-endian; Ingot reads little-endian files; convert its byte order first "
            "(gguf-convert-endian of the gguf package does)");
    }

    void check_count(std::string_view what, uint64_t count, uint64_t min_bytes) const {
        const uint64_t possible = left() / min_bytes;
        if (count > possible) {
            ask_for_more();
            fail_here(
                "declares {} {}, but the {} bytes that follow can hold at most {}; the file is damaged or "
                "its download is incomplete",
                grouped(count), what, grouped(left()), grouped(possible));
        }
        if (count >= NameIndex::kNotFound)
            fail_here("declares {} {}; at most 2^32 - 2 are allowed", grouped(count), what);
    }

    // ---- metadata ----------------------------------------------------------------------------------------

    void read_metadata() {
        header_.metadata_.reserve(n_keys_);
        header_.key_index_ = NameIndex(n_keys_);
        for (uint64_t i = 0; i < n_keys_; ++i) {
            subject_ = {.kind = "key", .ordinal = i + 1};
            const std::string_view key = read_name();
            header_.metadata_.push_back({key, {}});
            const auto key_at = [this](uint32_t position) { return header_.metadata_[position].key; };
            if (header_.key_index_.insert(uint32_t(i), key_at) != NameIndex::kNotFound) {
                fail_here("occurs twice in the metadata");
            }
            header_.metadata_.back().value = read_value(read_value_type());
        }
    }

    ValueType read_value_type() {
        const uint32_t number = read<uint32_t>("value type");
        if (number > uint32_t(ValueType::Float64)) {
            fail_here("has value type {}; types are 0 to {}", number, uint32_t(ValueType::Float64));
        }
        return ValueType(number);
    }

    Value read_value(ValueType type) {
        if (type == ValueType::Array) return read_array(1);
        Value value;
        value.type_ = value.element_type_ = type;
        if (type == ValueType::String) {
            value.encoded_ = read_string(kMaxStringBytes, "string");
        } else {
            value.encoded_ = take(scalar_bytes(type), name(type));
            check_bools(value);
        }
        return value;
    }

    /// `depth` is 1 for an array that is no element of another.
    Value read_array(uint32_t depth) {
        if (depth > kMaxArrayDepth) fail_here("arrays are nested more than {} deep", kMaxArrayDepth);
        Value value;
        value.type_ = ValueType::Array;
        value.element_type_ = read_value_type();
        value.count_ = read<uint64_t>("array");
        const uint64_t begin = position_;
        if (const uint32_t element_bytes = scalar_bytes(value.element_type_)) {
            check_elements(value, element_bytes);
            value.encoded_ = take(value.count_ * element_bytes, "array");
            check_bools(value);
            return value;
        }
        if (value.element_type_ == ValueType::String) {
            check_elements(value, kMinStringBytes);
            skip_strings(value.count_);
        } else {
            check_elements(value, kMinArrayBytes);
            for (uint64_t i = 0; i < value.count_; ++i) read_array(depth + 1);
        }
        value.encoded_ = bytes_.subspan(begin, position_ - begin);
        return value;
    }

    void check_elements(const Value& array, uint64_t min_element_bytes) const {
        const uint64_t possible = left() / min_element_bytes;
        if (array.count_ > possible) {
            ask_for_more();
            fail_here(
                "is an array of {} {} elements, but the {} bytes that follow can hold at most {}; the file "
                "is damaged or its download is incomplete",
                grouped(array.count_), name(array.element_type_), grouped(left()), grouped(possible));
        }
    }

    void check_bools(const Value& value) const {
        if (value.element_type_ != ValueType::Bool) return;
        for (const std::byte byte : value.encoded_) {
            if (byte > std::byte{1}) fail_here("holds a bool of value {}; bools are 0 or 1", uint8_t(byte));
        }
    }

    void read_alignment() {
        const Value* value = header_.find("general.alignment");
        if (value == nullptr) return;
        subject_ = {.kind = "key", .name = "general.alignment"};
        if (value->type() != ValueType::Uint32)
            fail_here("is of type {}; expected uint32", name(value->type()));
        const uint64_t alignment = value->as_uint();
        if (!std::has_single_bit(alignment) || alignment < kMinAlignment || alignment > kMaxAlignment) {
            fail_here("is {}; expected a power of two from {} to {}", grouped(alignment), kMinAlignment,
                      grouped(kMaxAlignment));
        }
        header_.alignment_ = uint32_t(alignment);
    }

    // ---- tensors -----------------------------------------------------------------------------------------

    void read_tensors() {
        check_count("tensors", n_tensors_, kMinTensorBytes);  // again: metadata took its part
        header_.tensors_.reserve(n_tensors_);
        header_.tensor_index_ = NameIndex(n_tensors_);
        for (uint64_t i = 0; i < n_tensors_; ++i) {
            subject_ = {.kind = "tensor", .ordinal = i + 1};
            header_.tensors_.push_back(read_tensor());
            const auto name_at = [this](uint32_t position) { return header_.tensors_[position].name; };
            if (header_.tensor_index_.insert(uint32_t(i), name_at) != NameIndex::kNotFound) {
                fail_here("occurs twice in the file");
            }
        }
    }

    /// `offset` stays relative to the data until place_tensors().
    TensorInfo read_tensor() {
        TensorInfo tensor;
        tensor.name = read_name();
        tensor.n_dims = read<uint32_t>("number of dimensions");
        if (tensor.n_dims > kMaxDimensions) {
            fail_here("has {} dimensions; at most {} are allowed", grouped(tensor.n_dims), kMaxDimensions);
        }
        tensor.n_elements = 1;
        for (uint32_t i = 0; i < tensor.n_dims; ++i) {
            tensor.shape[i] = read<uint64_t>("dimension");
            if (tensor.shape[i] > uint64_t(INT64_MAX)) {
                fail_here("dimension {} is {}, negative as a signed number", i, int64_t(tensor.shape[i]));
            }
            if (__builtin_mul_overflow(tensor.n_elements, tensor.shape[i], &tensor.n_elements)) {
                fail_here("its dimensions multiply to more than 2^64 elements");
            }
        }
        const uint32_t type = read<uint32_t>("tensor type");
        const TensorTypeInfo* type_info = find_tensor_type(type);
        if (type_info == nullptr) {
            fail_here("has type {}, which does not exist{}", type, fate_of_type(type));
        }
        tensor.type = type_info->type;
        if (tensor.row_elements() % type_info->block_elements != 0) {
            fail_here("has rows of {} elements, but {} has blocks of {}", grouped(tensor.row_elements()),
                      type_info->name, type_info->block_elements);
        }
        if (__builtin_mul_overflow(tensor.n_elements / type_info->block_elements,
                                   uint64_t(type_info->block_bytes), &tensor.size_bytes)) {
            fail_here("its {} elements of {} take more than 2^64 bytes", grouped(tensor.n_elements),
                      type_info->name);
        }
        tensor.offset = read<uint64_t>("offset");
        if (tensor.offset % header_.alignment_ != 0) {
            fail_here("its data offset {} is no multiple of the alignment, {}", grouped(tensor.offset),
                      header_.alignment_);
        }
        return tensor;
    }

    /// Turns offsets into positions in the file, which must hold every tensor, none sharing a byte.
    void place_tensors() {
        const uint64_t padding = -position_ & (header_.alignment_ - 1);
        header_.data_offset_ = position_ + padding;
        if (header_.tensors_.empty()) {  // a vocabulary: nothing follows, not even the padding
            header_.data_offset_ = std::min(header_.data_offset_, file_size_bytes_);
            return;
        }
        for (TensorInfo& tensor : header_.tensors_) {
            uint64_t end = 0;
            const bool wraps = __builtin_add_overflow(tensor.offset, header_.data_offset_, &tensor.offset) ||
                               __builtin_add_overflow(tensor.offset, tensor.size_bytes, &end);
            if (!wraps && end <= file_size_bytes_) continue;
            fail("tensor {}: ends at byte {} but the file has {}; the download is incomplete",
                 printable(tensor.name), wraps ? "2^64 or later" : grouped(end), grouped(file_size_bytes_));
        }
        check_overlaps();
    }

    void check_overlaps() const {
        const std::vector<TensorInfo>& tensors = header_.tensors_;
        std::vector<uint32_t> order(tensors.size());  // by position in the file; most files are in order
        std::iota(order.begin(), order.end(), 0);
        const auto place = [&](uint32_t i) { return std::pair(tensors[i].offset, tensors[i].size_bytes); };
        if (!std::ranges::is_sorted(order, {}, place)) std::ranges::sort(order, {}, place);
        for (size_t i = 1; i < order.size(); ++i) {
            const TensorInfo& before = tensors[order[i - 1]];
            const TensorInfo& after = tensors[order[i]];
            if (before.offset + before.size_bytes > after.offset) {
                fail(
                    "tensor {}: starts at byte {}, inside tensor {}, which ends at byte {}; the file is "
                    "damaged",
                    printable(after.name), grouped(after.offset), printable(before.name),
                    grouped(before.offset + before.size_bytes));
            }
        }
    }

    std::span<const std::byte> bytes_;
    uint64_t file_size_bytes_;
    uint64_t position_ = 0;  // bytes read
    Subject subject_;
    uint64_t n_tensors_ = 0;
    uint64_t n_keys_ = 0;
    GgufHeader header_;
};

GgufHeader GgufHeader::parse(std::span<const std::byte> file, uint64_t file_size_bytes) {
    return GgufParser(file, file_size_bytes).parse();
}

}  // namespace ingot
