#include "converters/quantize/target/sensitivity.h"

#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "converters/convert.h"
#include "converters/quantize/quantize.h"
#include "format/decode.h"
#include "format/error.h"

namespace ingot::converters {
namespace {

/// The divergence is measured for one type, in which it stands well above the rounding of the rest of the
/// arithmetic and is still proportional to the squared error; other types' errors scale it.
constexpr double kProbeBits = 3.4;

/// Without a text: what a tensor's relative error does to the divergence, by the part it plays. From the
/// shipped model, rounded; other models differ, which is why a text is the better way.
struct PartWeight {
    std::string_view part;
    double weight;
};
constexpr PartWeight kPartWeights[] = {
    {"token_embd.weight", 0.3}, {"attn_q.weight", 0.03}, {"attn_k.weight", 0.03},
    {"ffn_down", 0.15},         {"ffn_gate", 0.1},       {"ffn_up", 0.1},
};
constexpr double kOutputWeight = 1.5, kOtherWeight = 0.06;

double guessed_weight(const ConversionPlan& plan, const std::string& name) {
    const auto& tensors = plan.files.front().layout.tensors();
    const bool untied =
        std::ranges::any_of(tensors, [](const TensorPlan& tensor) { return tensor.name == "output.weight"; });
    if (name == "output.weight" || (!untied && name == "token_embd.weight")) return kOutputWeight;
    for (const auto& [part, weight] : kPartWeights)
        if (name.find(part) != name.npos) return weight;
    return kOtherWeight;
}

/// Squared error and squared values of some rows.
struct Sums {
    double error = 0, signal = 0;
    double relative() const { return signal > 0 ? error / signal : 0; }
};

class Measurement {
  public:
    Measurement(const ConversionPlan& plan, const SensitivityOptions& options)
        : plan_(plan), options_(options) {}

    std::vector<TensorCosts> run() {
        for (size_t i = 0; i < plan_.tensors.size(); ++i)
            if (plan_.tensors[i].is_free) costs_.push_back(candidates(i));
        n_steps_ = costs_.size() * (options_.divergence ? 2 : 1);
        tbb::task_arena arena(options_.n_threads > 0 ? options_.n_threads : tbb::info::default_concurrency());
        arena.execute([&] {
            tbb::parallel_for(size_t{0}, costs_.size(), [&](size_t i) {
                if (cancelled()) return;
                measure_errors(costs_[i]);
                advance();
            });
            stop_if_cancelled();
            for (TensorCosts& costs : costs_) {
                costs.weight = options_.divergence ? measured_weight(costs)
                                                   : guessed_weight(plan_, plan_.target(costs.tensor).name);
                if (options_.divergence) advance();
                stop_if_cancelled();
            }
        });
        return std::move(costs_);
    }

  private:
    bool cancelled() const { return options_.cancel && options_.cancel->load(std::memory_order_relaxed); }
    void stop_if_cancelled() const {
        if (cancelled()) throw Cancelled("interrupted; nothing was written");
    }
    void advance() {
        const uint64_t done = ++n_done_;
        if (!options_.progress) return;
        const std::lock_guard lock(progress_mutex_);
        options_.progress(done, n_steps_);
    }

    TensorCosts candidates(size_t tensor) const {
        const TensorRows& rows = *plan_.tensors[tensor].rows;
        TensorCosts costs;
        costs.tensor = tensor;
        for (const TensorType type : options_.types)
            if (rows.row_elements() % info(type).block_elements == 0) costs.types.push_back(type);
        if (costs.types.empty())
            fail("tensor {}: rows of {} fit the blocks of none of the types to choose from; add one",
                 plan_.target(tensor).name, rows.row_elements());
        std::ranges::stable_sort(costs.types, {},
                                 [](TensorType type) { return info(type).bits_per_element(); });
        return costs;
    }

    std::span<const float> importance_of(size_t tensor, uint64_t row) const {
        return options_.importance ? options_.importance(tensor, row) : std::span<const float>{};
    }

    /// Finite values of one row.
    void read_row(const TensorRows& rows, uint64_t row, std::vector<float>& values) const {
        values.resize(rows.row_elements());
        rows.read(row, 1, values.data());
        for (uint64_t column = 0; column < values.size(); ++column) {
            if (std::isfinite(values[column])) continue;
            const TensorRows::Place place = rows.place(row, column);
            fail(
                "{}: tensor \"{}\" has {} at row {}, column {}; the checkpoint is damaged, or its training "
                "diverged",
                plan_.source(), place.tensor, values[column], place.row, place.column);
        }
    }

    void measure_errors(TensorCosts& costs) const {
        const TensorRows& rows = *plan_.tensors[costs.tensor].rows;
        const uint64_t row_elements = std::max<uint64_t>(rows.row_elements(), 1);
        const uint64_t n_rows = rows.n_rows();
        const uint64_t n_sampled =
            std::min(n_rows, std::max<uint64_t>(options_.n_sampled_elements / row_elements, 1));
        std::vector<Sums> sums(costs.types.size());
        std::vector<float> values, decoded(row_elements);
        std::vector<std::byte> encoded;
        for (uint64_t i = 0; i < n_sampled; ++i) {
            // The middles of n_sampled equal parts; doubles are exact enough for that.
            const auto row = uint64_t((double(i) + 0.5) * double(n_rows) / double(n_sampled));
            read_row(rows, std::min(row, n_rows - 1), values);
            const std::span<const float> importance = importance_of(costs.tensor, row);
            for (size_t type = 0; type < costs.types.size(); ++type) {
                encoded.resize(row_bytes(costs.types[type], row_elements));
                quantize_rows(costs.types[type], values, encoded, row_elements, importance);
                decode_row(costs.types[type], encoded.data(), decoded.data(), row_elements);
                add(values, decoded, importance, sums[type]);
            }
        }
        for (const Sums& sum : sums) costs.errors.push_back(sum.relative());
    }

    static void add(std::span<const float> values, std::span<const float> decoded,
                    std::span<const float> importance, Sums& sums) {
        for (size_t i = 0; i < values.size(); ++i) {
            const double weight = importance.empty() ? 1.0 : double(importance[i]);
            const double error = double(decoded[i]) - double(values[i]);
            sums.error += weight * error * error;
            sums.signal += weight * double(values[i]) * double(values[i]);
        }
    }

    /// The divergence that the probe's type causes, per error of that type.
    double measured_weight(const TensorCosts& costs) {
        size_t probe = 0;
        while (probe + 1 < costs.types.size() && info(costs.types[probe]).bits_per_element() < kProbeBits)
            ++probe;
        if (costs.errors[probe] == 0) return 0;
        const TensorType type = costs.types[probe];
        const TensorRows& rows = *plan_.tensors[costs.tensor].rows;
        const uint64_t bytes_per_row = row_bytes(type, rows.row_elements());
        std::vector<std::byte> encoded(bytes_per_row * rows.n_rows());
        tbb::parallel_for(uint64_t{0}, rows.n_rows(), [&](uint64_t row) {
            if (cancelled()) return;
            std::vector<float> values;
            read_row(rows, row, values);
            quantize_rows(type, values, std::span(encoded).subspan(row * bytes_per_row, bytes_per_row),
                          rows.row_elements(), importance_of(costs.tensor, row));
        });
        stop_if_cancelled();
        return options_.divergence(plan_.target(costs.tensor).name, type, encoded) / costs.errors[probe];
    }

    const ConversionPlan& plan_;
    const SensitivityOptions& options_;
    std::vector<TensorCosts> costs_;
    uint64_t n_steps_ = 0;
    std::atomic<uint64_t> n_done_ = 0;
    std::mutex progress_mutex_;
};

}  // namespace

std::vector<TensorCosts> measure_costs(const ConversionPlan& plan, const SensitivityOptions& options) {
    return Measurement(plan, options).run();
}

}  // namespace ingot::converters
