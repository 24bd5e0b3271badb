// The searches against what they must never do: lose to plain rounding, depend on how rows are split or on
// the instruction set, or stumble over zeros, constants and the ends of the number range.
#include "converters/quantize/quantize.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "converters/quantize/fit/fit.h"
#include "format/decode.h"
#include "format/half.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::converters;
using enum TensorType;

namespace {

constexpr uint64_t kRow = 512;
constexpr uint64_t kRows = 32;

/// A layout as plain rounding sees it.
struct Plain {
    TensorType type;
    int group;    // elements under one scale
    bool affine;  // levels 0 ... high and a minimum; else low ... high
    int low, high;
    int scale_levels;  // integer scales 0 ... scale_levels under one half for a super-block; 0: a half each
    double gaussian_error;  // root of the mean squared error on unit gaussian data that must not be exceeded
};

const Plain kLayouts[] = {
    {Q4_0, 32, false, -8, 7, 0, 0.0885},       {Q4_1, 32, true, 0, 15, 0, 0.0765},
    {Q5_0, 32, false, -16, 15, 0, 0.0440},     {Q5_1, 32, true, 0, 31, 0, 0.0375},
    {Q8_0, 32, false, -127, 127, 0, 0.0059},   {Q2_K, 16, true, 0, 3, 15, 0.2850},
    {Q3_K, 16, false, -4, 3, 31, 0.1580},      {Q4_K, 32, true, 0, 15, 63, 0.0770},
    {Q5_K, 32, true, 0, 31, 63, 0.0380},       {Q6_K, 16, false, -32, 31, 127, 0.0187},
    {IQ4_NL, 32, false, -127, 113, 0, 0.0800}, {IQ4_XS, 32, false, -127, 113, 31, 0.0810},
    {MXFP4, 32, false, -12, 12, 0, 0.1130},    {TQ1_0, 256, false, -1, 1, 0, 0.4370},
    {TQ2_0, 256, false, -1, 1, 0, 0.3740},
};

std::vector<float> gaussian(uint64_t n = kRow * kRows) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> x(n);
    for (float& value : x) value = normal(random);
    return x;
}

/// Student's t with three degrees of freedom: a normal over the root of a mean of squares.
std::vector<float> heavy_tailed() {
    std::mt19937 random(8);
    std::normal_distribution<float> normal;
    std::vector<float> x(kRow * kRows);
    for (float& value : x) {
        const float a = normal(random), b = normal(random), c = normal(random);
        value = 0.02f * normal(random) / std::sqrt((a * a + b * b + c * c) / 3 + 1e-6f);
    }
    return x;
}

/// One element of 64 is fifty times the others.
std::vector<float> with_outliers() {
    std::vector<float> x = gaussian();
    for (uint64_t i = 5; i < x.size(); i += 64) x[i] *= 50;
    return x;
}

std::vector<float> importance() {
    std::mt19937 random(9);
    std::normal_distribution<float> normal;
    std::vector<float> w(kRow);
    for (float& value : w) value = std::exp(1.5f * normal(random));
    return w;
}

std::vector<std::byte> quantize(TensorType type, std::span<const float> x, uint64_t row = kRow,
                                std::span<const float> w = {}) {
    std::vector<std::byte> bytes(x.size() / row * row_bytes(type, row));
    quantize_rows(type, x, bytes, row, w);
    return bytes;
}

std::vector<float> round_trip(TensorType type, std::span<const float> x, uint64_t row = kRow,
                              std::span<const float> w = {}) {
    const auto bytes = quantize(type, x, row, w);
    std::vector<float> y(x.size());
    decode_row(type, bytes.data(), y.data(), y.size());
    return y;
}

double squared_error(std::span<const float> x, std::span<const float> y, std::span<const float> w = {}) {
    double error = 0;
    for (uint64_t i = 0; i < x.size(); ++i) {
        const double difference = double(x[i]) - y[i];
        error += (w.empty() ? 1.0 : w[i % w.size()]) * difference * difference;
    }
    return error;
}

float to_half(float value) {
    return half_to_float(float_to_half(value));
}

float level(float v, int low, int high) {
    return std::min(std::max(std::nearbyint(v), float(low)), float(high));
}

/// What rounding alone gives, without any search: the extremes of a group define its scale, and scales of a
/// super-block are rounded to multiples of the largest.
std::vector<float> plain_rounding(const Plain& layout, std::span<const float> x) {
    const uint64_t block = layout.scale_levels ? 256 : layout.group;
    std::vector<float> y(x.size());
    for (uint64_t start = 0; start < x.size(); start += block) {
        const uint64_t n_groups = block / layout.group;
        std::vector<float> scales(n_groups), mins(n_groups);
        for (uint64_t g = 0; g < n_groups; ++g) {
            const auto group = x.subspan(start + g * layout.group, layout.group);
            const auto [least, most] = std::minmax_element(group.begin(), group.end());
            if (layout.affine) {
                mins[g] = layout.scale_levels ? std::min(*least, 0.0f) : *least;
                scales[g] = (*most - mins[g]) / float(layout.high);
            } else {
                const float extreme = -*least > *most ? *least : *most;
                scales[g] = std::fabs(extreme) / float(layout.high);
            }
        }
        if (layout.scale_levels) {
            const float d =
                to_half(*std::max_element(scales.begin(), scales.end()) / float(layout.scale_levels));
            const float dmin =
                to_half(-*std::min_element(mins.begin(), mins.end()) / float(layout.scale_levels));
            for (uint64_t g = 0; g < n_groups; ++g) {
                scales[g] = d > 0 ? d * level(scales[g] / d, 0, layout.scale_levels) : 0;
                mins[g] = dmin > 0 ? -dmin * level(-mins[g] / dmin, 0, layout.scale_levels) : 0;
            }
        } else {
            for (float& scale : scales) scale = to_half(scale);
            for (float& min : mins) min = to_half(min);
        }
        for (uint64_t i = 0; i < block; ++i) {
            const float scale = scales[i / layout.group], min = mins[i / layout.group];
            const float l = scale > 0 ? level((x[start + i] - min) / scale, layout.low, layout.high) : 0;
            y[start + i] = scale * l + min;
        }
    }
    return y;
}

bool is_uneven(TensorType type) {
    return type == IQ4_NL || type == IQ4_XS || type == MXFP4;
}

}  // namespace

TEST_CASE("the error on gaussian data stays within each layout's bound") {
    const auto x = gaussian();
    for (const Plain& layout : kLayouts) {
        INFO(name(layout.type));
        CHECK(std::sqrt(squared_error(x, round_trip(layout.type, x)) / double(x.size())) <
              layout.gaussian_error);
    }
}

TEST_CASE("a search never loses to plain rounding") {
    const std::vector<float> data[] = {gaussian(), heavy_tailed(), with_outliers()};
    const auto w = importance();
    for (const Plain& layout : kLayouts) {
        if (is_uneven(layout.type)) continue;  // plain rounding has no such grid
        for (const auto& x : data) {
            INFO(name(layout.type));
            const auto plain = plain_rounding(layout, x);
            CHECK(squared_error(x, round_trip(layout.type, x)) < squared_error(x, plain));
            CHECK(squared_error(x, round_trip(layout.type, x, kRow, w), w) < squared_error(x, plain, w));
        }
    }
}

TEST_CASE("uneven levels beat even ones of the same size on gaussian data") {
    const auto x = gaussian();
    CHECK(squared_error(x, round_trip(IQ4_NL, x)) < squared_error(x, round_trip(Q4_0, x)));
}

TEST_CASE("importance lowers the weighted error") {
    const auto x = gaussian();
    const auto w = importance();
    for (const Plain& layout : kLayouts) {
        INFO(name(layout.type));
        CHECK(squared_error(x, round_trip(layout.type, x, kRow, w), w) <
              squared_error(x, round_trip(layout.type, x), w));
    }
}

TEST_CASE("importance counts in proportion, whatever its size") {
    const auto x = gaussian(kRow);
    auto w = importance();
    for (const Plain& layout : kLayouts) {
        INFO(name(layout.type));
        const auto expected = quantize(layout.type, x, kRow, w);
        for (const float factor : {0x1p-100f, 0x1p100f}) {
            auto scaled = w;
            for (float& value : scaled) value *= factor;
            CHECK(quantize(layout.type, x, kRow, scaled) == expected);
        }
        const std::vector<float> none(kRow, 0.0f);
        CHECK(quantize(layout.type, x, kRow, none) == quantize(layout.type, x));
    }
}

TEST_CASE("rows give the same bytes however a tensor is split") {
    const auto x = heavy_tailed();
    const auto w = importance();
    for (const Plain& layout : kLayouts) {
        INFO(name(layout.type));
        const auto whole = quantize(layout.type, x, kRow, w);
        std::vector<std::byte> parts;
        for (uint64_t row = 0, n = 1; row < kRows; row += n, n = std::min<uint64_t>(2 * n, kRows - row)) {
            const auto part = quantize(layout.type, std::span(x).subspan(row * kRow, n * kRow), kRow, w);
            parts.insert(parts.end(), part.begin(), part.end());
        }
        CHECK(parts == whole);
    }
}

TEST_CASE("every instruction set gives the same bytes") {
    const std::vector<float> data[] = {gaussian(), heavy_tailed(), with_outliers()};
    const std::vector<float> equal(kRow * kRows, 1.0f);
    std::vector<float> uneven(equal);
    const auto columns = importance();
    for (uint64_t i = 0; i < uneven.size(); ++i) uneven[i] = columns[i % kRow];
    for (const Plain& layout : kLayouts)
        for (const auto& x : data)
            for (const auto& w : {equal, uneven}) {
                const uint64_t n_blocks = x.size() / info(layout.type).block_elements;
                const auto fitted = [&](fit::Isa isa) {
                    std::vector<std::byte> bytes(row_bytes(layout.type, x.size()));
                    fit::find_fit(layout.type, isa)(x.data(), w.data(), n_blocks, bytes.data());
                    return bytes;
                };
                const auto baseline = fitted(fit::Isa::Baseline);
                for (int isa = 1; isa <= int(fit::best_isa()); ++isa) {
                    INFO(name(layout.type) << ", instruction set " << isa);
                    CHECK(fitted(fit::Isa(isa)) == baseline);
                }
            }
}

TEST_CASE("zeros come back as zeros") {
    const std::vector<float> zeros(kRow, 0.0f);
    std::vector<float> partly = gaussian(kRow);
    std::fill_n(partly.begin() + 64, 128, 0.0f);
    for (const Plain& layout : kLayouts) {
        INFO(name(layout.type));
        for (const float value : round_trip(layout.type, zeros)) REQUIRE(value == 0);
        const auto y = round_trip(layout.type, partly);
        for (int i = 64; i < 192; ++i) REQUIRE(std::fabs(y[i]) < 1e-3f);
    }
}

TEST_CASE("a constant comes back to the precision of its scale") {
    for (const float value : {1.0f, -1.0f, 0.0371f, -1234.5f}) {
        const std::vector<float> x(kRow, value);
        for (const Plain& layout : kLayouts) {
            if (layout.type == MXFP4) continue;  // its scales are powers of two
            INFO(name(layout.type) << " " << value);
            for (const float y : round_trip(layout.type, x))
                REQUIRE(std::fabs(y - value) <= 0.005f * std::fabs(value));
        }
    }
}

TEST_CASE("what a layout with one scale holds exactly comes back exactly") {
    std::mt19937 random(10);
    for (const TensorType type : {Q4_0, Q5_0, IQ4_NL, MXFP4, TQ1_0, TQ2_0}) {
        const uint64_t block_bytes = info(type).block_bytes;
        for (int block = 0; block < 50; ++block) {
            INFO(name(type) << " block " << block);
            std::vector<std::byte> bytes(block_bytes);
            for (std::byte& byte : bytes) byte = std::byte(random());
            if (type == MXFP4) {
                bytes[0] = std::byte(100 + random() % 40);
            } else {
                const uint16_t scale = float_to_half(float(1 + random() % 2000) / 512.0f);
                std::memcpy(&bytes[type == TQ1_0 || type == TQ2_0 ? block_bytes - 2 : 0], &scale, 2);
            }
            std::vector<float> x(info(type).block_elements);
            decode_row(type, bytes.data(), x.data(), x.size());
            CHECK(round_trip(type, x, x.size()) == x);
        }
    }
}

TEST_CASE("a narrow range far from zero keeps its digits where the layout has a minimum") {
    std::vector<float> x = gaussian(kRow);
    for (float& value : x) value = 8.0f + 0.25f * value;
    for (const TensorType type : {Q4_1, Q5_1}) {
        const auto y = round_trip(type, x);
        CHECK(std::sqrt(squared_error(x, y) / double(kRow)) < 0.25 * (type == Q4_1 ? 0.08 : 0.04));
    }
}

TEST_CASE("magnitudes from tiny to huge are encoded as well as the scale's range allows") {
    const auto unit = gaussian(kRow);
    for (const Plain& layout : kLayouts)
        for (int exponent = -149; exponent <= 120; exponent += 3) {
            INFO(name(layout.type) << " 2^" << exponent);
            std::vector<float> x = unit;
            for (float& value : x) value = std::ldexp(value, exponent);
            const auto y = round_trip(layout.type, x);
            double largest = 0;
            for (const float value : y) {
                REQUIRE(std::isfinite(value));
                largest = std::max(largest, std::fabs(double(value)));
            }
            double size = 0;
            for (const float value : x) size += double(value) * value;
            // Within the range of a half scale the error is as for unit data; outside it is never above that
            // of zeros.
            const bool in_range = exponent >= (layout.scale_levels ? -4 : -8) && exponent <= 12;
            const double bound = in_range ? 1.2 * layout.gaussian_error * layout.gaussian_error : 1.0001;
            CHECK(squared_error(x, y) <= bound * size);
            if (exponent > 30) CHECK(largest >= 0.9 * 65504.0 * layout.high);
        }
}

TEST_CASE("numbers that blocks cannot hold are named with row and column") {
    std::vector<float> x = gaussian(4 * kRow);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
        x[2 * kRow + 17] = bad;
        for (const Plain& layout : kLayouts)
            CHECK_THROWS_WITH(quantize(layout.type, x), ContainsSubstring("row 2, column 17"));
        CHECK_NOTHROW(quantize(F32, x));
        CHECK_NOTHROW(quantize(BF16, x));
    }
}

TEST_CASE("a number too large for half precision is an error, not infinity") {
    std::vector<float> x(kRow, 1.0f);
    x[3] = 65519.0f;
    CHECK(round_trip(F16, x)[3] == 65504.0f);
    x[3] = 65520.0f;
    CHECK_THROWS_WITH(quantize(F16, x),
                      ContainsSubstring("row 0, column 3: 65520") && ContainsSubstring("BF16"));
    CHECK(round_trip(BF16, x)[3] == 65536.0f);
}

TEST_CASE("plain types are rounded to nearest") {
    const std::vector<float> x = {1.0f, -2.5f, 1.00048828125f, 3.14159274f};
    CHECK(round_trip(F32, x, 4) == x);
    const auto half = round_trip(F16, x, 4);
    CHECK(half == std::vector<float>{1.0f, -2.5f, 1.0f, 3.140625f});
    CHECK(round_trip(BF16, x, 4) == std::vector<float>{1.0f, -2.5f, 1.0f, 3.140625f});
}

TEST_CASE("sizes that do not fit are refused") {
    const auto x = gaussian(kRow);
    std::vector<std::byte> bytes(row_bytes(Q4_0, kRow));
    CHECK_THROWS_WITH(quantize_rows(Q4_0, std::span(x).first(kRow - 1), bytes, kRow),
                      ContainsSubstring("whole number"));
    CHECK_THROWS_WITH(quantize_rows(Q4_0, x, std::span(bytes).first(10), kRow),
                      ContainsSubstring("destination"));
    CHECK_THROWS_WITH(quantize_rows(Q4_0, x, bytes, kRow, std::span(x).first(3)),
                      ContainsSubstring("importance"));
    CHECK_THROWS(quantize_rows(Q4_K, std::span(x).first(128), bytes, 128));
    auto w = importance();
    w[4] = -1;
    CHECK_THROWS_WITH(quantize_rows(Q4_0, x, bytes, kRow, w), ContainsSubstring("column 4"));
    CHECK(!can_quantize(IQ2_XXS));
    CHECK(can_quantize(BF16));
}
