#include "converters/vocabulary/vocabulary.h"

#include <algorithm>
#include <filesystem>

#include "converters/vocabulary/tiktoken.h"
#include "converters/vocabulary/vocabulary_sources.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/mapped_file.h"

namespace ingot::converters {
namespace {

constexpr uint64_t kMaxRows = uint64_t(1) << 31;

/// A small text file that stands for the real one in a clone made without Git LFS.
void check_not_a_pointer(const std::string& file) {
    const MappedFile mapped{file};
    const std::string_view text(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
    if (text.starts_with("version https://git-lfs")) {
        fail("{}: is a Git LFS pointer, not the file itself; run `git lfs pull` in that folder", file);
    }
}

/// Whether the two files have the same tokens, so that the one's scores are those of the other's.
bool agrees(const Vocabulary& vocabulary, const TokenizerJson& tokenizer) {
    return std::all_of(tokenizer.vocabulary.begin(), tokenizer.vocabulary.end(), [&](const auto& entry) {
        const auto& [text, id] = entry;
        return id < vocabulary.tokens.size() &&
               (vocabulary.tokens[id] == text || vocabulary.tokens[id] == with_spaces(text));
    });
}

}  // namespace

Vocabulary read_vocabulary(const std::string& folder, uint64_t n_embedding_rows) {
    if (n_embedding_rows == 0 || n_embedding_rows >= kMaxRows) {
        fail("{}: the embedding has {} rows, expected 1 to {}", folder, n_embedding_rows, kMaxRows - 1);
    }
    const TokenizerFiles files(folder);
    const std::string model_file = files.path("tokenizer.model");
    std::string json_file = files.path("tokenizer.json");
    bool has_sentencepiece = files.has("tokenizer.model");
    if (has_sentencepiece) {
        check_not_a_pointer(model_file);
        has_sentencepiece = !is_tiktoken(MappedFile(model_file).bytes());
    }
    std::optional<TokenizerJson> tokenizer;
    if (files.has("tokenizer.json")) {
        check_not_a_pointer(json_file);
        tokenizer = TokenizerJson::read_file(json_file);
    } else if (!has_sentencepiece) {
        tokenizer = read_other_forms(files, json_file);
    }
    if (!has_sentencepiece && !tokenizer) {
        fail(
            "{}: has none of tokenizer.json, tokenizer.model, vocab.json with merges.txt, *.tiktoken and "
            "tekken.json; put the checkpoint's tokenizer files there",
            folder);
    }

    // tokenizer.json says what happens to a text, tokenizer.model has the scores that llama.cpp wants.
    Vocabulary vocabulary;
    bool is_known = tokenizer.has_value();  // tokenizer.json is what the tokens are from
    if (has_sentencepiece) {
        vocabulary = from_sentencepiece(files, model_file, n_embedding_rows);
        if (tokenizer && agrees(vocabulary, *tokenizer)) {
            const Vocabulary other = from_tokenizer_json(files, *tokenizer, json_file, n_embedding_rows);
            if (tokenizer->unknown_step.empty()) {
                vocabulary.own = other.own;
            }
            for (size_t id = 0; id < other.tokens.size(); ++id) {  // added tokens that only the one has
                const bool only_there = vocabulary.types[id] == int32_t(TokenType::Unused) &&
                                        other.types[id] != int32_t(TokenType::Unused);
                if (!only_there) continue;
                set_token(vocabulary, id, other.tokens[id], TokenType(other.types[id]));
                vocabulary.scores[id] = kAddedScore;
            }
        } else if (tokenizer) {
            vocabulary = from_tokenizer_json(files, *tokenizer, json_file, n_embedding_rows);
            vocabulary.warnings.push_back(fmt::format(
                "{}: its tokens are not those of tokenizer.model beside it; tokenizer.json counts",
                json_file));
        }
    } else {
        vocabulary = from_tokenizer_json(files, *tokenizer, json_file, n_embedding_rows);
    }
    read_special_tokens(files, tokenizer ? &*tokenizer : nullptr, vocabulary);
    if (tokenizer) name_pre_tokenizer(*tokenizer, json_file, vocabulary);
    if (is_known && tokenizer->unknown_step.empty()) {
        set_own_steps(*tokenizer, json_file, vocabulary);
    } else if (!vocabulary.own.model.empty()) {  // SentencePiece's own
        Vocabulary defaults = vocabulary;
        if (!defaults.add_bos) defaults.add_bos = vocabulary.model == "llama";
        if (!defaults.add_eos) defaults.add_eos = vocabulary.model == "t5";
        if (!defaults.bos && vocabulary.model == "llama" && vocabulary.tokens.size() > 1) defaults.bos = 1;
        if (!defaults.eos) defaults.eos = vocabulary.model == "llama" ? 2 : 1;
        apply_bos_and_eos(defaults);
        vocabulary.own = defaults.own;
    }
    if (vocabulary.model == "llama" && files.tokenizer_config) {
        if (const auto prefix = files.tokenizer_config->get_bool("add_prefix_space"))
            vocabulary.add_space_prefix = prefix;
    }
    return vocabulary;
}

void write_vocabulary(const Vocabulary& vocabulary, Metadata& metadata) {
    const auto set_text = [&](std::string key, const std::string& text) {
        if (!text.empty()) metadata.set(std::move(key), text);
    };
    const auto set_array = [&](std::string key, const auto& elements) {
        if (!elements.empty()) metadata.set(std::move(key), MetadataArray{elements});
    };
    const auto set_if = [&](std::string key, const auto& value) {
        if (value) metadata.set(std::move(key), *value);
    };
    metadata.set("tokenizer.ggml.model", vocabulary.model);
    metadata.set("tokenizer.ggml.pre", vocabulary.pre);
    set_if("tokenizer.ggml.add_space_prefix", vocabulary.add_space_prefix);
    set_array("tokenizer.ggml.tokens", vocabulary.tokens);
    set_array("tokenizer.ggml.scores", vocabulary.scores);
    set_array("tokenizer.ggml.token_type", vocabulary.types);
    set_array("tokenizer.ggml.merges", vocabulary.merges);
    set_if("tokenizer.ggml.bos_token_id", vocabulary.bos);
    set_if("tokenizer.ggml.eos_token_id", vocabulary.eos);
    set_if("tokenizer.ggml.eot_token_id", vocabulary.eot);
    set_if("tokenizer.ggml.unknown_token_id", vocabulary.unknown);
    set_if("tokenizer.ggml.seperator_token_id", vocabulary.separator);  // GGUF's spelling
    set_if("tokenizer.ggml.padding_token_id", vocabulary.padding);
    set_if("tokenizer.ggml.mask_token_id", vocabulary.mask);
    set_if("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
    set_if("tokenizer.ggml.add_eos_token", vocabulary.add_eos);
    set_if("tokenizer.ggml.add_sep_token", vocabulary.add_separator);
    std::vector<std::string> names;
    for (const auto& [name, source] : vocabulary.named_chat_templates) {
        metadata.set("tokenizer.chat_template." + name, source);
        names.push_back(name);
    }
    set_array("tokenizer.chat_templates", names);
    set_text("tokenizer.chat_template", vocabulary.chat_template);

    set_array("tokenizer.ggml.precompiled_charsmap", vocabulary.charsmap);
    set_if("tokenizer.ggml.remove_extra_whitespaces", vocabulary.remove_extra_whitespaces);
    set_if("tokenizer.ggml.normalizer.lowercase", vocabulary.lowercases);
    set_if("tokenizer.ggml.normalizer.strip_accents", vocabulary.strips_accents);

    const Vocabulary::Own& own = vocabulary.own;
    if (!own.model.empty()) {
        set_text(std::string(keys::kTokenizerModel), own.model);
        set_array(std::string(keys::kTokenizerOptions), own.options);
        set_array(std::string(keys::kTokenizerAdded), own.added_tokens);
        set_array(std::string(keys::kTokenizerNormalizers), own.normalizers);
        set_array(std::string(keys::kTokenizerPreTokenizers), own.pre_tokenizers);
        set_array(std::string(keys::kTokenizerDecoders), own.decoders);
        set_array(std::string(keys::kTokenizerBefore), own.before);
        set_array(std::string(keys::kTokenizerAfter), own.after);
        set_array(std::string(keys::kTokenizerMergeIds), own.merge_ids);
        set_array(std::string(keys::kTokenizerScores), own.scores);
    }
    set_array(std::string(keys::kTokenizerEndOfGeneration), vocabulary.end_of_generation);
}

}  // namespace ingot::converters
