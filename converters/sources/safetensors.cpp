#include "converters/sources/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <unordered_set>

#include "converters/sources/json_scan.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

/// One element type of the format. Types without a TensorType are known by size, so that files that hold them
/// (masks, pre-quantized weights) can be checked and described.
struct Dtype {
    std::string_view name;
    uint32_t bits;  // of one element
    std::optional<TensorType> type;
};
constexpr Dtype kDtypes[] = {
    {"F64", 64, TensorType::F64},
    {"F32", 32, TensorType::F32},
    {"F16", 16, TensorType::F16},
    {"BF16", 16, TensorType::BF16},
    {"I64", 64, TensorType::I64},
    {"I32", 32, TensorType::I32},
    {"I16", 16, TensorType::I16},
    {"I8", 8, TensorType::I8},
    {"U64", 64, {}},
    {"U32", 32, {}},
    {"U16", 16, {}},
    {"U8", 8, {}},
    {"BOOL", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
    {"C64", 64, {}},
};

// Bounds on what a header may cost in memory before it is known to be one. The largest checkpoints have some
// 200,000 tensors over all their files, thousands in one, and a tensor takes some 20 structural characters.
constexpr uint64_t kMaxTensors = 1 << 17;
constexpr uint64_t kMaxStructurals = 64 * kMaxTensors;
constexpr uint64_t kMaxNesting = 3;  // {tensor: {"shape": [
constexpr uint64_t kMaxNameBytes = 64 << 10;

namespace ondemand = simdjson::ondemand;

/// Reads the header's JSON, front to back. It has a fixed shape, {name: {dtype, shape, data_offsets}}, so
/// nothing here recurses, however deep a hostile header nests.
class HeaderReader {
  public:
    HeaderReader(std::span<const std::byte> data, const std::string& name) : data_(data), name_(name) {}

    std::vector<SourceTensor> read(std::string_view json) {
        const JsonScan scan = scan_json(json);
        if (scan.depth > kMaxNesting)
            fail("{}: the header is nested deeper than {} levels", name_, kMaxNesting);
        if (scan.n_structurals > kMaxStructurals)
            fail("{}: the header has more than {} tensors", name_, kMaxTensors);
        const simdjson::padded_string padded(json);
        ondemand::parser parser;
        ondemand::document document;
        check(parser.iterate(padded).get(document));
        ondemand::object entries;
        check(document.get_object().get(entries));
        for (auto field : entries) {
            std::string_view key;
            check(field.unescaped_key().get(key));
            if (key.empty()) fail("{}: a tensor without a name", name_);
            if (key.size() > kMaxNameBytes) fail("{}: a tensor's name of {} bytes", name_, key.size());
            if (entries_.size() == kMaxTensors)
                fail("{}: the header has more than {} tensors", name_, kMaxTensors);
            std::string tensor_name(key);  // the view lives only until the next string is unescaped
            ondemand::value value;
            check(field.value().get(value));
            ondemand::object entry;
            check(value.get_object().get(entry), tensor_name);
            if (tensor_name == "__metadata__") {
                read_metadata(entry);
            } else {
                read_tensor(std::move(tensor_name), entry);
            }
        }
        const char* rest = nullptr;  // spaces may follow, for alignment; nothing else may
        if (document.current_location().get(rest) != simdjson::OUT_OF_BOUNDS) {
            fail("{}: the header goes on after the closing brace", name_);
        }
        check_coverage();
        std::vector<SourceTensor> tensors;
        tensors.reserve(entries_.size());
        for (Entry& entry : entries_) tensors.push_back(std::move(entry.tensor));
        return tensors;
    }

  private:
    struct Entry {
        SourceTensor tensor;
        uint64_t begin, end;  // bytes from the end of the header
    };

    void check(simdjson::error_code error, std::string_view tensor = {}) const {
        if (!error) return;
        if (tensor.empty())
            fail("{}: the header is not valid JSON ({})", name_, simdjson::error_message(error));
        fail("{}: the header's entry for tensor \"{}\" is malformed ({})", name_, printable(tensor),
             simdjson::error_message(error));
    }

    void read_metadata(ondemand::object entry) const {
        for (auto field : entry) {
            std::string_view text;
            check(field.unescaped_key().get(text), "__metadata__");
            check(field.value().get_string().get(text), "__metadata__");
        }
    }

    void read_tensor(std::string name, ondemand::object entry) {
        std::optional<std::string> dtype_name;
        std::optional<std::vector<uint64_t>> shape, offsets;
        for (auto field : entry) {
            std::string_view key;
            check(field.unescaped_key().get(key), name);
            if (key == "dtype" && !dtype_name) {
                std::string_view text;
                check(field.value().get_string().get(text), name);
                dtype_name = text;
            } else if (key == "shape" && !shape) {
                shape = read_numbers(field.value(), name);
            } else if (key == "data_offsets" && !offsets) {
                offsets = read_numbers(field.value(), name);
            } else {
                fail("{}: tensor \"{}\" has \"{}\" {}", name_, printable(name), printable(key),
                     key == "dtype" || key == "shape" || key == "data_offsets" ? "twice"
                                                                               : "which the format lacks");
            }
        }
        if (!dtype_name || !shape || !offsets) {
            fail("{}: tensor \"{}\" has no {}", name_, printable(name),
                 !dtype_name ? "dtype"
                 : !shape    ? "shape"
                             : "data_offsets");
        }
        if (!names_.insert(name).second) fail("{}: tensor \"{}\" appears twice", name_, printable(name));
        add(std::move(name), *dtype_name, std::move(*shape), *offsets);
    }

    std::vector<uint64_t> read_numbers(simdjson::simdjson_result<ondemand::value> value,
                                       const std::string& tensor) const {
        std::vector<uint64_t> numbers;
        ondemand::array array;
        check(value.get_array().get(array), tensor);
        for (auto element : array) {
            uint64_t number = 0;
            check(element.get_uint64().get(number), tensor);
            numbers.push_back(number);
        }
        return numbers;
    }

    void add(std::string name, const std::string& dtype_name, std::vector<uint64_t> shape,
             const std::vector<uint64_t>& offsets) {
        const auto dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                        [&](const Dtype& row) { return row.name == dtype_name; });
        if (dtype == std::end(kDtypes))
            fail("{}: tensor \"{}\" has the unknown dtype {}", name_, printable(name), printable(dtype_name));
        if (offsets.size() != 2) {
            fail("{}: tensor \"{}\" has {} data_offsets, expected begin and end", name_, printable(name),
                 offsets.size());
        }
        const uint64_t begin = offsets[0], end = offsets[1];
        if (begin > end || end > data_.size()) {
            fail(
                "{}: tensor \"{}\" is said to be bytes {} to {} of the data, but there are {} bytes of it; "
                "the "
                "download may be incomplete",
                name_, printable(name), begin, end, data_.size());
        }
        uint64_t bits = dtype->bits;
        for (const uint64_t dimension : shape) {
            if (__builtin_mul_overflow(bits, dimension, &bits)) {
                fail("{}: tensor \"{}\" of shape [{}] does not fit into 64 bits", name_, printable(name),
                     fmt::join(shape, ", "));
            }
        }
        if (bits % 8 != 0 || bits / 8 != end - begin) {
            fail(
                "{}: tensor \"{}\" of shape [{}] and dtype {} takes {} bytes, but the header gives it {} "
                "(bytes {} "
                "to {})",
                name_, printable(name), fmt::join(shape, ", "), dtype_name, double(bits) / 8, end - begin,
                begin, end);
        }
        Entry entry;
        entry.begin = begin;
        entry.end = end;
        entry.tensor.name = std::move(name);
        entry.tensor.type = dtype->type.value_or(TensorType::I8);
        if (!dtype->type) entry.tensor.unreadable = dtype_name;
        std::reverse(shape.begin(), shape.end());  // PyTorch's last dimension is the row
        entry.tensor.shape = std::move(shape);
        entry.tensor.data = data_.subspan(begin, end - begin);
        entries_.push_back(std::move(entry));
    }

    /// Every byte of the data belongs to exactly one tensor: no overlap, no hole, nothing behind the last.
    void check_coverage() {
        std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
            return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
        });
        uint64_t position = 0;
        for (const Entry& entry : entries_) {
            if (entry.begin < position) {
                fail("{}: tensor \"{}\" starts at byte {} of the data, inside another tensor that ends at {}",
                     name_, printable(entry.tensor.name), entry.begin, position);
            }
            if (entry.begin > position) {
                fail("{}: bytes {} to {} of the data, before tensor \"{}\", belong to no tensor", name_,
                     position, entry.begin, printable(entry.tensor.name));
            }
            position = entry.end;
        }
        if (position != data_.size()) {
            fail("{}: the last tensor ends at byte {} of the data, but there are {} bytes of it", name_,
                 position, data_.size());
        }
    }

    std::span<const std::byte> data_;
    const std::string& name_;
    std::vector<Entry> entries_;
    std::unordered_set<std::string> names_;
};

}  // namespace

std::vector<SourceTensor> parse_safetensors(std::span<const std::byte> file, const std::string& name) {
    constexpr uint64_t kLengthBytes = 8;
    if (file.size() < kLengthBytes) {
        fail("{}: {} bytes are too few for a safetensors file; the download may be incomplete", name,
             file.size());
    }
    uint64_t header_bytes = 0;
    for (size_t i = 0; i < kLengthBytes; ++i) header_bytes |= uint64_t(file[i]) << (8 * i);
    if (header_bytes > kMaxSafetensorsHeaderBytes) {
        fail("{}: a header of {} bytes (at most {}): this is no safetensors file", name, header_bytes,
             kMaxSafetensorsHeaderBytes);
    }
    if (header_bytes > file.size() - kLengthBytes) {
        fail(
            "{}: the header has {} bytes but the file only {} after its length; the download may be "
            "incomplete",
            name, header_bytes, file.size() - kLengthBytes);
    }
    const std::string_view json{reinterpret_cast<const char*>(file.data()) + kLengthBytes, header_bytes};
    if (!json.starts_with('{'))
        fail("{}: the header does not start with '{{': this is no safetensors file", name);
    return HeaderReader(file.subspan(kLengthBytes + header_bytes), name).read(json);
}

}  // namespace ingot::converters
