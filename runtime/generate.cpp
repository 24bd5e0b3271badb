#include "runtime/generate.h"

#include <chrono>

#include "format/error.h"

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
                    Sampler& sampler, int64_t n_tokens, const std::function<void(std::string_view)>& on_text,
                    const std::atomic<bool>* cancel) {
    if (prompt.empty())
        fail("the prompt is empty and the model adds no token that begins a text; give it some text");
    const int64_t n_free = forward.n_context() - forward.cache().n_used();
    if (int64_t(prompt.size()) > n_free) {
        fail(
            "the prompt has {} tokens but the context has room for {} of {}; raise --context or shorten the "
            "prompt",
            prompt.size(), n_free, forward.n_context());
    }
    Generation result;
    Utf8Stream text;
    const auto emit = [&](std::string_view bytes) {
        if (!bytes.empty()) on_text(bytes);
    };
    for (const Token token : prompt) sampler.accept(token);

    auto start = Clock::now();
    bool running = forward.run(prompt, 1, cancel);
    result.prompt_seconds = seconds_since(start);

    start = Clock::now();
    while (running && (n_tokens < 0 || int64_t(result.tokens.size()) < n_tokens)) {
        const Token token = sampler.sample(forward.logits());
        if (tokenizer.is_end_of_generation(token)) {
            result.reason = StopReason::EndOfGeneration;
            break;
        }
        result.tokens.push_back(token);
        emit(text.append(tokenizer.token_bytes(token, false)));
        if (int64_t(result.tokens.size()) == n_tokens) break;  // its logits would serve nobody
        if (forward.cache().n_used() == forward.n_context()) {
            result.reason = StopReason::ContextFull;
            break;
        }
        running = forward.run({&token, 1}, 1, cancel);
        result.n_evaluated += running;
    }
    result.generation_seconds = seconds_since(start);
    if (!running) result.reason = StopReason::Cancelled;
    emit(text.flush());
    return result;
}

}  // namespace ingot::runtime
