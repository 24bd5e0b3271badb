#include "converters/export/tokenizer_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/pre_rules.h"

namespace ingot::converters {

namespace {

constexpr std::string_view kSpaceMark = "\u2581";

std::vector<std::string> texts(const GgufHeader& header, std::string_view key) {
    const auto views = header.strings(key);
    return {views.begin(), views.end()};
}

std::optional<uint64_t> number_in(std::string_view text) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return {};
    return number;
}

/// "ID FLAGS TEXT"
TokenizerKeys::AddedToken added_token(std::string_view entry, size_t n_tokens) {
    const size_t flags = entry.find(' ') + 1;
    const size_t text = entry.find(' ', flags) + 1;
    const auto id = number_in(entry.substr(0, flags == 0 ? 0 : flags - 1));
    if (!id || *id >= n_tokens || flags == 0 || text == 0)
        fail("{} holds '{}'; the file is damaged", keys::kTokenizerAdded, printable(entry));
    return {*id, entry.substr(flags, text - 1 - flags), entry.substr(text)};
}

}  // namespace

std::vector<std::string_view> parts_of_step(std::string_view step, size_t n_tabs) {
    std::vector<std::string_view> parts;
    for (size_t tab; parts.size() < n_tabs && (tab = step.find('\t')) != step.npos;) {
        parts.push_back(step.substr(0, tab));
        step.remove_prefix(tab + 1);
    }
    parts.push_back(step);
    return parts;
}

TokenizerKeys::TokenizerKeys(const GgufHeader& header)
    : ggml_model(header.get_string("tokenizer.ggml.model").value_or("")),
      tokens(header.strings("tokenizer.ggml.tokens")),
      merges(header.strings("tokenizer.ggml.merges")),
      scores(header.floats("tokenizer.ggml.scores")),
      types(header.ints("tokenizer.ggml.token_type")),
      bos(header.get_uint("tokenizer.ggml.bos_token_id")),
      eos(header.get_uint("tokenizer.ggml.eos_token_id")),
      unknown(header.get_uint("tokenizer.ggml.unknown_token_id")),
      padding(header.get_uint("tokenizer.ggml.padding_token_id")),
      separator(header.get_uint("tokenizer.ggml.seperator_token_id")),  // GGUF's spelling
      mask(header.get_uint("tokenizer.ggml.mask_token_id")),
      add_bos(header.get_bool("tokenizer.ggml.add_bos_token").value_or(ggml_model == "llama")),
      add_eos(header.get_bool("tokenizer.ggml.add_eos_token").value_or(ggml_model == "t5")),
      add_space_prefix(header.get_bool("tokenizer.ggml.add_space_prefix").value_or(ggml_model != "t5")),
      remove_extra_whitespaces(header.get_bool("tokenizer.ggml.remove_extra_whitespaces").value_or(false)) {
    if (tokens.empty()) fail("the file has no tokenizer.ggml.tokens");
    types.resize(tokens.size(), int64_t(TokenType::Normal));
    if (const Value* value = header.find("tokenizer.ggml.precompiled_charsmap")) {
        const auto bytes = value->encoded();
        charsmap = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    const auto first_unknown = std::ranges::find(types, int64_t(TokenType::Unknown));
    if (!unknown && first_unknown != types.end()) unknown = uint64_t(first_unknown - types.begin());
    const std::string own_model(header.get_string(keys::kTokenizerModel).value_or(""));
    has_own_keys_ = !own_model.empty();
    if (has_own_keys_) {
        read_own(header, own_model);
    } else if (ggml_model == "llama" || ggml_model == "t5") {
        model = ggml_model == "llama" ? Model::SentencePieceBpe : Model::Unigram;
        if (model == Model::Unigram) options.push_back("float32");
    } else if (ggml_model == "gpt2") {
        read_bpe(header);
    } else if (ggml_model == "bert") {
        read_word_piece(header);
    } else {
        fail("tokenizers of the kind \"{}\" have no form in a checkpoint that Ingot writes",
             printable(ggml_model));
    }
    read_added(header);
    for (const auto* ids : {&before, &after, &merge_ids}) {
        for (const int64_t id : *ids) {
            if (id < 0 || uint64_t(id) >= tokens.size())
                fail("the tokenizer's keys name token {}; there are {}", id, tokens.size());
        }
    }
}

void TokenizerKeys::read_own(const GgufHeader& header, std::string_view own_model) {
    constexpr std::pair<std::string_view, Model> kModels[] = {
        {"bpe", Model::Bpe},
        {"sentencepiece_bpe", Model::SentencePieceBpe},
        {"unigram", Model::Unigram},
        {"word_piece", Model::WordPiece},
        {"word_level", Model::WordLevel},
    };
    const auto known = std::ranges::find(kModels, own_model, &std::pair<std::string_view, Model>::first);
    if (known == std::end(kModels))
        fail("{} is '{}', which is not known", keys::kTokenizerModel, printable(own_model));
    model = known->second;
    options = texts(header, keys::kTokenizerOptions);
    normalizers = texts(header, keys::kTokenizerNormalizers);
    pre_tokenizers = texts(header, keys::kTokenizerPreTokenizers);
    decoders = texts(header, keys::kTokenizerDecoders);
    before = header.ints(keys::kTokenizerBefore);
    after = header.ints(keys::kTokenizerAfter);
    merge_ids = header.ints(keys::kTokenizerMergeIds);
    if (const Value* exact = header.find(keys::kTokenizerScores)) {
        for (const Value score : exact->elements()) exact_scores.push_back(score.as_float());
        if (exact_scores.size() != tokens.size())
            fail("{} has {} scores for {} tokens", keys::kTokenizerScores, exact_scores.size(),
                 tokens.size());
    }
    unknown.reset();  // the token for what no other covers; special tokens of that name need not be it
    if (const auto id = number_in(option_value("unk", ""))) unknown = *id;
    is_continued_.resize(tokens.size());
    for (const std::string_view text : option_values("continues")) {
        if (const auto id = number_in(text); id && *id < tokens.size()) is_continued_[*id] = true;
    }
}

/// Made elsewhere, or by version 0.1: the name of a rule stands for the steps.
void TokenizerKeys::read_bpe(const GgufHeader& header) {
    model = Model::Bpe;
    const auto name = header.get_string("tokenizer.ggml.pre").value_or("default");
    const PreRule* rule = find_pre_rule(name);
    std::vector<std::string> patterns = texts(header, keys::kTokenizerPreRegex);
    if (patterns.empty()) {
        if (!rule) fail("its rule for splitting text, {}, is not known", printable(name));
        patterns.assign(rule->patterns.begin(), rule->patterns.end());
    }
    if (rule && rule->text != PreRule::Text::Bytes)
        fail("its rule for splitting text, {}, works on characters, not bytes", printable(name));
    for (const std::string& pattern : patterns) pre_tokenizers.push_back("split\tisolated\t" + pattern);
    if (header.get_bool(keys::kTokenizerIgnoreMerges).value_or(rule && rule->ignore_merges))
        options.push_back("ignore_merges");
    for (const std::string_view option : {"byte_level", "drop_unknown"}) options.emplace_back(option);
    decoders = {"byte_level"};
    if (const auto adds = header.get_bool("tokenizer.ggml.add_bos_token"); !adds)
        add_bos = rule && rule->add_bos;
    if (add_bos && bos) before = {int64_t(*bos)};
    if (add_eos && eos) after = {int64_t(*eos)};
}

/// BERT's steps; ids as llama.cpp takes them where keys are missing.
void TokenizerKeys::read_word_piece(const GgufHeader& header) {
    model = Model::WordPiece;
    const auto existing = [&](uint64_t id) { return id < tokens.size() ? std::optional(id) : std::nullopt; };
    const bool lowercase = header.get_bool("tokenizer.ggml.normalizer.lowercase").value_or(true);
    normalizers = {"clean_text", "space_han"};
    if (header.get_bool("tokenizer.ggml.normalizer.strip_accents").value_or(lowercase)) {
        normalizers.emplace_back("nfd");
        normalizers.emplace_back("strip_nonspacing_marks");
    }
    if (lowercase) normalizers.emplace_back("lowercase");
    pre_tokenizers = {"split\tremoved\t\\s+", "punctuation\tisolated"};
    decoders = {"word_piece\t##"};
    options = {"prefix=##", "max_word=100"};
    if (!unknown) unknown = existing(100);
    if (!bos) bos = existing(101);
    if (!separator) separator = eos ? eos : existing(102);
    if (bos) before = {int64_t(*bos)};
    if (const auto end = eos ? eos : separator) after = {int64_t(*end)};
}

void TokenizerKeys::read_added(const GgufHeader& header) {
    if (has_own_keys_) {
        for (const std::string_view entry : header.strings(keys::kTokenizerAdded))
            added.push_back(added_token(entry, tokens.size()));
    } else {
        for (size_t id = 0; id < tokens.size(); ++id) {
            const bool special = is(id, TokenType::Control) || (model == Model::WordPiece && id == unknown);
            if (special || is(id, TokenType::UserDefined))
                added.push_back({id, special ? (model == Model::WordPiece ? "sm" : "s") : "", tokens[id]});
        }
    }
    added_texts_.resize(tokens.size());
    for (const AddedToken& token : added) added_texts_[token.id] = token.text;
}

bool TokenizerKeys::has_option(std::string_view name) const {
    return std::ranges::find(options, name) != options.end();
}

std::vector<std::string_view> TokenizerKeys::option_values(std::string_view name) const {
    std::vector<std::string_view> values;
    for (const std::string_view option : options) {
        if (option.size() > name.size() && option.starts_with(name) && option[name.size()] == '=')
            values.push_back(option.substr(name.size() + 1));
    }
    return values;
}

std::string_view TokenizerKeys::option_value(std::string_view name, std::string_view otherwise) const {
    const auto values = option_values(name);
    return values.empty() ? otherwise : values.front();
}

std::string TokenizerKeys::text(uint64_t id) const {
    if (!added_texts_.at(id).empty()) return std::string(added_texts_[id]);
    const std::string_view stored = tokens[id];
    if (model != Model::WordPiece) return std::string(stored);
    const bool starts_word =
        stored.starts_with(kSpaceMark) && !(id < is_continued_.size() && is_continued_[id]);
    if (starts_word) return std::string(stored.substr(kSpaceMark.size()));
    return fmt::format("{}{}", option_value("prefix", ""), stored);
}

std::optional<std::string> TokenizerKeys::text(std::optional<uint64_t> id) const {
    if (!id || *id >= tokens.size()) return {};
    return text(*id);
}

}  // namespace ingot::converters
