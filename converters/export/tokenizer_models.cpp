#include "converters/export/tokenizer_models.h"

#include <charconv>

#include "converters/vocabulary/decimals.h"
#include "format/error.h"
#include "format/json_writer.h"

namespace ingot::converters {

namespace {

class ModelJson {
  public:
    ModelJson(const TokenizerKeys& tokenizer, const std::vector<bool>& outside_model)
        : tokenizer_(tokenizer), outside_model_(outside_model) {}

    std::string run() {
        json_.begin_object();
        switch (tokenizer_.model) {
            case TokenizerKeys::Model::Bpe:
                write_bpe();
                break;
            case TokenizerKeys::Model::Unigram:
                write_unigram();
                break;
            case TokenizerKeys::Model::WordPiece:
                write_word_piece();
                break;
            case TokenizerKeys::Model::WordLevel:
                write_word_level();
                break;
            case TokenizerKeys::Model::SentencePieceBpe:
                fail("a BPE of scores has no form in tokenizer.json");
        }
        return json_.end_object().text();
    }

  private:
    bool in_model(size_t id) const { return !tokenizer_.is(id, TokenType::Unused) && !outside_model_[id]; }

    /// {"text": id, …}
    void write_vocabulary() {
        json_.key("vocab").begin_object();
        for (size_t id = 0; id < tokenizer_.tokens.size(); ++id) {
            if (in_model(id)) json_.member(tokenizer_.text(id), id);
        }
        json_.end_object();
    }

    void write_text_or_null(const char* key, std::string_view text) {
        json_.key(key);
        text.empty() ? json_.null() : json_.value(text);
    }

    void write_bpe() {
        const bool drops_unknown = tokenizer_.has_option("drop_unknown");
        json_.member("type", "BPE").key("dropout").null();
        write_text_or_null("unk_token",
                           drops_unknown ? "" : tokenizer_.text(tokenizer_.unknown).value_or(""));
        write_text_or_null("continuing_subword_prefix", tokenizer_.option_value("prefix", ""));
        write_text_or_null("end_of_word_suffix", tokenizer_.option_value("suffix", ""));
        json_.member("fuse_unk", tokenizer_.has_option("fuse_unk"));
        json_.member("byte_fallback", tokenizer_.has_option("byte_fallback"));
        json_.member("ignore_merges", tokenizer_.has_option("ignore_merges"));
        write_vocabulary();
        json_.key("merges").begin_array();
        const auto merge = [&](std::string_view left, std::string_view right) {
            json_.begin_array(JsonWriter::kOneLine).value(left).value(right).end_array();
        };
        const std::vector<int64_t>& ids = tokenizer_.merge_ids;
        for (size_t i = 0; i + 1 < ids.size(); i += 2)
            merge(tokenizer_.text(uint64_t(ids[i])), tokenizer_.text(uint64_t(ids[i + 1])));
        if (ids.empty()) {  // texts of bytes, in which a space is no token's
            for (const std::string_view text : tokenizer_.merges) {
                const size_t space = text.find(' ', 1);
                if (space == text.npos) fail("tokenizer.ggml.merges holds '{}', no pair", printable(text));
                merge(text.substr(0, space), text.substr(space + 1));
            }
        }
        json_.end_array();
    }

    /// A list in which a token's place is its id.
    void write_unigram() {
        json_.member("type", "Unigram").key("unk_id");
        tokenizer_.unknown ? json_.value(*tokenizer_.unknown) : json_.null();
        json_.member("byte_fallback", tokenizer_.has_option("byte_fallback"));
        size_t n_tokens = tokenizer_.tokens.size();
        while (n_tokens > 0 && !in_model(n_tokens - 1)) --n_tokens;
        if (tokenizer_.scores.size() < n_tokens) fail("the file has no scores for its tokens");
        json_.key("vocab").begin_array();
        for (size_t id = 0; id < n_tokens; ++id) {
            const double score =
                tokenizer_.exact_scores.empty() ? double(tokenizer_.scores[id]) : tokenizer_.exact_scores[id];
            json_.begin_array(JsonWriter::kOneLine).value(tokenizer_.text(id));
            json_.value(number_that_tokenizers_reads_as(score)).end_array();
        }
        json_.end_array();
    }

    void write_word_piece() {
        const std::string_view max_word = tokenizer_.option_value("max_word", "100");
        uint64_t max_characters = 0;
        const auto [end, error] =
            std::from_chars(max_word.data(), max_word.data() + max_word.size(), max_characters);
        if (error != std::errc() || end != max_word.data() + max_word.size())
            fail("its option max_word is '{}', no number", printable(max_word));
        json_.member("type", "WordPiece");
        json_.member("unk_token", tokenizer_.text(tokenizer_.unknown).value_or("[UNK]"));
        json_.member("continuing_subword_prefix", tokenizer_.option_value("prefix", ""));
        json_.member("max_input_chars_per_word", max_characters);
        write_vocabulary();
    }

    void write_word_level() {
        json_.member("type", "WordLevel");
        write_vocabulary();
        json_.member("unk_token", tokenizer_.text(tokenizer_.unknown).value_or("<unk>"));
    }

    const TokenizerKeys& tokenizer_;
    const std::vector<bool>& outside_model_;
    JsonWriter json_;
};

}  // namespace

std::string tokenizer_model_json(const TokenizerKeys& tokenizer, const std::vector<bool>& outside_model) {
    return ModelJson(tokenizer, outside_model).run();
}

}  // namespace ingot::converters
