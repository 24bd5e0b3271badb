#include "cli/text_input.h"

#include <algorithm>
#include <charconv>

#include "cli/console.h"
#include "cli/model_options.h"
#include "cli/signals.h"
#include "format/error.h"
#include "runtime/own_text.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::cli {

std::vector<runtime::Token> read_token_ids(const std::string& path) {
    const std::string text = read_text(path);
    std::vector<runtime::Token> ids;
    const auto is_separator = [](char c) {
        return std::string_view(" \t\r\n,[]").find(c) != std::string_view::npos;
    };
    for (size_t at = 0; at < text.size();) {
        if (is_separator(text[at])) {
            ++at;
            continue;
        }
        runtime::Token id = 0;
        const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), id);
        const size_t next = size_t(end - text.data());
        if (error != std::errc() || (next < text.size() && !is_separator(text[next]))) {
            fail("{}: byte {} begins no token id; expected whole numbers apart by spaces, lines or commas",
                 path, at);
        }
        ids.push_back(id);
        at = next;
    }
    return ids;
}

TextInput read_text_input(const runtime::Model& model, const std::string& text_file,
                          const std::string& ids_file) {
    TextInput input;
    const std::unique_ptr<runtime::Tokenizer> tokenizer =
        ids_file.empty() || model.file().header().find("tokenizer.ggml.model") ? model.load_tokenizer()
                                                                               : nullptr;
    if (tokenizer && tokenizer->add_bos) input.bos = tokenizer->bos;
    if (!ids_file.empty()) {
        input.tokens = read_token_ids(ids_file);
    } else {
        input.tokens = tokenizer->encode(read_text(text_file), false, false);
        if (input.bos) input.tokens.insert(input.tokens.begin(), *input.bos);
    }
    return input;
}

TextInput write_text_input(const runtime::Model& model, int64_t n_chunks, int64_t n_context) {
    TextInput input;
    const std::unique_ptr<runtime::Tokenizer> tokenizer = model.load_tokenizer();
    if (tokenizer->add_bos) input.bos = tokenizer->bos;
    runtime::OwnTextOptions how;
    how.n_texts = n_chunks > 0 ? n_chunks : kOwnChunks;
    how.n_tokens = n_context;
    how.cancel = &interrupted;
    if (is_terminal(stderr)) {
        how.on_progress = [](int64_t done, int64_t all) {
            constexpr int64_t kStep = 256;
            if (done % kStep == 0)
                fmt::print(stderr, "\rthe model writes a text: {} of {} tokens\x1b[K",
                           grouped(uint64_t(done)), grouped(uint64_t(all)));
        };
    }
    input.tokens = runtime::write_own_text(model, *tokenizer, how);
    if (is_terminal(stderr)) fmt::print(stderr, "\r\x1b[K");
    if (input.tokens.empty()) {
        constexpr int kInterrupted = 130;
        fmt::print(stderr, "ingot: interrupted; nothing was written\n");
        throw Exit{kInterrupted};
    }
    return input;
}

int64_t chunk_length(const runtime::Model& model, int64_t asked_for) {
    const int64_t trained = model.hyperparameters().n_context;
    if (asked_for == 0) return std::min(kDefaultChunk, trained);
    if (asked_for > trained) {
        const Painter paint(stderr);
        fmt::print(stderr, "ingot: {} a context of {} exceeds the {} that the model was trained for\n",
                   paint(Tone::Warning, "warning:"), asked_for, trained);
    }
    return asked_for;
}

}  // namespace ingot::cli
