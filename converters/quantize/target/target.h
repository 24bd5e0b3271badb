#pragma once
// The best mix of types under a number of bytes: costs are measured, then the choice is solved, not guessed.
#include <optional>

#include "converters/quantize/target/knapsack.h"
#include "converters/quantize/target/sensitivity.h"

namespace ingot::converters {

/// How large the result may be: one of the two.
struct Target {
    uint64_t file_bytes = 0;     // of all files, header and padding included
    double bits_per_weight = 0;  // of all tensors, vectors included, without header and padding
};

/// The same with another budget.
struct CurvePoint {
    double bits_per_weight = 0;
    uint64_t tensor_bytes = 0;
    double loss = 0;
};

struct TargetChoice {
    std::vector<TensorCosts> costs;
    Solution solution;              // its choice is, for each of the costs, one of the types
    std::vector<CurvePoint> curve;  // by rising size; the choice is one of them
    bool is_divergence = false;     // the loss is in nats per token; else only a scale for comparison
    std::string name;               // for the file: "4.25bpw"
    TensorType type_of(size_t i) const { return costs[i].types[solution.choice[i]]; }
};

/// Plans again with other rules: what was planned once, and whatever the command adds to it.
using PlanAgain = std::function<ConversionPlan(const ConvertRequest&)>;

/// Chooses types for a plan, and makes `plan` that plan. Throws Error when the target is below what the
/// smallest types take.
TargetChoice choose_for_target(ConversionPlan& plan, const Target& target, const SensitivityOptions& options,
                               const PlanAgain& plan_again);

/// The types that a target chooses from when the user names none: all that blocks can be fitted for, and the
/// 16-bit floats.
std::vector<TensorType> default_target_types();

}  // namespace ingot::converters
