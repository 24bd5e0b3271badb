#include "format/gguf.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "format/error.h"
#include "format/open_bytes.h"
#include "format/patch.h"

namespace ingot {
namespace {

template <typename T>
T load(const std::byte* position) {
    T value;
    std::memcpy(&value, position, sizeof value);
    return value;
}

/// Bytes of one encoded value of `type` at `position`, which the parser has validated.
size_t encoded_bytes(ValueType type, const std::byte* position) {
    if (const size_t fixed = scalar_bytes(type)) return fixed;
    if (type == ValueType::String) return sizeof(uint64_t) + load<uint64_t>(position);
    const ValueType element_type = load<ValueType>(position);
    const uint64_t count = load<uint64_t>(position + sizeof(uint32_t));
    size_t size = sizeof(uint32_t) + sizeof(uint64_t);
    if (const size_t fixed = scalar_bytes(element_type)) return size + count * fixed;
    for (uint64_t i = 0; i < count; ++i) size += encoded_bytes(element_type, position + size);
    return size;
}

/// Calls `use(number)` with the value in its own type; false when it is no number.
template <typename Use>
bool visit_number(ValueType type, const std::byte* position, const Use& use) {
    switch (type) {
        case ValueType::Uint8:
            use(load<uint8_t>(position));
            return true;
        case ValueType::Int8:
            use(load<int8_t>(position));
            return true;
        case ValueType::Uint16:
            use(load<uint16_t>(position));
            return true;
        case ValueType::Int16:
            use(load<int16_t>(position));
            return true;
        case ValueType::Uint32:
            use(load<uint32_t>(position));
            return true;
        case ValueType::Int32:
            use(load<int32_t>(position));
            return true;
        case ValueType::Uint64:
            use(load<uint64_t>(position));
            return true;
        case ValueType::Int64:
            use(load<int64_t>(position));
            return true;
        case ValueType::Float32:
            use(load<float>(position));
            return true;
        case ValueType::Float64:
            use(load<double>(position));
            return true;
        default:
            return false;
    }
}

template <typename Integer>
Integer integer_of(ValueType type, const std::byte* position) {
    Integer result = 0;
    const bool is_number = visit_number(type, position, [&](auto number) {
        if constexpr (std::is_floating_point_v<decltype(number)>) {
            fail("is of type {} ({}); expected an integer", name(type), number);
        } else {
            if (!std::in_range<Integer>(number)) {
                fail("is {}; expected an integer from {} to {}", number, std::numeric_limits<Integer>::min(),
                     std::numeric_limits<Integer>::max());
            }
            result = Integer(number);
        }
    });
    if (!is_number) fail("is of type {}; expected an integer", name(type));
    return result;
}

}  // namespace

std::string_view name(ValueType type) {
    switch (type) {
        case ValueType::Uint8:
            return "uint8";
        case ValueType::Int8:
            return "int8";
        case ValueType::Uint16:
            return "uint16";
        case ValueType::Int16:
            return "int16";
        case ValueType::Uint32:
            return "uint32";
        case ValueType::Int32:
            return "int32";
        case ValueType::Float32:
            return "float32";
        case ValueType::Bool:
            return "bool";
        case ValueType::String:
            return "string";
        case ValueType::Array:
            return "array";
        case ValueType::Uint64:
            return "uint64";
        case ValueType::Int64:
            return "int64";
        case ValueType::Float64:
            return "float64";
    }
    return "unknown";
}

// ---- values ----------------------------------------------------------------------------------------------

uint64_t Value::as_uint() const {
    return integer_of<uint64_t>(type_, encoded_.data());
}

int64_t Value::as_int() const {
    return integer_of<int64_t>(type_, encoded_.data());
}

double Value::as_float() const {
    double result = 0;
    if (!visit_number(type_, encoded_.data(), [&](auto number) { result = double(number); })) {
        fail("is of type {}; expected a number", name(type_));
    }
    return result;
}

bool Value::as_bool() const {
    if (type_ != ValueType::Bool) fail("is of type {}; expected a bool", name(type_));
    return load<uint8_t>(encoded_.data()) != 0;
}

std::string_view Value::as_string() const {
    if (type_ != ValueType::String) fail("is of type {}; expected a string", name(type_));
    return {reinterpret_cast<const char*>(encoded_.data()), encoded_.size()};
}

ArrayElements Value::elements() const {
    if (type_ != ValueType::Array) fail("is of type {}; expected an array", name(type_));
    ArrayElements elements;
    elements.type_ = element_type_;
    elements.count_ = count_;
    elements.data_ = encoded_.data();
    return elements;
}

ArrayElements::Iterator ArrayElements::begin() const {
    Iterator first;
    first.type_ = type_;
    first.remaining_ = count_;
    first.position_ = data_;
    return first;
}

Value ArrayElements::Iterator::operator*() const {
    const size_t size = encoded_bytes(type_, position_);
    Value value;
    value.type_ = type_;
    value.element_type_ = type_;
    size_t prefix = 0;  // bytes before the text or the elements
    if (type_ == ValueType::String) prefix = sizeof(uint64_t);
    if (type_ == ValueType::Array) {
        value.element_type_ = load<ValueType>(position_);
        value.count_ = load<uint64_t>(position_ + sizeof(uint32_t));
        prefix = sizeof(uint32_t) + sizeof(uint64_t);
    }
    value.encoded_ = {position_ + prefix, size - prefix};
    return value;
}

ArrayElements::Iterator& ArrayElements::Iterator::operator++() {
    position_ += encoded_bytes(type_, position_);
    --remaining_;
    return *this;
}

// ---- lookup ----------------------------------------------------------------------------------------------

namespace {

/// What `read(value)` gives, its error naming the key.
template <typename Read>
auto read_named(std::string_view key, const Value& value, const Read& read) {
    try {
        return read(value);
    } catch (const Error& error) {
        fail("key {}: {}", printable(key), error.what());
    }
}

template <typename Read>
auto get(const GgufHeader& header, std::string_view key, const Read& read)
    -> std::optional<decltype(read(std::declval<Value>()))> {
    const Value* value = header.find(key);
    if (value == nullptr) return {};
    return read_named(key, *value, read);
}

template <typename Result>
Result require(std::optional<Result> value, std::string_view key) {
    if (!value) fail("key {}: is missing", printable(key));
    return *value;
}

/// All elements of an array whose element type `accepts`; empty when the key is absent.
template <typename Element, typename Accepts, typename Read>
std::vector<Element> array(const GgufHeader& header, std::string_view key, std::string_view expected,
                           const Accepts& accepts, const Read& read) {
    const Value* value = header.find(key);
    if (value == nullptr) return {};
    return read_named(key, *value, [&](const Value& elements) {
        if (elements.type() != ValueType::Array) {
            fail("is of type {}; expected an array of {}", name(elements.type()), expected);
        }
        if (!accepts(elements.element_type())) {
            fail("is an array of {}; expected an array of {}", name(elements.element_type()), expected);
        }
        std::vector<Element> result;
        result.reserve(elements.count());
        for (const Value element : elements.elements()) result.push_back(read(element));
        return result;
    });
}

bool is_integer(ValueType type) {
    return scalar_bytes(type) != 0 && type != ValueType::Float32 && type != ValueType::Float64 &&
           type != ValueType::Bool;
}

}  // namespace

const Value* GgufHeader::find(std::string_view key) const {
    const uint32_t at = key_index_.find(key, [this](uint32_t position) { return metadata_[position].key; });
    return at == NameIndex::kNotFound ? nullptr : &metadata_[at].value;
}

const TensorInfo* GgufHeader::find_tensor(std::string_view name) const {
    const uint32_t at =
        tensor_index_.find(name, [this](uint32_t position) { return tensors_[position].name; });
    return at == NameIndex::kNotFound ? nullptr : &tensors_[at];
}

std::optional<uint64_t> GgufHeader::get_uint(std::string_view key) const {
    return get(*this, key, [](const Value& value) { return value.as_uint(); });
}
std::optional<double> GgufHeader::get_float(std::string_view key) const {
    return get(*this, key, [](const Value& value) { return value.as_float(); });
}
std::optional<bool> GgufHeader::get_bool(std::string_view key) const {
    return get(*this, key, [](const Value& value) { return value.as_bool(); });
}
std::optional<std::string_view> GgufHeader::get_string(std::string_view key) const {
    return get(*this, key, [](const Value& value) { return value.as_string(); });
}

uint64_t GgufHeader::require_uint(std::string_view key) const {
    return require(get_uint(key), key);
}
double GgufHeader::require_float(std::string_view key) const {
    return require(get_float(key), key);
}
std::string_view GgufHeader::require_string(std::string_view key) const {
    return require(get_string(key), key);
}

std::vector<std::string_view> GgufHeader::strings(std::string_view key) const {
    return array<std::string_view>(
        *this, key, "strings", [](ValueType type) { return type == ValueType::String; },
        [](const Value& element) { return element.as_string(); });
}

std::vector<float> GgufHeader::floats(std::string_view key) const {
    return array<float>(
        *this, key, "floats",
        [](ValueType type) { return type == ValueType::Float32 || type == ValueType::Float64; },
        [](const Value& element) { return float(element.as_float()); });
}

std::vector<int64_t> GgufHeader::ints(std::string_view key) const {
    return array<int64_t>(*this, key, "integers", is_integer,
                          [](const Value& element) { return element.as_int(); });
}

// ---- files -----------------------------------------------------------------------------------------------

namespace {

/// Calls `read()`; errors name the file.
template <typename Read>
auto of_path(const std::filesystem::path& path, const Read& read) {
    try {
        return read();
    } catch (const Error& error) {
        fail("{}: {}", path.string(), error.what());
    }
}

/// As many bytes of a file that is not mapped as its header takes, and a little more.
GgufHeader parse_lazily(MappedFile& file) {
    constexpr uint64_t kFirst = 256 << 10, kMost = 1 << 20;  // bytes at once
    const bool knows_end = file.lazy()->size_bytes().has_value();
    for (uint64_t n = kFirst;; n += std::clamp(n / 2, kFirst, kMost)) {
        n = std::min<uint64_t>(n, file.bytes().size());
        file.require(0, n);
        try {
            GgufHeader header = GgufHeader::parse(file.bytes().first(n), file.bytes().size());
            if (!knows_end) {  // what comes behind the last tensor is not read
                uint64_t end = header.data_offset();
                for (const TensorInfo& tensor : header.tensors())
                    end = std::max(end, tensor.offset + tensor.size_bytes);
                end += -end & (header.alignment() - 1);
                file.shorten(std::min<uint64_t>(end, file.bytes().size()));
            }
            return header;
        } catch (const TruncatedError&) {
            if (n == file.bytes().size()) throw;
        }
    }
}

GgufHeader parse_file(MappedFile& file) {
    if (!file.is_plain()) return of_path(file.path(), [&] { return parse_lazily(file); });
    if (unfinished_patch(file.path()) == UnfinishedPatch::Torn) {
        fail("{}: an edit of its header was cut short; `ingot edit --recover {}` finishes it",
             file.path().string(), file.path().string());
    }
    return of_path(file.path(), [&] { return GgufHeader::parse(file.bytes()); });
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : file_(open_bytes(path)), header_(parse_file(file_)) {}

}  // namespace ingot
