#include "converters/vocabulary/tokenizer_json.h"

#include <simdjson.h>

#include <unordered_set>

#include "converters/vocabulary/oniguruma.h"
#include "format/error.h"
#include "format/mapped_file.h"
#include "format/pre_rules.h"

namespace ingot::converters {
namespace {

namespace dom = simdjson::dom;

constexpr size_t kMaxFileBytes = size_t(256) << 20;
constexpr size_t kMaxDepth = 64;

// Members of an object; nothing when absent, null or of another kind.
std::optional<dom::element> member(dom::element element, const char* key) {
    dom::element found;
    if (element.at_key(key).get(found) || found.is_null()) return {};
    return found;
}
std::string_view text_of(dom::element element, const char* key) {
    const auto found = member(element, key);
    std::string_view text;
    if (!found || found->get(text)) return {};
    return text;
}
bool flag_of(dom::element element, const char* key, bool otherwise) {
    const auto found = member(element, key);
    bool flag;
    return !found || found->get(flag) ? otherwise : flag;
}
template <typename Use>
void for_each(dom::element element, const char* key, const Use& use) {
    const auto found = member(element, key);
    dom::array array;
    if (!found || found->get(array)) return;
    for (const dom::element each : array) use(each);
}

/// Readers disagree about which of two equal keys counts. The depth was bounded by the parser.
void check_keys(dom::element element, const std::string& file) {
    dom::array array;
    dom::object object;
    if (!element.get(array)) {
        for (const dom::element each : array) check_keys(each, file);
    } else if (!element.get(object)) {
        std::unordered_set<std::string_view> seen;
        for (const auto& [key, value] : object) {
            if (!seen.insert(key).second) {
                fail("{}: the key \"{}\" appears twice in one object; remove one of them", file, key);
            }
            check_keys(value, file);
        }
    }
}

class Reader {
  public:
    explicit Reader(const std::string& file) : file_(file) {}

    TokenizerJson read(dom::element root) {
        const auto model = member(root, "model");
        if (!root.is_object() || !model || !model->is_object()) {
            fail("{}: has no \"model\"; it is no tokenizer of Hugging Face's form", file_);
        }
        read_model(*model);
        for_each(root, "added_tokens", [this](dom::element token) { read_added_token(token); });
        if (const auto normalizer = member(root, "normalizer")) read_normalizer(*normalizer);
        if (const auto pre_tokenizer = member(root, "pre_tokenizer")) read_pre_tokenizer(*pre_tokenizer);
        if (const auto processor = member(root, "post_processor")) read_processor(*processor);
        if (const auto decoder = member(root, "decoder")) {
            result_.has_sequence_decoder = text_of(*decoder, "type") == "Sequence";
            result_.is_byte_level |= text_of(*decoder, "type") == "ByteLevel";
        }
        return std::move(result_);
    }

  private:
    void read_model(dom::element model) {
        result_.model_type = text_of(model, "type");
        if (result_.model_type.empty() && member(model, "merges"))
            result_.model_type = "BPE";  // files of old versions
        result_.unknown_token = text_of(model, "unk_token");
        result_.byte_fallback = flag_of(model, "byte_fallback", false);
        result_.ignore_merges = flag_of(model, "ignore_merges", false);
        if (result_.model_type != "BPE") return;  // the caller says what is possible
        const auto vocabulary = member(model, "vocab");
        dom::object tokens;
        if (!vocabulary || vocabulary->get(tokens)) fail("{}: model.vocab is not an object", file_);
        for (const auto& [text, value] : tokens) {
            result_.vocabulary.emplace_back(std::string(text), read_id(value, text));
        }
        for_each(model, "merges", [this](dom::element merge) { read_merge(merge, result_.merges.size()); });
    }

    uint32_t read_id(dom::element value, std::string_view text) {
        uint64_t id;
        if (value.get(id) || id > INT32_MAX) {
            fail("{}: the id of token \"{}\" is not a whole number from 0 to {}", file_, text, INT32_MAX);
        }
        return uint32_t(id);
    }

    /// "left right", or since 2024 ["left", "right"].
    void read_merge(dom::element merge, size_t rank) {
        std::string_view left, right;
        dom::array pair;
        if (!merge.get(left)) {
            const size_t space = left.find(' ', 1);
            if (space != std::string_view::npos) {
                right = left.substr(space + 1);
                left = left.substr(0, space);
            }
        } else if (!merge.get(pair) && pair.size() == 2) {
            if (pair.at(0).get(left) || pair.at(1).get(right)) right = {};
        }
        if (left.empty() || right.empty()) fail("{}: model.merges[{}] is not a pair of texts", file_, rank);
        result_.merges.emplace_back(left, right);
    }

    void read_added_token(dom::element token) {
        const auto id = member(token, "id");
        const std::string_view text = text_of(token, "content");
        if (!id || text.empty()) {
            fail("{}: added_tokens[{}] lacks its id or its content", file_, result_.added_tokens.size());
        }
        result_.added_tokens.push_back(
            {read_id(*id, text), std::string(text), flag_of(token, "special", false)});
    }

    void read_normalizer(dom::element normalizer) {
        const std::string_view type = text_of(normalizer, "type");
        if (type == "Sequence") {
            for_each(normalizer, "normalizers", [this](dom::element step) { read_normalizer(step); });
        } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
            result_.normalizer = type;
        } else if (type == "Prepend") {
            result_.adds_space_prefix = true;
        } else if (type != "Replace" && result_.unknown_normalizer.empty()) {
            result_.unknown_normalizer = type;  // Replace writes spaces as ▁, which the "llama" model implies
        }
    }

    void read_pre_tokenizer(dom::element step) {
        const std::string_view type = text_of(step, "type");
        if (type == "Sequence") {
            for_each(step, "pretokenizers", [this](dom::element part) { read_pre_tokenizer(part); });
        } else if (type == "ByteLevel") {
            result_.is_byte_level = true;
            result_.adds_space_prefix |= flag_of(step, "add_prefix_space", true);
            if (flag_of(step, "use_regex", true)) result_.patterns.emplace_back(kGpt2Pattern);
        } else if (type == "Digits") {
            result_.patterns.emplace_back(flag_of(step, "individual_digits", false) ? R"(\p{N})"
                                                                                    : R"(\p{N}+)");
        } else if (type == "Punctuation") {
            read_split(step, R"([\p{P}\$\+<=>\^~\|`])", "Punctuation");
        } else if (type == "Split") {
            read_split(step, split_pattern(step), "Split");
        } else if (type == "Metaspace") {
            const std::string_view scheme = text_of(step, "prepend_scheme");
            const bool prefix = scheme.empty() ? flag_of(step, "add_prefix_space", true) : scheme != "never";
            result_.adds_space_prefix |= prefix;
        } else {
            not_understood(std::string(type));
        }
    }

    std::string split_pattern(dom::element step) {
        const auto pattern = member(step, "pattern");
        if (!pattern) fail("{}: a pre-tokenizer of type Split has no pattern", file_);
        const std::string_view regex = text_of(*pattern, "Regex");
        if (!regex.empty()) {
            const auto translated = pcre2_pattern(regex);
            if (!translated) not_understood(fmt::format("Split by {}", regex));
            return canonical_pattern(translated.value_or(std::string(regex)));
        }
        std::string quoted;
        for (const char c : text_of(*pattern, "String")) {
            if (std::string_view("\\^$.[]|()?*+{}").find(c) != std::string_view::npos) quoted += '\\';
            quoted += c;
        }
        if (quoted.empty()) fail("{}: a pre-tokenizer of type Split has neither a Regex nor a String", file_);
        return canonical_pattern(quoted);
    }

    /// What is matched, and what lies between, become pieces: that is "Isolated". Others where they come to
    /// the same.
    void read_split(dom::element step, std::string pattern, const char* type) {
        const std::string_view behavior = text_of(step, "behavior");
        const bool invert = flag_of(step, "invert", false);
        if (behavior == "Isolated" || behavior.empty() || (behavior == "Removed" && invert)) {
            result_.patterns.push_back(std::move(pattern));
        } else if (behavior == "Contiguous" && !invert) {
            const bool one_set = pattern.front() == '[' && pattern.find(']') == pattern.size() - 1;
            result_.patterns.push_back(one_set ? pattern + "+" : "(?:" + pattern + ")+");
        } else {
            not_understood(fmt::format("{} with behavior {}", type, behavior));
        }
    }

    void not_understood(std::string step) {
        if (result_.unknown_step.empty()) result_.unknown_step = std::move(step);
    }

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

    const std::string& file_;
    TokenizerJson result_;
};

}  // namespace

TokenizerJson TokenizerJson::parse(std::string_view json, const std::string& file) {
    const simdjson::padded_string padded(json);
    dom::parser parser;
    simdjson::error_code error = parser.allocate(std::max<size_t>(json.size(), 64), kMaxDepth);
    dom::element root;
    if (!error) error = parser.parse(padded).get(root);
    if (error == simdjson::DEPTH_ERROR) fail("{}: nested deeper than {} levels", file, kMaxDepth);
    if (error) fail("{}: not valid JSON ({})", file, simdjson::error_message(error));
    check_keys(root, file);
    return Reader(file).read(root);
}

TokenizerJson TokenizerJson::read_file(const std::string& path) {
    const MappedFile file{path};
    const auto bytes = file.bytes();
    if (bytes.size() > kMaxFileBytes) {
        fail("{}: {} bytes is too large for a tokenizer (at most {})", path, bytes.size(), kMaxFileBytes);
    }
    return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

}  // namespace ingot::converters
