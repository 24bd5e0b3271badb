#include "converters/vocabulary/tokenizer_json.h"

#include <cmath>

#include "converters/vocabulary/json_document.h"
#include "converters/vocabulary/tokenizer_steps.h"
#include "format/error.h"

namespace ingot::converters {
namespace {

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
        read_steps(root, file_, result_);
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
        result_.fuse_unknown = flag_of(model, "fuse_unk", false);
        result_.continuing_prefix = text_of(model, "continuing_subword_prefix");
        result_.word_suffix = text_of(model, "end_of_word_suffix");
        result_.max_word_characters = number_of(model, "max_input_chars_per_word").value_or(100);
        result_.unknown_id = number_of(model, "unk_id");
        const auto vocabulary = member(model, "vocab");
        dom::object tokens;
        dom::array scored;
        if (result_.model_type.empty() && vocabulary && vocabulary->is_array())
            result_.model_type = "Unigram";
        if (result_.model_type == "Unigram") {
            if (!vocabulary || vocabulary->get(scored)) fail("{}: model.vocab is not an array", file_);
            for (const dom::element entry : scored) read_scored(entry);
            return;
        }
        if (!vocabulary || vocabulary->get(tokens)) fail("{}: model.vocab is not an object", file_);
        for (const auto& [text, value] : tokens) {
            result_.vocabulary.emplace_back(std::string(text), read_token_id(value, text, file_));
        }
        for_each(model, "merges", [this](dom::element merge) { read_merge(merge, result_.merges.size()); });
    }

    /// ["text", score]; the id is the place.
    void read_scored(dom::element entry) {
        const size_t id = result_.vocabulary.size();
        dom::array pair;
        std::string_view text;
        double score = 0;
        const bool is_pair = !entry.get(pair) && pair.size() == 2 && !pair.at(0).get(text) &&
                             !pair.at(1).get(score) && std::isfinite(score);
        if (!is_pair) fail("{}: model.vocab[{}] is no pair of text and score", file_, id);
        if (id >= INT32_MAX) fail("{}: has more than {} tokens", file_, INT32_MAX);
        result_.vocabulary.emplace_back(std::string(text), uint32_t(id));
        result_.scores.push_back(score);
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
        const bool special = flag_of(token, "special", false);
        result_.added_tokens.push_back({read_token_id(*id, text, file_), std::string(text), special,
                                        flag_of(token, "single_word", false), flag_of(token, "lstrip", false),
                                        flag_of(token, "rstrip", false),
                                        flag_of(token, "normalized", !special)});
    }

    const std::string& file_;
    TokenizerJson result_;
};

}  // namespace

std::optional<std::vector<std::string>> TokenizerJson::patterns() const {
    constexpr std::string_view kPunctuation = R"([\p{P}\$\+<=>\^~\|`])";
    std::vector<std::string> patterns;
    for (const std::string& step : pre_tokenizers) {
        const auto pattern_after = [&](std::string_view begin) -> std::optional<std::string> {
            return step.starts_with(begin) ? std::optional(step.substr(begin.size())) : std::nullopt;
        };
        if (const auto isolated = pattern_after("split\tisolated\t")) {
            patterns.push_back(*isolated);
        } else if (const auto kept = pattern_after("split\tnot_removed\t")) {
            // Where a pattern matches every character, leaving out the others leaves out nothing.
            patterns.push_back(*kept);
        } else if (const auto repeated = pattern_after("split\tcontiguous\t")) {
            const bool one_set = repeated->front() == '[' && repeated->find(']') == repeated->size() - 1;
            patterns.push_back(one_set ? *repeated + "+" : "(?:" + *repeated + ")+");
        } else if (step == "punctuation\tisolated" || step == "punctuation\tcontiguous") {
            patterns.push_back(std::string(kPunctuation) + (step.ends_with('s') ? "+" : ""));
        } else if (step != "prefix_space" && step != "byte_level") {  // of which the caller warns; bytes
            return {};
        }
    }
    return patterns;
}

TokenizerJson TokenizerJson::parse(std::string_view json, const std::string& file) {
    const JsonDocument document(json, file);
    return Reader(file).read(document.root());
}

TokenizerJson TokenizerJson::read_file(const std::string& path) {
    return parse(VocabularyFile(path).text(), path);
}

}  // namespace ingot::converters
