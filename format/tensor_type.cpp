#include "format/tensor_type.h"

#include <algorithm>
#include <array>
#include <string>

#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/mxfp4.h"
#include "format/blocks/nvfp4.h"
#include "format/blocks/q1_0.h"
#include "format/blocks/q2_0.h"
#include "format/blocks/q2_k.h"
#include "format/blocks/q3_k.h"
#include "format/blocks/q4_0.h"
#include "format/blocks/q4_1.h"
#include "format/blocks/q4_k.h"
#include "format/blocks/q5_0.h"
#include "format/blocks/q5_1.h"
#include "format/blocks/q5_k.h"
#include "format/blocks/q6_k.h"
#include "format/blocks/q8_0.h"
#include "format/blocks/tq1_0.h"
#include "format/blocks/tq2_0.h"
#include "format/blocks/undecoded.h"
#include "format/error.h"

namespace ingot {
namespace {

/// A type whose elements stand alone.
template <typename Element>
constexpr TensorTypeInfo plain(TensorType type, std::string_view name) {
    return {type, name, 1, sizeof(Element), false, true};
}

/// A type whose elements come in blocks: `decoded` ones have a decoder beside their struct.
template <typename Block>
constexpr TensorTypeInfo decoded(TensorType type, std::string_view name) {
    return {type, name, Block::kElements, sizeof(Block), true, true};
}
template <typename Block>
constexpr TensorTypeInfo listed(TensorType type, std::string_view name) {
    return {type, name, Block::kElements, sizeof(Block), true, false};
}

using Half = uint16_t;

constexpr std::array kTypes = {
    plain<float>(TensorType::F32, "F32"),
    plain<Half>(TensorType::F16, "F16"),
    decoded<BlockQ4_0>(TensorType::Q4_0, "Q4_0"),
    decoded<BlockQ4_1>(TensorType::Q4_1, "Q4_1"),
    decoded<BlockQ5_0>(TensorType::Q5_0, "Q5_0"),
    decoded<BlockQ5_1>(TensorType::Q5_1, "Q5_1"),
    decoded<BlockQ8_0>(TensorType::Q8_0, "Q8_0"),
    listed<BlockQ8_1>(TensorType::Q8_1, "Q8_1"),
    decoded<BlockQ2_K>(TensorType::Q2_K, "Q2_K"),
    decoded<BlockQ3_K>(TensorType::Q3_K, "Q3_K"),
    decoded<BlockQ4_K>(TensorType::Q4_K, "Q4_K"),
    decoded<BlockQ5_K>(TensorType::Q5_K, "Q5_K"),
    decoded<BlockQ6_K>(TensorType::Q6_K, "Q6_K"),
    listed<BlockQ8_K>(TensorType::Q8_K, "Q8_K"),
    listed<BlockIQ2_XXS>(TensorType::IQ2_XXS, "IQ2_XXS"),
    listed<BlockIQ2_XS>(TensorType::IQ2_XS, "IQ2_XS"),
    listed<BlockIQ3_XXS>(TensorType::IQ3_XXS, "IQ3_XXS"),
    listed<BlockIQ1_S>(TensorType::IQ1_S, "IQ1_S"),
    decoded<BlockIQ4_NL>(TensorType::IQ4_NL, "IQ4_NL"),
    listed<BlockIQ3_S>(TensorType::IQ3_S, "IQ3_S"),
    listed<BlockIQ2_S>(TensorType::IQ2_S, "IQ2_S"),
    decoded<BlockIQ4_XS>(TensorType::IQ4_XS, "IQ4_XS"),
    plain<int8_t>(TensorType::I8, "I8"),
    plain<int16_t>(TensorType::I16, "I16"),
    plain<int32_t>(TensorType::I32, "I32"),
    plain<int64_t>(TensorType::I64, "I64"),
    plain<double>(TensorType::F64, "F64"),
    listed<BlockIQ1_M>(TensorType::IQ1_M, "IQ1_M"),
    plain<Half>(TensorType::BF16, "BF16"),
    decoded<BlockTQ1_0>(TensorType::TQ1_0, "TQ1_0"),
    decoded<BlockTQ2_0>(TensorType::TQ2_0, "TQ2_0"),
    decoded<BlockMXFP4>(TensorType::MXFP4, "MXFP4"),
    decoded<BlockNVFP4>(TensorType::NVFP4, "NVFP4"),
    decoded<BlockQ1_0>(TensorType::Q1_0, "Q1_0"),
    decoded<BlockQ2_0>(TensorType::Q2_0, "Q2_0"),
};

constexpr uint32_t kHighestNumber = uint32_t(kTypes.back().type);
constexpr uint8_t kNoRow = 0xff;

/// number -> position in kTypes
constexpr auto kRowOfNumber = [] {
    std::array<uint8_t, kHighestNumber + 1> rows{};
    rows.fill(kNoRow);
    for (size_t row = 0; row < kTypes.size(); ++row) rows[uint32_t(kTypes[row].type)] = uint8_t(row);
    return rows;
}();

char upper(char character) {
    return character >= 'a' && character <= 'z' ? char(character - 'a' + 'A') : character;
}

}  // namespace

std::span<const TensorTypeInfo> tensor_types() {
    return kTypes;
}

const TensorTypeInfo* find_tensor_type(uint32_t number) {
    if (number > kHighestNumber || kRowOfNumber[number] == kNoRow) return nullptr;
    return &kTypes[kRowOfNumber[number]];
}

const TensorTypeInfo& info(TensorType type) {
    const TensorTypeInfo* row = find_tensor_type(uint32_t(type));
    if (row == nullptr) fail("tensor type {} does not exist", uint32_t(type));
    return *row;
}

std::optional<TensorType> parse_tensor_type(std::string_view text) {
    for (const TensorTypeInfo& row : kTypes) {
        if (std::ranges::equal(text, row.name, {}, upper)) return row.type;
    }
    return {};
}

uint64_t row_bytes(TensorType type, uint64_t n_elements) {
    const TensorTypeInfo& row = info(type);
    if (n_elements % row.block_elements != 0) {
        fail("{} elements are no whole number of {} blocks, which hold {}", grouped(n_elements), row.name,
             row.block_elements);
    }
    uint64_t size_bytes = 0;
    if (__builtin_mul_overflow(n_elements / row.block_elements, uint64_t(row.block_bytes), &size_bytes)) {
        fail("{} elements of {} take more than 2^64 bytes", grouped(n_elements), row.name);
    }
    return size_bytes;
}

}  // namespace ingot
