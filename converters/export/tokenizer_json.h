#pragma once
#include <string>

#include "converters/export/tokenizer_keys.h"

namespace ingot::converters {

/// tokenizer.json, as Hugging Face's library writes it. Throws Error when the tokenizer has no such form.
std::string tokenizer_json(const TokenizerKeys& tokenizer);

}  // namespace ingot::converters
