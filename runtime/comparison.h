#pragma once
// How far a model's predictions are from a reference's: Kullback-Leibler divergence and what goes with it.
#include <vector>

#include "runtime/reference.h"

namespace ingot::runtime {

/// A mean and its standard error, positions taken as independent.
struct Estimate {
    double value = 0, standard_error = 0;
};

struct Divergence {
    Estimate mean;  // nats, as all of these
    double median = 0, percentile_99 = 0, largest = 0;
    Estimate top_1_agreement;  // share of positions whose most likely token is the same
    Estimate perplexity, reference_perplexity;
    Estimate perplexity_ratio;  // perplexity / reference_perplexity
    Estimate log_perplexity_ratio;
    double mean_rest = 0;  // probability that the reference leaves unspecified
    int64_t n_positions = 0;
};

/// Σ p log(p / q) over a position's top tokens, and once more for all others together. By the log sum
/// inequality this is never more than the divergence over all tokens; what is missing is the divergence among
/// the others, times their probability. `logits` (n_vocab) are the compared model's. Throws Error when they
/// are no numbers.
double divergence_at(const ReferencePosition& reference, std::span<const float> logits);

/// Takes positions one after the other, and sums up.
class DivergenceStatistics {
  public:
    explicit DivergenceStatistics(const Reference& reference) : reference_(reference) {}
    /// The next position's logits (n_vocab), and -log q of the token that came.
    void add(std::span<const float> logits, double negative_log_likelihood);
    /// Of the positions until now.
    Divergence result() const;

  private:
    const Reference& reference_;
    std::vector<double> divergences_;
    std::vector<double> negatives_;  // -log q of the tokens that came
    int64_t n_same_ = 0;
};

}  // namespace ingot::runtime
