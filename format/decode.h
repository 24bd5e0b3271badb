#pragma once
#include <cstddef>
#include <cstdint>

#include "format/tensor_type.h"

namespace ingot {

/// Decodes `n_elements` elements (whole blocks) of `type` at `source` to float, exactly as SPEC.md defines.
/// F64 and the wide integers are rounded to float. `source` needs no alignment. Throws Error when the type
/// is not decodable (see TensorTypeInfo::decodable). This is the reference: every kernel is tested against it.
void decode_row(TensorType type, const void* source, float* destination, uint64_t n_elements);

}  // namespace ingot
