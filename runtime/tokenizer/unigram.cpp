#include "runtime/tokenizer/unigram.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/utf8.h"
#include "runtime/tokenizer/word_memo.h"

namespace ingot::runtime {
namespace {

/// How much worse than the worst token a character is that no token covers.
constexpr double kUnknownPenalty = 10.0;

/// SentencePiece gives user-defined tokens a score that wins, whatever the file says (version 0.2.3; older
/// ones gave -0.1 whatever the length).
double user_defined_score(size_t length_bytes) {
    return double(float(0.1 * (double(length_bytes) - 1)));
}

}  // namespace

Unigram::Unigram(const TokenizerRecipe& recipe, const GgufHeader& header, const TokenTable& table)
    : scores_(table.scores.begin(), table.scores.end()),
      float32_(recipe.has("float32")),
      byte_fallback_(recipe.has("byte_fallback")),
      fuse_unknown_(!recipe.has("separate_unk")) {
    if (scores_.empty()) {
        fail("tokenizer.ggml.scores is missing: a unigram vocabulary needs them; convert the model again");
    }
    if (header.find(keys::kTokenizerScores) != nullptr) {
        const Value& exact = *header.find(keys::kTokenizerScores);
        if (exact.type() != ValueType::Array || exact.element_type() != ValueType::Float64 ||
            exact.count() != scores_.size()) {
            fail("{} is not {} numbers of float64, one for each token; the file is damaged",
                 keys::kTokenizerScores, scores_.size());
        }
        std::memcpy(scores_.data(), exact.encoded().data(), exact.encoded().size());
    }
    unknown_ = Token(recipe.number("unk", uint64_t(table.unknown.value_or(-1))));
    if (unknown_ >= 0 && uint32_t(unknown_) >= table.size()) unknown_ = -1;
    byte_tokens_.fill(-1);
    std::vector<std::pair<std::string_view, int32_t>> entries;
    double worst = std::numeric_limits<double>::infinity();
    for (const ModelToken& token : recipe.vocabulary) {
        if (!std::isfinite(scores_[size_t(token.id)]))
            fail("the score of token {} is not a finite number; the file is damaged", token.id);
        if (const auto byte = parse_byte_token(token.text)) {
            if (byte_tokens_[*byte] < 0) byte_tokens_[*byte] = token.id;
        }
        const TokenKind kind = table.kinds[size_t(token.id)];
        const bool counts = !float32_ || kind == TokenKind::Normal || kind == TokenKind::Undefined;
        if (counts) worst = std::min(worst, scores_[size_t(token.id)]);
        if (float32_ && kind == TokenKind::UserDefined) {
            scores_[size_t(token.id)] = user_defined_score(token.text.size());
        } else if (float32_ && !counts) {
            continue;
        }
        entries.emplace_back(token.text, token.id);
    }
    if (entries.empty()) fail("the vocabulary has no token with a text of its own; convert the model again");
    unknown_score_ = float32_ ? double(float(worst) - float(kUnknownPenalty)) : worst - kUnknownPenalty;
    trie_ = Trie(std::move(entries));
}

class Unigram::Session final : public TokenModel::Session {
  public:
    Session(const Unigram& model, size_t text_bytes) : model_(model), memo_(text_bytes) {}

    void encode(std::string_view piece, std::vector<Token>& output) override {
        memo_.append(piece, output, [&] {
            if (model_.float32_) {
                find_path<float>(piece);
            } else {
                find_path<double>(piece);
            }
            emit(piece, output);
        });
    }

  private:
    /// The best way to cut the text up to some place.
    template <typename Score>
    struct Node {
        Score score = 0;
        Token token = -1;     // the last one
        int32_t length = -1;  // its bytes; -1: no way leads here
    };
    /// The tokens of the best way, last first.
    struct Cut {
        Token token;
        size_t begin, end;  // bytes
    };

    template <typename Score>
    std::vector<Node<Score>>& nodes() {
        if constexpr (std::is_same_v<Score, float>) {
            return nodes32_;
        } else {
            return nodes64_;
        }
    }

    template <typename Score>
    void find_path(std::string_view text) {
        auto& best = nodes<Score>();
        best.assign(text.size() + 1, {});
        for (size_t begin = 0; begin < text.size();) {
            const Utf8Step step = utf8_step(text.substr(begin));
            const size_t character = step.valid ? step.length_bytes : 1;
            const double so_far = double(best[begin].score);
            bool has_character = false;
            int32_t state = Trie::kRoot;
            for (size_t end = begin; end < text.size();) {
                state = model_.trie_.next(state, uint8_t(text[end++]));
                if (state == Trie::kNone) break;
                const Token token = model_.trie_.value(state);
                if (token == Trie::kNone) continue;
                const size_t length = end - begin;
                offer(best[end], so_far + model_.scores_[size_t(token)], token, length);
                has_character |= length == character;
            }
            if (!has_character) {
                offer(best[begin + character], so_far + model_.unknown_score_, model_.unknown_, character);
            }
            begin += character;
        }
        cuts_.clear();
        for (size_t end = text.size(); end > 0;) {
            const Node<Score>& node = best[end];
            cuts_.push_back({node.token, end - size_t(node.length), end});
            end -= size_t(node.length);
        }
    }

    template <typename Score>
    static void offer(Node<Score>& node, double exact_sum, Token token, size_t length) {
        const Score sum = Score(exact_sum);
        if (node.length < 0 || sum > node.score) node = {sum, token, int32_t(length)};
    }

    void emit(std::string_view text, std::vector<Token>& output) {
        bool after_unknown = false;
        for (size_t i = cuts_.size(); i-- > 0;) {
            const Cut& cut = cuts_[i];
            if (cut.token != model_.unknown_) {
                output.push_back(cut.token);
                after_unknown = false;
                continue;
            }
            const std::string_view bytes = text.substr(cut.begin, cut.end - cut.begin);
            const bool has_bytes = model_.byte_fallback_ &&
                                   std::all_of(bytes.begin(), bytes.end(),
                                               [&](char c) { return model_.byte_tokens_[uint8_t(c)] >= 0; });
            if (has_bytes) {
                for (const char c : bytes) output.push_back(model_.byte_tokens_[uint8_t(c)]);
                after_unknown = false;
            } else {
                if (model_.unknown_ < 0) {
                    fail("'{}' has no token in this vocabulary, which has no unknown token either", bytes);
                }
                if (!after_unknown || !model_.fuse_unknown_) output.push_back(model_.unknown_);
                after_unknown = true;
            }
        }
    }

    const Unigram& model_;
    WordMemo memo_;
    std::vector<Node<float>> nodes32_;
    std::vector<Node<double>> nodes64_;
    std::vector<Cut> cuts_;
};

std::unique_ptr<TokenModel::Session> Unigram::start(size_t text_bytes) const {
    return std::make_unique<Session>(*this, text_bytes);
}

}  // namespace ingot::runtime
