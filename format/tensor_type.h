#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace ingot {

/// The type of a tensor's elements, by the number that GGUF stores. Gaps are types that were removed.
// clang-format off
enum class TensorType : uint32_t {
    F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q8_1 = 9,
    Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13, Q6_K = 14, Q8_K = 15,
    IQ2_XXS = 16, IQ2_XS = 17, IQ3_XXS = 18, IQ1_S = 19, IQ4_NL = 20, IQ3_S = 21, IQ2_S = 22, IQ4_XS = 23,
    I8 = 24, I16 = 25, I32 = 26, I64 = 27, F64 = 28, IQ1_M = 29, BF16 = 30,
    TQ1_0 = 34, TQ2_0 = 35, MXFP4 = 39, NVFP4 = 40, Q1_0 = 41, Q2_0 = 42,
};
// clang-format on

/// One row of the type table. A row of a tensor is a whole number of blocks.
struct TensorTypeInfo {
    TensorType type;
    std::string_view name;    // as users write it: "Q4_K"
    uint32_t block_elements;  // elements in one block; 1 for plain types
    uint32_t block_bytes;     // bytes of one block; derived from the structs in blocks/
    bool quantized;           // false for F32, F16, BF16, F64 and the integers
    bool decodable;           // decode_row() knows it

    double bits_per_element() const { return 8.0 * block_bytes / block_elements; }
};

/// All known types in order of number.
std::span<const TensorTypeInfo> tensor_types();
/// The row for a number read from a file, or null when no such type exists (any more). O(1).
const TensorTypeInfo* find_tensor_type(uint32_t number);
/// The row of a known type.
const TensorTypeInfo& info(TensorType type);
inline std::string_view name(TensorType type) {
    return info(type).name;
}
/// "q4_k" or "Q4_K" -> Q4_K; nothing when there is no such type.
std::optional<TensorType> parse_tensor_type(std::string_view text);

/// Bytes of `n_elements` consecutive elements. Throws Error when they are no whole number of blocks or the
/// product exceeds 64 bits.
uint64_t row_bytes(TensorType type, uint64_t n_elements);

}  // namespace ingot
