#include "runtime/tokenizer/pipeline.h"

#include <deque>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "runtime/tokenizer/byte_pair.h"
#include "runtime/tokenizer/score_merging.h"
#include "runtime/tokenizer/unigram.h"
#include "runtime/tokenizer/word_piece.h"

namespace ingot::runtime {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t(1) << 30;
constexpr std::string_view kCharsmap = "tokenizer.ggml.precompiled_charsmap";

std::vector<uint8_t> read_charsmap(const GgufHeader& header) {
    const Value* value = header.find(kCharsmap);
    if (value == nullptr) return {};
    const bool is_bytes = value->type() == ValueType::Array && (value->element_type() == ValueType::Uint8 ||
                                                                value->element_type() == ValueType::Int8);
    if (!is_bytes) fail("{} is no array of bytes; convert the model again", kCharsmap);
    const auto bytes = value->encoded();
    const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
    return {data, data + bytes.size()};
}

std::unique_ptr<TokenModel> make_model(const TokenizerRecipe& recipe, const GgufHeader& header,
                                       const TokenTable& table) {
    if (recipe.model == "bpe") return std::make_unique<BytePair>(recipe, header, table);
    if (recipe.model == "sentencepiece_bpe") return std::make_unique<ScoreMerging>(recipe, table);
    if (recipe.model == "unigram") return std::make_unique<Unigram>(recipe, header, table);
    if (recipe.model == "word_piece") return std::make_unique<WordPiece>(recipe, table);
    if (recipe.model == "word_level") return std::make_unique<WordLevel>(recipe, table);
    fail(
        "{} is '{}'; known are bpe, sentencepiece_bpe, unigram, word_piece and word_level; use a newer "
        "version",
        keys::kTokenizerModel, recipe.model);
}

}  // namespace

Pipeline::Pipeline(const GgufHeader& header)
    : table_(header),
      recipe_(header, table_),
      charsmap_bytes_(read_charsmap(header)),
      charsmap_(charsmap_bytes_),
      written_out_(table_.size()),
      decoder_(recipe_.decoders, recipe_.model == "word_piece") {
    std::vector<std::pair<std::string_view, int32_t>> user_defined;
    for (const ModelToken& token : recipe_.vocabulary) {
        if (table_.kinds[size_t(token.id)] == TokenKind::UserDefined)
            user_defined.emplace_back(token.text, token.id);
    }
    user_defined_ = Trie(std::move(user_defined));
    normalizer_ =
        std::make_unique<Normalizer>(recipe_.normalizers, Normalizer::Tables{&charsmap_, &user_defined_});
    pre_tokenizer_ = std::make_unique<PreTokenizer>(recipe_.pre_tokenizers);
    model_ = make_model(recipe_, header, table_);

    std::vector<AddedToken> raw, normalized;
    for (AddedToken& token : recipe_.added) {
        // The end of a turn is never an ordinary text, whatever the file calls it: prompts could forge it.
        token.special |= table_.is_hidden(token.id);
        written_out_[size_t(token.id)] = token.text;
        if (token.normalized) token.text = normalizer_->apply(token.text);
        (token.normalized ? normalized : raw).push_back(std::move(token));
    }
    recipe_.added.clear();
    // GGUF's way to write WordPiece vocabularies cannot tell these from tokens that start a word.
    for (const Token token : recipe_.continuing)
        written_out_[size_t(token)] =
            fmt::format("{}{}", recipe_.option("prefix").value_or(""), table_.texts[size_t(token)]);
    added_ = AddedTokens(std::move(raw));
    added_normalized_ = AddedTokens(std::move(normalized));

    bos = table_.bos;
    eos = table_.eos;
    eot = table_.eot;
    unknown = table_.unknown;
    if (!bos && !recipe_.before.empty()) bos = recipe_.before.front();
    end_of_generation_ = table_.end_of_generation;
    warnings = recipe_.warnings;
    add_bos = !recipe_.before.empty();
    add_eos = !recipe_.after.empty();
    add_space_prefix = decoder_.drops_leading_space();
    if (!recipe_.is_own && recipe_.model == "sentencepiece_bpe") {
        // What llama.cpp takes where the file says nothing.
        const auto or_default = [this](std::optional<Token> id, Token otherwise) {
            return id || uint32_t(otherwise) >= table_.size() ? id : otherwise;
        };
        bos = or_default(bos, 1);
        eos = or_default(eos, 2);
        unknown = or_default(unknown, 0);
        if (eos && !is_end_of_generation(*eos)) {
            end_of_generation_.insert(
                std::upper_bound(end_of_generation_.begin(), end_of_generation_.end(), *eos), *eos);
        }
    }
}

std::vector<Token> Pipeline::encode(std::string_view text, bool add_special, bool parse_special) const {
    if (text.size() > kMaxTextBytes) {
        fail("the text has {} bytes, at most {} can be tokenized at once; cut it", text.size(),
             kMaxTextBytes);
    }
    std::vector<Token> output;
    output.reserve(text.size() / 3 + 16);
    if (add_special) output = recipe_.before;

    std::deque<std::string> texts;  // rewritten ones; the session points into them
    const auto session = model_->start(text.size());
    const auto encode_fragment = [&](std::string_view fragment, bool starts_input) {
        const PreTokenizer::Pieces pieces = pre_tokenizer_->split(fragment, starts_input, texts);
        for (const auto [begin, end] : pieces.ranges)
            session->encode(pieces.text.substr(begin, end - begin), output);
    };
    added_.split(text, parse_special, [&](size_t begin, size_t end, Token token) {
        if (token >= 0) {
            output.push_back(token);
            return;
        }
        std::string_view fragment = text.substr(begin, end - begin);
        if (!normalizer_->empty()) fragment = texts.emplace_back(normalizer_->apply(fragment));
        added_normalized_.split(fragment, parse_special, [&](size_t from, size_t to, Token inner) {
            if (inner >= 0) {
                output.push_back(inner);
            } else {
                encode_fragment(fragment.substr(from, to - from), begin == 0 && from == 0);
            }
        });
    });
    if (add_special) output.insert(output.end(), recipe_.after.begin(), recipe_.after.end());
    return output;
}

std::string_view Pipeline::token_text(Token token) const {
    if (token < 0 || uint32_t(token) >= table_.size()) {
        fail("token {} is not in the vocabulary, which has {} tokens (0 to {})", token, table_.size(),
             table_.size() - 1);
    }
    return table_.texts[size_t(token)];
}

std::string Pipeline::token_bytes(Token token, bool special) const {
    const std::string_view text = token_text(token);
    if (table_.is_hidden(token) && !special) {
        return table_.kinds[size_t(token)] == TokenKind::Unknown ? decoder_.unknown_text() : std::string();
    }
    if (const std::string& added = written_out_[size_t(token)]; !added.empty()) {
        // A file made elsewhere has the texts of added tokens as they are; the checkpoint's library decodes
        // them like others.
        return recipe_.is_own ? decoder_.bytes_of_added(added) : added;
    }
    if (table_.is_hidden(token)) return std::string(text);
    if (table_.kinds[size_t(token)] == TokenKind::Unused) return {};
    if (table_.kinds[size_t(token)] == TokenKind::Byte) return std::string(1, char(*parse_byte_token(text)));
    return decoder_.bytes_of(text);
}

std::string Pipeline::decode(const std::vector<Token>& tokens, bool special) const {
    std::string text;
    bool at_front = add_space_prefix, ends_word = false;
    for (const Token token : tokens) {
        std::string bytes = token_bytes(token, special);
        const bool is_shown = special || !table_.is_hidden(token) || !bytes.empty();
        if (is_shown) {
            // The space in front is that of a word; what stands for the unknown token keeps its own.
            const bool stands_for_unknown = !special && table_.is_hidden(token);
            if (at_front && !stands_for_unknown) decoder_.drop_front(bytes);
            ends_word = decoder_.drops_trailing_space() && bytes.ends_with(' ');
            text += bytes;
        }
        const bool is_still_front = !is_shown || (decoder_.drops_until_text() && text.empty());
        at_front = space_follows(token) || (at_front && is_still_front);
    }
    if (ends_word) text.pop_back();
    return text;
}

/// Whether encode() puts a space before text that follows this token.
bool Pipeline::space_follows(Token token) const {
    return add_space_prefix && !recipe_.is_own && recipe_.model == "sentencepiece_bpe" &&
           (table_.is_hidden(token) || table_.kinds[size_t(token)] == TokenKind::UserDefined);
}

}  // namespace ingot::runtime
