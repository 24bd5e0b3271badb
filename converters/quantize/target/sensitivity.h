#pragma once
// What each type would cost each tensor, measured.
#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "converters/plan.h"

namespace ingot::converters {

/// One tensor whose type is to be chosen. The model's loss for a type is taken to be `weight` times the
/// type's error; losses of several tensors add up, as those of small independent changes do.
struct TensorCosts {
    size_t tensor = 0;              // into ConversionPlan::tensors
    std::vector<TensorType> types;  // those whose blocks divide its rows, by rising size
    std::vector<double> errors;     // by type: squared error / squared values, both weighted by importance
    double weight = 1;

    double loss(size_t type) const { return weight * errors[type]; }
};

/// Measures the mean Kullback-Leibler divergence (nats per token) between the model and the model with one
/// tensor in another type, whose blocks are `encoded`. The command has it from the runtime.
using MeasureDivergence =
    std::function<double(const std::string& tensor, TensorType type, std::span<const std::byte> encoded)>;

struct SensitivityOptions {
    std::vector<TensorType> types;
    /// Of each tensor so many elements are measured, in whole rows spread evenly over it: the same ones for
    /// every run.
    uint64_t n_sampled_elements = 256 << 10;
    MeasureDivergence divergence;  // empty: weights are a guess by the tensors' parts
    /// The columns' importance in a row of a tensor of the plan; empty, or what it returns is: all alike.
    std::function<std::span<const float>(size_t tensor, uint64_t row)> importance;
    int n_threads = 0;
    const std::atomic<bool>* cancel = nullptr;  // when it becomes true, Cancelled is thrown
    std::function<void(uint64_t done, uint64_t total)> progress;
};

/// Costs of every tensor whose type the mix, and no rule of the user, decides. Throws Error naming the tensor
/// that holds a NaN or an infinity, or that none of the types can hold.
std::vector<TensorCosts> measure_costs(const ConversionPlan& plan, const SensitivityOptions& options);

}  // namespace ingot::converters
