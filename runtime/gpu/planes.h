#pragma once
// How rows of weights lie on the device: see kernels/layouts.h.
#include <cstddef>
#include <cstdint>
#include <span>

#include "format/tensor_type.h"
#include "runtime/gpu/kernels/table.h"

namespace ingot::runtime::gpu {

/// A piece of each block that becomes a plane of its own.
struct Field {
    uint32_t offset;  // bytes, in the file's block
    uint32_t size;    // bytes
};

struct Layout {
    TensorType type;
    Kernel embed, matvec, matmul, tile, wide;
    /// In the order of the planes; together they are the whole block. None: rows are as in the file.
    std::span<const Field> fields;
    uint32_t n_shared;  // activations that have one scale; 0: the kernels want floats
};

/// Null when the device has no kernels for the type: it is decoded to floats then.
const Layout* find_layout(TensorType type);

/// Bytes from row to row on the device: rows begin at multiples of 16 bytes.
size_t device_row_bytes(const Layout& layout, int64_t n_in);
/// A row of the file to one of the device, device_row_bytes() long.
void take_row_apart(const Layout& layout, int64_t n_in, const std::byte* row, std::byte* planes);

}  // namespace ingot::runtime::gpu
