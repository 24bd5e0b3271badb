#pragma once
#include <string_view>
#include <vector>

#include "format/gguf_model.h"

namespace ingot::inspect {

/// What the files say about their tensors in `ingot.checksum.xxh3_128`: 32 lower-case hex digits by tensor of
/// the model, empty for those of shards that have no such key; nothing at all where no file has it. Throws
/// Error when a list is malformed or does not fit the tensors.
std::vector<std::string_view> stored_checksums(const GgufModel& model);

}  // namespace ingot::inspect
