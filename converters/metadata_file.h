#pragma once
// Keys that a user sets in the file: `--metadata FILE`.
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

}  // namespace ingot::converters
