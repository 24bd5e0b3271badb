#include "converters/export/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>

#include "converters/export/tokenizer_models.h"
#include "converters/export/tokenizer_steps.h"
#include "format/json_writer.h"

namespace ingot::converters {

namespace {

/// Marks in `outside_model` those that only this list has.
std::string added_tokens_json(const TokenizerKeys& tokenizer, std::vector<bool>& outside_model) {
    std::vector<TokenizerKeys::AddedToken> added = tokenizer.added;  // the library wants them by id
    std::ranges::stable_sort(added, {}, &TokenizerKeys::AddedToken::id);
    JsonWriter json;
    json.begin_array(JsonWriter::kOneLine);
    for (const TokenizerKeys::AddedToken& token : added) {
        json.begin_object(JsonWriter::kOneLine).member("id", token.id).member("content", token.text);
        json.member("single_word", token.has('w'));
        json.member("lstrip", token.has('l')).member("rstrip", token.has('r'));
        json.member("normalized", token.has('n')).member("special", token.has('s')).end_object();
        outside_model[token.id] = !token.has('m');
    }
    return json.end_array().text();
}

/// Ids that stand before and behind a text.
class TemplateJson {
  public:
    explicit TemplateJson(const TokenizerKeys& tokenizer) : tokenizer_(tokenizer) {}

    std::string run() {
        if (tokenizer_.before.empty() && tokenizer_.after.empty()) return "null";
        json_.begin_object(JsonWriter::kOneLine).member("type", "TemplateProcessing");
        json_.key("single").begin_array(JsonWriter::kOneLine);
        write_text("A", 0, true);
        json_.end_array().key("pair").begin_array(JsonWriter::kOneLine);
        write_text("A", 0, true);
        // BERT's second text has a separator behind it and nothing in front.
        write_text("B", 1, tokenizer_.model != TokenizerKeys::Model::WordPiece);
        json_.end_array().key("special_tokens").begin_object(JsonWriter::kOneLine);
        std::vector<int64_t> all = tokenizer_.before;
        for (const int64_t id : tokenizer_.after) {
            if (std::ranges::find(all, id) == all.end()) all.push_back(id);
        }
        for (const int64_t id : all) {
            const std::string text = tokenizer_.text(uint64_t(id));
            json_.key(text).begin_object(JsonWriter::kOneLine).member("id", text);
            json_.key("ids").begin_array(JsonWriter::kOneLine).value(id).end_array();
            json_.key("tokens").begin_array(JsonWriter::kOneLine).value(text).end_array().end_object();
        }
        return json_.end_object().end_object().text();
    }

  private:
    void write_text(const char* name, int segment, bool with_before) {
        if (with_before) write_tokens(tokenizer_.before, segment);
        json_.begin_object(JsonWriter::kOneLine).key("Sequence").begin_object(JsonWriter::kOneLine);
        json_.member("id", name).member("type_id", segment).end_object().end_object();
        write_tokens(tokenizer_.after, segment);
    }

    void write_tokens(const std::vector<int64_t>& ids, int segment) {
        for (const int64_t id : ids) {
            json_.begin_object(JsonWriter::kOneLine).key("SpecialToken").begin_object(JsonWriter::kOneLine);
            json_.member("id", tokenizer_.text(uint64_t(id))).member("type_id", segment);
            json_.end_object().end_object();
        }
    }

    const TokenizerKeys& tokenizer_;
    JsonWriter json_;
};

}  // namespace

std::string tokenizer_json(const TokenizerKeys& tokenizer) {
    std::vector<bool> outside_model(tokenizer.tokens.size());
    std::string text = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null";
    const auto add = [&](const char* key, const std::string& value) {
        text += fmt::format(",\n  \"{}\": {}", key, value);
    };
    add("added_tokens", added_tokens_json(tokenizer, outside_model));
    add("normalizer", normalizer_json(tokenizer));
    add("pre_tokenizer", pre_tokenizer_json(tokenizer));
    add("post_processor", TemplateJson(tokenizer).run());
    add("decoder", decoder_json(tokenizer));
    add("model", tokenizer_model_json(tokenizer, outside_model));
    return text + "\n}\n";
}

}  // namespace ingot::converters
