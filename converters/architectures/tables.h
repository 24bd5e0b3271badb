#pragma once
// All family tables: one line here, one file beside.
#include "converters/architectures/decoder.h"
#include "converters/architectures/family.h"

namespace ingot::converters {

extern const Family kLlama;
extern const Family kMistral;
extern const Family kQwen2;

}  // namespace ingot::converters
