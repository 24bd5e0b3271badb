#include "converters/export/safetensors_writer.h"

#include <fmt/format.h>

#include "format/error.h"
#include "format/json_writer.h"

namespace ingot::converters {

namespace {

std::string_view dtype(TensorType type) {
    if (type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16) return name(type);
    fail("{} cannot be stored in safetensors; choose F32, F16 or BF16", name(type));
}

/// Eight bytes little-endian length, then JSON, padded with spaces so that the data is aligned to 8 bytes.
std::string header_of(const std::vector<SafetensorsTensor>& tensors, size_t file) {
    JsonWriter json;
    json.begin_object(JsonWriter::kOneLine);
    json.key("__metadata__").begin_object(JsonWriter::kOneLine).member("format", "pt").end_object();
    for (const SafetensorsTensor& tensor : tensors) {
        if (tensor.file != file) continue;
        json.key(tensor.name).begin_object(JsonWriter::kOneLine).member("dtype", dtype(tensor.type));
        json.key("shape").begin_array(JsonWriter::kOneLine);
        for (auto dimension = tensor.shape.rbegin(); dimension != tensor.shape.rend(); ++dimension)
            json.value(*dimension);
        json.end_array().key("data_offsets").begin_array(JsonWriter::kOneLine);
        json.value(tensor.offset).value(tensor.offset + tensor.size_bytes).end_array().end_object();
    }
    std::string text = json.end_object().text();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    std::string length(8, '\0');
    for (size_t i = 0; i < 8; ++i) length[i] = char(uint64_t(text.size()) >> (8 * i));
    return length + text;
}

}  // namespace

uint64_t SafetensorsLayout::size_bytes() const {
    uint64_t total = 0;
    for (const File& file : files) total += file.size_bytes;
    return total;
}

SafetensorsLayout lay_out_safetensors(std::vector<SafetensorsTensor> tensors, uint64_t max_file_bytes) {
    SafetensorsLayout layout;
    layout.tensors = std::move(tensors);
    uint64_t data_bytes = 0, total_bytes = 0;  // of the current file; of all
    size_t n_files = 1;
    for (SafetensorsTensor& tensor : layout.tensors) {
        uint64_t n_elements = 1;
        for (const uint64_t dimension : tensor.shape)
            n_elements *= dimension;  // fits: the source was checked
        tensor.size_bytes = row_bytes(tensor.type, n_elements);
        if (data_bytes > 0 && data_bytes + tensor.size_bytes > max_file_bytes) {
            ++n_files;
            data_bytes = 0;
        }
        tensor.file = n_files - 1;
        tensor.offset = data_bytes;  // behind the header, for now
        data_bytes += tensor.size_bytes;
        total_bytes += tensor.size_bytes;
    }
    for (size_t i = 0; i < n_files; ++i) {
        layout.files.push_back({n_files == 1
                                    ? std::string("model.safetensors")
                                    : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, n_files),
                                header_of(layout.tensors, i), 0});
        layout.files.back().size_bytes = layout.files.back().header.size();
    }
    for (SafetensorsTensor& tensor : layout.tensors) {
        SafetensorsLayout::File& file = layout.files[tensor.file];
        tensor.offset += file.header.size();
        file.size_bytes += tensor.size_bytes;
    }
    if (n_files > 1) {
        JsonWriter json;
        json.begin_object().key("metadata").begin_object().member("total_size", total_bytes).end_object();
        json.key("weight_map").begin_object();
        for (const SafetensorsTensor& tensor : layout.tensors)
            json.member(tensor.name, layout.files[tensor.file].name);
        layout.index = json.end_object().end_object().text() + "\n";
    }
    return layout;
}

}  // namespace ingot::converters
