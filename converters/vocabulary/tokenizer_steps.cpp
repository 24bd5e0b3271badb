#include "converters/vocabulary/tokenizer_steps.h"

#include <fmt/format.h>

#include <algorithm>

#include "converters/vocabulary/base64.h"
#include "converters/vocabulary/oniguruma.h"
#include "format/error.h"
#include "format/pre_rules.h"

namespace ingot::converters {
namespace {

// Sets of characters as the library has them, in the notation of SPEC.md, section 3.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d})";

class StepReader {
  public:
    StepReader(const std::string& file, TokenizerJson& result) : file_(file), result_(result) {}

    void read(dom::element root) {
        if (const auto normalizer = member(root, "normalizer")) read_normalizer(*normalizer);
        if (const auto pre_tokenizer = member(root, "pre_tokenizer")) read_pre_tokenizer(*pre_tokenizer);
        // Bytes are written as characters at the very end: then the model can as well take the bytes.
        if (!result_.pre_tokenizers.empty() && result_.pre_tokenizers.back() == "byte_level")
            result_.pre_tokenizers.pop_back();
        if (const auto processor = member(root, "post_processor")) read_processor(*processor);
        if (const auto decoder = member(root, "decoder")) {
            read_decoder(*decoder);
        } else {  // the library puts spaces between tokens, even where that shows bytes as characters
            result_.decoders = {result_.is_byte_level ? "byte_level" : "separate"};
        }
    }

  private:
    void not_understood(std::string step) {
        if (result_.unknown_step.empty()) result_.unknown_step = std::move(step);
    }

    // --- Normalizers --------------------------------------------------------------------------------------

    void normalize(std::string step) { result_.normalizers.push_back(std::move(step)); }

    void read_normalizer(dom::element step) {
        const std::string_view type = text_of(step, "type");
        if (type == "Sequence") {
            for_each(step, "normalizers", [this](dom::element part) { read_normalizer(part); });
        } else if (type == "NFC") {
            normalize("nfc");
        } else if (type == "NFD") {
            normalize("nfd");
        } else if (type == "NFKC") {
            normalize("nfkc");
        } else if (type == "NFKD") {
            normalize("nfkd");
        } else if (type == "Lowercase") {
            normalize("lowercase");
        } else if (type == "StripAccents") {
            normalize("strip_marks");
        } else if (type == "Nmt") {
            normalize("nmt");
        } else if (type == "ByteLevel") {
            normalize("byte_level");
            result_.is_byte_level = true;
        } else if (type == "Strip") {
            const bool left = flag_of(step, "strip_left", true), right = flag_of(step, "strip_right", true);
            if (left || right)
                normalize(left && right ? "strip\tboth" : left ? "strip\tleft" : "strip\tright");
        } else if (type == "Prepend") {
            const std::string_view text = text_of(step, "prepend");
            normalize(fmt::format("prepend\t{}", text));
            result_.adds_space_prefix |= text == "\u2581" || text == " ";
        } else if (type == "Replace") {
            if (const auto pattern = read_pattern(step, "Replace"))
                normalize(fmt::format("replace\t{}\t{}", *pattern, text_of(step, "content")));
        } else if (type == "BertNormalizer") {
            read_bert_normalizer(step);
        } else if (type == "Precompiled") {
            read_charsmap(text_of(step, "precompiled_charsmap"));
        } else {
            not_understood(fmt::format("normalizer {}", type));
        }
    }

    void read_bert_normalizer(dom::element step) {
        const bool lowercase = flag_of(step, "lowercase", true);
        const bool strip_accents = flag_of(step, "strip_accents", lowercase);
        if (flag_of(step, "clean_text", true)) normalize("clean_text");
        if (flag_of(step, "handle_chinese_chars", true)) normalize("space_han");
        if (strip_accents) {
            normalize("nfd");
            normalize("strip_nonspacing_marks");
        }
        if (lowercase) normalize("lowercase");
        result_.lowercases = lowercase;
        result_.strips_accents = strip_accents;
    }

    void read_charsmap(std::string_view base64) {
        const auto bytes = decode_base64(base64);
        if (!bytes) fail("{}: precompiled_charsmap is not base64; the file is damaged", file_);
        if (bytes->empty()) return;
        if (!result_.charsmap.empty() && result_.charsmap != *bytes) {
            not_understood("normalizer Precompiled, a second one");
            return;
        }
        result_.charsmap = *bytes;
        normalize("charsmap");
    }

    // --- Pre-tokenizers -----------------------------------------------------------------------------------

    void cut(std::string step) { result_.pre_tokenizers.push_back(std::move(step)); }

    void read_pre_tokenizer(dom::element step) {
        const std::string_view type = text_of(step, "type");
        if (type == "Sequence") {
            for_each(step, "pretokenizers", [this](dom::element part) { read_pre_tokenizer(part); });
        } else if (type == "ByteLevel") {
            result_.is_byte_level = true;
            if (flag_of(step, "add_prefix_space", true)) {
                result_.adds_space_prefix = true;
                cut("prefix_space");
            }
            if (flag_of(step, "use_regex", true)) cut(split_step("isolated", kGpt2Pattern));
            cut("byte_level");
        } else if (type == "Digits") {
            cut(split_step("isolated", flag_of(step, "individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)"));
        } else if (type == "Punctuation") {
            read_behavior(step,
                          [](std::string_view behavior) { return fmt::format("punctuation\t{}", behavior); });
        } else if (type == "Split") {
            if (const auto pattern = read_pattern(step, "Split")) read_split(step, *pattern);
        } else if (type == "Whitespace") {
            cut(split_step("not_removed", fmt::format(R"([{0}]+|[^{0}\s]+)", kWord)));
        } else if (type == "WhitespaceSplit") {
            cut(split_step("removed", R"(\s+)"));
        } else if (type == "BertPreTokenizer") {
            cut(split_step("removed", R"(\s+)"));
            cut("punctuation\tisolated");
        } else if (type == "CharDelimiterSplit") {
            cut(split_step("removed", quoted_pattern(text_of(step, "delimiter"))));
        } else if (type == "FixedLength") {
            cut(fmt::format("fixed_length\t{}", number_of(step, "length").value_or(5)));
        } else if (type == "Metaspace") {
            read_metaspace(step);
        } else {
            not_understood(fmt::format("pre-tokenizer {}", type));
        }
    }

    void read_metaspace(dom::element step) {
        std::string_view mark = text_of(step, "replacement");
        if (mark.empty()) mark = "\u2581";
        const std::string scheme = metaspace_scheme(step);
        result_.adds_space_prefix |= scheme != "never";
        cut(fmt::format("metaspace\t{}\t{}", scheme, mark));
        if (flag_of(step, "split", true)) cut(split_step("with_next", quoted_pattern(mark)));
    }

    static std::string metaspace_scheme(dom::element step) {
        const std::string_view scheme = text_of(step, "prepend_scheme");
        if (scheme == "first" || scheme == "never" || scheme == "always") return std::string(scheme);
        return flag_of(step, "add_prefix_space", true) ? "always" : "never";
    }

    /// The pattern of a Split or a Replace: {"Regex": …} or {"String": …}.
    std::optional<std::string> read_pattern(dom::element step, std::string_view type) {
        const auto pattern = member(step, "pattern");
        if (!pattern) fail("{}: a step of type {} has no pattern", file_, type);
        const std::string_view regex = text_of(*pattern, "Regex");
        if (!regex.empty()) {
            const auto translated = pcre2_pattern(regex);
            if (!translated) {
                not_understood(fmt::format("{} by {}", type, regex));
                return {};
            }
            return canonical_pattern(*translated);
        }
        const std::string_view text = text_of(*pattern, "String");
        if (text.empty()) fail("{}: a step of type {} has neither a Regex nor a String", file_, type);
        return quoted_pattern(text);
    }

    void read_split(dom::element step, const std::string& pattern) {
        read_behavior(step, [&](std::string_view behavior) { return split_step(behavior, pattern); });
    }

    /// Adds what `make` makes of the name of the step's behavior.
    template <typename Make>
    void read_behavior(dom::element step, const Make& make) {
        const std::string_view behavior = text_of(step, "behavior");
        constexpr std::pair<std::string_view, std::string_view> kBehaviors[] = {
            {"", "isolated"},
            {"Isolated", "isolated"},
            {"Removed", "removed"},
            {"Contiguous", "contiguous"},
            {"MergedWithPrevious", "with_previous"},
            {"MergedWithNext", "with_next"},
        };
        const auto* known = std::find_if(std::begin(kBehaviors), std::end(kBehaviors),
                                         [&](const auto& each) { return each.first == behavior; });
        if (known == std::end(kBehaviors))
            return not_understood(fmt::format("Split with behavior {}", behavior));
        const bool inverts = flag_of(step, "invert", false) && known->second != "isolated";
        cut(make((inverts ? "not_" : "") + std::string(known->second)));
    }

    // --- Post-processors ----------------------------------------------------------------------------------

    void read_processor(dom::element processor) {
        const std::string_view type = text_of(processor, "type");
        if (type == "Sequence") {
            for_each(processor, "processors", [this](dom::element part) { read_processor(part); });
        } else if (type == "ByteLevel") {
            result_.has_byte_level_processor = true;
        } else if (type == "TemplateProcessing") {
            result_.has_template = true;
            result_.single = read_template(processor, "single");
            result_.pair = read_template(processor, "pair");
            read_template_ids(processor);
        } else if (type == "BertProcessing" || type == "RobertaProcessing") {
            const auto [cls, cls_id] = read_pair(processor, "cls");
            const auto [sep, sep_id] = read_pair(processor, "sep");
            result_.has_template = true;
            result_.single = {cls, "", sep};
            result_.pair = type == "BertProcessing" ? TokenizerJson::Template{cls, "", sep, "", sep}
                                                    : TokenizerJson::Template{cls, "", sep, sep, "", sep};
            result_.before = {cls_id};
            result_.after = {sep_id};
        } else {
            not_understood(fmt::format("post-processor {}", type));
        }
    }

    TokenizerJson::Template read_template(dom::element processor, const char* key) {
        TokenizerJson::Template parts;
        for_each(processor, key, [&](dom::element part) {
            const auto token = member(part, "SpecialToken");
            parts.emplace_back(token ? text_of(*token, "id") : std::string_view());
        });
        return parts;
    }

    void read_template_ids(dom::element processor) {
        result_.before.clear();
        result_.after.clear();
        const auto tokens = member(processor, "special_tokens");
        bool is_behind = false;
        for (const std::string& name : result_.single) {
            if (name.empty()) {
                is_behind = true;
                continue;
            }
            std::vector<uint32_t>& side = is_behind ? result_.after : result_.before;
            const auto token = tokens ? member(*tokens, name) : std::nullopt;
            bool has_ids = false;
            if (token) {
                for_each(*token, "ids", [&](dom::element id) {
                    uint64_t number;
                    if (id.get(number) || number > INT32_MAX)
                        fail("{}: the template's token \"{}\" has an id that is none", file_, name);
                    side.push_back(uint32_t(number));
                    has_ids = true;
                });
            }
            if (!has_ids) side.push_back(id_of_text(name));
        }
    }

    uint32_t id_of_text(std::string_view text) {
        for (const auto& token : result_.added_tokens) {
            if (token.text == text) return token.id;
        }
        for (const auto& [known, id] : result_.vocabulary) {
            if (known == text) return id;
        }
        fail("{}: the template's token \"{}\" is in no vocabulary", file_, text);
    }

    /// ["[SEP]", 102]
    std::pair<std::string, uint32_t> read_pair(dom::element processor, const char* key) {
        const auto pair = member(processor, key);
        dom::array array;
        std::string_view text;
        uint64_t id = 0;
        const bool is_pair = pair && !pair->get(array) && array.size() == 2 && !array.at(0).get(text) &&
                             !array.at(1).get(id) && id <= INT32_MAX;
        if (!is_pair) fail("{}: the post-processor's \"{}\" is no pair of text and id", file_, key);
        return {std::string(text), uint32_t(id)};
    }

    // --- Decoders -----------------------------------------------------------------------------------------

    void read_decoder(dom::element step) {
        std::vector<std::string>& decoders = result_.decoders;
        const std::string_view type = text_of(step, "type");
        if (type == "Sequence") {
            for_each(step, "decoders", [this](dom::element part) { read_decoder(part); });
        } else if (type == "ByteLevel") {
            decoders.push_back("byte_level");
            result_.is_byte_level = true;
        } else if (type == "ByteFallback") {
            decoders.push_back("byte_fallback");
        } else if (type == "Metaspace") {
            std::string_view mark = text_of(step, "replacement");
            decoders.push_back(fmt::format("metaspace\t{}\t{}", metaspace_scheme(step),
                                           mark.empty() ? std::string_view("\u2581") : mark));
        } else if (type == "Replace") {
            const auto pattern = member(step, "pattern");
            const std::string_view text = pattern ? text_of(*pattern, "String") : std::string_view();
            if (!text.empty()) {
                decoders.push_back(
                    fmt::format("replace\t{}\t{}", quoted_pattern(text), text_of(step, "content")));
            }
        } else if (type == "Strip") {
            if (text_of(step, "content") == " " && number_of(step, "start").value_or(0) > 0)
                decoders.push_back("strip\tleft");
        } else if (type == "WordPiece") {
            const std::string_view prefix = text_of(step, "prefix");
            decoders.push_back(fmt::format("word_piece\t{}", prefix));
            if (flag_of(step, "cleanup", true)) clean_up_spaces();
        } else if (type == "BPEDecoder") {
            const std::string_view suffix = text_of(step, "suffix");
            decoders.push_back(fmt::format("suffix\t{}", suffix.empty() ? "</w>" : suffix));
        }  // Fuse changes nothing here; what is left (CTC) is not for text
    }

    /// Spaces in front of punctuation and of the second half of contractions, within one token each.
    void clean_up_spaces() {
        constexpr std::pair<std::string_view, std::string_view> kReplacements[] = {
            {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
            {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
            {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
        };
        for (const auto& [from, to] : kReplacements)
            result_.decoders.push_back(fmt::format("replace\t{}\t{}", quoted_pattern(from), to));
    }

    const std::string& file_;
    TokenizerJson& result_;
};

}  // namespace

std::string split_step(std::string_view behavior, std::string_view pattern) {
    return fmt::format("split\t{}\t{}", behavior, pattern);
}

std::string quoted_pattern(std::string_view text) {
    std::string quoted;
    for (const char c : text) {
        if (std::string_view("\\^$.[]|()?*+{}").find(c) != std::string_view::npos) quoted += '\\';
        quoted += c;
    }
    return canonical_pattern(quoted);
}

void read_steps(dom::element root, const std::string& file, TokenizerJson& result) {
    StepReader(file, result).read(root);
}

}  // namespace ingot::converters
