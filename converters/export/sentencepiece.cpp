#include "converters/export/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "format/error.h"

namespace ingot::converters {

namespace {

constexpr std::string_view kSpaceMark = "\u2581";

/// A message of Google's protocol buffers: see vocabulary/protobuf.h.
class ProtobufWriter {
  public:
    void integer(uint32_t number, uint64_t value) {
        varint(number << 3);
        varint(value);
    }
    void real(uint32_t number, float value) {
        varint(number << 3 | 5);
        const auto bits = std::bit_cast<uint32_t>(value);
        for (int i = 0; i < 4; ++i) bytes_ += char(bits >> (8 * i));
    }
    void text(uint32_t number, std::string_view value) {
        varint(number << 3 | 2);
        varint(value.size());
        bytes_ += value;
    }
    const std::string& bytes() const { return bytes_; }

  private:
    void varint(uint64_t value) {
        for (; value >= 0x80; value >>= 7) bytes_ += char((value & 0x7f) | 0x80);
        bytes_ += char(value);
    }
    std::string bytes_;
};

/// What SentencePiece does with white space. Files made elsewhere have it in tokenizer.ggml.*, others in
/// their step "sentencepiece".
struct Spaces {
    bool add_prefix, as_suffix = false, collapse, escape = true;

    explicit Spaces(const TokenizerKeys& tokenizer)
        : add_prefix(tokenizer.add_space_prefix), collapse(tokenizer.remove_extra_whitespaces) {
        for (const std::string& step : tokenizer.normalizers) {
            const auto parts = parts_of_step(step, 1);
            if (parts[0] != "sentencepiece" || parts.size() != 2) continue;
            const auto has = [&](std::string_view word) { return parts[1].find(word) != parts[1].npos; };
            as_suffix = has("suffix");
            add_prefix = has("prefix") || as_suffix;
            collapse = has("collapse");
            escape = !has("keep_spaces");
        }
    }
};

/// Tokens that fill the vocabulary up to the embedding's size are no pieces.
size_t count_pieces(const TokenizerKeys& tokenizer) {
    size_t n = tokenizer.tokens.size();
    while (n > 0 && tokenizer.is(n - 1, TokenType::Unused) &&
           tokenizer.tokens[n - 1] == fmt::format("[PAD{}]", n - 1)) {
        --n;
    }
    return n;
}

// Numbers of fields and kinds are those of sentencepiece_model.proto.

std::string piece(const TokenizerKeys& tokenizer, size_t id) {
    std::string text(tokenizer.tokens[id]);
    if (tokenizer.is(id, TokenType::UserDefined)) {  // spaces are marked inside the model only
        for (size_t at = 0; (at = text.find(' ', at)) != std::string::npos;) text.replace(at, 1, kSpaceMark);
    }
    ProtobufWriter message;
    message.text(1, text);
    message.real(2, tokenizer.scores[id]);
    if (!tokenizer.is(id, TokenType::Normal)) message.integer(3, uint64_t(tokenizer.types[id]));
    return message.bytes();
}

std::string trainer_spec(const TokenizerKeys& tokenizer, size_t n_pieces, const Spaces& spaces) {
    constexpr uint64_t kUnigram = 1, kBpe = 2;
    ProtobufWriter message;
    message.integer(3, tokenizer.model == TokenizerKeys::Model::Unigram ? kUnigram : kBpe);
    message.integer(4, n_pieces);
    if (spaces.as_suffix) message.integer(24, 1);
    if (std::ranges::find(tokenizer.types, int64_t(TokenType::Byte)) != tokenizer.types.end())
        message.integer(35, 1);
    const auto id = [&](uint32_t number, std::optional<uint64_t> token) {  // int32: -1 has ten bytes
        message.integer(number, token ? *token : ~uint64_t(0));
    };
    id(40, tokenizer.unknown.value_or(0));
    id(41, tokenizer.bos);
    id(42, tokenizer.eos);
    id(43, tokenizer.padding);
    return message.bytes();
}

std::string normalizer_spec(const TokenizerKeys& tokenizer, const Spaces& spaces) {
    ProtobufWriter message;
    message.text(1, tokenizer.charsmap.empty() ? "identity" : "user_defined");
    if (!tokenizer.charsmap.empty()) message.text(2, tokenizer.charsmap);
    message.integer(3, spaces.add_prefix);
    message.integer(4, spaces.collapse);
    message.integer(5, spaces.escape);
    return message.bytes();
}

}  // namespace

std::string sentencepiece_model(const TokenizerKeys& tokenizer) {
    constexpr uint32_t kPieces = 1, kTrainer = 2, kNormalizer = 3;
    if (tokenizer.scores.size() < tokenizer.tokens.size()) fail("the file has no scores for its tokens");
    const size_t n_pieces = count_pieces(tokenizer);
    const Spaces spaces(tokenizer);
    ProtobufWriter model;
    for (size_t id = 0; id < n_pieces; ++id) model.text(kPieces, piece(tokenizer, id));
    model.text(kTrainer, trainer_spec(tokenizer, n_pieces, spaces));
    model.text(kNormalizer, normalizer_spec(tokenizer, spaces));
    return model.bytes();
}

}  // namespace ingot::converters
