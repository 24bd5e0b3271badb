#pragma once
// The normalizer, pre-tokenizer, post-processor and decoder of tokenizer.json → steps.
#include "converters/vocabulary/json_member.h"
#include "converters/vocabulary/tokenizer_json.h"

namespace ingot::converters {

/// Fills the steps, the template and the charsmap of `result`, whose model and added tokens are read already.
/// What cannot be expressed is named in `unknown_step`.
void read_steps(dom::element root, const std::string& file, TokenizerJson& result);

/// Appends "split" by `pattern`; for the other readers.
std::string split_step(std::string_view behavior, std::string_view pattern);

/// `text` as a pattern that matches just it.
std::string quoted_pattern(std::string_view text);

}  // namespace ingot::converters
