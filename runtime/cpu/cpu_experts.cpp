// Mixtures of experts: who takes which token, and the products by the experts' own matrices.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>

#include "runtime/cpu/cpu_backend.h"
#include "runtime/cpu/cpu_internal.h"

namespace ingot::runtime {

using cpu::ActivationForm;
using cpu::Way;

namespace {

// x (n) -> exp(x - largest) / sum
void softmax(std::span<float> x) {
    const float largest = *std::ranges::max_element(x);
    double sum = 0;
    for (float& value : x) sum += double(value = std::exp(value - largest));
    for (float& value : x) value = float(double(value) / sum);
}

// The indices of the n largest scores, largest first; of equals the one that comes first. NaN is the least.
void choose_largest(std::span<const float> scores, int64_t n, std::vector<int32_t>& chosen) {
    chosen.resize(scores.size());
    std::iota(chosen.begin(), chosen.end(), 0);
    const auto before = [&](int32_t a, int32_t b) {
        const auto score = [&](int32_t i) {
            return std::isnan(scores[size_t(i)]) ? -INFINITY : scores[size_t(i)];
        };
        const float x = score(a), y = score(b);
        return x > y || (x == y && a < b);
    };
    std::partial_sort(chosen.begin(), chosen.begin() + n, chosen.end(), before);
    chosen.resize(size_t(n));
}

/// Routes one token after the other; owns what each needs.
class Router {
  public:
    explicit Router(const RoutingRule& rule)
        : rule_(rule),
          bias_(rule.selection_bias != nullptr ? data(*rule.selection_bias) : nullptr),
          scales_(rule.expert_scales != nullptr ? data(*rule.expert_scales) : nullptr) {}

    // logits (n_experts) -> experts (n_used), weights (n_used)
    void route(std::span<const float> logits, int32_t* experts, float* weights) {
        scores_.assign(logits.begin(), logits.end());
        if (rule_.gating == Gating::Softmax) softmax(scores_);
        if (rule_.gating == Gating::Sigmoid) {
            for (float& score : scores_) score = 1 / (1 + std::exp(-score));
        }
        selection_ = scores_;
        if (bias_ != nullptr) {
            for (size_t i = 0; i < selection_.size(); ++i) selection_[i] += bias_[i];
        }
        if (rule_.n_groups > 1) close_groups();
        choose_largest(selection_, rule_.n_used, chosen_);

        const std::span<float> out(weights, size_t(rule_.n_used));
        for (size_t i = 0; i < out.size(); ++i) {
            experts[i] = chosen_[i];
            out[i] = scores_[size_t(chosen_[i])];
        }
        if (rule_.gating == Gating::SoftmaxOfChosen) softmax(out);
        if (rule_.normalize) {
            // As small a sum as float16 can hold is the least: sigmoids may all be zero.
            const float sum = std::max(std::accumulate(out.begin(), out.end(), 0.0f), 0x1p-14f);
            for (float& weight : out) weight /= sum;
        }
        for (size_t i = 0; i < out.size(); ++i) {
            out[i] *= rule_.scale * (scales_ != nullptr ? scales_[chosen_[i]] : 1.0f);
        }
    }

  private:
    // Experts outside the best groups cannot be chosen.
    void close_groups() {
        const size_t n = size_t(rule_.n_experts / rule_.n_groups);  // experts of a group
        group_scores_.clear();
        for (int64_t g = 0; g < rule_.n_groups; ++g) {
            const std::span<const float> group(selection_.data() + size_t(g) * n, n);
            const int64_t n_summed =
                rule_.group_score == GroupScore::Largest ? 1 : std::min<int64_t>(2, int64_t(n));
            choose_largest(group, n_summed, chosen_);
            float sum = 0;
            for (const int32_t index : chosen_) sum += group[size_t(index)];
            group_scores_.push_back(sum);
        }
        choose_largest(group_scores_, rule_.n_groups_used, chosen_);
        for (int64_t g = 0; g < rule_.n_groups; ++g) {
            if (std::ranges::find(chosen_, int32_t(g)) != chosen_.end()) continue;
            std::fill_n(selection_.begin() + g * int64_t(n), n, -INFINITY);
        }
    }

    const RoutingRule& rule_;
    const float *bias_, *scales_;  // (n_experts) or null
    std::vector<float> scores_, selection_, group_scores_;
    std::vector<int32_t> chosen_;
};

}  // namespace

void CpuBackend::route(const RoutingRule& rule, const Buffer& logits, int64_t n_tokens, Buffer& experts,
                       Buffer& weights) {
    Router router(rule);
    for (int64_t token = 0; token < n_tokens; ++token) {
        const std::span row(data(logits) + token * rule.n_experts, size_t(rule.n_experts));
        router.route(row, data<int32_t>(experts) + token * rule.n_used, data(weights) + token * rule.n_used);
    }
}

// The slots are sorted by expert, and their inputs copied in that order: then each expert's matrix meets all
// of its tokens at once, as in an ordinary product.
void CpuBackend::matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens,
                                const ExpertChoice& choice, std::span<const Projection> projections) {
    const int64_t n_slots = n_tokens * choice.n_used;
    const std::span experts(data<int32_t>(*choice.experts), size_t(n_slots));
    std::vector<int64_t> begins(size_t(choice.n_experts) + 1,
                                0);  // expert e has order[begins[e] … begins[e+1])
    for (const int32_t expert : experts) ++begins[size_t(expert) + 1];
    std::partial_sum(begins.begin(), begins.end(), begins.begin());
    std::vector<int64_t> order(static_cast<size_t>(n_slots));  // slots
    std::vector<int64_t> next(begins.begin(), begins.end() - 1);
    for (int64_t slot = 0; slot < n_slots; ++slot)
        order[size_t(next[size_t(experts[size_t(slot)])]++)] = slot;
    std::vector<int64_t> busy;  // experts with something to do
    for (int64_t e = 0; e < choice.n_experts; ++e) {
        if (begins[size_t(e) + 1] > begins[size_t(e)]) busy.push_back(e);
    }

    // What each busy expert is given: the tokens order[first … first + n), in some way.
    struct Input {
        int64_t first, n;
        Way way;
        int64_t tile;  // its first of those of its way
    };
    std::vector<Input> inputs;
    struct Tile {
        int64_t first, n;
    };
    std::vector<Tile> tiles[cpu::kWays];
    const auto token_of = [&](int64_t i) {  // its row of x
        return x_has_slots ? order[size_t(i)] : order[size_t(i)] / choice.n_used;
    };

    std::optional<ActivationForm> gathered;  // in expert_inputs_ and the tiles
    for (const Projection& projection : projections) {
        const CpuWeight& weight = cpu_weight(*projection.weight);
        const ActivationForm form = weight.form();
        const int64_t n_in = weight.n_in();
        const int64_t n_out = weight.n_out() / choice.n_experts;
        const size_t row_size = cpu::activation_bytes(form, n_in);
        const auto tile_size = [&](Way way) {
            return tiles[size_t(way)].empty() ? 0 : kernels_.tiling(form, way).bytes(n_in);
        };
        const bool gather_parallel = n_slots * n_in >= kParallelElements;
        if (gathered != form) {
            gathered = form;
            inputs.clear();
            for (std::vector<Tile>& of_way : tiles) of_way.clear();
            for (const int64_t expert : busy) {
                const int64_t first = begins[size_t(expert)], n = begins[size_t(expert) + 1] - first;
                const Way way = way_of(weight, n);
                std::vector<Tile>& of_way = tiles[size_t(way)];
                inputs.push_back({first, n, way, int64_t(of_way.size())});
                const int64_t n_each = way == Way::Rows ? n : kernels_.tiling(form, way).n_tokens;
                for (int64_t i = 0; i < n; i += n_each)
                    of_way.push_back({first + i, std::min(n_each, n - i)});
            }
            if (!tiles[size_t(Way::Rows)].empty() || !tiles[size_t(Way::Panels)].empty()) {
                const Activations rows = activations(data(x), x_has_slots ? n_slots : n_tokens, n_in, form);
                at_least(expert_inputs_, size_t(n_slots) * row_size);
                each_token(n_slots, n_in, [&](int64_t i) {
                    const auto* from =
                        static_cast<const std::byte*>(rows.rows) + size_t(token_of(i)) * rows.stride;
                    std::memcpy(expert_inputs_.data() + size_t(i) * row_size, from, row_size);
                });
            }
            for (const Way way : {Way::Panels, Way::Matrix}) {
                const std::vector<Tile>& of_way = tiles[size_t(way)];
                const size_t size = tile_size(way);
                std::byte* const to = at_least(activations_[size_t(form)][size_t(way)], of_way.size() * size);
                deal(int64_t(of_way.size()), gather_parallel, [&](int thread, int64_t i) {
                    const Tile& tile = of_way[size_t(i)];
                    const std::byte* rows = expert_inputs_.data() + size_t(tile.first) * row_size;
                    size_t stride = row_size;
                    if (way == Way::Matrix) {
                        stride = size_t(n_in) * sizeof(float);
                        AlignedVector<std::byte>& floats = scratch_[size_t(thread)].rows;
                        at_least(floats, size_t(tile.n) * stride);
                        for (int64_t t = 0; t < tile.n; ++t) {
                            std::memcpy(floats.data() + size_t(t) * stride,
                                        data(x) + token_of(tile.first + t) * n_in, stride);
                        }
                        rows = floats.data();
                    }
                    kernels_.tiling(form, way).pack(rows, stride, tile.n, n_in, to + size_t(i) * size);
                });
            }
        }

        const bool in_tiles = inputs.size() > tiles[size_t(Way::Rows)].size();
        const int64_t chunk =
            chunk_rows(weight, n_out * int64_t(busy.size()), in_tiles ? Way::Panels : Way::Rows);
        const int64_t n_chunks = divide_up(n_out, chunk);
        const bool parallel = n_slots * n_in * n_out >= kParallelElements;
        deal(int64_t(busy.size()) * n_chunks, parallel, [&](int thread, int64_t task) {
            const int64_t expert = busy[size_t(task / n_chunks)];
            const auto [begin, n, way, tile] = inputs[size_t(task / n_chunks)];
            const int64_t first = task % n_chunks * chunk;
            const int64_t n_rows = std::min(chunk, n_out - first);
            Activations input{expert_inputs_.data() + size_t(begin) * row_size, row_size};
            if (way != Way::Rows) {
                const size_t size = tile_size(way);
                input = {activations_[size_t(form)][size_t(way)].data() + size_t(tile) * size, size, way};
            }
            AlignedVector<float>& products = scratch_[size_t(thread)].products;  // (n, n_rows)
            if (products.size() < size_t(n * n_rows)) products.resize(size_t(n * n_rows));
            multiply(thread, weight, {expert * n_out + first, n_rows, 0}, input, n, products.data(), n_rows);
            for (int64_t i = 0; i < n; ++i) {
                float* output = data(*projection.output) + order[size_t(begin + i)] * n_out + first;
                std::memcpy(output, products.data() + i * n_rows, size_t(n_rows) * sizeof(float));
                if (projection.bias != nullptr) {
                    kernels_.add(data(*projection.bias) + expert * n_out + first, output, n_rows);
                }
            }
        });
    }
}

void CpuBackend::combine(const Buffer& x, const Buffer& weights, int64_t n_tokens, int64_t n_used, int64_t n,
                         Buffer& y) {
    each_token(n_tokens, n_used * n, [&](int64_t token) {
        float* sum = data(y) + token * n;
        std::fill_n(sum, n, 0.0f);
        for (int64_t slot = token * n_used; slot < (token + 1) * n_used; ++slot) {
            const float weight = data(weights)[slot];
            const float* row = data(x) + slot * n;
            for (int64_t i = 0; i < n; ++i) sum[i] += weight * row[i];
        }
    });
}

}  // namespace ingot::runtime
