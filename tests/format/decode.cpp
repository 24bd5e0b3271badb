#include "format/decode.h"

#include <cstring>
#include <limits>
#include <vector>

#include "format/error.h"
#include "format/half.h"
#include "tests/catch.h"

using namespace ingot;

namespace {

template <typename T>
std::vector<float> decoded(TensorType type, const std::vector<T>& elements) {
    std::vector<float> values(elements.size());
    decode_row(type, elements.data(), values.data(), values.size());
    return values;
}

}  // namespace

TEST_CASE("decode_row: plain types are converted one by one, rounding to nearest even where it must") {
    CHECK(decoded<float>(TensorType::F32, {1.5f, -0.1f}) == std::vector{1.5f, -0.1f});
    CHECK(decoded<uint16_t>(TensorType::F16, {0x3e00, 0x0001}) == std::vector{1.5f, 0x1p-24f});
    CHECK(decoded<uint16_t>(TensorType::BF16, {0x3fc0, 0xff7f}) == std::vector{1.5f, -0x1.fep127f});
    CHECK(decoded<double>(TensorType::F64, {0.1, 1e300}) ==
          std::vector{0.1f, std::numeric_limits<float>::infinity()});
    CHECK(decoded<int8_t>(TensorType::I8, {-128, 127}) == std::vector{-128.0f, 127.0f});
    CHECK(decoded<int16_t>(TensorType::I16, {-32768, 32767}) == std::vector{-32768.0f, 32767.0f});
    CHECK(decoded<int32_t>(TensorType::I32, {16777217, 16777219, -2147483647 - 1}) ==
          std::vector{16777216.0f, 16777220.0f, -0x1p31f});
    CHECK(decoded<int64_t>(TensorType::I64, {INT64_MIN, INT64_MAX, (int64_t(1) << 40) + 1}) ==
          std::vector{-0x1p63f, 0x1p63f, 0x1p40f});
}

TEST_CASE(
    "decode_row: the type table and the decoder agree on what is decodable, and one block is read exactly") {
    for (const TensorTypeInfo& type : tensor_types()) {
        INFO(type.name);
        const std::vector<std::byte> block(type.block_bytes);  // the sanitizer build sees a read beyond it
        std::vector<float> values(type.block_elements, -1.0f);
        if (!type.decodable) {
            CHECK_THROWS_WITH(decode_row(type.type, block.data(), values.data(), values.size()),
                              ContainsSubstring("cannot decode " + std::string(type.name)));
            continue;
        }
        decode_row(type.type, block.data(), values.data(), values.size());
        for (float value : values) CHECK(value == 0.0f);
    }
}

TEST_CASE("decode_row: every half is what half_to_float says, in registers of any width") {
    for (const TensorType type : {TensorType::F16, TensorType::BF16}) {
        std::vector<uint16_t> halves(65536);
        for (uint32_t bits = 0; bits < halves.size(); ++bits) halves[bits] = uint16_t(bits);
        std::vector<float> values(halves.size());
        decode_row(type, halves.data(), values.data(), values.size());
        uint32_t n_wrong = 0;
        for (const uint16_t bits : halves) {
            const float expected = type == TensorType::F16 ? half_to_float(bits) : bf16_to_float(bits);
            n_wrong += bits_of(values[bits]) != bits_of(expected);
        }
        CHECK(n_wrong == 0);
    }
}

TEST_CASE("decode_row: any address will do") {
    for (const TensorTypeInfo& type : tensor_types()) {
        if (!type.decodable) continue;
        INFO(type.name);
        const uint64_t n_elements = 3 * type.block_elements;
        std::vector<uint8_t> bytes(3 * type.block_bytes + 1);
        for (size_t i = 0; i + 1 < bytes.size(); ++i) bytes[i] = uint8_t((i * 40503u >> 8) & 0x3f);
        std::vector<float> aligned(n_elements), shifted(n_elements);
        decode_row(type.type, bytes.data(), aligned.data(), n_elements);
        std::memmove(bytes.data() + 1, bytes.data(), bytes.size() - 1);
        decode_row(type.type, bytes.data() + 1, shifted.data(), n_elements);
        CHECK(std::memcmp(aligned.data(), shifted.data(), n_elements * sizeof(float)) == 0);
    }
}

TEST_CASE("decode_row: no elements are no work") {
    for (const TensorTypeInfo& type : tensor_types()) {
        if (type.decodable) CHECK_NOTHROW(decode_row(type.type, nullptr, nullptr, 0));
    }
}

TEST_CASE("decode_row: elements that are no whole number of blocks are refused") {
    const std::vector<std::byte> bytes(512);
    std::vector<float> values(512);
    CHECK_THROWS_WITH(decode_row(TensorType::Q4_K, bytes.data(), values.data(), 255),
                      ContainsSubstring("255 elements of Q4_K") && ContainsSubstring("blocks of 256"));
    CHECK_THROWS_AS(decode_row(TensorType::Q8_0, bytes.data(), values.data(), 33), Error);
}

TEST_CASE("decode_row: a number that is no type is refused") {
    float value = 0;
    CHECK_THROWS_AS(decode_row(TensorType(4), &value, &value, 1), Error);
    CHECK_THROWS_AS(decode_row(TensorType(0xffffffff), &value, &value, 1), Error);
}
