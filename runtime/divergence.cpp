#include "runtime/divergence.h"

#include <algorithm>
#include <cmath>

#include "format/error.h"
#include "runtime/forward.h"

namespace ingot::runtime {
namespace {

constexpr int64_t kBatch = 128;  // tokens whose logits are held at once
constexpr size_t kLeastTokens = 16;

/// ln Σ exp(logits)
double log_sum(std::span<const float> logits) {
    const float max = *std::ranges::max_element(logits);
    double sum = 0;
    for (const float logit : logits) sum += double(std::exp(logit - max));
    return double(max) + std::log(sum);
}

}  // namespace

DivergenceMeter::DivergenceMeter(const std::filesystem::path& path, Backend& backend,
                                 std::span<const Token> tokens, const DivergenceOptions& options)
    : path_(path), backend_(backend), options_(options) {
    const Model model(path, backend);
    const int64_t n_vocab = model.hyperparameters().n_vocab;
    options_.n_context = std::min(options.n_context, model.hyperparameters().n_context);
    const int64_t most = std::min(options.n_tokens, kMaxBytes / (n_vocab * int64_t(sizeof(float))));
    tokens_.assign(tokens.begin(), tokens.begin() + std::min<int64_t>(most, std::ssize(tokens)));
    if (tokens_.size() < kLeastTokens)
        fail("the text has {} tokens; at least {} are needed to measure a divergence", tokens_.size(),
             kLeastTokens);
    expected_.reserve(tokens_.size() * size_t(n_vocab));
    predict(model, [&](size_t, std::span<const float> logits) {
        const double sum = log_sum(logits);
        for (const float logit : logits) expected_.push_back(float(double(logit) - sum));
    });
}

std::optional<double> DivergenceMeter::measure(const Replacement& replacement) {
    const Model model(path_, backend_, &replacement);
    double total = 0;
    const bool done = predict(model, [&](size_t token, std::span<const float> logits) {
        const float* expected = expected_.data() + token * logits.size();
        const double sum = log_sum(logits);
        for (size_t i = 0; i < logits.size(); ++i)
            total += std::exp(double(expected[i])) * (double(expected[i]) - (double(logits[i]) - sum));
    });
    if (!done) return {};
    return total / double(tokens_.size());
}

/// Calls `use` with each token's number and the logits after it. False when cancelled.
template <typename Use>
bool DivergenceMeter::predict(const Model& model, const Use& use) const {
    const size_t n_vocab = size_t(model.hyperparameters().n_vocab);
    ForwardPass forward(model, options_.n_context);
    for (size_t begin = 0; begin < tokens_.size(); begin += size_t(options_.n_context)) {
        std::vector<Token> chunk(
            tokens_.begin() + long(begin),
            tokens_.begin() + long(std::min(begin + size_t(options_.n_context), tokens_.size())));
        if (options_.bos) chunk[0] = *options_.bos;
        forward.cache().truncate(0);
        for (size_t at = 0; at < chunk.size(); at += size_t(kBatch)) {
            const auto batch = std::span(chunk).subspan(at, std::min(size_t(kBatch), chunk.size() - at));
            if (!forward.run(batch, std::ssize(batch), options_.cancel)) return false;
            for (size_t i = 0; i < batch.size(); ++i)
                use(begin + at + i, forward.logits().subspan(i * n_vocab, n_vocab));
        }
    }
    return true;
}

}  // namespace ingot::runtime
