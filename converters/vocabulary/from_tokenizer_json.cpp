#include <algorithm>
#include <unordered_map>

#include "converters/vocabulary/decimals.h"
#include "converters/vocabulary/vocabulary_sources.h"
#include "format/error.h"
#include "format/pre_rules.h"

namespace ingot::converters {
namespace {

constexpr std::string_view kSpace = "\u2581";  // ▁

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
    for (const auto& token : tokenizer.added_tokens) {
        added.push_back({token.id, token.text, token.special, token.single_word, token.left_strip,
                         token.right_strip, token.normalized});
    }
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

using IdsByText = std::unordered_map<std::string_view, uint32_t>;

IdsByText ids_by_text(const TokenizerJson& tokenizer) {
    IdsByText ids;
    ids.reserve(tokenizer.vocabulary.size());
    for (const auto& [text, id] : tokenizer.vocabulary) ids.emplace(text, id);
    return ids;
}

/// The token that merge number `rank` makes.
uint32_t merged_id(const TokenizerJson& tokenizer, const IdsByText& ids, const std::string& file,
                   size_t rank) {
    const auto& [left, right] = tokenizer.merges[rank];
    const size_t n_skipped =
        right.starts_with(tokenizer.continuing_prefix) ? tokenizer.continuing_prefix.size() : 0;
    const std::string text = left + right.substr(n_skipped);
    const auto merged = ids.find(text);
    if (merged == ids.end())
        fail("{}: merge {} makes '{}', which is not in the vocabulary", file, rank, text);
    return merged->second;
}

/// Tokens that are in the text with ▁ for spaces, or with nothing for them.
bool marks_spaces(const TokenizerJson& tokenizer) {
    const auto marks = [](const std::string& step) {
        return step.starts_with("metaspace\t") || step.find(kSpace) != std::string::npos;
    };
    return std::any_of(tokenizer.normalizers.begin(), tokenizer.normalizers.end(), marks) ||
           std::any_of(tokenizer.pre_tokenizers.begin(), tokenizer.pre_tokenizers.end(), marks);
}

/// SentencePiece-style BPE. It joins the neighbours whose joined text has the best score, so a token's score
/// is the rank of the first merge that makes it, negated: then the order of joining is the order of the
/// merges, provided that every way to make a token is among the merges, one after the other, as it is where
/// they were derived from scores.
Vocabulary from_ranked_merges(const TokenizerJson& tokenizer, const std::string& file, uint64_t n_rows) {
    Vocabulary vocabulary;
    vocabulary.model = "llama";
    vocabulary.pre = "default";
    make_rows(vocabulary, n_rows);
    vocabulary.scores.assign(n_rows, kPaddingScore);
    std::unordered_map<std::string_view, uint32_t> ids;
    for (const auto& [text, id] : tokenizer.vocabulary) {
        set_token(vocabulary, id, text, is_byte_token(text) ? TokenType::Byte : TokenType::Normal);
        vocabulary.scores[id] = is_byte_token(text) ? 0.0f : -float(tokenizer.merges.size());
        ids.emplace(text, id);
    }
    std::vector<bool> made(n_rows);
    uint32_t previous = UINT32_MAX;
    size_t n_out_of_order = 0;
    for (size_t rank = 0; rank < tokenizer.merges.size(); ++rank) {
        const uint32_t id = merged_id(tokenizer, ids, file, rank);
        if (!made[id]) vocabulary.scores[id] = -float(rank);
        n_out_of_order += made[id] && id != previous;
        made[id] = true;
        previous = id;
    }
    if (n_out_of_order > 0) {
        vocabulary.warnings.push_back(fmt::format(
            "{}: {} of {} merges make a token that an earlier merge of lower rank makes too. Here the merges "
            "themselves are used; llama.cpp sees scores only, which cannot tell them apart, and may tokenize "
            "some text otherwise than in training",
            file, n_out_of_order, tokenizer.merges.size()));
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

/// BPE whose merges llama.cpp reads: byte-level, or what it has no form for.
Vocabulary from_listed_merges(const TokenizerJson& tokenizer, const std::string& file, uint64_t n_rows) {
    Vocabulary vocabulary;
    vocabulary.model = "gpt2";
    make_rows(vocabulary, n_rows);
    for (const auto& [text, id] : tokenizer.vocabulary) set_token(vocabulary, id, text, TokenType::Normal);
    vocabulary.merges.reserve(tokenizer.merges.size());
    for (const auto& [left, right] : tokenizer.merges) {
        vocabulary.merges.push_back(fmt::format("{} {}", merge_half(left), merge_half(right)));
    }
    if (vocabulary.merges.empty()) fail("{}: model.merges is missing or empty", file);
    if (!tokenizer.is_byte_level) {
        vocabulary.warnings.push_back(
            fmt::format("{}: its BPE works on characters, not bytes, and llama.cpp has no form for that: the "
                        "file tokenizes as in training here, and not there",
                        file));
    } else if (tokenizer.adds_space_prefix) {
        vocabulary.warnings.push_back(fmt::format(
            "{}: puts a space before the text. Here that is done; llama.cpp does not do it", file));
    }
    return vocabulary;
}

Vocabulary from_unigram(const TokenizerJson& tokenizer, uint64_t n_rows) {
    Vocabulary vocabulary;
    vocabulary.model = "t5";
    vocabulary.pre = "default";
    make_rows(vocabulary, n_rows);
    vocabulary.scores.assign(n_rows, kPaddingScore);
    bool is_exact = true;
    for (size_t i = 0; i < tokenizer.vocabulary.size(); ++i) {
        const auto& [text, id] = tokenizer.vocabulary[i];
        const bool is_byte = tokenizer.byte_fallback && is_byte_token(text);
        set_token(vocabulary, id, text,
                  tokenizer.unknown_id == id ? TokenType::Unknown
                  : is_byte                  ? TokenType::Byte
                                             : TokenType::Normal);
        const double score = as_tokenizers_reads(tokenizer.scores[i]);
        vocabulary.scores[id] = float(score);
        is_exact &= double(float(score)) == score;
    }
    if (!is_exact) {
        vocabulary.own.scores.assign(n_rows, kPaddingScore);
        for (size_t i = 0; i < tokenizer.vocabulary.size(); ++i)
            vocabulary.own.scores[tokenizer.vocabulary[i].second] = as_tokenizers_reads(tokenizer.scores[i]);
    }
    if (tokenizer.unknown_id) vocabulary.unknown = uint32_t(*tokenizer.unknown_id);
    vocabulary.charsmap = tokenizer.charsmap;
    vocabulary.add_space_prefix = tokenizer.adds_space_prefix;
    const auto collapses = [](const std::string& step) {
        return step == "split\tremoved\t\\s+" || step.starts_with("replace\t {2,}\t");
    };
    vocabulary.remove_extra_whitespaces =
        std::any_of(tokenizer.normalizers.begin(), tokenizer.normalizers.end(), collapses) ||
        std::any_of(tokenizer.pre_tokenizers.begin(), tokenizer.pre_tokenizers.end(), collapses);
    return vocabulary;
}

/// Tokens in GGUF's form: ▁ in front of those that start a word, nothing in front of the others.
Vocabulary from_word_piece(const TokenizerJson& tokenizer, uint64_t n_rows) {
    Vocabulary vocabulary;
    vocabulary.model = "bert";
    vocabulary.pre = "default";
    make_rows(vocabulary, n_rows);
    const std::string& prefix = tokenizer.continuing_prefix;
    for (const auto& [text, id] : tokenizer.vocabulary) {
        const bool continues = !prefix.empty() && text.starts_with(prefix) && text.size() > prefix.size();
        set_token(vocabulary, id, continues ? text.substr(prefix.size()) : std::string(kSpace) + text,
                  TokenType::Normal);
    }
    vocabulary.lowercases = tokenizer.lowercases;
    vocabulary.strips_accents = tokenizer.strips_accents;
    return vocabulary;
}

Vocabulary from_word_level(const TokenizerJson& tokenizer, const std::string& file, uint64_t n_rows) {
    Vocabulary vocabulary;
    vocabulary.model = "word_level";
    vocabulary.pre = "default";
    make_rows(vocabulary, n_rows);
    for (const auto& [text, id] : tokenizer.vocabulary) set_token(vocabulary, id, text, TokenType::Normal);
    vocabulary.warnings.push_back(fmt::format(
        "{}: a vocabulary of whole words; llama.cpp knows no such kind and will refuse the file", file));
    return vocabulary;
}

/// The rule that llama.cpp knows under a name and that does what the checkpoint's own does.
const PreRule* known_rule(const TokenizerJson& tokenizer, bool adds_bos) {
    const auto patterns = tokenizer.patterns();
    if (!patterns) return nullptr;
    const PreRule* found = nullptr;
    for (const PreRule& rule : pre_rules()) {
        const bool same =
            std::equal(rule.patterns.begin(), rule.patterns.end(), patterns->begin(), patterns->end());
        if (!same || rule.text != PreRule::Text::Bytes) continue;
        if (rule.ignore_merges == tokenizer.ignore_merges && rule.add_bos == adds_bos) return &rule;
        if (found == nullptr || rule.ignore_merges == tokenizer.ignore_merges) found = &rule;
    }
    return found;
}

}  // namespace

void name_pre_tokenizer(const TokenizerJson& tokenizer, const std::string& file, Vocabulary& vocabulary) {
    if (vocabulary.model != "gpt2") return;
    const PreRule* rule = nullptr;
    if (tokenizer.unknown_step.empty() && tokenizer.is_byte_level)
        rule = known_rule(tokenizer, vocabulary.add_bos.value_or(false));
    vocabulary.pre = rule ? rule->names.front() : "default";
    if (!tokenizer.unknown_step.empty()) {
        vocabulary.warnings.push_back(fmt::format(
            "{}: its {} cannot be expressed; the file says 'default', and text may be tokenized otherwise "
            "than in training, here as in llama.cpp",
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
                        "which llama.cpp has no name for: rare words may differ there",
                        file, vocabulary.pre, tokenizer.ignore_merges ? "looks" : "does not look"));
    }
    if (rule != nullptr && !tokenizer.normalizers.empty()) {
        vocabulary.warnings.push_back(fmt::format(
            "{}: normalizes text ({}) before it is split. Here that is done; llama.cpp does not "
            "do it, and there unusual characters may be tokenized otherwise than in training",
            file, tokenizer.normalizers.front().substr(0, tokenizer.normalizers.front().find('\t'))));
    }
}

Vocabulary from_tokenizer_json(const TokenizerFiles& files, const TokenizerJson& tokenizer,
                               const std::string& file, uint64_t n_rows) {
    check_ids(tokenizer, file, n_rows);
    if (tokenizer.vocabulary.empty()) fail("{}: its {} model has no tokens", file, tokenizer.model_type);
    Vocabulary vocabulary;
    if (tokenizer.model_type == "BPE") {
        const bool scored = !tokenizer.is_byte_level && (tokenizer.byte_fallback || marks_spaces(tokenizer));
        vocabulary = scored ? from_ranked_merges(tokenizer, file, n_rows)
                            : from_listed_merges(tokenizer, file, n_rows);
    } else if (tokenizer.model_type == "Unigram") {
        vocabulary = from_unigram(tokenizer, n_rows);
    } else if (tokenizer.model_type == "WordPiece") {
        vocabulary = from_word_piece(tokenizer, n_rows);
    } else if (tokenizer.model_type == "WordLevel") {
        vocabulary = from_word_level(tokenizer, file, n_rows);
    } else {
        fail("{}: is a tokenizer of type '{}', expected BPE, Unigram, WordPiece or WordLevel", file,
             tokenizer.model_type);
    }
    const IdsByText ids = ids_by_text(tokenizer);
    for (const AddedToken& token : all_added_tokens(files, tokenizer)) {
        set_added_token(token, file, vocabulary);
        if (token.id >= n_rows) continue;
        const auto in_model = ids.find(token.text);
        vocabulary.own.added_tokens.push_back(
            token.notation(in_model != ids.end() && in_model->second == token.id));
    }
    return vocabulary;
}

void set_own_steps(const TokenizerJson& tokenizer, const std::string& file, Vocabulary& vocabulary) {
    Vocabulary::Own& own = vocabulary.own;
    own.normalizers = tokenizer.normalizers;
    own.pre_tokenizers = tokenizer.pre_tokenizers;
    own.decoders = tokenizer.decoders;
    own.before = tokenizer.before;
    own.after = tokenizer.after;
    for (const std::vector<uint32_t>* side : {&own.before, &own.after}) {
        for (const uint32_t id : *side) {
            if (id >= vocabulary.tokens.size())
                too_many_tokens(file, uint64_t(id) + 1, vocabulary.tokens.size());
        }
    }
    apply_bos_and_eos(vocabulary);

    const IdsByText ids = ids_by_text(tokenizer);
    std::optional<uint64_t> unknown = tokenizer.unknown_id;
    if (const auto found = ids.find(tokenizer.unknown_token); found != ids.end()) unknown = found->second;
    own.options.clear();
    const auto option = [&](bool wanted, std::string text) {
        if (wanted) own.options.push_back(std::move(text));
    };
    option(unknown.has_value(), fmt::format("unk={}", unknown.value_or(0)));
    option(tokenizer.byte_fallback, "byte_fallback");
    if (tokenizer.model_type == "BPE") {
        own.model = "bpe";
        option(tokenizer.is_byte_level, "byte_level");
        option(tokenizer.ignore_merges, "ignore_merges");
        option(tokenizer.fuse_unknown && unknown, "fuse_unk");
        option(!unknown, "drop_unknown");
        option(!tokenizer.continuing_prefix.empty(), "prefix=" + tokenizer.continuing_prefix);
        option(!tokenizer.word_suffix.empty(), "suffix=" + tokenizer.word_suffix);
        if (!tokenizer.is_byte_level) {
            own.merge_ids.reserve(2 * tokenizer.merges.size());
            for (size_t rank = 0; rank < tokenizer.merges.size(); ++rank) {
                merged_id(tokenizer, ids, file, rank);  // checks it
                for (const std::string* half :
                     {&tokenizer.merges[rank].first, &tokenizer.merges[rank].second}) {
                    const auto id = ids.find(*half);
                    if (id == ids.end())
                        fail("{}: merge {} joins '{}', which is not in the vocabulary", file, rank, *half);
                    own.merge_ids.push_back(id->second);
                }
            }
        }
    } else if (tokenizer.model_type == "Unigram") {
        own.model = "unigram";
    } else if (tokenizer.model_type == "WordPiece") {
        own.model = "word_piece";
        option(!tokenizer.continuing_prefix.empty(), "prefix=" + tokenizer.continuing_prefix);
        option(true, fmt::format("max_word={}", tokenizer.max_word_characters));
        const std::string marked = tokenizer.continuing_prefix + std::string(kSpace);
        for (const auto& [text, id] : tokenizer.vocabulary)
            option(text.starts_with(marked), fmt::format("continues={}", id));
    } else {
        own.model = "word_level";
    }
}

}  // namespace ingot::converters
