#include "converters/vocabulary/sentencepiece_model.h"
#include "converters/vocabulary/vocabulary_sources.h"
#include "format/error.h"
#include "format/mapped_file.h"

namespace ingot::converters {
namespace {

void check_kind(const SentencePieceModel& model, const std::string& file) {
    if (model.kind == SentencePieceModel::Kind::Bpe || model.kind == SentencePieceModel::Kind::Unigram)
        return;
    fail("{}: is a SentencePiece model of kind {}; BPE and unigram can be converted, this cannot", file,
         model.kind == SentencePieceModel::Kind::Word ? "word" : "character");
}

/// What SentencePiece itself does with a text, in steps.
void set_steps(const SentencePieceModel& model, Vocabulary& vocabulary) {
    Vocabulary::Own& own = vocabulary.own;
    std::string words;
    const auto add = [&](bool wanted, const char* word) {
        if (!wanted) return;
        if (!words.empty()) words += ' ';
        words += word;
    };
    add(model.add_dummy_prefix && !model.treat_whitespace_as_suffix, "prefix");
    add(model.add_dummy_prefix && model.treat_whitespace_as_suffix, "suffix");
    add(model.remove_extra_whitespaces, "collapse");
    add(!model.escape_whitespaces, "keep_spaces");
    own.normalizers = {"sentencepiece\t" + (words.empty() ? "-" : words)};
    const bool is_unigram = model.kind == SentencePieceModel::Kind::Unigram;
    own.model = is_unigram ? "unigram" : "sentencepiece_bpe";
    if (is_unigram) own.options.push_back("float32");
    if (model.byte_fallback) own.options.push_back("byte_fallback");
    for (size_t id = 0; id < model.pieces.size(); ++id) {
        const SentencePieceModel::Piece& piece = model.pieces[id];
        if (piece.type == TokenType::Unknown) own.options.push_back(fmt::format("unk={}", id));
        if (piece.type == TokenType::Control || piece.type == TokenType::Unknown)
            own.added_tokens.push_back(AddedToken{id, piece.text, true}.notation(false));
    }
    own.decoders = {"replace\t\\x{2581}\t ", "byte_fallback"};
    if (model.remove_extra_whitespaces) {
        own.decoders.push_back("strip\tstart");
    } else if (model.add_dummy_prefix) {
        own.decoders.push_back("strip\tleft");
    }
    own.decoders.push_back("unknown\t" + model.unknown_surface);
}

}  // namespace

Vocabulary from_sentencepiece(const TokenizerFiles& files, const std::string& file, uint64_t n_rows) {
    const MappedFile mapped{file};
    const SentencePieceModel model = parse_sentencepiece_model(mapped.bytes(), file);
    check_kind(model, file);
    if (model.pieces.size() > n_rows) too_many_tokens(file, model.pieces.size(), n_rows);

    Vocabulary vocabulary;
    const bool is_unigram = model.kind == SentencePieceModel::Kind::Unigram;
    vocabulary.model = is_unigram ? "t5" : "llama";
    vocabulary.pre = "default";
    make_rows(vocabulary, n_rows);
    vocabulary.scores.assign(n_rows, kPaddingScore);
    for (size_t id = 0; id < model.pieces.size(); ++id) {
        const SentencePieceModel::Piece& piece = model.pieces[id];
        set_token(vocabulary, id, piece.type == TokenType::UserDefined ? with_spaces(piece.text) : piece.text,
                  piece.type);
        vocabulary.scores[id] = piece.score;
    }
    set_steps(model, vocabulary);

    const auto add = [&](const AddedToken& token, const char* name) {
        set_added_token(token, files.path(name), vocabulary);
        if (token.id >= n_rows) return;
        const bool is_piece = token.id < model.pieces.size() && model.pieces[token.id].text == token.text;
        if (is_piece && !token.special) return;  // a user-defined piece: the model finds it
        std::vector<std::string>& added = vocabulary.own.added_tokens;
        const std::string id = fmt::format("{} ", token.id);
        std::erase_if(added, [&](const std::string& entry) { return entry.starts_with(id); });
        added.push_back(token.notation(false));
    };
    if (files.added_tokens) {
        for (const auto& [text, id] : files.added_tokens->members()) {
            const auto number = id.whole_number();
            if (!number)
                fail("{}: the id of '{}' is not a whole number", files.path("added_tokens.json"), text);
            add({*number, text}, "added_tokens.json");
        }
    }
    for (const AddedToken& token : added_tokens_decoder(files)) add(token, "tokenizer_config.json");

    vocabulary.charsmap = model.charsmap;
    if (is_unigram) {
        vocabulary.remove_extra_whitespaces = model.remove_extra_whitespaces;
        vocabulary.add_space_prefix = model.add_dummy_prefix;
        for (size_t id = 0; id < model.pieces.size(); ++id) {
            if (model.pieces[id].type == TokenType::Unknown) vocabulary.unknown = uint32_t(id);
        }
    } else {
        if (!model.add_dummy_prefix) vocabulary.add_space_prefix = false;
        if (!model.charsmap.empty()) {
            vocabulary.warnings.push_back(fmt::format(
                "{}: normalizes text ({}) before it is tokenized. Here that is done; llama.cpp does not do "
                "it, and there unusual characters may be tokenized otherwise than in training",
                file, model.normalizer_name));
        }
        if (model.remove_extra_whitespaces) {
            vocabulary.warnings.push_back(fmt::format(
                "{}: joins runs of spaces before text is tokenized. Here that is done; llama.cpp keeps them",
                file));
        }
    }
    return vocabulary;
}

}  // namespace ingot::converters
