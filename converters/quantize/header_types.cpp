#include "converters/quantize/header_types.h"

#include <algorithm>
#include <string>

#include "converters/sources/checkpoint.h"

namespace ingot::converters {
namespace {

/// A number that some architectures give per layer, as an array: its largest. 0 when it is absent.
uint32_t largest_number(const GgufHeader& header, const std::string& key) {
    const Value* value = header.find(key);
    if (!value) return 0;
    if (value->type() != ValueType::Array) return uint32_t(std::min<uint64_t>(value->as_uint(), UINT32_MAX));
    const std::vector<int64_t> numbers = header.ints(key);
    return numbers.empty() ? 0 : uint32_t(std::clamp<int64_t>(std::ranges::max(numbers), 0, UINT32_MAX));
}

}  // namespace

ModelShape shape_of(const GgufHeader& header) {
    ModelShape shape;
    shape.architecture = header.get_string("general.architecture").value_or("");
    const std::string prefix = shape.architecture + ".";
    shape.n_layers = largest_number(header, prefix + "block_count");
    shape.n_experts = largest_number(header, prefix + "expert_count");
    shape.n_heads = largest_number(header, prefix + "attention.head_count");
    shape.n_kv_heads = largest_number(header, prefix + "attention.head_count_kv");
    if (shape.n_kv_heads == 0) shape.n_kv_heads = shape.n_heads;
    shape.tied_output = header.find_tensor("output.weight") == nullptr;
    return shape;
}

std::vector<TensorType> choose_types(const Recipe& recipe, const GgufHeader& header) {
    std::vector<TensorShape> shapes;
    for (const TensorInfo& tensor : header.tensors())
        shapes.push_back({tensor.name, tensor.n_dims, tensor.row_elements(), tensor.n_rows()});
    const std::vector<TypeChoice> choices = choose_types(recipe, shape_of(header), shapes);
    std::vector<TensorType> types;
    for (size_t i = 0; i < choices.size(); ++i) {
        const TensorType own = header.tensors()[i].type;
        types.push_back(is_float(own) || info(own).quantized ? choices[i].type : own);
    }
    return types;
}

}  // namespace ingot::converters
