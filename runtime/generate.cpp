#include "runtime/generate.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "format/error.h"
#include "runtime/continuation.h"

namespace ingot::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// Bytes of the character that `lead` begins; 1 for bytes that begin none.
size_t character_bytes(unsigned char lead) {
    if (lead >= 0xc2 && lead <= 0xdf) return 2;
    if (lead >= 0xe0 && lead <= 0xef) return 3;
    if (lead >= 0xf0 && lead <= 0xf4) return 4;
    return 1;
}

bool is_continuation(char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

// Where an unfinished character at the end of `text` begins, or the text's end.
size_t complete_prefix(std::string_view text) {
    size_t begin = text.size();
    while (begin > 0 && text.size() - begin < 4) {
        --begin;
        if (is_continuation(text[begin])) continue;
        const size_t present = text.size() - begin;
        return present < character_bytes(static_cast<unsigned char>(text[begin])) ? begin : text.size();
    }
    return text.size();  // four continuation bytes, or nothing: no character is waiting
}

void check_prompt(std::span<const Token> prompt, int64_t n_context) {
    if (prompt.empty())
        fail("the prompt is empty and the model adds no token that begins a text; give it some text");
    if (int64_t(prompt.size()) > n_context) {
        fail(
            "the prompt has {} tokens but the context has room for {}; raise --context or shorten the prompt",
            prompt.size(), n_context);
    }
}

/// Turns tokens into a Generation and its text.
class TextOf {
  public:
    TextOf(const Tokenizer& tokenizer, int64_t n_tokens, Generation& result)
        : tokenizer_(&tokenizer), n_tokens_(n_tokens), result_(&result) {}

    bool wants_more() const { return !has_ended_ && n_wanted() > 0; }
    int64_t n_wanted() const {
        return n_tokens_ < 0 ? INT32_MAX : n_tokens_ - int64_t(result_->tokens.size());
    }
    /// The characters that are complete with it.
    std::string_view add(Token token) {
        if (tokenizer_->is_end_of_generation(token)) {
            has_ended_ = true;
            result_->reason = StopReason::EndOfGeneration;
            return {};
        }
        result_->tokens.push_back(token);
        return text_.append(tokenizer_->token_bytes(token, false));
    }
    std::string_view flush() { return text_.flush(); }

  private:
    const Tokenizer* tokenizer_;
    int64_t n_tokens_;  // negative: any number
    Generation* result_;
    bool has_ended_ = false;
    Utf8Stream text_;
};

}  // namespace

std::string_view Utf8Stream::append(std::string_view bytes) {
    pending_ += bytes;
    const size_t n_ready = complete_prefix(pending_);
    ready_ = pending_.substr(0, n_ready);
    pending_.erase(0, n_ready);
    return ready_;
}

std::string_view Utf8Stream::flush() {
    ready_ = std::move(pending_);
    pending_.clear();
    return ready_;
}

Generation generate(ForwardPass& forward, const Tokenizer& tokenizer, std::span<const Token> prompt,
                    Sampler& sampler, const GenerateOptions& options) {
    check_prompt(prompt, forward.n_context());
    Generation result;
    for (const Token token : prompt) sampler.accept(token);
    forward.keep_largest(sampler.n_deciding());

    auto start = Clock::now();
    const auto unread = prompt.subspan(size_t(forward.cache().n_used()));
    bool running = unread.empty() || forward.run(unread, 1, options.cancel);
    result.n_prompt_evaluated = int64_t(unread.size());
    result.prompt_seconds = seconds_since(start);
    if (running && options.on_prompt_read) options.on_prompt_read();

    start = Clock::now();
    TextOf text(tokenizer, options.n_tokens, result);
    Continuation continuation(forward, sampler, prompt, options.drafter, options.n_most_guesses);
    while (running && text.wants_more()) {
        if (!continuation.has_room()) {
            result.reason = StopReason::ContextFull;
            break;
        }
        const std::vector<Token> tokens = continuation.next(text.n_wanted(), options.cancel);
        running = !tokens.empty();
        for (const Token token : tokens) {
            const std::string_view bytes = text.add(token);
            if (!bytes.empty()) options.on_text(bytes);
            if (!text.wants_more()) break;
        }
    }
    result.generation_seconds = seconds_since(start);
    const bool has_end = result.reason == StopReason::EndOfGeneration;  // a token, too
    result.n_evaluated = std::max<int64_t>(0, int64_t(result.tokens.size()) - 1 + has_end);
    result.n_guessed = continuation.n_guessed();
    result.n_right = continuation.n_right();
    if (!running) result.reason = StopReason::Cancelled;
    if (const std::string_view rest = text.flush(); !rest.empty()) options.on_text(rest);
    return result;
}

// ---- several prompts -------------------------------------------------------------------------------------

namespace {

/// A sequence of the forward pass at work on a prompt.
struct Slot {
    size_t prompt;
    Sampler sampler;
    TextOf text;
    std::vector<Token> unread;  // the prompt, then the token that was sampled last
};

}  // namespace

ParallelGeneration generate_parallel(ForwardPass& forward, const Tokenizer& tokenizer,
                                     std::span<const std::vector<Token>> prompts,
                                     const ParallelOptions& options) {
    ParallelGeneration result;
    for (size_t i = 0; i < prompts.size(); ++i) {
        try {
            check_prompt(prompts[i], forward.n_context());
        } catch (const Error& error) {
            fail("prompt {}: {}", i + 1, error.what());
        }
        result.n_prompt_tokens += int64_t(prompts[i].size());
    }
    result.generations.resize(prompts.size());
    forward.keep_largest(Sampler(options.sampler).n_deciding());
    const auto emit = [&](const Slot& slot, std::string_view bytes) {
        if (!bytes.empty()) options.on_text(slot.prompt, bytes);
    };
    std::vector<std::optional<Slot>> slots(size_t(forward.n_sequences()));
    // The next token of a sequence, from the logits after what it has read; its slot is free when it has
    // ended.
    const auto go_on = [&](size_t sequence, const Logits& logits) {
        Slot& slot = *slots[sequence];
        if (slot.text.wants_more()) {  // unless none at all is wanted
            slot.unread = {slot.sampler.sample(logits)};
            emit(slot, slot.text.add(slot.unread.front()));
        }
        const bool is_full = forward.cache(int64_t(sequence)).n_used() == forward.n_context();
        if (slot.text.wants_more() && !is_full) return;
        if (slot.text.wants_more()) result.generations[slot.prompt].reason = StopReason::ContextFull;
        emit(slot, slot.text.flush());
        if (options.on_end) options.on_end(slot.prompt);
        slots[sequence].reset();
    };
    const auto run = [&](std::span<const Segment> segments) {
        if (!forward.run(segments, options.cancel)) return false;
        for (size_t row = 0; row < segments.size(); ++row)
            go_on(size_t(segments[row].sequence), forward.logits_of(int64_t(row)));
        return true;
    };
    size_t n_begun = 0;
    // Reads the next prompt, by itself: so its sums are those that it has alone.
    const auto begin = [&](size_t sequence) {
        SamplerOptions sampling = options.sampler;
        sampling.seed += n_begun;
        TextOf text(tokenizer, options.n_tokens, result.generations[n_begun]);
        Slot& slot = slots[sequence].emplace(Slot{n_begun, Sampler(sampling), text, prompts[n_begun]});
        for (const Token token : slot.unread) slot.sampler.accept(token);
        ++n_begun;
        forward.cache(int64_t(sequence)).truncate(0);
        const Segment segment{int64_t(sequence), slot.unread, 1};
        return run({&segment, 1});
    };

    const auto start = Clock::now();
    while (!result.cancelled) {
        for (size_t i = 0; i < slots.size(); ++i) {
            while (!slots[i] && n_begun < prompts.size() && !result.cancelled) result.cancelled = !begin(i);
        }
        std::vector<Segment> segments;
        for (size_t i = 0; i < slots.size(); ++i) {
            if (slots[i]) segments.push_back({int64_t(i), slots[i]->unread, 1});
        }
        if (segments.empty() || result.cancelled) break;
        result.cancelled = !run(segments);
    }
    for (std::optional<Slot>& slot : slots) {
        if (!slot) continue;
        result.generations[slot->prompt].reason = StopReason::Cancelled;
        emit(*slot, slot->text.flush());
    }
    result.seconds = seconds_since(start);
    for (const Generation& generation : result.generations)
        result.n_tokens += int64_t(generation.tokens.size());
    return result;
}

}  // namespace ingot::runtime
