#pragma once
// How rows of weights lie on the device: see kernels/layouts.h.
#include <cstddef>
#include <cstdint>
#include <span>

#include "format/tensor_type.h"
#include "runtime/gpu/kernels/arguments.h"
#include "runtime/gpu/kernels/table.h"

namespace ingot::runtime::gpu {

/// A piece of each block that becomes a plane of its own.
struct Field {
    uint32_t offset;  // bytes, in the file's block
    uint32_t size;    // bytes
};

/// How large a block's weights can be: |d| * quant + |min| * min_quant, d and min being halves of the block,
/// the second behind the first.
struct Bound {
    uint32_t d;  // bytes, its offset in the file's block
    float quant, min_quant;
};

struct Layout {
    TensorType type;
    Kernel embed, matvec, matmul, tile, wide, warpgroup, wide_warpgroup;
    uint32_t n_terms;    // of 16 bits that activations have for products of warpgroups; 0: there are none
    ElementOrder order;  // … and in what order
    Bound bound;
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

/// No weight of the file's row is larger.
float largest_weight(const Layout& layout, int64_t n_in, const std::byte* row);
/// The power of two that brings weights to halves: the largest below 2^15, so that what is too small for a
/// half is so by 2^-39 of that.
float weight_factor(float largest);

}  // namespace ingot::runtime::gpu
