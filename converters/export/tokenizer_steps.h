#pragma once
// The steps of SPEC.md, section 3, as tokenizer.json writes them: vocabulary/tokenizer_steps.h backwards.
#include <string>

#include "converters/export/tokenizer_keys.h"

namespace ingot::converters {

// The values of these members: an object, or null. They throw Error for a step that has no such form.
std::string normalizer_json(const TokenizerKeys& tokenizer);
std::string pre_tokenizer_json(const TokenizerKeys& tokenizer);
std::string decoder_json(const TokenizerKeys& tokenizer);

}  // namespace ingot::converters
