#include "converters/rows/weight_set.h"

#include "format/error.h"

namespace ingot::converters {

WeightSet::WeightSet(const Checkpoint& checkpoint) {
    for (const SourceTensor& tensor : checkpoint.tensors()) {
        Weight weight{tensor.name, nullptr, {}};
        const std::string element =
            tensor.unreadable.empty() ? std::string(name(tensor.type)) : tensor.unreadable;
        if (tensor.unreadable.empty() && is_float(tensor.type)) {
            weight.rows = plain_rows(tensor);
        } else {
            weight.problem = fmt::format("{} has elements of type {}, expected floating-point weights",
                                         printable(tensor.name), element);
        }
        by_name_.emplace(tensor.name, weights_.size());
        weights_.push_back(std::move(weight));
    }
}

const WeightSet::Weight* WeightSet::find(std::string_view name) const {
    const auto found = by_name_.find(std::string(name));
    return found == by_name_.end() ? nullptr : &weights_[found->second];
}

void WeightSet::set(const std::string& name, RowsPtr rows) {
    const auto [found, added] = by_name_.emplace(name, weights_.size());
    if (added) weights_.emplace_back();
    weights_[found->second] = {name, std::move(rows), {}};
}

void WeightSet::remove(const std::unordered_set<std::string>& names) {
    std::erase_if(weights_, [&](const Weight& weight) { return names.contains(weight.name); });
    by_name_.clear();
    for (size_t i = 0; i < weights_.size(); ++i) by_name_.emplace(weights_[i].name, i);
}

}  // namespace ingot::converters
