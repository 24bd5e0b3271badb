#pragma once
// The tokenizer of an exported checkpoint, from the keys of a GGUF file.
#include <string>
#include <utility>
#include <vector>

#include "converters/findings.h"
#include "format/gguf.h"

namespace ingot::converters {

/// tokenizer.model (what SentencePiece trained) or tokenizer.json (all else), tokenizer_config.json and
/// chat_template.jinja: names and contents. A tokenizer that cannot be written becomes a warning that says
/// why.
std::vector<std::pair<std::string, std::string>> exported_tokenizer(const GgufHeader& header,
                                                                    Findings& findings);

}  // namespace ingot::converters
