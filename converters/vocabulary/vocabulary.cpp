#include "converters/vocabulary/vocabulary.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <unordered_map>

#include "converters/vocabulary/sentencepiece_model.h"
#include "converters/vocabulary/special_tokens.h"
#include "converters/vocabulary/tokenizer_json.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/mapped_file.h"
#include "format/pre_rules.h"

namespace ingot::converters {
namespace {

constexpr std::string_view kSpace = "\u2581";  // ▁
constexpr uint64_t kMaxRows = uint64_t(1) << 31;
constexpr float kPaddingScore = -10000.0f;
constexpr float kAddedScore = -1000.0f;

void set(Vocabulary& vocabulary, size_t id, std::string text, TokenType type) {
    vocabulary.tokens[id] = std::move(text);
    vocabulary.types[id] = int32_t(type);
}

/// `n_rows` unused tokens, for the others to be put in.
void make_rows(Vocabulary& vocabulary, uint64_t n_rows) {
    vocabulary.tokens.reserve(n_rows);
    for (uint64_t id = 0; id < n_rows; ++id) vocabulary.tokens.push_back(fmt::format("[PAD{}]", id));
    vocabulary.types.assign(n_rows, int32_t(TokenType::Unused));
}

[[noreturn]] void too_many_tokens(const std::string& file, uint64_t n_tokens, uint64_t n_rows) {
    fail("{}: has {} tokens, but the embedding has {} rows; the tokenizer belongs to another model", file,
         n_tokens, n_rows);
}

/// User-defined tokens are looked for in the text itself, which has spaces.
std::string with_spaces(std::string text) {
    for (size_t at = 0; (at = text.find(kSpace, at)) != std::string::npos; ++at)
        text.replace(at, kSpace.size(), 1, ' ');
    return text;
}

struct AddedToken {
    uint64_t id;
    std::string text;
    bool special;
};

/// tokenizer_config.json's added_tokens_decoder: {"32000": {"content": "<pad>", "special": true, …}, …}.
std::vector<AddedToken> added_tokens_decoder(const TokenizerFiles& files) {
    std::vector<AddedToken> added;
    const Json* decoder =
        files.tokenizer_config ? files.tokenizer_config->get_object("added_tokens_decoder") : nullptr;
    if (decoder == nullptr) return added;
    for (const auto& [key, token] : decoder->members()) {
        uint64_t id = 0;
        const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
        if (error != std::errc() || end != key.data() + key.size()) {
            fail("{}: \"{}\" is no token id", decoder->where(), key);
        }
        const std::string text = token.get_string("content").value_or("");
        if (text.empty()) fail("{}: token {} has no content", decoder->where(), key);
        added.push_back({id, text, token.get_bool("special").value_or(false)});
    }
    return added;
}

/// False, with a warning, for an added token that the embedding has no row for: fine-tunes often leave such
/// behind.
bool has_row(const AddedToken& token, const std::string& file, Vocabulary& vocabulary) {
    if (token.id < vocabulary.tokens.size()) return true;
    vocabulary.warnings.push_back(
        fmt::format("{}: the added token '{}' has id {}, but the embedding has {} rows; it is "
                    "left out",
                    file, token.text, token.id, vocabulary.tokens.size()));
    return false;
}

void check_kind(const SentencePieceModel& model, const std::string& file) {
    if (model.kind == SentencePieceModel::Kind::Bpe) return;
    const char* kinds[] = {"unigram", "BPE", "word", "character"};
    fail("{}: is a SentencePiece model of kind {}; only BPE can be converted yet", file,
         kinds[int(model.kind) - 1]);
}

Vocabulary from_sentencepiece(const TokenizerFiles& files, const std::string& file, uint64_t n_rows) {
    const MappedFile mapped{file};
    const SentencePieceModel model = parse_sentencepiece_model(mapped.bytes(), file);
    check_kind(model, file);
    if (model.pieces.size() > n_rows) too_many_tokens(file, model.pieces.size(), n_rows);

    Vocabulary vocabulary;
    vocabulary.model = "llama";
    vocabulary.pre = "default";
    make_rows(vocabulary, n_rows);
    vocabulary.scores.assign(n_rows, kPaddingScore);
    for (size_t id = 0; id < model.pieces.size(); ++id) {
        const SentencePieceModel::Piece& piece = model.pieces[id];
        set(vocabulary, id, piece.type == TokenType::UserDefined ? with_spaces(piece.text) : piece.text,
            piece.type);
        vocabulary.scores[id] = piece.score;
    }

    if (files.added_tokens) {
        for (const auto& [text, id] : files.added_tokens->members()) {
            const auto number = id.whole_number();
            if (!number)
                fail("{}: the id of '{}' is not a whole number", files.path("added_tokens.json"), text);
            if (!has_row({*number, text, false}, files.path("added_tokens.json"), vocabulary)) continue;
            set(vocabulary, *number, text, TokenType::UserDefined);
            vocabulary.scores[*number] = kAddedScore;
        }
    }
    for (const AddedToken& token : added_tokens_decoder(files)) {
        if (!has_row(token, files.path("tokenizer_config.json"), vocabulary)) continue;
        const bool control = token.special || looks_special(token.text);
        set(vocabulary, token.id, control ? token.text : with_spaces(token.text),
            control ? TokenType::Control : TokenType::UserDefined);
        vocabulary.scores[token.id] = kAddedScore;
    }

    if (!model.add_dummy_prefix) vocabulary.add_space_prefix = false;
    if (model.has_charsmap) {
        vocabulary.warnings.push_back(fmt::format(
            "{}: normalizes text ({}) before it is tokenized, and GGUF tokenizers do not: unusual characters "
            "may be tokenized otherwise than in training",
            file, model.normalizer_name));
    }
    if (model.remove_extra_whitespaces) {
        vocabulary.warnings.push_back(fmt::format(
            "{}: joins runs of spaces before text is tokenized, and GGUF tokenizers keep them", file));
    }
    return vocabulary;
}

/// The number of rows that hold the vocabulary, all ids checked against it.
void check_ids(const TokenizerJson& tokenizer, const std::string& file, uint64_t n_rows) {
    std::unordered_map<uint32_t, std::string_view> texts;
    for (const auto& [text, id] : tokenizer.vocabulary) {
        if (id >= n_rows) too_many_tokens(file, uint64_t(id) + 1, n_rows);
        const auto [known, added] = texts.emplace(id, text);
        if (!added)
            fail("{}: the tokens \"{}\" and \"{}\" have the same id {}", file, known->second, text, id);
    }
}

/// Added tokens of tokenizer.json, then those that only tokenizer_config.json has.
std::vector<AddedToken> all_added_tokens(const TokenizerFiles& files, const TokenizerJson& tokenizer) {
    std::vector<AddedToken> added;
    for (const auto& token : tokenizer.added_tokens) added.push_back({token.id, token.text, token.special});
    for (AddedToken& token : added_tokens_decoder(files)) {
        const auto same =
            std::find_if(added.begin(), added.end(), [&](const auto& each) { return each.id == token.id; });
        if (same == added.end()) {
            added.push_back(std::move(token));
        } else {
            same->special |= token.special;
        }
    }
    return added;
}

void set_added_tokens(const TokenizerFiles& files, const TokenizerJson& tokenizer, Vocabulary& vocabulary) {
    for (const AddedToken& token : all_added_tokens(files, tokenizer)) {
        if (!has_row(token, files.path("tokenizer.json"), vocabulary)) continue;
        const bool control = token.special || looks_special(token.text);
        set(vocabulary, token.id, control ? token.text : with_spaces(token.text),
            control ? TokenType::Control : TokenType::UserDefined);
    }
}

bool is_byte_token(std::string_view text) {
    const auto is_digit = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
    };
    return text.size() == 6 && text.starts_with("<0x") && is_digit(text[3]) && is_digit(text[4]) &&
           text[5] == '>';
}

/// SentencePiece-style BPE. It joins the neighbours whose joined text has the best score, so a token's score
/// is the rank of the first merge that makes it, negated: then the order of joining is the order of the
/// merges, provided that every way to make a token is among the merges, one after the other, as it is where
/// they were derived from scores.
Vocabulary from_ranked_merges(const TokenizerFiles& files, const TokenizerJson& tokenizer,
                              const std::string& file, uint64_t n_rows) {
    Vocabulary vocabulary;
    vocabulary.model = "llama";
    vocabulary.pre = "default";
    make_rows(vocabulary, n_rows);
    vocabulary.scores.assign(n_rows, kPaddingScore);
    std::unordered_map<std::string_view, uint32_t> ids;
    for (const auto& [text, id] : tokenizer.vocabulary) {
        set(vocabulary, id, text, is_byte_token(text) ? TokenType::Byte : TokenType::Normal);
        vocabulary.scores[id] = is_byte_token(text) ? 0.0f : -float(tokenizer.merges.size());
        ids.emplace(text, id);
    }
    std::vector<bool> made(n_rows);
    uint32_t previous = UINT32_MAX;
    size_t n_out_of_order = 0;
    for (size_t rank = 0; rank < tokenizer.merges.size(); ++rank) {
        const auto& [left, right] = tokenizer.merges[rank];
        const auto merged = ids.find(left + right);
        if (merged == ids.end()) {
            fail("{}: merge {} makes '{}', which is not in the vocabulary", file, rank, left + right);
        }
        const uint32_t id = merged->second;
        if (!made[id]) vocabulary.scores[id] = -float(rank);
        n_out_of_order += made[id] && id != previous;
        made[id] = true;
        previous = id;
    }
    if (n_out_of_order > 0) {
        vocabulary.warnings.push_back(fmt::format(
            "{}: {} of {} merges make a token that an earlier merge of lower rank makes too; GGUF's scores "
            "cannot tell them apart, and some text may be tokenized otherwise than in training",
            file, n_out_of_order, tokenizer.merges.size()));
    }
    set_added_tokens(files, tokenizer, vocabulary);
    for (const auto& token : tokenizer.added_tokens) {
        if (token.id < n_rows) vocabulary.scores[token.id] = kAddedScore;
    }
    if (!tokenizer.adds_space_prefix) vocabulary.add_space_prefix = false;
    return vocabulary;
}

/// GGUF separates the two halves of a merge by a space, so spaces inside are written as byte-level
/// vocabularies do.
std::string merge_half(const std::string& text) {
    std::string half;
    for (const char c : text) {
        if (c == ' ') {
            half += "\u0120";  // Ġ
        } else {
            half += c;
        }
    }
    return half;
}

/// The rule that llama.cpp knows under a name and that does what the checkpoint's own does.
const PreRule* known_rule(const TokenizerJson& tokenizer, bool adds_bos) {
    const PreRule* found = nullptr;
    for (const PreRule& rule : pre_rules()) {
        if (!std::equal(rule.patterns.begin(), rule.patterns.end(), tokenizer.patterns.begin(),
                        tokenizer.patterns.end())) {
            continue;
        }
        if (rule.ignore_merges == tokenizer.ignore_merges && rule.add_bos == adds_bos) return &rule;
        if (found == nullptr || rule.ignore_merges == tokenizer.ignore_merges) found = &rule;
    }
    return found;
}

void name_pre_tokenizer(const TokenizerJson& tokenizer, const std::string& file, Vocabulary& vocabulary) {
    vocabulary.ignore_merges = tokenizer.ignore_merges;
    vocabulary.normalizer = tokenizer.normalizer;
    if (!tokenizer.unknown_normalizer.empty()) {
        vocabulary.warnings.push_back(
            fmt::format("{}: its normalizer {} is not carried over; text may be tokenized "
                        "otherwise than in training",
                        file, tokenizer.unknown_normalizer));
    }
    const PreRule* rule = nullptr;
    if (tokenizer.unknown_step.empty()) {
        vocabulary.pre_regex = tokenizer.patterns;
        if (vocabulary.pre_regex.empty()) vocabulary.pre_regex.emplace_back("(?s:.+)");  // one piece
        rule = known_rule(tokenizer, vocabulary.add_bos.value_or(false));
    }
    vocabulary.pre = rule ? rule->names.front() : "default";
    if (!tokenizer.unknown_step.empty()) {
        vocabulary.warnings.push_back(fmt::format(
            "{}: its pre-tokenizer {} cannot be expressed; the file says 'default', and text may be "
            "tokenized otherwise than in training, here as in llama.cpp",
            file, tokenizer.unknown_step));
    } else if (rule == nullptr) {
        vocabulary.warnings.push_back(fmt::format(
            "{}: llama.cpp has no name for the way in which it splits text, so tokenizer.ggml.pre is "
            "'default'. Here the rule itself is used, which the file carries; llama.cpp will use its general "
            "rule and may tokenize otherwise than in training",
            file));
    } else if (rule->ignore_merges != tokenizer.ignore_merges) {
        vocabulary.warnings.push_back(
            fmt::format("{}: splits text as llama.cpp's '{}' does, but {} whole pieces up before merging, "
                        "which llama.cpp "
                        "has no name for: rare words may differ there",
                        file, vocabulary.pre, tokenizer.ignore_merges ? "looks" : "does not look"));
    }
}

Vocabulary from_byte_level(const TokenizerFiles& files, const TokenizerJson& tokenizer,
                           const std::string& file, uint64_t n_rows) {
    Vocabulary vocabulary;
    vocabulary.model = "gpt2";
    make_rows(vocabulary, n_rows);
    for (const auto& [text, id] : tokenizer.vocabulary) set(vocabulary, id, text, TokenType::Normal);
    set_added_tokens(files, tokenizer, vocabulary);
    vocabulary.merges.reserve(tokenizer.merges.size());
    for (const auto& [left, right] : tokenizer.merges) {
        vocabulary.merges.push_back(fmt::format("{} {}", merge_half(left), merge_half(right)));
    }
    if (vocabulary.merges.empty()) fail("{}: model.merges is missing or empty", file);
    if (tokenizer.adds_space_prefix) {
        vocabulary.warnings.push_back(
            fmt::format("{}: puts a space before the text, and GGUF's byte-level tokenizers do not", file));
    }
    return vocabulary;
}

/// Llama 3 and others ship OpenAI's text format under the same name: lines of base64 and a number.
bool is_tiktoken(std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                                std::min<size_t>(bytes.size(), 256));
    const size_t space = text.find(' ');
    return space != std::string_view::npos && space > 0 && space + 1 < text.size() &&
           text[space + 1] >= '0' && text[space + 1] <= '9' &&
           std::all_of(text.begin(), text.begin() + ptrdiff_t(space),
                       [](unsigned char c) { return std::isalnum(c) || c == '+' || c == '/' || c == '='; });
}

/// A small text file that stands for the real one in a clone made without Git LFS.
void check_not_a_pointer(const std::string& file) {
    const MappedFile mapped{file};
    const std::string_view text(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
    if (text.starts_with("version https://git-lfs")) {
        fail("{}: is a Git LFS pointer, not the file itself; run `git lfs pull` in that folder", file);
    }
}

}  // namespace

Vocabulary read_vocabulary(const std::string& folder, uint64_t n_embedding_rows) {
    if (n_embedding_rows == 0 || n_embedding_rows >= kMaxRows) {
        fail("{}: the embedding has {} rows, expected 1 to {}", folder, n_embedding_rows, kMaxRows - 1);
    }
    const TokenizerFiles files(folder);
    const std::string model_file = files.path("tokenizer.model"), json_file = files.path("tokenizer.json");
    bool has_model = files.has("tokenizer.model");
    std::optional<TokenizerJson> tokenizer;
    if (files.has("tokenizer.json")) {
        check_not_a_pointer(json_file);
        tokenizer = TokenizerJson::read_file(json_file);
    }
    if (has_model) {
        check_not_a_pointer(model_file);
        if (is_tiktoken(MappedFile(model_file).bytes())) {
            if (!tokenizer) {
                fail(
                    "{}: is a tiktoken vocabulary, which lacks its splitting rule; put the checkpoint's "
                    "tokenizer.json "
                    "beside it",
                    model_file);
            }
            has_model = false;
        }
    }

    Vocabulary vocabulary;
    if (has_model) {
        vocabulary = from_sentencepiece(files, model_file, n_embedding_rows);
    } else if (tokenizer) {
        if (tokenizer->model_type != "BPE") {
            fail("{}: is a tokenizer of type {}; only BPE can be converted yet", json_file,
                 tokenizer->model_type);
        }
        check_ids(*tokenizer, json_file, n_embedding_rows);
        const bool sentencepiece = tokenizer->byte_fallback && !tokenizer->is_byte_level;
        vocabulary = sentencepiece ? from_ranked_merges(files, *tokenizer, json_file, n_embedding_rows)
                                   : from_byte_level(files, *tokenizer, json_file, n_embedding_rows);
    } else if (files.has("tekken.json")) {
        fail(
            "{}: has tekken.json but neither tokenizer.model nor tokenizer.json; take the checkpoint in "
            "Hugging Face's "
            "form, which has one",
            folder);
    } else {
        fail("{}: has neither tokenizer.model nor tokenizer.json; put the checkpoint's tokenizer files there",
             folder);
    }
    read_special_tokens(files, tokenizer ? &*tokenizer : nullptr, vocabulary);
    if (vocabulary.model == "gpt2") {
        name_pre_tokenizer(*tokenizer, json_file, vocabulary);
    } else if (files.tokenizer_config) {
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

    set_array(std::string(keys::kTokenizerPreRegex), vocabulary.pre_regex);
    set_if(std::string(keys::kTokenizerIgnoreMerges), vocabulary.ignore_merges);
    set_text(std::string(keys::kTokenizerNormalizer), vocabulary.normalizer);
    set_array(std::string(keys::kTokenizerEndOfGeneration), vocabulary.end_of_generation);
}

}  // namespace ingot::converters
