#include "converters/prequantized/parts.h"

#include <algorithm>

#include "format/error.h"

namespace ingot::converters {

Precision precision_named(std::string_view dtype) {
    if (dtype.ends_with("bfloat16")) return Precision::BF16;
    if (dtype.ends_with("float16") || dtype.ends_with("half")) return Precision::F16;
    return Precision::F32;
}

std::string_view element_name(const SourceTensor& tensor) {
    return tensor.unreadable.empty() ? name(tensor.type) : std::string_view(tensor.unreadable);
}

std::string without_suffix(std::string_view name, std::string_view suffix) {
    return std::string(name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : "");
}

FloatView::FloatView(const SourceTensor& tensor) : tensor_(&tensor) {
    const std::string_view element = element_name(tensor);
    if (element == "F16") {
        precision_ = Precision::F16;
    } else if (element == "BF16") {
        precision_ = Precision::BF16;
    } else if (element == "F8_E8M0" || element == "U8") {
        powers_of_two_ = true;
    } else if (element != "F32") {
        fail("{} has elements of type {}, expected F32, F16 or BF16", printable(tensor.name), element);
    }
}

float FloatView::at(uint64_t index) const {
    if (powers_of_two_) {
        const uint32_t e = element_at<uint8_t>(*tensor_, index);
        return e == 255 ? float_of(0x7fc00000) : e == 0 ? 0x1p-127f : float_of(e << 23);
    }
    switch (precision_) {
        case Precision::F16:
            return half_to_float(element_at<uint16_t>(*tensor_, index));
        case Precision::BF16:
            return bf16_to_float(element_at<uint16_t>(*tensor_, index));
        case Precision::F32:
            break;
    }
    return element_at<float>(*tensor_, index);
}

void CodedRows::read(uint64_t first_row, uint64_t n_rows, float* values) const {
    read_columns(first_row, n_rows, 0, row_elements(), values);
}

void CodedRows::read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                             float* values) const {
    for (uint64_t i = 0; i < n_rows; ++i) {
        decode(first_row + i, first_column, n_columns, values + i * n_columns);
    }
}

void CodedRows::append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const {
    // Rows take equal shares of the codes; the smaller parts are named with the last.
    const uint64_t all = this->n_rows(), size = codes().data.size();
    if (n_rows == 0) return;
    const uint64_t begin = size / all * first_row;
    const uint64_t end = first_row + n_rows == all ? size : size / all * (first_row + n_rows);
    extents.push_back({parts_[0], begin, end - begin});
    if (first_row + n_rows < all) return;
    for (size_t i = 1; i < parts_.size(); ++i) extents.push_back({parts_[i], 0, parts_[i]->data.size()});
}

Parts::Parts(const Json& config, const Checkpoint& checkpoint, WeightSet& weights)
    : config_(config), checkpoint_(checkpoint), weights_(weights) {
    quantization_ = config.get_object("quantization_config");
    if (!quantization_) quantization_ = config.get_object("compression_config");
    if (quantization_) method_ = quantization_->get_string("quant_method").value_or("");
    std::ranges::transform(method_, method_.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    for (const SourceTensor& tensor : checkpoint.tensors()) by_name_.emplace(tensor.name, &tensor);
}

Precision Parts::model_precision() const {
    for (const char* key : {"dtype", "torch_dtype"}) {
        const Json* dtype = config_.find(key);
        if (dtype && dtype->kind() == Json::Kind::String) return precision_named(dtype->as_string());
    }
    return Precision::F32;
}

const SourceTensor* Parts::find(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
}

const SourceTensor& Parts::require(const std::string& name) const {
    const SourceTensor* tensor = find(name);
    if (!tensor) fail("{} is missing", printable(name));
    if (!tensor->strides.empty()) fail("{} is not stored row by row", printable(name));
    return *tensor;
}

void Parts::decoded(const std::string& form, const std::string& weight, RowsPtr rows,
                    std::initializer_list<const SourceTensor*> parts) {
    ++forms_[form];
    decoded_.emplace_back(weight, std::move(rows));
    for (const SourceTensor* part : parts) {
        if (part) consumed_.insert(part->name);
    }
}

Prequantized Parts::finish() {
    if (!problems_.empty()) {
        constexpr size_t kShown = 20;
        std::string message = fmt::format("{} quantized weight{} of the checkpoint cannot be decoded",
                                          problems_.size(), problems_.size() == 1 ? "" : "s");
        for (size_t i = 0; i < std::min(kShown, problems_.size()); ++i) message += "\n  " + problems_[i];
        if (problems_.size() > kShown) message += fmt::format("\n  … and {} more", problems_.size() - kShown);
        throw Error(message);
    }
    weights_.remove(consumed_);
    for (auto& [name, rows] : decoded_) weights_.set(name, std::move(rows));

    Prequantized result;
    std::vector<std::string> forms;
    for (const auto& [form, n] : forms_) {
        forms.push_back(forms_.size() == 1 ? form : fmt::format("{} ({})", form, n));
    }
    result.form = fmt::format("{}", fmt::join(forms, "; "));
    result.n_decoded = decoded_.size();
    result.n_weights = weights_.weights().size();
    result.warnings = std::move(warnings_);
    return result;
}

}  // namespace ingot::converters
