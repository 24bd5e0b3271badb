#include "runtime/tensor_loader.h"

#include "format/decode.h"
#include "format/error.h"

namespace ingot::runtime {
namespace {

std::string shape_of(const TensorInfo& tensor) {
    std::string text = "[";
    for (uint32_t i = 0; i < tensor.n_dims; ++i) {
        text += fmt::format("{}{}", i == 0 ? "" : ", ", tensor.shape[i]);
    }
    return text + "]";
}

}  // namespace

TensorLoader::TensorLoader(const GgufModel& file, Backend& backend, const Replacement* replacement,
                           const WeightMemory* memory)
    : file_(file), backend_(backend), replacement_(replacement), memory_(memory) {
    if (!replacement) return;
    replaced_ = require(replacement->name);
    replaced_.type = replacement->type;
    replaced_.size_bytes = row_bytes(replaced_.type, replaced_.row_elements()) * replaced_.n_rows();
    if (replacement->bytes.size() != replaced_.size_bytes)
        fail("tensor {}: its replacement has {} bytes; {} takes {}", replacement->name,
             replacement->bytes.size(), ingot::name(replaced_.type), replaced_.size_bytes);
}

// Bytes for now: they are read from the mapped file.
std::span<const std::byte> TensorLoader::bytes_of(const TensorInfo& tensor) const {
    return &tensor == &replaced_ ? replacement_->bytes : file_.tensor_bytes(tensor);
}

// Bytes that the backend keeps looking at; they may be on their way, unless it copies them now.
std::span<const std::byte> TensorLoader::resident_bytes_of(const TensorInfo& tensor) const {
    if (memory_ == nullptr || &tensor == &replaced_) return bytes_of(tensor);
    if (!backend_.computes_in_place()) memory_->wait_for(tensor);
    return memory_->bytes_of(tensor);
}

const TensorInfo& TensorLoader::require(const std::string& name) const {
    if (!replaced_.name.empty() && replaced_.name == name) return replaced_;
    const TensorInfo* tensor = file_.header().find_tensor(name);
    if (tensor == nullptr) fail("tensor {} is missing; the file cannot be run", name);
    return *tensor;
}

int64_t TensorLoader::rows(const std::string& name) const {
    const TensorInfo* tensor = file_.header().find_tensor(name);
    return tensor != nullptr ? int64_t(tensor->shape[1]) : 0;
}

std::unique_ptr<Weight> TensorLoader::matrix(const std::string& name, int64_t n_out, int64_t n_in,
                                             Slice slice) {
    const TensorInfo& tensor = require(name);
    backend_.begin_tensor(name);
    const int64_t n_rows = slice.n_all != 0 ? slice.n_all : n_out;
    if (tensor.shape != std::array<uint64_t, 4>{uint64_t(n_in), uint64_t(n_rows), 1, 1}) {
        fail("tensor {}: shape is {}; expected [{}, {}]", name, shape_of(tensor), n_in, n_rows);
    }
    const uint64_t row = row_bytes(tensor.type, uint64_t(n_in));
    const auto bytes = resident_bytes_of(tensor).subspan(size_t(slice.first) * row, size_t(n_out) * row);
    try {
        return backend_.load_weight(tensor.type, n_in, n_out, bytes);
    } catch (const Error& error) {
        fail("tensor {}: {}", name, error.what());
    }
}

std::unique_ptr<Weight> TensorLoader::row(const std::string& name, int64_t n) {
    return matrix(name, 1, n);  // a shape [n] is [n, 1]
}

std::unique_ptr<Weight> TensorLoader::matrices(const std::string& name, int64_t n_matrices, int64_t n_out,
                                               int64_t n_in) {
    const TensorInfo& tensor = require(name);
    backend_.begin_tensor(name);
    if (tensor.shape != std::array<uint64_t, 4>{uint64_t(n_in), uint64_t(n_out), uint64_t(n_matrices), 1}) {
        fail("tensor {}: shape is {}; expected [{}, {}, {}]", name, shape_of(tensor), n_in, n_out,
             n_matrices);
    }
    try {
        return backend_.load_weight(tensor.type, n_in, n_out * n_matrices, resident_bytes_of(tensor));
    } catch (const Error& error) {
        fail("tensor {}: {}", name, error.what());
    }
}

Linear TensorLoader::linear(const std::string& name, int64_t n_out, int64_t n_in, bool bias_required,
                            Slice slice) {
    Linear linear;
    linear.weight = matrix(name + ".weight", n_out, n_in, slice);
    if (bias_required || has(name + ".bias")) {
        const int64_t n_rows = slice.n_all != 0 ? slice.n_all : n_out;
        const std::vector<float> bias = floats(name + ".bias", n_rows);
        linear.bias = upload(std::span(bias).subspan(size_t(slice.first), size_t(n_out)));
    }
    return linear;
}

NormWeights TensorLoader::norm(const std::string& name, NormKind kind, int64_t n, int64_t n_groups) {
    NormWeights norm;
    norm.weight = vector(name + ".weight", n, n_groups);
    if (kind == NormKind::Layer) norm.bias = optional_vector(name + ".bias", n, n_groups);
    return norm;
}

std::vector<float> TensorLoader::floats(const std::string& name, int64_t n, int64_t n_rows) {
    const TensorInfo& tensor = require(name);
    backend_.begin_tensor(name);
    if (tensor.shape != std::array<uint64_t, 4>{uint64_t(n), uint64_t(n_rows), 1, 1}) {
        fail("tensor {}: shape is {}; expected [{}{}]", name, shape_of(tensor), n,
             n_rows == 1 ? "" : fmt::format(", {}", n_rows));
    }
    if (!info(tensor.type).decodable) {
        fail("tensor {}: type {} cannot be decoded by this version", name, ingot::name(tensor.type));
    }
    std::vector<float> values(static_cast<size_t>(n * n_rows), 1.0F);
    if (memory_ != nullptr && !memory_->has_bytes()) return values;
    const uint64_t row = row_bytes(tensor.type, uint64_t(n));
    for (int64_t i = 0; i < n_rows; ++i) {
        decode_row(tensor.type, bytes_of(tensor).data() + size_t(i) * row, values.data() + i * n,
                   uint64_t(n));
    }
    return values;
}

std::unique_ptr<Buffer> TensorLoader::upload(std::span<const float> values) {
    auto buffer = backend_.allocate(values.size_bytes());
    backend_.upload(std::as_bytes(values), *buffer);
    return buffer;
}

}  // namespace ingot::runtime
