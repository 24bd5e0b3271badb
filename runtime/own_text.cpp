#include "runtime/own_text.h"

#include <algorithm>

#include "format/error.h"
#include "runtime/generate.h"

namespace ingot::runtime {
namespace {

/// What a text begins with: BOS, or where a model has none, the token that parts one text from the next.
Token first_token(const Model& model, const Tokenizer& tokenizer) {
    if (tokenizer.bos) return *tokenizer.bos;
    if (tokenizer.eos) return *tokenizer.eos;
    fail(
        "{}: cannot write a text: the model has no token that a text begins with "
        "(tokenizer.ggml.bos_token_id)",
        model.file().path().string());
}

}  // namespace

std::vector<Token> write_own_text(const Model& model, const Tokenizer& tokenizer,
                                  const OwnTextOptions& options) {
    const Token first = first_token(model, tokenizer);
    const size_t n_wanted = size_t(options.n_texts) * size_t(options.n_tokens);
    ForwardPass forward(model, options.n_tokens, ForwardPass::kDefaultBatch, CacheType::F16,
                        std::min(options.n_at_once, options.n_texts));
    ParallelOptions how;
    how.sampler = {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = options.seed};
    how.n_tokens = options.n_tokens - 1;
    how.cancel = options.cancel;
    std::vector<Token> tokens;
    int64_t n_drawn = 0;
    how.on_text = [&](size_t, std::string_view) {
        if (options.on_progress)
            options.on_progress(std::min(++n_drawn, int64_t(n_wanted)), int64_t(n_wanted));
    };
    while (tokens.size() < n_wanted) {
        const size_t n_missing = n_wanted - tokens.size();
        const size_t n_texts = (n_missing + size_t(options.n_tokens) - 1) / size_t(options.n_tokens);
        const std::vector<std::vector<Token>> prompts(n_texts, {first});
        const ParallelGeneration written = generate_parallel(forward, tokenizer, prompts, how);
        if (written.cancelled) return {};
        if (written.n_tokens < int64_t(n_texts) * std::min<int64_t>(8, options.n_tokens - 1))
            fail(
                "{}: wrote {} texts of {} tokens altogether; it ends them as soon as they have begun, give "
                "it a text",
                model.file().path().string(), n_texts, written.n_tokens);
        for (const Generation& text : written.generations) {
            tokens.push_back(first);
            tokens.insert(tokens.end(), text.tokens.begin(), text.tokens.end());
        }
        how.sampler.seed += n_texts;
    }
    tokens.resize(n_wanted);
    return tokens;
}

}  // namespace ingot::runtime
