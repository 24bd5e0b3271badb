#include "runtime/comparison.h"

#include <algorithm>
#include <cmath>

#include "format/error.h"

namespace ingot::runtime {
namespace {

Estimate mean_of(const std::vector<double>& values) {
    const double n = double(values.size());
    if (values.empty()) return {};
    double sum = 0, squares = 0;
    for (const double value : values) sum += value;
    const double mean = sum / n;
    for (const double value : values) squares += (value - mean) * (value - mean);
    return {mean, n > 1 ? std::sqrt(squares / n / (n - 1)) : 0};
}

/// The exponential of an estimate; the error goes through its slope.
Estimate exp_of(const Estimate& log) {
    const double value = std::exp(log.value);
    return {value, value * log.standard_error};
}

/// The value below which `share` of them lie, between neighbours in proportion (as NumPy's default).
double quantile(const std::vector<double>& sorted, double share) {
    if (sorted.empty()) return 0;
    const double at = share * double(sorted.size() - 1);
    const size_t below = size_t(at);
    if (below + 1 == sorted.size()) return sorted.back();
    return sorted[below] + (at - double(below)) * (sorted[below + 1] - sorted[below]);
}

}  // namespace

double divergence_at(const ReferencePosition& reference, std::span<const float> logits) {
    const double largest = double(*std::ranges::max_element(logits));
    double sum = 0, top = 0;  // of exp(logit - largest)
    for (const float logit : logits) sum += std::exp(double(logit) - largest);
    if (!std::isfinite(sum)) fail("the model's logits are no numbers; its weights are damaged");
    const double log_sum = largest + std::log(sum);
    double divergence = 0;
    for (size_t i = 0; i < reference.tokens.size(); ++i) {
        const double logit = double(logits[size_t(reference.tokens[i])]);
        const double log_p = double(reference.log_likelihoods[i]);
        divergence += std::exp(log_p) * (log_p - (logit - log_sum));
        top += std::exp(logit - largest);
    }
    // What the others have between them; the smallest sum that rounding cannot have made.
    const double log_p_rest = double(reference.rest_log_likelihood);
    if (std::isfinite(log_p_rest)) {
        const double rest = std::max(sum - top, sum * 1e-15);
        divergence += std::exp(log_p_rest) * (log_p_rest - (std::log(rest) - std::log(sum)));
    }
    return divergence;
}

void DivergenceStatistics::add(std::span<const float> logits, double negative_log_likelihood) {
    const ReferencePosition position = reference_[int64_t(divergences_.size())];
    divergences_.push_back(divergence_at(position, logits));
    negatives_.push_back(negative_log_likelihood);
    n_same_ += std::ranges::max_element(logits) - logits.begin() == position.tokens[0];
}

Divergence DivergenceStatistics::result() const {
    Divergence result;
    result.n_positions = int64_t(divergences_.size());
    if (divergences_.empty()) return result;
    std::vector<double> sorted = divergences_;
    std::ranges::sort(sorted);
    result.mean = mean_of(divergences_);
    result.median = quantile(sorted, 0.5);
    result.percentile_99 = quantile(sorted, 0.99);
    result.largest = sorted.back();

    const double n = double(result.n_positions), share = double(n_same_) / n;
    result.top_1_agreement = {share, n > 1 ? std::sqrt(share * (1 - share) / (n - 1)) : 0};

    std::vector<double> reference_negatives, differences;
    double rest = 0;
    for (int64_t i = 0; i < result.n_positions; ++i) {
        const ReferencePosition position = reference_[i];
        reference_negatives.push_back(double(position.negative_log_likelihood));
        differences.push_back(negatives_[size_t(i)] - reference_negatives.back());
        rest += std::exp(double(position.rest_log_likelihood));
    }
    result.perplexity = exp_of(mean_of(negatives_));
    result.reference_perplexity = exp_of(mean_of(reference_negatives));
    // Both models see the same tokens: their errors are correlated, those of the differences are not.
    result.log_perplexity_ratio = mean_of(differences);
    result.perplexity_ratio = exp_of(result.log_perplexity_ratio);
    result.mean_rest = rest / n;
    return result;
}

}  // namespace ingot::runtime
