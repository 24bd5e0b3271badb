#include "format/half.h"

#include <cmath>
#include <limits>

#include "tests/catch.h"

using namespace ingot;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// binary16 by its definition, in steps that are exact.
double half_by_definition(uint16_t half) {
    const int exponent = (half >> 10) & 0x1f;
    const int fraction = half & 0x3ff;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

}  // namespace

TEST_CASE("half: all 65,536 numbers have the value that binary16 gives them, and come back") {
    int n_wrong = 0;
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        const uint16_t half = uint16_t(bits);
        const float value = half_to_float(half);
        if ((half & 0x7c00) != 0x7c00) {
            n_wrong += double(value) != half_by_definition(half);
            n_wrong += std::signbit(value) != bool(half & 0x8000);
            n_wrong += float_to_half(value) != half;
        } else if ((half & 0x3ff) == 0) {
            n_wrong += value != (half & 0x8000 ? -kInfinity : kInfinity);
            n_wrong += float_to_half(value) != half;
        } else {
            n_wrong += !std::isnan(value) || !std::isnan(half_to_float(float_to_half(value)));
        }
    }
    CHECK(n_wrong == 0);
}

TEST_CASE("half: between any two neighbours, floats go to the nearer one, and the middle to the even one") {
    int n_wrong = 0;
    for (uint16_t lower = 0; lower < 0x7c00; ++lower) {
        const uint16_t upper = uint16_t(lower + 1);
        const float low = half_to_float(lower);
        // The neighbour of the largest number is where the next one would be, and stands for infinity.
        const float high = upper == 0x7c00 ? 65536.0f : half_to_float(upper);
        const float middle = low + (high - low) / 2;
        for (const uint16_t sign : {uint16_t(0), uint16_t(0x8000)}) {
            const float s = sign ? -1.0f : 1.0f;
            n_wrong += float_to_half(s * std::nextafter(low, kInfinity)) != (sign | lower);
            n_wrong += float_to_half(s * std::nextafter(middle, 0.0f)) != (sign | lower);
            n_wrong += float_to_half(s * middle) != (sign | (lower % 2 == 0 ? lower : upper));
            n_wrong += float_to_half(s * std::nextafter(middle, kInfinity)) != (sign | upper);
            n_wrong += float_to_half(s * std::nextafter(high, 0.0f)) != (sign | upper);
        }
    }
    CHECK(n_wrong == 0);
}

TEST_CASE("half: too large is infinity, too small is zero with its sign, NaN stays NaN") {
    CHECK(float_to_half(65519.99f) == 0x7bff);
    CHECK(float_to_half(65520.0f) == 0x7c00);
    CHECK(float_to_half(-1e30f) == 0xfc00);
    CHECK(float_to_half(0x1p-25f) == 0x0000);
    CHECK(float_to_half(0x1.000002p-25f) == 0x0001);
    CHECK(float_to_half(-0x1p-140f) == 0x8000);
    CHECK(float_to_half(-0.0f) == 0x8000);
    CHECK(float_to_half(float_of(0x7f800001)) == 0x7e00);  // signalling, its fraction below half's bits
    CHECK(float_to_half(float_of(0xffffffff)) == 0xffff);
}

TEST_CASE("bf16: all 65,536 numbers come back, and the middle goes to the even one") {
    int n_wrong = 0;
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        const uint16_t bf16 = uint16_t(bits);
        const float value = bf16_to_float(bf16);
        if (std::isnan(value)) {
            n_wrong += !std::isnan(bf16_to_float(float_to_bf16(value)));
            continue;
        }
        n_wrong += float_to_bf16(value) != bf16;
        if (std::isinf(value)) continue;
        const uint16_t next = uint16_t(bf16 + 1);  // away from zero; after the largest, infinity
        n_wrong += float_to_bf16(float_of(bits << 16 | 0x7fff)) != bf16;
        n_wrong += float_to_bf16(float_of(bits << 16 | 0x8000)) != (bf16 % 2 == 0 ? bf16 : next);
        n_wrong += float_to_bf16(float_of(bits << 16 | 0x8001)) != next;
    }
    CHECK(n_wrong == 0);
    CHECK(std::isnan(bf16_to_float(float_to_bf16(float_of(0x7f800001)))));
}
