#include "runtime/tokenizer/byte_pair.h"

#include "format/byte_alphabet.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/utf8.h"
#include "runtime/tokenizer/word_memo.h"
#include "runtime/tokenizer/words.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kMerges = "tokenizer.ggml.merges";

uint64_t hash_pair(int32_t left, int32_t right) {
    const uint64_t key = (uint64_t(uint32_t(left)) << 32 | uint32_t(right)) * 0x9e3779b97f4a7c15;
    return key ^ (key >> 32);
}

}  // namespace

BytePair::BytePair(const TokenizerRecipe& recipe, const GgufHeader& header, const TokenTable& table)
    : byte_level_(recipe.byte_level),
      byte_fallback_(recipe.has("byte_fallback")),
      fuse_unknown_(recipe.has("fuse_unk")),
      ignore_merges_(recipe.has("ignore_merges")),
      drop_unknown_(recipe.has("drop_unknown")),
      prefix_(recipe.option("prefix").value_or("")),
      suffix_(recipe.option("suffix").value_or("")),
      n_tokens_(table.size()),
      texts_(table.size()),
      index_(table.size()) {
    unknown_ = Token(recipe.number("unk", uint64_t(table.unknown.value_or(-1))));
    if (unknown_ >= 0 && uint32_t(unknown_) >= n_tokens_)
        fail("the tokenizer's unknown token {} is none", unknown_);

    size_t n_bytes = 0;
    for (const ModelToken& token : recipe.vocabulary) n_bytes += token.text.size();
    decoded_.reserve(n_bytes);  // decoding never lengthens: views into it stay valid
    byte_tokens_.fill(TextIndex::kAbsent);
    words_are_independent_ = !byte_level_ && suffix_.empty();
    for (const ModelToken& token : recipe.vocabulary) {
        std::string_view text = token.text;
        if (const auto byte = parse_byte_token(text)) {
            int32_t& slot = byte_tokens_[*byte];
            if (slot == TextIndex::kAbsent) slot = token.id;
        }
        if (byte_level_) {
            const size_t begin = decoded_.size();
            if (table.kinds[size_t(token.id)] == TokenKind::Byte) {
                decoded_ += char(*parse_byte_token(text));
            } else {
                append_from_alphabet(decoded_, text);
            }
            text = std::string_view(decoded_).substr(begin);
        }
        if (text.empty()) continue;
        texts_[size_t(token.id)] = text;
        index_.insert(text, token.id);
        words_are_independent_ = words_are_independent_ && word_end(text, 0) == text.size();
    }
    read_merges(header);
    for (size_t byte = 0; byte < 256; ++byte) {
        const char text = char(byte);
        byte_symbols_[byte] = index_.find({&text, 1});
    }
}

int32_t BytePair::symbol_of(std::string_view text) {
    int32_t symbol = index_.find(text);
    if (symbol == TextIndex::kAbsent) {
        symbol = int32_t(n_tokens_ + other_symbols_.size());
        other_symbols_.push_back(std::make_unique<std::string>(text));
        index_.insert(*other_symbols_.back(), symbol);
    }
    return symbol;
}

void BytePair::add_merge(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
    const size_t mask = pairs_.size() - 1;
    size_t slot = hash_pair(left, right) & mask;
    while (pairs_[slot].left >= 0 && (pairs_[slot].left != left || pairs_[slot].right != right)) {
        slot = (slot + 1) & mask;
    }
    if (pairs_[slot].left < 0) pairs_[slot] = {left, right, {rank, merged}};  // the first of equals counts
}

/// Either as pairs of ids, or as texts, "left right".
void BytePair::read_merges(const GgufHeader& header) {
    const std::vector<int64_t> ids = header.ints(keys::kTokenizerMergeIds);
    if (ids.empty() && header.find(kMerges) == nullptr) {
        fail("{} is missing: a vocabulary of this kind needs its merges; convert the model again", kMerges);
    }
    const std::vector<std::string_view> merges =
        ids.empty() ? header.strings(kMerges) : std::vector<std::string_view>();
    if (merges.size() >= kMaxTokens)
        fail("{} has {} elements, at most {} are possible", kMerges, merges.size(), kMaxTokens - 1);
    if (ids.size() % 2 != 0 || ids.size() >= 2 * kMaxTokens)
        fail("{} has {} elements, expected pairs; the file is damaged", keys::kTokenizerMergeIds, ids.size());
    size_t n_slots = 16;
    while (n_slots < 2 * std::max(merges.size(), ids.size() / 2)) n_slots *= 2;
    pairs_.resize(n_slots);

    std::string joined;
    for (size_t i = 0; i < ids.size(); i += 2) {
        for (const int64_t id : {ids[i], ids[i + 1]}) {
            if (id < 0 || uint64_t(id) >= n_tokens_ || texts_[size_t(id)].empty()) {
                fail("{}: merge {} names token {}, which is none of the model's; the file is damaged",
                     keys::kTokenizerMergeIds, i / 2, id);
            }
        }
        const std::string_view right = texts_[size_t(ids[i + 1])];
        joined = texts_[size_t(ids[i])];
        joined += right.substr(std::min(prefix_.size(), right.size()));
        const int32_t merged = index_.find(joined);
        if (!is_token(merged)) {
            fail("{}: merge {} makes '{}', which is no token; the file is damaged", keys::kTokenizerMergeIds,
                 i / 2, joined.substr(0, 64));
        }
        add_merge(int32_t(ids[i]), int32_t(ids[i + 1]), uint32_t(i / 2), merged);
    }
    for (size_t rank = 0; rank < merges.size(); ++rank) {
        const std::string_view merge = merges[rank];
        const size_t space = merge.find(' ', 1);
        if (space == std::string_view::npos || space + 1 >= merge.size()) {
            fail("{}: element {} is '{}', expected two texts with a space between", kMerges, rank,
                 merge.substr(0, 64));
        }
        if (merge.size() > kMaxTokenBytes)
            fail("{}: element {} is {} bytes long", kMerges, rank, merge.size());
        joined.clear();
        const auto append = [&](std::string_view text) {
            if (byte_level_) {
                append_from_alphabet(joined, text);
            } else {
                joined += text;
            }
        };
        append(merge.substr(0, space));
        const size_t n_left = joined.size();
        append(merge.substr(space + 1));
        const int32_t left = symbol_of(std::string_view(joined).substr(0, n_left));
        const int32_t right = symbol_of(std::string_view(joined).substr(n_left));
        if (!prefix_.empty() && std::string_view(joined).substr(n_left).starts_with(prefix_))
            joined.erase(n_left, prefix_.size());
        if (!byte_level_ && words_are_independent_)
            words_are_independent_ = word_end(joined, 0) == joined.size();
        add_merge(left, right, uint32_t(rank), symbol_of(joined));
    }
}

MergeCandidate BytePair::find_pair(int32_t left, int32_t right) const {
    const size_t mask = pairs_.size() - 1;
    for (size_t i = hash_pair(left, right) & mask;; i = (i + 1) & mask) {
        const PairSlot& slot = pairs_[i];
        if (slot.left < 0) return {};
        if (slot.left == left && slot.right == right) return slot.merged;
    }
}

class BytePair::Session final : public TokenModel::Session {
  public:
    Session(const BytePair& model, size_t text_bytes) : model_(model), memo_(text_bytes) {}

    void encode(std::string_view piece, std::vector<Token>& output) override {
        if (model_.ignore_merges_) {
            const int32_t symbol = model_.index_.find(piece);
            if (model_.is_token(symbol)) {
                output.push_back(symbol);
                return;
            }
        }
        if (!model_.words_are_independent_) {
            memo_.append(piece, output, [&] { encode_word(piece, output); });
            return;
        }
        for (size_t begin = 0; begin < piece.size();) {
            const size_t end = word_end(piece, begin);
            const std::string_view word = piece.substr(begin, end - begin);
            memo_.append(word, output, [&] { encode_word(word, output); });
            begin = end;
        }
    }

  private:
    void encode_word(std::string_view word, std::vector<Token>& output) {
        merger_.clear();
        pending_length_ = 0;
        if (model_.byte_level_ && model_.prefix_.empty() && model_.suffix_.empty() && !model_.fuse_unknown_) {
            for (size_t i = 0; i < word.size(); ++i) {
                const int32_t symbol = model_.byte_symbols_[uint8_t(word[i])];
                if (symbol != TextIndex::kAbsent || !model_.drop_unknown_)
                    merger_.append(uint32_t(i), 1, symbol);
            }
        } else {
            for (size_t begin = 0; begin < word.size();) {
                size_t length = 1;
                if (!model_.byte_level_) {
                    const Utf8Step step = utf8_step(word.substr(begin));
                    if (step.valid) length = step.length_bytes;
                }
                append_character(word, begin, length);
                begin += length;
            }
            flush_unknown();
        }
        if (merger_.symbols.empty()) return;
        merger_.merge(
            [this](const Symbol& left, const Symbol& right) { return model_.find_pair(left.id, right.id); });
        for (int32_t i = 0; i >= 0; i = merger_.symbols[size_t(i)].next) {
            const Symbol& symbol = merger_.symbols[size_t(i)];
            if (model_.is_token(symbol.id)) {
                output.push_back(symbol.id);
            } else {
                emit_bytes(word.substr(symbol.begin, symbol.length), output);
            }
        }
    }

    /// One character (or byte) of a word.
    void append_character(std::string_view word, size_t begin, size_t length) {
        const std::string_view text = word.substr(begin, length);
        int32_t symbol = TextIndex::kAbsent;
        const bool continues = begin > 0 && !model_.prefix_.empty();
        const bool ends = begin + length == word.size() && !model_.suffix_.empty();
        if (continues || ends) {
            marked_.clear();
            if (continues) marked_ += model_.prefix_;
            marked_ += text;
            if (ends) marked_ += model_.suffix_;
            symbol = model_.index_.find(marked_);
        } else {
            symbol = length == 1 ? model_.byte_symbols_[uint8_t(text[0])] : model_.index_.find(text);
        }
        if (symbol != TextIndex::kAbsent) {
            flush_unknown();
            merger_.append(uint32_t(begin), uint32_t(length), symbol);
            return;
        }
        const std::string_view bytes = continues || ends ? std::string_view(marked_) : text;
        if (model_.byte_fallback_ && has_byte_tokens(bytes)) {
            for (size_t i = 0; i < bytes.size(); ++i)
                merger_.append(uint32_t(begin + std::min(i, length - 1)), 1,
                               model_.byte_tokens_[uint8_t(bytes[i])]);
            return;
        }
        if (model_.unknown_ < 0) {
            if (!model_.drop_unknown_) merger_.append(uint32_t(begin), uint32_t(length), symbol);
            return;
        }
        if (!model_.fuse_unknown_) flush_unknown();
        if (pending_length_ == 0) pending_begin_ = begin;
        pending_length_ += length;
    }

    bool has_byte_tokens(std::string_view bytes) const {
        for (const char c : bytes) {
            if (model_.byte_tokens_[uint8_t(c)] == TextIndex::kAbsent) return false;
        }
        return true;
    }

    /// A run of unknown characters, which is one unknown token where the model fuses them.
    void flush_unknown() {
        if (pending_length_ > 0)
            merger_.append(uint32_t(pending_begin_), uint32_t(pending_length_), model_.unknown_);
        pending_length_ = 0;
    }

    /// A symbol that is no token: what merges pass through, or a byte that has none.
    void emit_bytes(std::string_view text, std::vector<Token>& output) const {
        for (const char c : text) {
            Token token = model_.byte_symbols_[uint8_t(c)];
            if (!model_.is_token(token)) token = model_.byte_tokens_[uint8_t(c)];
            if (!model_.is_token(token)) token = model_.unknown_;
            if (!model_.is_token(token)) {
                if (model_.drop_unknown_) continue;
                fail(
                    "byte 0x{:02x} of the text has no token in this vocabulary, which has no unknown token "
                    "either",
                    uint8_t(c));
            }
            output.push_back(token);
        }
    }

    const BytePair& model_;
    WordMemo memo_;
    Merger merger_;
    std::string marked_;  // a character with the prefix or suffix that its place asks for
    size_t pending_begin_ = 0, pending_length_ = 0;  // bytes
};

std::unique_ptr<TokenModel::Session> BytePair::start(size_t text_bytes) const {
    return std::make_unique<Session>(*this, text_bytes);
}

}  // namespace ingot::runtime
