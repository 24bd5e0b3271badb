#include "runtime/drafter.h"

#include <algorithm>

#include "format/error.h"

namespace ingot::runtime {
namespace {

// Lengths of the repetitions that are looked for, in tokens: the longest first.
constexpr size_t kLongest = 4, kShortest = 2;

// A guess less likely than this by the draft model's own account is not worth the model's time.
constexpr double kLeastConfidence = 0.3;

// `draft`, whose vocabulary is the model's.
const Model& checked_draft(const Model& draft, const Tokenizer& draft_tokenizer, const Model& model,
                           const Tokenizer& tokenizer) {
    const std::string path = draft.file().path().string();
    const int64_t n_draft = draft.hyperparameters().n_vocab, n = model.hyperparameters().n_vocab;
    if (n_draft != n || draft_tokenizer.size() != tokenizer.size()) {
        fail("{}: a draft model must have the model's vocabulary: it has {} tokens, {} has {}", path, n_draft,
             model.file().path().string(), n);
    }
    for (uint32_t id = 0; id < tokenizer.size(); ++id) {
        const std::string_view theirs = draft_tokenizer.token_text(Token(id)),
                               ours = tokenizer.token_text(Token(id));
        if (theirs == ours) continue;
        fail("{}: a draft model must have the model's vocabulary: token {} is \"{}\", of {} it is \"{}\"",
             path, id, printable(theirs), model.file().path().string(), printable(ours));
    }
    return draft;
}

}  // namespace

std::vector<Guess> LookupDrafter::guess(std::span<const Token> sequence, int64_t n_most) {
    for (size_t length = kLongest; length >= kShortest; --length) {
        if (sequence.size() <= length) continue;
        const std::span<const Token> last = sequence.last(length);
        // The latest place before it where the same tokens stand.
        for (size_t at = sequence.size() - length; at-- > 0;) {
            if (!std::ranges::equal(sequence.subspan(at, length), last)) continue;
            const std::span<const Token> after = sequence.subspan(at + length);
            std::vector<Guess> guesses;
            for (const Token token : after.first(std::min(after.size(), size_t(n_most))))
                guesses.push_back({token, {}});
            return guesses;
        }
    }
    return {};
}

ModelDrafter::ModelDrafter(const Model& draft, const Tokenizer& draft_tokenizer, const Model& model,
                           const Tokenizer& tokenizer, int64_t n_context, const SamplerOptions& options)
    : forward_(checked_draft(draft, draft_tokenizer, model, tokenizer), n_context),
      options_(options),
      sampler_([&] {
          // Random numbers of its own: the text's must not depend on what the draft model thinks.
          SamplerOptions own = options;
          own.seed = ~options.seed;
          return own;
      }()) {
    forward_.keep_largest(sampler_.n_deciding());
}

// Brings the draft model to the end of `sequence`, whose last token gives the logits.
void ModelDrafter::read(std::span<const Token> sequence) {
    const auto [end, same] = std::ranges::mismatch(tokens_, sequence);
    int64_t n_common = std::min<int64_t>(end - tokens_.begin(), int64_t(sequence.size()) - 1);
    if (forward_.cache().has_states() && n_common < int64_t(tokens_.size())) {
        n_common = n_common >= n_kept_ ? n_kept_ : 0;
    }
    forward_.cache().truncate(n_common);
    forward_.run(sequence.subspan(size_t(n_common)), 1);
    tokens_.assign(sequence.begin(), sequence.end());
    forward_.cache().keep_states();
    n_kept_ = int64_t(tokens_.size());
}

std::vector<Guess> ModelDrafter::guess(std::span<const Token> sequence, int64_t n_most) {
    n_most = std::min(n_most, forward_.n_context() - int64_t(sequence.size()));
    if (n_most <= 0) return {};
    read(sequence);
    sampler_.forget();
    for (const Token token : sequence.last(std::min(sequence.size(), size_t(options_.repeat_window))))
        sampler_.accept(token);

    std::vector<Guess> guesses;
    while (true) {
        const auto distribution = sampler_.distribution(forward_.logits_of(0));
        if (distribution.front().probability < kLeastConfidence) return guesses;
        const Token token = sampler_.draw(distribution);
        guesses.push_back({token, {distribution.begin(), distribution.end()}});
        if (int64_t(guesses.size()) == n_most) return guesses;
        sampler_.accept(token);
        forward_.run({&token, 1}, 1);
        tokens_.push_back(token);
    }
}

}  // namespace ingot::runtime
