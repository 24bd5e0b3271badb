// The kernels that are not matrix products, each instruction set against the scalar oracle.
#include <algorithm>
#include <cmath>
#include <string>

#include "format/half.h"
#include "runtime/cpu/kernels.h"
#include "tests/catch.h"
#include "tests/runtime/kernels.h"

using namespace ingot;
using namespace ingot::runtime::cpu;
using namespace kernel_tests;

namespace {

const int64_t kLengths[] = {1, 2, 7, 15, 16, 17, 31, 33, 64, 100, 1000};

template <typename Check>
void for_each_fast_table(const Check& check) {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported() || table == &scalar_kernels()) continue;
        CAPTURE(std::string(table->name));
        check(*table);
    }
}

double largest_relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        if (a[i] != b[i])
            largest = std::max(largest, std::fabs(double(a[i]) - b[i]) / std::fabs(double(b[i])));
    }
    return largest;
}

struct AttentionCase {
    int64_t n_queries, n_positions, head_dim;
};

std::vector<float> attend(const Kernels& kernels, const AttentionCase& c, float query_size, uint32_t seed) {
    const int64_t kv_stride = c.head_dim * 2 + 3;  // two KV heads and a gap
    auto queries = random_floats(size_t(c.n_queries * c.head_dim), seed);
    for (auto& q : queries) q *= query_size;
    const auto cache = random_floats(size_t(2 * c.n_positions * kv_stride), seed + 1);
    std::vector<uint16_t> halves;
    for (const float x : cache) halves.push_back(float_to_half(x));
    std::vector<float> scores(size_t(c.n_queries * c.n_positions));
    std::vector<float> output(size_t(c.n_queries * c.head_dim) + 1, -7.0f);
    kernels.attention({.queries = queries.data(),
                       .n_queries = c.n_queries,
                       .keys = halves.data(),
                       .values = halves.data() + c.n_positions * kv_stride,
                       .kv_stride = kv_stride,
                       .n_positions = c.n_positions,
                       .head_dim = c.head_dim,
                       .scale = 1 / std::sqrt(float(c.head_dim)),
                       .scores = scores.data(),
                       .output = output.data()});
    CHECK(output.back() == -7.0f);
    output.pop_back();
    return output;
}

}  // namespace

TEST_CASE("rms_norm, add and to_half of each instruction set agree with the scalar oracle at any length") {
    for_each_fast_table([](const Kernels& fast) {
        for (const int64_t n : kLengths) {
            CAPTURE(n);
            const auto x = random_floats(size_t(n), 1), weight = random_floats(size_t(n), 2);
            std::vector<float> a(size_t(n) + 1, 5.0f), b = a;
            fast.rms_norm(x.data(), weight.data(), 1e-5f, a.data(), n);
            scalar_kernels().rms_norm(x.data(), weight.data(), 1e-5f, b.data(), n);
            CHECK(largest_relative_difference(a, b) < 3e-7);
            fast.add(x.data(), a.data(), n);
            for (int64_t i = 0; i < n; ++i) b[size_t(i)] += x[size_t(i)];
            CHECK(largest_relative_difference(a, b) < 1e-3);  // sums near zero lose digits
            CHECK(a.back() == 5.0f);

            a.assign(size_t(n), 1.5f), b = x;
            fast.add(x.data(), a.data(), n);
            for (auto& value : b) value += 1.5f;
            CHECK(a == b);
        }
    });
}

TEST_CASE("to_half of each instruction set rounds every kind of float as the scalar oracle does") {
    std::vector<float> x = {0.0f,    -0.0f,          65504.0f,   65519.0f, 65520.0f, 1e10f,
                            -1e10f,  INFINITY,       6e-8f,      3e-8f,    2.9e-8f,  6.1e-5f,
                            6.0e-5f, 1.00048828125f, 1.0014648f, 1e-20f,   -INFINITY};
    const auto random = random_floats(1003, 9);
    x.insert(x.end(), random.begin(), random.end());
    for (int i = 0; i < 1000; ++i) x.push_back(std::ldexp(1.0f + float(i) / 1000, i % 60 - 40));
    for_each_fast_table([&](const Kernels& fast) {
        std::vector<uint16_t> a(x.size()), b(x.size());
        fast.to_half(x.data(), a.data(), int64_t(x.size()));
        scalar_kernels().to_half(x.data(), b.data(), int64_t(x.size()));
        CHECK(a == b);
    });
}

TEST_CASE("silu_multiply of each instruction set is within 2^-21 of the exact value") {
    std::vector<float> gate, up;
    for (int i = -80 * 64; i <= 100 * 64; ++i) {
        gate.push_back(float(i) / 64 + 0.001f);
        up.push_back(1.0f + float(i % 7));
    }
    for (const float extreme : {-1e4f, -200.0f, 0.0f, 1e-30f, 200.0f, 1e4f, 1e30f}) {
        gate.push_back(extreme);
        up.push_back(2.0f);
    }
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        CAPTURE(std::string(table->name));
        std::vector<float> y(gate.size());
        table->silu_multiply(gate.data(), up.data(), y.data(), int64_t(gate.size()));
        double largest = 0;
        for (size_t i = 0; i < gate.size(); ++i) {
            const double exact = double(gate[i]) / (1 + std::exp(-double(gate[i]))) * up[i];
            const double error = std::fabs(y[i] - exact);
            if (std::fabs(exact) < 1e-33) {
                CHECK(error < 1e-33);  // where exp(-gate) nears the end of float's range
            } else {
                largest = std::max(largest, error / std::fabs(exact));
            }
        }
        CHECK(largest < std::ldexp(1.0, -21));
    }
}

TEST_CASE("attention of each instruction set agrees with the scalar oracle for all head counts and sizes") {
    const AttentionCase cases[] = {{1, 1, 64},     {4, 1, 64},   {1, 2, 16},    {2, 3, 80},
                                   {3, 17, 96},    {4, 100, 64}, {5, 33, 128},  {7, 5, 8},
                                   {8, 1000, 128}, {6, 64, 72},  {1, 257, 256}, {9, 31, 20}};
    for_each_fast_table([&](const Kernels& fast) {
        for (const auto& c : cases) {
            CAPTURE(c.n_queries, c.n_positions, c.head_dim);
            const auto expected = attend(scalar_kernels(), c, 1.0f, 4);
            CHECK(relative_error(attend(fast, c, 1.0f, 4), expected) < 2e-6);
        }
    });
}

TEST_CASE("attention stays finite where scores are huge, and then picks one value") {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        CAPTURE(std::string(table->name));
        const AttentionCase c{3, 50, 64};
        const auto y = attend(*table, c, 1e6f, 8);
        CHECK(relative_error(y, attend(scalar_kernels(), c, 1e6f, 8)) < 1e-3);
        for (const float value : y) {
            REQUIRE(std::isfinite(value));
            // A probability of 1 leaves a half as it is.
            CHECK(half_to_float(float_to_half(value)) == value);
        }
    }
}
