#pragma once
// All family tables: one line here, one file beside.
#include "converters/architectures/decoder.h"
#include "converters/architectures/family.h"
#include "format/error.h"

namespace ingot::converters {

extern const Family kLlama, kMistral, kMixtral, kMistral3, kMistral4, kLlama4, kGranite, kSmolLm3;
extern const Family kQwen2, kQwen3, kQwen2Moe, kQwen3Moe, kQwen3Next, kQwen35, kQwen35Moe;
extern const Family kGemma, kGemma2, kGemma3, kGemma4;
extern const Family kPhi2, kPhi3;
extern const Family kGpt2, kGptNeox, kGptJ, kFalcon, kMpt, kBloom, kGptOss;
extern const Family kStableLm, kStarCoder2, kOlmo2, kCohere, kCohere2, kGlm4, kDeepSeek2;

}  // namespace ingot::converters
