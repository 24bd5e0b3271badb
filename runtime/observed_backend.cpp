#include "runtime/observed_backend.h"

#include "format/error.h"

namespace ingot::runtime {

std::unique_ptr<Weight> ObservedBackend::load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                                     std::span<const std::byte> bytes) {
    auto weight = inner_.load_weight(type, n_in, n_out, bytes);
    begins_[weight.get()] = bytes.data();
    return weight;
}

void ObservedBackend::observe(const Model& model, ProductObserver* observer) {
    observer_ = observer;
    is_idle_ = false;
    tensors_.clear();
    std::unordered_map<const std::byte*, std::string_view> names;
    for (const TensorInfo& tensor : model.file().header().tensors())
        if (tensor.size_bytes > 0) names[model.tensor_bytes(tensor).data()] = tensor.name;
    for (const auto& [weight, begin] : begins_) {
        const auto at = names.find(begin);
        if (at != names.end()) tensors_[weight] = at->second;
    }
}

void ObservedBackend::replace(const Model& model, std::string_view tensor, TensorType type,
                              std::span<const std::byte> bytes) {
    const TensorInfo* found = model.file().header().find_tensor(tensor);
    if (found == nullptr) fail("tensor {}: the model has none of this name", tensor);
    const std::span<const std::byte> before = model.file().tensor_bytes(*found);
    for (const auto& [weight, begin] : begins_) {
        if (begin < before.data() || begin >= before.data() + before.size()) continue;
        // A weight may be some of the tensor's rows.
        const uint64_t first = uint64_t(begin - before.data()) / row_bytes(found->type, found->shape[0]);
        const uint64_t row = row_bytes(type, found->shape[0]);
        replaced_[weight] = inner_.load_weight(type, weight->n_in(), weight->n_out(),
                                               bytes.subspan(first * row, uint64_t(weight->n_out()) * row));
    }
}

std::span<const Projection> ObservedBackend::current(std::span<const Projection> projections) {
    if (replaced_.empty() || !uses_replaced_) return projections;
    current_.assign(projections.begin(), projections.end());
    for (Projection& projection : current_) {
        const auto at = replaced_.find(projection.weight);
        if (at != replaced_.end()) projection.weight = at->second.get();
    }
    return current_;
}

std::span<const float> ObservedBackend::fetch(const Buffer& x, int64_t n) {
    if (x_.empty()) {
        x_.resize(size_t(n));
        inner_.download(x, std::as_writable_bytes(std::span(x_)));
    }
    return std::span(x_).first(size_t(n));
}

void ObservedBackend::matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) {
    if (is_idle_) return;
    if (observer_ != nullptr) {
        x_.clear();
        for (const Projection& projection : projections) {
            const auto tensor = tensors_.find(projection.weight);
            if (tensor == tensors_.end()) continue;
            const int64_t n_in = projection.weight->n_in();
            show({tensor->second, fetch(x, n_tokens * n_in), n_in, 1, {}});
        }
    }
    if (!is_idle_) inner_.matmul(x, n_tokens, current(projections));
}

void ObservedBackend::matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens,
                                     const ExpertChoice& choice, std::span<const Projection> projections) {
    if (is_idle_) return;
    if (observer_ != nullptr) {
        x_.clear();
        experts_.resize(size_t(n_tokens * choice.n_used));
        inner_.download(*choice.experts, std::as_writable_bytes(std::span(experts_)));
        std::vector<float> slots;  // x with a row for each slot
        for (const Projection& projection : projections) {
            const auto tensor = tensors_.find(projection.weight);
            if (tensor == tensors_.end()) continue;
            const int64_t n_in = projection.weight->n_in();
            const int64_t n_rows = x_has_slots ? n_tokens * choice.n_used : n_tokens;
            std::span<const float> rows = fetch(x, n_rows * n_in);
            if (!x_has_slots && choice.n_used > 1) {
                if (slots.empty()) {
                    for (int64_t slot = 0; slot < n_tokens * choice.n_used; ++slot) {
                        const auto row = rows.subspan(size_t(slot / choice.n_used * n_in), size_t(n_in));
                        slots.insert(slots.end(), row.begin(), row.end());
                    }
                }
                rows = slots;
            }
            show({tensor->second, rows, n_in, choice.n_experts, experts_});
        }
    }
    if (!is_idle_) inner_.matmul_experts(x, x_has_slots, n_tokens, choice, current(projections));
}

}  // namespace ingot::runtime
