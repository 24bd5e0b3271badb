#pragma once
#include "format/gguf_model.h"

namespace ingot::runtime {

/// Unpacks all tensors of a packed file, several at once on all cores; does nothing for a mapped one. A model
/// that is run needs them all, and one after the other would leave the cores idle. Throws Error when a frame
/// is damaged.
void unpack_all(const GgufModel& model);

}  // namespace ingot::runtime
