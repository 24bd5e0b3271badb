#include "runtime/tokenizer/token_table.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "format/error.h"
#include "format/ingot_keys.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";

/// Checks that `key` is an array with one element for each token; its elements' type, or nothing when absent.
std::optional<ValueType> array_beside_tokens(const GgufHeader& header, std::string_view key,
                                             size_t n_tokens) {
    const Value* value = header.find(key);
    if (value == nullptr) return {};
    if (value->type() != ValueType::Array) {
        fail("{} is of type {}, expected an array; convert the model again", key, name(value->type()));
    }
    if (value->count() != n_tokens) {
        fail("{} has {} elements, but {} has {}; the file is damaged, convert the model again", key,
             value->count(), kTokens, n_tokens);
    }
    return value->element_type();
}

std::vector<std::string_view> read_texts(const GgufHeader& header) {
    const Value* value = header.find(kTokens);
    if (value == nullptr) fail("{} is missing: the file has no vocabulary; convert the model again", kTokens);
    if (value->type() != ValueType::Array || value->element_type() != ValueType::String) {
        fail("{} is not an array of strings; convert the model again", kTokens);
    }
    if (value->count() == 0)
        fail("{} is empty: the file has no vocabulary; convert the model again", kTokens);
    if (value->count() >= kMaxTokens) {
        fail("{} has {} elements, at most {} are possible", kTokens, value->count(), kMaxTokens - 1);
    }
    std::vector<std::string_view> texts = header.strings(kTokens);
    for (size_t id = 0; id < texts.size(); ++id) {
        if (texts[id].size() > kMaxTokenBytes) {
            fail("token {} is {} bytes long, at most {} are allowed; the file is damaged or hostile", id,
                 texts[id].size(), kMaxTokenBytes);
        }
    }
    return texts;
}

std::vector<float> read_scores(const GgufHeader& header, size_t n_tokens) {
    const auto type = array_beside_tokens(header, kScores, n_tokens);
    if (!type) return {};
    std::vector<float> scores;
    if (*type == ValueType::Float32) {
        scores = header.floats(kScores);
    } else if (*type == ValueType::Int32) {  // some old converters
        for (const int64_t score : header.ints(kScores)) scores.push_back(float(score));
    } else {
        fail("{} is an array of {}, expected float32; convert the model again", kScores, name(*type));
    }
    for (size_t id = 0; id < scores.size(); ++id) {
        if (std::isnan(scores[id])) fail("the score of token {} in {} is not a number", id, kScores);
    }
    return scores;
}

std::vector<TokenKind> read_kinds(const GgufHeader& header, const std::vector<std::string_view>& texts) {
    const auto type = array_beside_tokens(header, kTypes, texts.size());
    if (!type) {  // before there were types
        std::vector<TokenKind> kinds;
        for (const std::string_view text : texts) {
            kinds.push_back(parse_byte_token(text) ? TokenKind::Byte : TokenKind::Normal);
        }
        return kinds;
    }
    if (*type != ValueType::Int32 && *type != ValueType::Uint32) {
        fail("{} is an array of {}, expected int32; convert the model again", kTypes, name(*type));
    }
    std::vector<TokenKind> kinds;
    kinds.reserve(texts.size());
    for (const int64_t kind : header.ints(kTypes)) {
        if (kind < 0 || kind > int64_t(TokenKind::Byte)) {
            fail("token {} has type {} in {}, types are 0 to {}", kinds.size(), kind, kTypes,
                 int(TokenKind::Byte));
        }
        kinds.push_back(TokenKind(kind));
    }
    return kinds;
}

/// A special token's id, checked against the vocabulary.
std::optional<Token> read_id(const GgufHeader& header, std::string_view key, size_t n_tokens) {
    const auto id = header.get_uint(key);
    if (!id) return {};
    if (*id >= n_tokens) {
        fail("{} is {}, but the vocabulary has {} tokens (0 to {})", key, *id, n_tokens, n_tokens - 1);
    }
    return Token(*id);
}

// Files carry one EOS id, but chat models end a turn with other tokens. These are the texts that model
// families give to the ends of turns, messages and documents.
constexpr std::string_view kEndOfTurn[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",         "<|endoftext|>",      "<|end_of_text|>",
    "<EOT>",      "_<EOT>",     "[EOT]",   "<｜end▁of▁sentence｜>", "<end_of_utterance>",
};
constexpr std::string_view kOtherEnds[] = {
    "<|eom_id|>", "<|return|>",   "<|call|>",      "<|calls|>",  "<|flush|>",
    "</s>",       "[EOS]",        "<eos>",         "<turn|>",    "<|tool_response>",
    "[e~[",       "<|fim_pad|>",  "<fim-pad>",     "<fim_pad>",  "<PAD>",
    "[PAD]",      "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>",
    "<reponame>", "<|file_sep|>",
};

bool contains(std::span<const std::string_view> list, std::string_view text) {
    return std::find(list.begin(), list.end(), text) != list.end();
}

}  // namespace

std::optional<uint8_t> parse_byte_token(std::string_view text) {
    const auto digit = [](char c) {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'A' && c <= 'F') return c - 'A' + 10;
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        return -1;
    };
    if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return {};
    const int high = digit(text[3]), low = digit(text[4]);
    if (high < 0 || low < 0) return {};
    return uint8_t(high * 16 + low);
}

TokenTable::TokenTable(const GgufHeader& header) {
    texts = read_texts(header);
    scores = read_scores(header, texts.size());
    kinds = read_kinds(header, texts);
    for (size_t id = 0; id < texts.size(); ++id) {
        if (kinds[id] == TokenKind::Byte && !parse_byte_token(texts[id])) {
            fail("token {} is of type byte but its text is '{}', expected <0x00> to <0xFF>", id,
                 texts[id].substr(0, 32));
        }
    }

    bos = read_id(header, "tokenizer.ggml.bos_token_id", texts.size());
    eos = read_id(header, "tokenizer.ggml.eos_token_id", texts.size());
    eot = read_id(header, "tokenizer.ggml.eot_token_id", texts.size());
    unknown = read_id(header, "tokenizer.ggml.unknown_token_id", texts.size());
    const auto eom = read_id(header, "tokenizer.ggml.eom_token_id", texts.size());
    for (const std::string_view key :
         {"tokenizer.ggml.seperator_token_id", "tokenizer.ggml.padding_token_id",
          "tokenizer.ggml.cls_token_id", "tokenizer.ggml.mask_token_id", "tokenizer.ggml.prefix_token_id",
          "tokenizer.ggml.suffix_token_id", "tokenizer.ggml.middle_token_id",
          "tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.fim_suf_token_id",
          "tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.fim_pad_token_id",
          "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id"}) {
        read_id(header, key, texts.size());  // unused here; out of range all the same means a damaged file
    }

    for (size_t id = 0; id < texts.size(); ++id) {
        const bool ends_turn = contains(kEndOfTurn, texts[id]);
        if (!ends_turn && !contains(kOtherEnds, texts[id])) continue;
        end_of_generation.push_back(Token(id));
        kinds[id] =
            TokenKind::Control;  // some checkpoints call them user-defined: then prompts could forge them
        if (ends_turn && !eot) eot = Token(id);
    }
    for (const auto& id : {eos, eot, eom}) {
        if (id) end_of_generation.push_back(*id);
    }
    for (const int64_t id : header.ints(keys::kTokenizerEndOfGeneration)) {
        if (id < 0 || size_t(id) >= texts.size()) {
            fail("{} lists token {}, but the vocabulary has {} tokens", keys::kTokenizerEndOfGeneration, id,
                 texts.size());
        }
        end_of_generation.push_back(Token(id));
    }
    std::sort(end_of_generation.begin(), end_of_generation.end());
    end_of_generation.erase(std::unique(end_of_generation.begin(), end_of_generation.end()),
                            end_of_generation.end());
}

}  // namespace ingot::runtime
