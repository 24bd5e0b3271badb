#pragma once
// Which tensors are looked at, and in which order; and what they come to by type and by block.
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "format/name_pattern.h"
#include "inspect/summary.h"

namespace ingot::inspect {

enum class Order { File, Name, Size, Type };

/// What --match, --type and --sort say.
struct Selection {
    std::optional<NamePattern> match;  // names in which it is found
    std::vector<TensorType> types;     // empty: all
    Order order = Order::File;  // names as people count, sizes and bits per element from large to small
    bool reverse = false;

    bool is_all() const { return !match && types.empty(); }
    bool has(const TensorInfo& tensor) const;
};

/// Views into the header, which must outlive them. Equal ones stay in the file's order.
std::vector<const TensorInfo*> select(const GgufHeader& header, const Selection& selection);

/// Digits are compared as numbers: blk.2 comes before blk.10.
bool counts_before(std::string_view a, std::string_view b);

/// "blk.12.attn_q.weight" -> 12; nothing for what belongs to no block. Encoders' blocks ("v.blk.3…",
/// "enc.blk.3…") are not the decoder's and belong to none.
std::optional<uint64_t> block_of(std::string_view tensor);

/// All tensors of one block.
struct BlockShare {
    std::optional<uint64_t> block;  // nothing: tensors of no block
    uint64_t n_tensors = 0;
    uint64_t n_elements = 0;
    uint64_t size_bytes = 0;
    std::vector<TypeShare> types = {};  // most bytes first
};

/// Blocks in ascending order; what belongs to none comes last.
std::vector<BlockShare> shares_by_block(std::span<const TensorInfo* const> tensors);

}  // namespace ingot::inspect
