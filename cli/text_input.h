#pragma once
// A text or its token ids, for the commands that measure a model on one.
#include <optional>
#include <string>
#include <vector>

#include "runtime/model.h"

namespace ingot::cli {

inline constexpr int64_t kDefaultChunk = 512;  // tokens

struct TextInput {
    std::vector<runtime::Token> tokens;
    std::optional<runtime::Token> bos;  // begins every chunk, when the model adds one
};

/// The numbers of a file: apart by white space, commas or brackets, so that a JSON array will do. "-" is
/// standard input. Throws Error naming the byte that begins no number.
std::vector<runtime::Token> read_token_ids(const std::string& path);

/// The tokens of `text_file`, with BOS in front when the model adds one; or of `ids_file`, unless it is
/// empty.
TextInput read_text_input(const runtime::Model& model, const std::string& text_file,
                          const std::string& ids_file);

/// Where no text is given: `n_chunks` (0: kOwnChunks) of `n_context` tokens, as the model itself would write
/// them (runtime::write_own_text). Shows progress on a terminal. Throws Exit with 130 when interrupted.
TextInput write_text_input(const runtime::Model& model, int64_t n_chunks, int64_t n_context);
inline constexpr int64_t kOwnChunks = 128;
inline constexpr const char* kOwnText = "a text by the model itself";  // where others have a file's name

/// Tokens of a chunk: those asked for, or if none are, kDefaultChunk or the model's context when that is
/// less. Warns when the model was trained for fewer.
int64_t chunk_length(const runtime::Model& model, int64_t asked_for);

}  // namespace ingot::cli
