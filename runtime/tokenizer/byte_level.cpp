#include "runtime/tokenizer/byte_level.h"

#include <fmt/ranges.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/pre_rules.h"
#include "format/utf8.h"
#include "runtime/tokenizer/word_memo.h"

namespace ingot::runtime {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t(1) << 30;

/// Byte-level vocabularies write each byte as one printable character: printable bytes of Latin-1 as
/// themselves, the other 68 as the characters from U+0100 on, in ascending order (GPT-2's alphabet). Inverse
/// of that: code point → byte, or -1.
std::array<int16_t, 324> byte_of_character() {
    std::array<int16_t, 324> bytes{};
    bytes.fill(-1);
    int16_t next = 256;
    for (int16_t byte = 0; byte < 256; ++byte) {
        const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        bytes[size_t(printable ? byte : next++)] = byte;
    }
    return bytes;
}

/// Appends the bytes that `text` stands for. Characters outside the alphabet stand for themselves.
void append_decoded(std::string& output, std::string_view text) {
    static const auto bytes = byte_of_character();
    while (!text.empty()) {
        const Utf8Step step = utf8_step(text);
        const bool known = step.valid && step.code_point < bytes.size() && bytes[step.code_point] >= 0;
        if (known) {
            output += char(bytes[step.code_point]);
        } else {
            output += text.substr(0, step.length_bytes);
        }
        text.remove_prefix(step.length_bytes);
    }
}

/// Unicode normalization; text that is no UTF-8 stays as it is.
std::string normalized(std::string_view text, std::string_view form) {
    int options = UTF8PROC_STABLE;
    options |= form.ends_with('C') ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    if (form.starts_with("NFK")) options |= UTF8PROC_COMPAT;
    utf8proc_uint8_t* mapped = nullptr;
    const utf8proc_ssize_t length =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), utf8proc_ssize_t(text.size()),
                     &mapped, utf8proc_option_t(options));
    if (length < 0) return std::string(text);
    std::string result(reinterpret_cast<const char*>(mapped), size_t(length));
    std::free(mapped);
    return result;
}

uint64_t hash_pair(int32_t left, int32_t right) {
    const uint64_t key = (uint64_t(uint32_t(left)) << 32 | uint32_t(right)) * 0x9e3779b97f4a7c15;
    return key ^ (key >> 32);
}

}  // namespace

ByteLevelTokenizer::ByteLevelTokenizer(const GgufHeader& header)
    : table_(header), specials_(table_), index_(table_.size()) {
    size_t n_bytes = 0;
    for (const std::string_view text : table_.texts) n_bytes += text.size();
    decoded_.reserve(n_bytes);  // decoding never lengthens: bytes_ stays valid
    for (uint32_t id = 0; id < table_.size(); ++id) {
        const size_t begin = decoded_.size();
        const TokenKind kind = table_.kinds[id];
        const bool written_in_alphabet = kind == TokenKind::Normal || kind == TokenKind::Undefined;
        if (written_in_alphabet) {
            append_decoded(decoded_, table_.texts[id]);
        } else if (kind == TokenKind::Byte) {
            decoded_ += char(*parse_byte_token(table_.texts[id]));
        } else {
            decoded_ += table_.texts[id];
        }
        bytes_.push_back(std::string_view(decoded_).substr(begin));
        if (!written_in_alphabet || bytes_.back().empty()) continue;
        index_.insert(bytes_.back(), Token(id));
    }

    bos = table_.bos;
    eos = table_.eos;
    eot = table_.eot;
    unknown = table_.unknown;
    end_of_generation_ = table_.end_of_generation;
    read_pre_tokenizer(header);
    read_merges(header);
    for (size_t byte = 0; byte < 256; ++byte) {
        const char text = char(byte);
        byte_symbols_[byte] = index_.find({&text, 1});
    }
    add_bos = header.get_bool("tokenizer.ggml.add_bos_token").value_or(add_bos) && bos;
    add_eos = header.get_bool("tokenizer.ggml.add_eos_token").value_or(false) && eos;
}

void ByteLevelTokenizer::read_pre_tokenizer(const GgufHeader& header) {
    const std::string_view name = header.get_string("tokenizer.ggml.pre").value_or("default");
    const PreRule* rule = find_pre_rule(name);
    if (rule != nullptr) {
        add_bos = rule->add_bos;
        ignore_merges_ = rule->ignore_merges;
    }
    std::vector<std::string_view> patterns = header.strings(keys::kTokenizerPreRegex);
    if (patterns.empty()) {
        if (rule == nullptr) {
            std::string known;
            for (const PreRule& each : pre_rules()) known += fmt::format(", {}", fmt::join(each.names, ", "));
            fail(
                "tokenizer.ggml.pre is '{}', which is not known here, and a wrong rule would tokenize "
                "wrongly without "
                "a sign; convert the model from its checkpoint, which stores the rule itself, or set the key "
                "to one "
                "of: {}",
                name, known.substr(2));
        }
        if (name == "default") {
            warnings.push_back(
                "the file does not say how its tokenizer splits text (tokenizer.ggml.pre is 'default' "
                "or missing): a general rule is used, and text may be tokenized otherwise than in "
                "training; convert the model again from its checkpoint");
        }
        patterns = rule->patterns;
    }
    pre_tokenizer_ = std::make_unique<PreTokenizer>(patterns);
    if (const auto ignore = header.get_bool(keys::kTokenizerIgnoreMerges)) ignore_merges_ = *ignore;
    if (const auto form = header.get_string(keys::kTokenizerNormalizer)) {
        if (*form != "NFC" && *form != "NFD" && *form != "NFKC" && *form != "NFKD") {
            fail("{} is '{}', expected NFC, NFD, NFKC or NFKD", keys::kTokenizerNormalizer, *form);
        }
        normalizer_ = *form;
    }
}

int32_t ByteLevelTokenizer::symbol_of(std::string_view bytes) {
    int32_t symbol = index_.find(bytes);
    if (symbol == TextIndex::kAbsent) {
        symbol = int32_t(table_.size() + other_symbols_.size());
        other_symbols_.push_back(std::make_unique<std::string>(bytes));
        index_.insert(*other_symbols_.back(), symbol);
    }
    return symbol;
}

void ByteLevelTokenizer::read_merges(const GgufHeader& header) {
    constexpr std::string_view kMerges = "tokenizer.ggml.merges";
    if (header.find(kMerges) == nullptr) {
        fail("{} is missing: a byte-level vocabulary needs its merges; convert the model again", kMerges);
    }
    const std::vector<std::string_view> merges = header.strings(kMerges);
    if (merges.size() >= kMaxTokens)
        fail("{} has {} elements, at most {} are possible", kMerges, merges.size(), kMaxTokens - 1);
    size_t n_slots = 16;
    while (n_slots < 2 * merges.size()) n_slots *= 2;
    pairs_.resize(n_slots);
    std::string joined;
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
        append_decoded(joined, merge.substr(0, space));
        const size_t n_left = joined.size();
        append_decoded(joined, merge.substr(space + 1));
        const int32_t left = symbol_of(std::string_view(joined).substr(0, n_left));
        const int32_t right = symbol_of(std::string_view(joined).substr(n_left));
        const int32_t merged = symbol_of(joined);
        size_t slot = hash_pair(left, right) & (n_slots - 1);
        while (pairs_[slot].left >= 0 && (pairs_[slot].left != left || pairs_[slot].right != right)) {
            slot = (slot + 1) & (n_slots - 1);
        }
        if (pairs_[slot].left < 0)
            pairs_[slot] = {left, right, {uint32_t(rank), merged}};  // the first of equals counts
    }
}

MergeCandidate ByteLevelTokenizer::find_pair(int32_t left, int32_t right) const {
    const size_t mask = pairs_.size() - 1;
    for (size_t i = hash_pair(left, right) & mask;; i = (i + 1) & mask) {
        const PairSlot& slot = pairs_[i];
        if (slot.left < 0) return {};
        if (slot.left == left && slot.right == right) return slot.merged;
    }
}

void ByteLevelTokenizer::encode_piece(std::string_view piece, Merger& merger,
                                      std::vector<Token>& output) const {
    if (ignore_merges_) {
        const int32_t symbol = index_.find(piece);
        if (is_token(symbol)) {
            output.push_back(symbol);
            return;
        }
    }
    merger.clear();
    for (size_t i = 0; i < piece.size(); ++i) {
        merger.append(uint32_t(i), 1, byte_symbols_[uint8_t(piece[i])]);
    }
    merger.merge([this](const Symbol& left, const Symbol& right) { return find_pair(left.id, right.id); });
    for (int32_t i = 0; i >= 0; i = merger.symbols[size_t(i)].next) {
        const Symbol& symbol = merger.symbols[size_t(i)];
        if (is_token(symbol.id)) {
            output.push_back(symbol.id);
            continue;
        }
        for (const char c : piece.substr(symbol.begin, symbol.length)) {
            const int32_t token = byte_symbols_[uint8_t(c)];
            if (!is_token(token) && !unknown) {
                fail(
                    "byte 0x{:02x} of the text has no token in this vocabulary, which has no unknown token "
                    "either",
                    uint8_t(c));
            }
            output.push_back(is_token(token) ? token : *unknown);
        }
    }
}

std::vector<Token> ByteLevelTokenizer::encode(std::string_view text, bool add_special,
                                              bool parse_special) const {
    if (text.size() > kMaxTextBytes) {
        fail("the text has {} bytes, at most {} can be tokenized at once; cut it", text.size(),
             kMaxTextBytes);
    }
    std::vector<Token> output;
    output.reserve(text.size() / 3 + 16);
    if (add_special && add_bos) output.push_back(*bos);

    std::vector<std::unique_ptr<std::string>> normalized_texts;  // the memo points into them
    WordMemo memo(text.size());
    Merger merger;
    for (size_t begin = 0; begin < text.size();) {
        const SpecialMatcher::Match match = specials_.find(text, begin, parse_special);
        std::string_view fragment = text.substr(begin, match.begin - begin);
        if (!normalizer_.empty() && !fragment.empty()) {
            normalized_texts.push_back(std::make_unique<std::string>(normalized(fragment, normalizer_)));
            fragment = *normalized_texts.back();
        }
        for (const PreTokenizer::Range range : pre_tokenizer_->split(fragment)) {
            const std::string_view piece = fragment.substr(range.begin, range.end - range.begin);
            memo.append(piece, output, [&] { encode_piece(piece, merger, output); });
        }
        if (match.token >= 0) output.push_back(match.token);
        begin = match.end;
    }
    if (add_special && add_eos) output.push_back(*eos);
    return output;
}

std::string_view ByteLevelTokenizer::token_text(Token token) const {
    if (token < 0 || uint32_t(token) >= table_.size()) {
        fail("token {} is not in the vocabulary, which has {} tokens (0 to {})", token, table_.size(),
             table_.size() - 1);
    }
    return table_.texts[size_t(token)];
}

std::string ByteLevelTokenizer::token_bytes(Token token, bool special) const {
    token_text(token);  // checks the id
    if (table_.is_hidden(token)) return special ? std::string(bytes_[size_t(token)]) : std::string();
    if (table_.kinds[size_t(token)] == TokenKind::Unused) return {};
    return std::string(bytes_[size_t(token)]);
}

}  // namespace ingot::runtime
