#include "runtime/profiled_backend.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <set>
#include <utility>

#include "format/error.h"

namespace ingot::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// "ffn_down" of "blk.7.ffn_down.weight", "output" of "output.weight".
std::string kind_of(std::string_view tensor) {
    if (tensor.starts_with("blk.")) {
        tensor.remove_prefix(4);
        while (!tensor.empty() && std::isdigit(static_cast<unsigned char>(tensor.front())) != 0)
            tensor.remove_prefix(1);
        if (tensor.starts_with('.')) tensor.remove_prefix(1);
    }
    if (tensor.ends_with(".weight")) tensor.remove_suffix(7);
    return std::string(tensor);
}

bool is_float(TensorType type) {
    return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16;
}

// Products of n_rows rows of the matrix with as many numbers as it has columns, summed over all inputs.
void count(const Weight& weight, uint64_t n_rows, Cost& cost) {
    const uint64_t operations = 2 * n_rows * uint64_t(weight.n_in());
    (is_float(weight.type()) ? cost.float_operations : cost.int8_operations) += operations;
}

}  // namespace

Cost& Cost::operator+=(const Cost& other) {
    seconds += other.seconds;
    n_calls += other.n_calls;
    weight_bytes += other.weight_bytes;
    cache_bytes += other.cache_bytes;
    int8_operations += other.int8_operations;
    float_operations += other.float_operations;
    return *this;
}

std::vector<std::pair<std::string, Cost>> by_seconds(const Profile& profile) {
    std::vector<std::pair<std::string, Cost>> sorted(profile.begin(), profile.end());
    std::ranges::stable_sort(
        sorted, [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
    return sorted;
}

Cost sum_of(const Profile& profile) {
    Cost sum;
    for (const auto& [kind, cost] : profile) sum += cost;
    return sum;
}

std::unique_ptr<Weight> ProfiledBackend::load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                                     std::span<const std::byte> bytes) {
    auto weight = inner_.load_weight(type, n_in, n_out, bytes);
    begins_[weight.get()] = bytes.data();
    return weight;
}

void ProfiledBackend::start(const Model& model) {
    profile_.clear();
    kinds_.clear();
    // A weight may be a slice of a tensor: it has the name of the tensor that begins before it.
    std::map<const std::byte*, std::string_view> names;
    for (const TensorInfo& tensor : model.file().header().tensors()) {
        if (tensor.size_bytes > 0) names[model.tensor_bytes(tensor).data()] = tensor.name;
    }
    for (const auto& [weight, begin] : begins_) {
        const auto after = names.upper_bound(begin);
        kinds_[weight] = after == names.begin() ? "other products" : kind_of(std::prev(after)->second);
    }
    is_on_ = true;
}

Profile ProfiledBackend::stop() {
    is_on_ = false;
    return std::exchange(profile_, {});
}

bool ProfiledBackend::begin_work(const char*) {
    if (is_on_) begun_ = Clock::now();
    return true;
}

void ProfiledBackend::end_work(const char* kind) {
    if (!is_on_) return;
    Cost& cost = profile_[kind];
    cost.seconds += seconds_since(begun_);
    ++cost.n_calls;
}

Cost& ProfiledBackend::products(std::span<const Projection> projections) {
    std::string kind;
    for (const Projection& projection : projections) {
        std::string_view name = kinds_[projection.weight];
        if (name == "token_embd") name = "output";  // what it serves as where it is multiplied by
        if (!kind.ends_with(name))
            kind += fmt::format("{}{}", kind.empty() ? "" : " + ", name);  // slices of one come once
    }
    return profile_[kind];
}

void ProfiledBackend::matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) {
    if (!is_on_) return inner_.matmul(x, n_tokens, projections);
    const auto start = Clock::now();
    inner_.matmul(x, n_tokens, projections);
    const double seconds = seconds_since(start);
    Cost& cost = products(projections);
    cost.seconds += seconds;
    ++cost.n_calls;
    for (const Projection& projection : projections) {
        const Weight& weight = *projection.weight;
        cost.weight_bytes += row_bytes(weight.type(), uint64_t(weight.n_in())) * uint64_t(weight.n_out());
        count(weight, uint64_t(weight.n_out()) * uint64_t(n_tokens), cost);
    }
}

void ProfiledBackend::matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens,
                                     const ExpertChoice& choice, std::span<const Projection> projections) {
    if (!is_on_) return inner_.matmul_experts(x, x_has_slots, n_tokens, choice, projections);
    const auto start = Clock::now();
    inner_.matmul_experts(x, x_has_slots, n_tokens, choice, projections);
    const double seconds = seconds_since(start);
    std::vector<int32_t> experts(size_t(n_tokens * choice.n_used));
    inner_.download(*choice.experts, std::as_writable_bytes(std::span(experts)));
    const std::set<int32_t> chosen(experts.begin(), experts.end());
    Cost& cost = products(projections);
    cost.seconds += seconds;
    ++cost.n_calls;
    for (const Projection& projection : projections) {
        const Weight& weight = *projection.weight;
        const uint64_t n_rows = uint64_t(weight.n_out() / choice.n_experts);
        cost.weight_bytes += row_bytes(weight.type(), uint64_t(weight.n_in())) * n_rows * chosen.size();
        count(weight, n_rows * experts.size(), cost);
    }
}

void ProfiledBackend::attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                                const HeadGeometry& heads, Buffer& y) {
    WrappedBackend::attention(q, cache, positions, heads, y);
    if (!is_on_) return;
    const int64_t width = cache.key_stride + (cache.values != cache.keys ? cache.value_stride : 0);
    const uint64_t position_bytes = uint64_t(cache_bytes(cache.type, width));
    for (const int32_t position : positions) {
        const int64_t n_seen = int64_t(position) + 1;
        const int64_t n_read = heads.window > 0 ? std::min(n_seen, heads.window) : n_seen;
        profile_["attention"].cache_bytes += uint64_t(n_read) * position_bytes;
    }
}

}  // namespace ingot::runtime
