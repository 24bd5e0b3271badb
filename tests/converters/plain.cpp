#include "converters/quantize/plain.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "format/half.h"
#include "tests/catch.h"

namespace plain = ingot::converters::plain;
using plain::Isa;

namespace {

float float_of_bits(uint64_t bits) {
    return std::bit_cast<float>(uint32_t(bits));
}

/// Every bfloat16 (zeros, subnormals, infinities and NaNs among them), and every half with the float in the
/// middle between it and the next, and the neighbours of both.
std::vector<float> telling_floats() {
    std::vector<float> values;
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        values.push_back(ingot::bf16_to_float(uint16_t(bits)));
        values.push_back(float_of_bits(bits << 16 | 0x7fff));  // around the middle between two bfloat16
        values.push_back(float_of_bits(bits << 16 | 0x8000));
        values.push_back(float_of_bits(bits << 16 | 0x8001));
        const uint32_t half = std::bit_cast<uint32_t>(ingot::half_to_float(uint16_t(bits)));
        const bool subnormal = (bits & 0x7c00) == 0;
        const float middle =
            subnormal ? std::copysign(std::fabs(float_of_bits(half)) + 0x1p-25f, float_of_bits(half))
                      : float_of_bits(half + 0x1000);
        for (const uint32_t around : {half, std::bit_cast<uint32_t>(middle)}) {
            for (const int step : {-1, 0, 1}) values.push_back(float_of_bits(around + uint32_t(step)));
        }
    }
    return values;
}

using Convert = void (*)(const float*, uint64_t, std::byte*);

/// How many of the results are not the oracle's.
uint64_t n_wrong(Convert convert, uint16_t (*oracle)(float), const std::vector<float>& values) {
    std::vector<uint16_t> found(values.size());
    convert(values.data(), values.size(), reinterpret_cast<std::byte*>(found.data()));
    uint64_t n = 0;
    for (size_t i = 0; i < values.size(); ++i) n += found[i] != oracle(values[i]);
    return n;
}

}  // namespace

TEST_CASE("plain types: every instruction set rounds as the scalar functions do, NaNs and subnormals too") {
    const std::vector<float> values = telling_floats();
    for (const Isa isa : {Isa::Baseline, plain::best_isa()}) {
        INFO("instruction set " << int(isa));
        CHECK(n_wrong(plain::passes(isa).to_f16, ingot::float_to_half, values) == 0);
        CHECK(n_wrong(plain::passes(isa).to_bf16, ingot::float_to_bf16, values) == 0);
    }
}

TEST_CASE("plain types: any number of values at any address, and not a byte more") {
    const std::vector<float> values = telling_floats();
    for (const Isa isa : {Isa::Baseline, plain::best_isa()}) {
        for (size_t n = 0; n < 40; ++n) {
            std::vector<std::byte> bytes(2 * n + 3, std::byte{0xa5});
            plain::passes(isa).to_f16(values.data() + 30001 + n, n, bytes.data() + 1);
            for (size_t i = 0; i < n; ++i) {
                uint16_t half = 0;
                std::memcpy(&half, bytes.data() + 1 + 2 * i, sizeof half);
                CHECK(half == ingot::float_to_half(values[30001 + n + i]));
            }
            CHECK(bytes.front() == std::byte{0xa5});
            CHECK(bytes[2 * n + 1] == std::byte{0xa5});
            CHECK(bytes[2 * n + 2] == std::byte{0xa5});
        }
    }
}

TEST_CASE("plain types: the largest magnitude is found wherever it stands; NaN is above infinity") {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const Isa isa : {Isa::Baseline, plain::best_isa()}) {
        const auto largest = [&](const std::vector<float>& values) {
            return plain::passes(isa).largest_magnitude(values.data(), values.size());
        };
        CHECK(largest({}) == 0);
        CHECK(largest({-0.0f}) == 0);
        for (const float extreme : {-3.5f, 1e38f, -kInfinity, -std::numeric_limits<float>::quiet_NaN()}) {
            for (size_t n = 1; n < 70; ++n) {
                std::vector<float> values(n, -1.0f);
                for (size_t at = 0; at < n; at += 3) {
                    values[at] = extreme;
                    REQUIRE(largest(values) == (std::bit_cast<uint32_t>(extreme) & 0x7fffffff));
                    values[at] = -1.0f;
                }
            }
        }
        CHECK(std::isnan(std::bit_cast<float>(largest({kInfinity, float_of_bits(0xffc00000), 1.0f}))));
    }
}
