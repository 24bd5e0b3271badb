#pragma once
// Keys that a user sets in the file: `--metadata FILE`.
#include <optional>
#include <string>

#include "format/metadata.h"

namespace ingot::converters {

/// A JSON object whose members are metadata keys:
///
///     { "general.name": "My model",                                 text
///       "llama.context_length": 8192,                               the type that the key has already
///       "my.ratio": {"type": "float64", "value": 0.5},              or a type by name
///       "my.list": {"type": "int32", "value": [1, 2, 3]},
///       "tokenizer.chat_template": null }                           removed
///
/// A new key without a named type becomes string, bool, uint32 (int32 when negative, 64 bits when larger),
/// float32, or an array of these. Does nothing when `path` is empty. Throws Problems listing every member
/// that cannot be set: keys that describe the file's own bytes, numbers that do not fit.
void apply_metadata_file(const std::string& path, Metadata& metadata);

/// A value as it is typed on a command line, `text`: of the type that `present` has, or of the one that is
/// named (of an array: its elements'), else of the one that it looks like. Arrays are JSON's: [1, 2, 3].
/// Throws Error when it cannot be of that type.
MetadataValue metadata_value(const std::string& text, const Value* present,
                             const std::optional<std::string>& type);

}  // namespace ingot::converters
