#include "converters/quantize/target/target.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "converters/quantize/quantize.h"
#include "format/error.h"

namespace ingot::converters {
namespace {

/// Tensor bytes of a plan by whether they are to be chosen.
struct Bytes {
    uint64_t fixed = 0, all = 0;
};

Bytes tensor_bytes(const ConversionPlan& plan) {
    Bytes bytes;
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        bytes.all += plan.target(i).size_bytes;
        if (!plan.tensors[i].is_free) bytes.fixed += plan.target(i).size_bytes;
    }
    return bytes;
}

std::vector<std::vector<Option>> options_of(const ConversionPlan& plan,
                                            const std::vector<TensorCosts>& costs) {
    std::vector<std::vector<Option>> items;
    for (const TensorCosts& tensor : costs) {
        const TensorRows& rows = *plan.tensors[tensor.tensor].rows;
        std::vector<Option> options;
        for (size_t i = 0; i < tensor.types.size(); ++i)
            options.push_back(
                {row_bytes(tensor.types[i], rows.row_elements()) * rows.n_rows(), tensor.loss(i)});
        items.push_back(std::move(options));
    }
    return items;
}

/// Bytes that all items can use: above that a larger budget changes nothing.
uint64_t least_bytes(const std::vector<std::vector<Option>>& items) {
    uint64_t total = 0;
    for (const auto& item : items) total += std::ranges::min(item, {}, &Option::size_bytes).size_bytes;
    return total;
}

/// The mix that has most of the bytes: it gives general.file_type, which readers show.
const Recipe& nearest_recipe(const TargetChoice& choice, const std::vector<std::vector<Option>>& items) {
    std::map<TensorType, uint64_t> bytes;
    for (size_t i = 0; i < items.size(); ++i)
        bytes[choice.type_of(i)] += items[i][choice.solution.choice[i]].size_bytes;
    const Recipe* best = nullptr;
    uint64_t most = 0;
    for (const Recipe& recipe : recipes()) {  // of those with one base, the last is the plainest
        const auto found = bytes.find(recipe.base);
        if (found == bytes.end() || recipe.name == kKeptMxfp4 || found->second < most) continue;
        most = found->second;
        best = &recipe;
    }
    return best ? *best : *find_recipe("Q8_0");
}

constexpr double kCurveBits[] = {2.5, 2.75, 3, 3.25, 3.5, 3.75, 4, 4.25, 4.5, 4.75, 5, 5.5, 6, 6.5, 7, 8, 9};

class Chooser {
  public:
    Chooser(ConversionPlan& plan, const Target& target, const SensitivityOptions& options,
            const PlanAgain& plan_again)
        : plan_(plan), target_(target), options_(options), plan_again_(plan_again) {}

    TargetChoice run() {
        choice_.is_divergence = bool(options_.divergence);
        choice_.costs = measure_costs(plan_, options_);
        if (choice_.costs.empty()) fail("{}: no tensor is left whose type could be chosen", plan_.source());
        items_ = options_of(plan_, choice_.costs);
        fixed_bytes_ = tensor_bytes(plan_).fixed;
        n_elements_ = plan_.n_elements;
        uint64_t budget = first_budget();
        for (;;) {
            check_budget(budget);
            choice_.solution = solve_knapsack(items_, budget);
            plan_with_choice();
            if (target_.file_bytes == 0 || plan_.output_bytes() <= target_.file_bytes) break;
            // The header grew: it holds the recipe. Padding is counted the same way.
            const uint64_t excess = plan_.output_bytes() - target_.file_bytes;
            budget = std::min(budget, choice_.solution.size_bytes + excess) - std::min(budget, excess);
        }
        draw_curve();
        return std::move(choice_);
    }

  private:
    double bits_per_weight(uint64_t free_bytes) const {
        return 8.0 * double(fixed_bytes_ + free_bytes) / double(n_elements_);
    }

    uint64_t first_budget() const {
        uint64_t all = 0, other = fixed_bytes_;
        if (target_.file_bytes > 0) {
            all = target_.file_bytes;
            other += plan_.output_bytes() - tensor_bytes(plan_).all;
        } else {
            all = uint64_t(target_.bits_per_weight * double(n_elements_) / 8);
        }
        return all - std::min(all, other);
    }

    void check_budget(uint64_t budget) const {
        const uint64_t least = least_bytes(items_);
        if (budget >= least) return;
        if (target_.file_bytes == 0)
            fail(
                "{:.3f} bits per weight are too few: the smallest types take {:.3f}; allow smaller types "
                "with "
                "--target-types, or aim higher",
                target_.bits_per_weight, bits_per_weight(least));
        fail(
            "{} bytes are too few: with the smallest types the file takes about {}; allow smaller types with "
            "--target-types, or aim higher",
            grouped(target_.file_bytes), grouped(target_.file_bytes + least - budget));
    }

    void plan_with_choice() {
        ConvertRequest request = plan_.request;
        if (n_rules_ == SIZE_MAX) n_rules_ = request.rules.tensors.size();
        request.rules.tensors.resize(n_rules_);
        for (size_t i = 0; i < choice_.costs.size(); ++i)
            request.rules.tensors.emplace_back(plan_.target(choice_.costs[i].tensor).name,
                                               choice_.type_of(i));
        request.recipe = &nearest_recipe(choice_, items_);
        choice_.name = fmt::format("{:.2f}bpw", bits_per_weight(choice_.solution.size_bytes));
        request.mix_name = choice_.name;
        request.recipe_note = fmt::format(
            "chosen for {}: {:.3f} bits per weight, {} {:.4g}",
            target_.file_bytes ? fmt::format("at most {} bytes", grouped(target_.file_bytes))
                               : fmt::format("{} bits per weight", target_.bits_per_weight),
            bits_per_weight(choice_.solution.size_bytes),
            choice_.is_divergence ? "expected divergence" : "weighted error", choice_.solution.loss);
        plan_ = plan_again_(request);
        plan_.findings.throw_if_problems(plan_.source());
    }

    void add_point(const Solution& solution) {
        choice_.curve.push_back(
            {bits_per_weight(solution.size_bytes), fixed_bytes_ + solution.size_bytes, solution.loss});
    }

    void draw_curve() {
        const uint64_t least = least_bytes(items_);
        for (const double bits : kCurveBits) {
            const auto all = uint64_t(bits * double(n_elements_) / 8);
            if (all >= fixed_bytes_ + least) add_point(solve_knapsack(items_, all - fixed_bytes_, 1 << 16));
        }
        add_point(choice_.solution);
        std::ranges::stable_sort(choice_.curve, {}, &CurvePoint::tensor_bytes);
        const auto of_one_size = [](const CurvePoint& a, const CurvePoint& b) { return a.tensor_bytes == b.tensor_bytes; };
        choice_.curve.erase(std::unique(choice_.curve.begin(), choice_.curve.end(), of_one_size), choice_.curve.end());
    }

    ConversionPlan& plan_;
    const Target& target_;
    const SensitivityOptions& options_;
    const PlanAgain& plan_again_;
    TargetChoice choice_;
    std::vector<std::vector<Option>> items_;
    uint64_t fixed_bytes_ = 0, n_elements_ = 0;
    size_t n_rules_ = SIZE_MAX;  // of `tensors` that the user gave
};

}  // namespace

std::vector<TensorType> default_target_types() {
    std::vector<TensorType> types = writable_types();
    std::erase(types, TensorType::F32);
    return types;
}

TargetChoice choose_for_target(ConversionPlan& plan, const Target& target, const SensitivityOptions& options,
                               const PlanAgain& plan_again) {
    plan.findings.throw_if_problems(plan.source());
    return Chooser(plan, target, options, plan_again).run();
}

}  // namespace ingot::converters
