#include "runtime/tokenizer/recipe.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/pre_rules.h"
#include "runtime/tokenizer/words.h"

namespace ingot::runtime {
namespace {

std::vector<std::string> texts_of(const GgufHeader& header, std::string_view key) {
    std::vector<std::string> texts;
    for (const std::string_view text : header.strings(key)) texts.emplace_back(text);
    return texts;
}

std::vector<Token> ids_of(const GgufHeader& header, std::string_view key, const TokenTable& table) {
    std::vector<Token> ids;
    for (const int64_t id : header.ints(key)) {
        if (id < 0 || uint64_t(id) >= table.size()) {
            fail("{} lists token {}, but the vocabulary has {} tokens", key, id, table.size());
        }
        ids.push_back(Token(id));
    }
    return ids;
}

/// "ID FLAGS TEXT": flags are letters, or - for none. `in_model`: the model has the token too.
AddedToken parse_added(std::string_view entry, const TokenTable& table, bool& in_model) {
    AddedToken token;
    uint32_t id = 0;
    const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), id);
    const size_t flags_begin = size_t(end - entry.data()) + 1;
    const size_t flags_end = entry.find(' ', std::min(flags_begin, entry.size()));
    if (error != std::errc() || id >= table.size() || flags_end == std::string_view::npos ||
        flags_end + 1 >= entry.size() || *end != ' ') {
        fail("{} holds '{}', expected \"ID FLAGS TEXT\" with an id below {}; the file is damaged",
             keys::kTokenizerAdded, entry.substr(0, 64), table.size());
    }
    in_model = false;
    for (const char flag : entry.substr(flags_begin, flags_end - flags_begin)) {
        switch (flag) {
            case 's':
                token.special = true;
                break;
            case 'w':
                token.single_word = true;
                break;
            case 'l':
                token.left_strip = true;
                break;
            case 'r':
                token.right_strip = true;
                break;
            case 'n':
                token.normalized = true;
                break;
            case 'm':
                in_model = true;
                break;
            case '-':
                break;
            default:
                fail("{} holds '{}' with the unknown flag {}; use a newer version", keys::kTokenizerAdded,
                     entry.substr(0, 64), flag);
        }
    }
    token.id = Token(id);
    token.text = entry.substr(flags_end + 1);
    return token;
}

std::string split_by(std::string_view pattern, const char* behavior = "isolated") {
    return fmt::format("split\t{}\t{}", behavior, pattern);
}

/// What llama.cpp keeps from the model: tokens with no text of their own, or with one that is looked for
/// first.
bool is_added(const TokenTable& table, Token id) {
    return table.is_hidden(id) || table.kinds[size_t(id)] == TokenKind::UserDefined;
}

[[noreturn]] void unknown_pre(std::string_view name) {
    std::string known;
    for (const PreRule& each : pre_rules()) known += fmt::format(", {}", fmt::join(each.names, ", "));
    fail(
        "tokenizer.ggml.pre is '{}', which is not known here, and a wrong rule would tokenize wrongly "
        "without "
        "a sign; convert the model from its checkpoint, which stores the rule itself, or set the key to one "
        "of: {}",
        name, known.substr(2));
}

}  // namespace

bool TokenizerRecipe::has(std::string_view name) const {
    return std::find(options.begin(), options.end(), name) != options.end();
}

std::optional<std::string_view> TokenizerRecipe::option(std::string_view name) const {
    for (const std::string_view each : options) {
        if (each.size() > name.size() && each.starts_with(name) && each[name.size()] == '=')
            return each.substr(name.size() + 1);
    }
    return {};
}

uint64_t TokenizerRecipe::number(std::string_view name, uint64_t otherwise) const {
    const auto text = option(name);
    if (!text) return otherwise;
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size()) {
        fail("{} holds {}={}, expected a whole number; the file is damaged", keys::kTokenizerOptions, name,
             text->substr(0, 32));
    }
    return value;
}

TokenizerRecipe::TokenizerRecipe(const GgufHeader& header, const TokenTable& table) {
    is_own = header.find(keys::kTokenizerModel) != nullptr;
    if (is_own) {
        read_own(header, table);
    } else {
        derive(header, table);
    }
}

void TokenizerRecipe::read_own(const GgufHeader& header, const TokenTable& table) {
    model = header.get_string(keys::kTokenizerModel).value_or("");
    options = texts_of(header, keys::kTokenizerOptions);
    normalizers = texts_of(header, keys::kTokenizerNormalizers);
    pre_tokenizers = texts_of(header, keys::kTokenizerPreTokenizers);
    decoders = texts_of(header, keys::kTokenizerDecoders);
    before = ids_of(header, keys::kTokenizerBefore, table);
    after = ids_of(header, keys::kTokenizerAfter, table);
    byte_level = has("byte_level");
    for (const std::string_view each : options) {
        constexpr std::string_view kName = "continues=";
        if (!each.starts_with(kName)) continue;
        const std::string_view number = each.substr(kName.size());
        uint32_t id = 0;
        const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), id);
        if (error != std::errc() || end != number.data() + number.size() || id >= table.size()) {
            fail("{} holds '{}', expected an id below {}; the file is damaged", keys::kTokenizerOptions,
                 each.substr(0, 64), table.size());
        }
        continuing.push_back(Token(id));
    }
    std::sort(continuing.begin(), continuing.end());
    std::vector<bool> left_out(table.size());
    const std::string_view prefix = model == "word_piece" ? option("prefix").value_or("") : "";
    for (const std::string_view entry : header.strings(keys::kTokenizerAdded)) {
        bool in_model = false;
        added.push_back(parse_added(entry, table, in_model));
        const AddedToken& token = added.back();
        left_out[size_t(token.id)] = true;
        if (!in_model) continue;
        if (model != "word_piece") {
            owned_texts.push_back(token.text);
        } else if (!prefix.empty() && token.text.starts_with(prefix)) {
            owned_texts.push_back(token.text.substr(prefix.size()));
        } else {
            owned_texts.push_back(std::string(kSpaceMark) + token.text);
        }
        vocabulary.push_back({owned_texts.back(), token.id});
    }
    for (uint32_t id = 0; id < table.size(); ++id) {
        const bool is_filler =
            table.kinds[id] == TokenKind::Unused && table.texts[id] == fmt::format("[PAD{}]", id);
        if (left_out[id] || is_filler) continue;
        const bool has_spaces = !byte_level && table.kinds[id] == TokenKind::UserDefined &&
                                table.texts[id].find(' ') != std::string_view::npos;
        if (has_spaces) {  // how GGUF writes ▁ in such tokens
            std::string& text = owned_texts.emplace_back();
            for (const char c : table.texts[id])
                text += c == ' ' ? std::string(kSpaceMark) : std::string(1, c);
        }
        vocabulary.push_back(
            {has_spaces ? std::string_view(owned_texts.back()) : table.texts[id], Token(id)});
    }
}

void TokenizerRecipe::derive(const GgufHeader& header, const TokenTable& table) {
    const std::string_view ggml_model = header.get_string("tokenizer.ggml.model").value_or("");
    const auto flag = [&](const char* key, bool otherwise) {
        return header.get_bool(std::string("tokenizer.ggml.") + key).value_or(otherwise);
    };
    const auto existing = [&](Token id) {
        return uint32_t(id) < table.size() ? std::optional<Token>(id) : std::nullopt;
    };
    std::optional<Token> bos = table.bos, eos = table.eos, unknown = table.unknown;
    bool add_bos = false, add_eos = false;
    const bool is_gemma4 = ggml_model == "gemma4";

    if (ggml_model == "llama") {
        model = "sentencepiece_bpe";
        decoders = {"replace\t\u2581\t ", "byte_fallback"};
        if (flag("add_space_prefix", true)) {
            normalizers.push_back("prepend\t\u2581");
            decoders.push_back("strip\tleft");
        }
        normalizers.push_back("replace\t \t\u2581");
        if (!bos) bos = existing(1);
        if (!eos) eos = existing(2);
        if (!unknown) unknown = existing(0);
        add_bos = true;
    } else if (ggml_model == "gpt2" || is_gemma4) {
        model = "bpe";
        const std::string_view name =
            is_gemma4 ? "gemma4" : header.get_string("tokenizer.ggml.pre").value_or("default");
        const PreRule* rule = find_pre_rule(name);
        std::vector<std::string> patterns = texts_of(header, keys::kTokenizerPreRegex);
        if (patterns.empty()) {
            if (rule == nullptr) unknown_pre(name);
            for (const std::string_view pattern : rule->patterns) patterns.emplace_back(pattern);
            if (name == "default") {
                warnings.push_back(
                    "the file does not say how its tokenizer splits text (tokenizer.ggml.pre is 'default' or "
                    "missing): a general rule is used, and text may be tokenized otherwise than in training; "
                    "convert the model again from its checkpoint");
            }
        }
        const PreRule::Text text = rule != nullptr ? rule->text : PreRule::Text::Bytes;
        byte_level = text == PreRule::Text::Bytes;
        if (text == PreRule::Text::SpaceMarks) {
            normalizers.push_back("replace\t \t\u2581");
            decoders = {"replace\t\u2581\t ", "byte_fallback"};
            options.push_back("byte_fallback");
        }
        if (const auto form = header.get_string(keys::kTokenizerNormalizer)) {
            const std::string_view forms[] = {"NFC", "nfc", "NFD", "nfd", "NFKC", "nfkc", "NFKD", "nfkd"};
            const auto* found = std::find(std::begin(forms), std::end(forms), *form);
            if (found == std::end(forms) || form->front() != 'N') {
                fail("{} is '{}', expected NFC, NFD, NFKC or NFKD", keys::kTokenizerNormalizer, *form);
            }
            normalizers.emplace_back(found[1]);
        }
        for (const std::string& pattern : patterns) {
            pre_tokenizers.push_back(
                split_by(pattern, text == PreRule::Text::Words ? "not_removed" : "isolated"));
        }
        if (header.get_bool(keys::kTokenizerIgnoreMerges).value_or(rule != nullptr && rule->ignore_merges))
            options.push_back("ignore_merges");
        if (byte_level) decoders = {"byte_level"};
        add_bos = rule != nullptr && rule->add_bos;
    } else if (ggml_model == "t5") {
        model = "unigram";
        const bool collapse = flag("remove_extra_whitespaces", false);
        const bool prefix = flag("add_space_prefix", false);
        normalizers.push_back(fmt::format("sentencepiece\t{}{}{}", prefix || collapse ? "prefix" : "-",
                                          collapse ? " collapse" : "", ""));
        options.push_back("float32");
        decoders = {"replace\t\u2581\t ", "byte_fallback"};
        if (!eos) eos = existing(1);
        if (!unknown) unknown = existing(2);
        add_eos = true;
    } else if (ggml_model == "bert") {
        model = "word_piece";
        const bool lowercase = flag("normalizer.lowercase", true);
        normalizers.push_back("clean_text");
        normalizers.push_back("space_han");
        if (flag("normalizer.strip_accents", lowercase)) {
            normalizers.push_back("nfd");
            normalizers.push_back("strip_marks");
        }
        if (lowercase) normalizers.push_back("lowercase");
        pre_tokenizers = {split_by(R"(\s+)", "removed"), split_by(R"([!-/:-@\[-`{-~\p{P}])")};
        decoders = {"word_piece\t"};
        if (!bos) bos = existing(101);
        if (!unknown) unknown = existing(100);
        if (!eos)
            eos = header.find("tokenizer.ggml.seperator_token_id") != nullptr
                      ? existing(Token(*header.get_uint("tokenizer.ggml.seperator_token_id")))
                      : existing(102);
        before = bos ? std::vector<Token>{*bos} : std::vector<Token>();
        after = eos ? std::vector<Token>{*eos} : std::vector<Token>();
    } else {
        fail(
            "tokenizer.ggml.model is '{}'; known are 'llama' (SentencePiece BPE), 'gpt2' (byte-level BPE), "
            "'gemma4' (BPE), 't5' (unigram) and 'bert' (WordPiece)",
            ggml_model);
    }
    if (unknown) options.push_back(fmt::format("unk={}", *unknown));
    if (ggml_model != "bert") {
        if (flag("add_bos_token", add_bos) && bos) before = {*bos};
        if (flag("add_eos_token", add_eos) && eos) after = {*eos};
    }
    for (uint32_t id = 0; id < table.size(); ++id) {
        const Token token = Token(id);
        if (table.texts[id].empty()) continue;
        if (is_added(table, token))
            added.push_back(
                {token, std::string(table.texts[id]), table.is_hidden(token), false, false, false, false});
        // Byte-level vocabularies write added tokens as they are, the others in bytes' characters.
        const bool in_model = byte_level ? !is_added(table, token) && table.kinds[id] != TokenKind::Unused
                                         : !table.is_hidden(token);
        if (in_model) vocabulary.push_back({table.texts[id], token});
    }
}

}  // namespace ingot::runtime
