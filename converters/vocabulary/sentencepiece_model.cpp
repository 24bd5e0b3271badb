#include "converters/vocabulary/sentencepiece_model.h"

#include <cmath>
#include <unordered_set>

#include "converters/vocabulary/protobuf.h"
#include "format/utf8.h"

namespace ingot::converters {
namespace {

constexpr size_t kMaxPieceBytes = 64 << 10;

[[noreturn]] void wrong_wire_type(const std::string& file, const char* field) {
    fail("{}: {} is stored in another form than SentencePiece uses; the file is damaged or of another kind",
         file, field);
}

std::span<const std::byte> as_message(const ProtobufReader::Field& field, const std::string& file,
                                      const char* name) {
    if (!field.is_bytes) wrong_wire_type(file, name);
    return field.bytes;
}

uint64_t as_number(const ProtobufReader::Field& field, const std::string& file, const char* name) {
    if (field.is_bytes) wrong_wire_type(file, name);
    return field.integer;
}

bool is_byte_piece(std::string_view text) {
    const auto is_digit = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
    };
    return text.size() == 6 && text.starts_with("<0x") && is_digit(text[3]) && is_digit(text[4]) &&
           text[5] == '>';
}

// message SentencePiece { string piece = 1; float score = 2; Type type = 3; }
SentencePieceModel::Piece read_piece(std::span<const std::byte> bytes, size_t id, const std::string& file) {
    SentencePieceModel::Piece piece;
    ProtobufReader reader(bytes, file);
    while (const auto field = reader.next()) {
        switch (field->number) {
            case 1:
                as_message(*field, file, "a piece's text");
                piece.text = field->as_text();
                break;
            case 2:
                as_number(*field, file, "a piece's score");
                piece.score = field->as_float();
                break;
            case 3: {
                const uint64_t type = as_number(*field, file, "a piece's type");
                if (type < 1 || type > 6) fail("{}: piece {} has type {}, types are 1 to 6", file, id, type);
                piece.type = TokenType(int32_t(type));
                break;
            }
            default:
                break;
        }
    }
    if (piece.text.empty()) fail("{}: piece {} has no text; the file is damaged", file, id);
    if (piece.text.size() > kMaxPieceBytes) {
        fail("{}: piece {} is {} bytes long, at most {} are allowed", file, id, piece.text.size(),
             kMaxPieceBytes);
    }
    if (!is_utf8(piece.text)) fail("{}: the text of piece {} is not UTF-8; the file is damaged", file, id);
    if (std::isnan(piece.score)) fail("{}: the score of piece {} is not a number", file, id);
    if (piece.type == TokenType::Byte && !is_byte_piece(piece.text)) {
        fail("{}: piece {} is of type byte but its text is '{}', expected <0x00> to <0xFF>", file, id,
             piece.text.substr(0, 32));
    }
    return piece;
}

/// A precompiled map of characters: the byte size of a double-array trie (uint32), the trie's units (uint32
/// each), then the replacement texts, each ended by a NUL. A unit with the top bit set is a value: an offset
/// into these texts.
void check_charsmap(std::span<const std::byte> blob, const std::string& file) {
    const auto read_unit = [&](size_t offset) {
        uint32_t unit;
        std::memcpy(&unit, blob.data() + offset, sizeof unit);
        return unit;
    };
    if (blob.size() < 4)
        fail("{}: the normalizer's character map has {} bytes, at least 4 are needed", file, blob.size());
    const uint64_t trie_bytes = read_unit(0);
    if (trie_bytes % 4 != 0 || trie_bytes >= blob.size() - 4) {
        fail("{}: the normalizer's character map claims a trie of {} bytes in {}; the file is damaged", file,
             trie_bytes, blob.size() - 4);
    }
    const uint64_t n_text_bytes = blob.size() - 4 - trie_bytes;
    if (blob.back() != std::byte{0})
        fail("{}: the normalizer's replacement texts do not end with a NUL", file);
    for (uint64_t at = 4; at < 4 + trie_bytes; at += 4) {
        const uint32_t unit = read_unit(at);
        if ((unit >> 31) != 0 && (unit & 0x7fffffff) >= n_text_bytes) {
            fail(
                "{}: the normalizer's character map points to byte {} of {} bytes of text; the file is "
                "damaged",
                file, unit & 0x7fffffff, n_text_bytes);
        }
    }
}

// message NormalizerSpec { string name = 1; bytes precompiled_charsmap = 2; bool add_dummy_prefix = 3;
//                          bool remove_extra_whitespaces = 4; bool escape_whitespaces = 5; }
void read_normalizer(std::span<const std::byte> bytes, SentencePieceModel& model, const std::string& file) {
    ProtobufReader reader(bytes, file);
    while (const auto field = reader.next()) {
        switch (field->number) {
            case 1:
                as_message(*field, file, "normalizer_spec.name");
                model.normalizer_name = field->as_text();
                break;
            case 2: {
                const auto blob = as_message(*field, file, "normalizer_spec.precompiled_charsmap");
                if (blob.empty()) break;
                check_charsmap(blob, file);
                model.charsmap.resize(blob.size());
                std::memcpy(model.charsmap.data(), blob.data(), blob.size());
                break;
            }
            case 3:
                model.add_dummy_prefix = as_number(*field, file, "normalizer_spec.add_dummy_prefix") != 0;
                break;
            case 4:
                model.remove_extra_whitespaces =
                    as_number(*field, file, "normalizer_spec.remove_extra_whitespaces") != 0;
                break;
            case 5:
                model.escape_whitespaces = as_number(*field, file, "normalizer_spec.escape_whitespaces") != 0;
                break;
            default:
                break;
        }
    }
}

// message TrainerSpec { ModelType model_type = 3; bool treat_whitespace_as_suffix = 24;
//                       bool byte_fallback = 35; int32 unk_id = 40; int32 bos_id = 41; int32 eos_id = 42;
//                       int32 pad_id = 43; string unk_surface = 44; }
void read_trainer(std::span<const std::byte> bytes, SentencePieceModel& model, const std::string& file) {
    ProtobufReader reader(bytes, file);
    while (const auto field = reader.next()) {
        switch (field->number) {
            case 3: {
                const uint64_t kind = as_number(*field, file, "trainer_spec.model_type");
                if (kind < 1 || kind > 4)
                    fail("{}: trainer_spec.model_type is {}, expected 1 to 4", file, kind);
                model.kind = SentencePieceModel::Kind(int(kind));
                break;
            }
            case 24:
                model.treat_whitespace_as_suffix = as_number(*field, file, "treat_whitespace_as_suffix") != 0;
                break;
            case 35:
                model.byte_fallback = as_number(*field, file, "byte_fallback") != 0;
                break;
            case 40:
            case 41:
            case 42:
            case 43: {
                as_number(*field, file, "a special id in trainer_spec");
                std::optional<int32_t>* const ids[] = {&model.unknown, &model.bos, &model.eos,
                                                       &model.padding};
                *ids[field->number - 40] = field->as_int32();
                break;
            }
            case 44:
                as_message(*field, file, "trainer_spec.unk_surface");
                model.unknown_surface = field->as_text();
                break;
            default:
                break;
        }
    }
}

void check_pieces(const SentencePieceModel& model, const std::string& file) {
    if (model.pieces.empty()) fail("{}: holds no pieces; it is no SentencePiece model", file);
    std::unordered_set<std::string_view> seen;
    seen.reserve(model.pieces.size());
    size_t n_unknown = 0;
    for (size_t id = 0; id < model.pieces.size(); ++id) {
        const SentencePieceModel::Piece& piece = model.pieces[id];
        if (!seen.insert(piece.text).second)
            fail("{}: the piece '{}' appears twice, again as {}", file, piece.text, id);
        n_unknown += piece.type == TokenType::Unknown;
    }
    if (n_unknown != 1) fail("{}: has {} pieces of type unknown, expected one", file, n_unknown);
}

}  // namespace

// message ModelProto { repeated SentencePiece pieces = 1; TrainerSpec trainer_spec = 2;
//                      NormalizerSpec normalizer_spec = 3; }
SentencePieceModel parse_sentencepiece_model(std::span<const std::byte> bytes, const std::string& file) {
    SentencePieceModel model;
    ProtobufReader reader(bytes, file);
    while (const auto field = reader.next()) {
        switch (field->number) {
            case 1:
                model.pieces.push_back(
                    read_piece(as_message(*field, file, "pieces"), model.pieces.size(), file));
                break;
            case 2:
                read_trainer(as_message(*field, file, "trainer_spec"), model, file);
                break;
            case 3:
                read_normalizer(as_message(*field, file, "normalizer_spec"), model, file);
                break;
            default:
                break;
        }
    }
    check_pieces(model, file);
    for (const auto& id : {model.unknown, model.bos, model.eos, model.padding}) {
        if (id && *id >= 0 && size_t(*id) >= model.pieces.size()) {
            fail("{}: trainer_spec names id {}, but there are {} pieces", file, *id, model.pieces.size());
        }
    }
    return model;
}

}  // namespace ingot::converters
