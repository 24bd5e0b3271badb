#include "converters/export/tokenizer.h"

#include <fmt/format.h>

#include "converters/export/sentencepiece.h"
#include "converters/export/tokenizer_json.h"
#include "converters/export/tokenizer_keys.h"
#include "format/error.h"
#include "format/json_writer.h"

namespace ingot::converters {

namespace {

using Model = TokenizerKeys::Model;

/// SentencePiece adds scores in float32, and finds the best pairs by them; tokenizer.json knows neither.
bool is_of_sentencepiece(const TokenizerKeys& tokenizer) {
    return tokenizer.model == Model::SentencePieceBpe ||
           (tokenizer.model == Model::Unigram && tokenizer.has_option("float32"));
}

std::string tokenizer_config(const TokenizerKeys& tokenizer) {
    const bool is_llama = tokenizer.model == Model::SentencePieceBpe;
    JsonWriter json;
    json.begin_object();
    json.member("tokenizer_class", is_llama                         ? "LlamaTokenizer"
                                   : is_of_sentencepiece(tokenizer) ? "T5Tokenizer"
                                                                    : "PreTrainedTokenizerFast");
    if (is_llama) {
        json.member("add_bos_token", tokenizer.add_bos).member("add_eos_token", tokenizer.add_eos);
        json.member("add_prefix_space", tokenizer.add_space_prefix).member("legacy", false);
    }
    json.member("clean_up_tokenization_spaces", false);
    const auto token = [&](const char* key, std::optional<uint64_t> id) {
        if (const auto text = tokenizer.text(id)) json.member(key, *text);
    };
    token("bos_token", tokenizer.bos);
    token("eos_token", tokenizer.eos);
    token("pad_token", tokenizer.padding);
    token("unk_token", tokenizer.unknown);
    token("mask_token", tokenizer.mask);
    if (tokenizer.model == Model::WordPiece) {  // BERT's names
        token("cls_token", tokenizer.bos);
        token("sep_token", tokenizer.separator);
    }
    return json.end_object().text() + "\n";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> exported_tokenizer(const GgufHeader& header,
                                                                    Findings& findings) {
    std::vector<std::pair<std::string, std::string>> files;
    try {
        const TokenizerKeys tokenizer(header);
        if (is_of_sentencepiece(tokenizer)) {
            files.emplace_back("tokenizer.model", sentencepiece_model(tokenizer));
        } else {
            files.emplace_back("tokenizer.json", tokenizer_json(tokenizer));
        }
        files.emplace_back("tokenizer_config.json", tokenizer_config(tokenizer));
        if (const auto chat = header.get_string("tokenizer.chat_template"))
            files.emplace_back("chat_template.jinja", std::string(*chat));
    } catch (const Error& error) {
        findings.warn("tokenizer", fmt::format("the tokenizer is left out: {}", error.what()),
                      "copy the tokenizer's files from the original checkpoint");
        files.clear();
    }
    return files;
}

}  // namespace ingot::converters
