#include "format/tensor_type.h"

#include <set>
#include <string>

#include "format/error.h"
#include "tests/catch.h"

namespace ingot::test {

TEST_CASE("types have the numbers and sizes that GGUF gives them", "[tensor_type]") {
    // number, name, elements and bytes of a block: from gguf-py's GGMLQuantizationType and GGML_QUANT_SIZES
    struct Expected {
        uint32_t number;
        std::string_view name;
        uint32_t elements, bytes;
    };
    const Expected expected[] = {
        {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
        {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
        {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
        {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
        {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
        {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
        {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
        {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
        {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},    {42, "Q2_0", 64, 18},
    };
    REQUIRE(tensor_types().size() == std::size(expected));
    for (size_t i = 0; i < std::size(expected); ++i) {
        const TensorTypeInfo& row = tensor_types()[i];
        CAPTURE(expected[i].name);
        CHECK(uint32_t(row.type) == expected[i].number);
        CHECK(row.name == expected[i].name);
        CHECK(row.block_elements == expected[i].elements);
        CHECK(row.block_bytes == expected[i].bytes);
        CHECK(find_tensor_type(expected[i].number) == &row);
        CHECK(&info(row.type) == &row);
        CHECK(row.quantized == (row.block_elements > 1));
    }
}

TEST_CASE("numbers between and behind the types are no types", "[tensor_type]") {
    std::set<uint32_t> numbers;
    for (const TensorTypeInfo& row : tensor_types()) numbers.insert(uint32_t(row.type));
    for (uint32_t number = 0; number < 300; ++number) {
        CHECK((find_tensor_type(number) != nullptr) == numbers.contains(number));
    }
    CHECK(find_tensor_type(UINT32_MAX) == nullptr);
    CHECK_THROWS_WITH(info(TensorType(31)), ContainsSubstring("tensor type 31 does not exist"));
}

TEST_CASE("names are parsed in any case", "[tensor_type]") {
    for (const TensorTypeInfo& row : tensor_types()) {
        std::string lower;
        for (const char c : row.name) lower += char(std::tolower(c));
        CHECK(parse_tensor_type(row.name) == row.type);
        CHECK(parse_tensor_type(lower) == row.type);
    }
    for (const std::string_view text : {"", "Q4", "Q4_K_M", "Q4_0 ", "q4-k"})
        CHECK_FALSE(parse_tensor_type(text));
    CHECK(parse_tensor_type("iq4_NL") == TensorType::IQ4_NL);
}

TEST_CASE("the bytes of a row are counted in whole blocks without wrapping", "[tensor_type]") {
    CHECK(row_bytes(TensorType::F32, 3) == 12);
    CHECK(row_bytes(TensorType::Q4_0, 0) == 0);
    CHECK(row_bytes(TensorType::Q4_0, 64) == 36);
    CHECK(row_bytes(TensorType::Q4_K, 4096) == 2304);
    CHECK(row_bytes(TensorType::Q4_0, uint64_t(1) << 63) == (uint64_t(1) << 58) * 18);
    CHECK_THROWS_WITH(row_bytes(TensorType::Q4_K, 128),
                      ContainsSubstring("128 elements are no whole number of Q4_K"));
    CHECK_THROWS_WITH(row_bytes(TensorType::F32, uint64_t(1) << 62),
                      ContainsSubstring("more than 2^64 bytes"));
    CHECK_THROWS_WITH(row_bytes(TensorType::Q8_1, UINT64_MAX / 32 * 32),
                      ContainsSubstring("more than 2^64 bytes"));
}

}  // namespace ingot::test
