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
using ingot::runtime::Activation;
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
    int64_t n_queries, n_positions, key_dim, value_dim;
    float soft_cap = 0;
    bool slopes = false, sinks = false, float_cache = false;
};

std::vector<float> attend(const Kernels& kernels, const AttentionCase& c, float query_size, uint32_t seed) {
    const int64_t key_stride = c.key_dim * 2 + 3;  // two KV heads and a gap
    const int64_t value_stride = c.value_dim + 5;
    auto queries = random_floats(size_t(c.n_queries * c.key_dim), seed);
    for (auto& q : queries) q *= query_size;
    const auto cache = random_floats(size_t(c.n_positions * (key_stride + value_stride)), seed + 1);
    std::vector<uint16_t> halves;
    std::vector<float> floats;  // the same values
    for (const float x : cache) halves.push_back(float_to_half(x));
    for (const uint16_t half : halves) floats.push_back(half_to_float(half));
    const int64_t values_at = c.n_positions * key_stride;
    std::vector<float> slopes, sinks = random_floats(size_t(c.n_queries), seed + 2);
    for (int64_t q = 0; q < c.n_queries; ++q) slopes.push_back(std::exp2(-float(q + 1)));
    std::vector<float> scores(size_t(c.n_queries * c.n_positions));
    std::vector<float> output(size_t(c.n_queries * c.value_dim) + 1, -7.0f);
    kernels.attention({.queries = queries.data(),
                       .n_queries = c.n_queries,
                       .keys = c.float_cache ? static_cast<const void*>(floats.data()) : halves.data(),
                       .values = c.float_cache ? static_cast<const void*>(floats.data() + values_at)
                                               : halves.data() + values_at,
                       .float_cache = c.float_cache,
                       .key_stride = key_stride,
                       .value_stride = value_stride,
                       .n_positions = c.n_positions,
                       .key_dim = c.key_dim,
                       .value_dim = c.value_dim,
                       .scale = 1 / std::sqrt(float(c.key_dim)),
                       .soft_cap = c.soft_cap,
                       .slopes = c.slopes ? slopes.data() : nullptr,
                       .sinks = c.sinks ? sinks.data() : nullptr,
                       .scores = scores.data(),
                       .output = output.data()});
    CHECK(output.back() == -7.0f);
    output.pop_back();
    return output;
}

// What an activation is, in double, times its partner.
double exact(Activation activation, double x, double up) {
    const auto sigmoid = [](double t) { return 1 / (1 + std::exp(-t)); };
    switch (activation) {
        case Activation::Silu:
            return x * sigmoid(x) * up;
        case Activation::Gelu:
            return x * std::erfc(-x / std::sqrt(2.0)) / 2 * up;
        case Activation::GeluTanh:
            return x * sigmoid(2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)) * up;
        case Activation::Relu:
            return std::max(x, 0.0) * up;
        case Activation::ReluSquared:
            return std::max(x, 0.0) * std::max(x, 0.0) * up;
        case Activation::Sigmoid:
            return sigmoid(x) * up;
        case Activation::SiluClamped:
            return std::min(x, 7.0) * sigmoid(1.702 * std::min(x, 7.0)) * (std::clamp(up, -7.0, 7.0) + 1);
    }
    return 0;
}
constexpr Activation kActivations[] = {Activation::Silu,       Activation::Gelu,        Activation::GeluTanh,
                                       Activation::Relu,       Activation::ReluSquared, Activation::Sigmoid,
                                       Activation::SiluClamped};

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

TEST_CASE("silu of each instruction set is within 2^-21 of the exact value") {
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
        table->activate(Activation::Silu, gate.data(), up.data(), y.data(), int64_t(gate.size()));
        double largest = 0;
        for (size_t i = 0; i < gate.size(); ++i) {
            const double expected = exact(Activation::Silu, double(gate[i]), double(up[i]));
            const double error = std::fabs(y[i] - expected);
            if (std::fabs(expected) < 1e-33) {
                CHECK(error < 1e-33);  // where exp(-gate) nears the end of float's range
            } else {
                largest = std::max(largest, error / std::fabs(expected));
            }
        }
        CHECK(largest < std::ldexp(1.0, -21));
    }
}

TEST_CASE("every activation of each instruction set is within 1e-6 of the exact value at any length") {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        CAPTURE(std::string(table->name));
        for (const Activation activation : kActivations) {
            CAPTURE(int(activation));
            for (const int64_t n : kLengths) {
                const auto gate = random_floats(size_t(n), 21), up = random_floats(size_t(n), 22);
                std::vector<float> y(size_t(n) + 1, 5.0f), alone = y;
                table->activate(activation, gate.data(), up.data(), y.data(), n);
                table->activate(activation, gate.data(), nullptr, alone.data(), n);
                CHECK(y.back() == 5.0f);
                CHECK(alone.back() == 5.0f);
                double largest = 0;
                for (size_t i = 0; i < size_t(n); ++i) {
                    const double x = double(gate[i]);
                    const double size = (1 + std::fabs(x * x)) * (2 + std::fabs(double(up[i])));
                    largest = std::max(largest,
                                       std::fabs(double(y[i]) - exact(activation, x, double(up[i]))) / size);
                    if (activation == Activation::SiluClamped) continue;  // has no meaning without a partner
                    largest = std::max(largest, std::fabs(double(alone[i]) - exact(activation, x, 1)) / size);
                }
                CHECK(largest < 1e-6);
                std::vector<float> in_place = gate;
                table->activate(activation, in_place.data(), up.data(), in_place.data(), n);
                CHECK(std::equal(in_place.begin(), in_place.end(), y.begin()));
            }
        }
    }
}

TEST_CASE("layer_norm of each instruction set agrees with the exact value, also far from zero") {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        CAPTURE(std::string(table->name));
        for (const int64_t n : kLengths) {
            for (const float offset : {0.0f, 1000.0f}) {
                CAPTURE(n, offset);
                auto x = random_floats(size_t(n), 1);
                for (float& value : x) value += offset;
                const auto weight = random_floats(size_t(n), 2), bias = random_floats(size_t(n), 3);
                std::vector<float> y(size_t(n) + 1, 5.0f), plain = y;
                table->layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, y.data(), n);
                table->layer_norm(x.data(), weight.data(), nullptr, 1e-5f, plain.data(), n);
                CHECK(y.back() == 5.0f);
                CHECK(plain.back() == 5.0f);
                double sum = 0, squares = 0;
                for (const float value : x) sum += double(value);
                const double mean = sum / double(n);
                for (const float value : x) squares += (double(value) - mean) * (double(value) - mean);
                const double factor = 1 / std::sqrt(squares / double(n) + 1e-5);
                double largest = 0;
                for (size_t i = 0; i < size_t(n); ++i) {
                    const double normed = (double(x[i]) - mean) * factor * double(weight[i]);
                    const double size = (1 + std::fabs(normed)) * (offset == 0 ? 1 : 1000);
                    largest = std::max(largest, std::fabs(double(y[i]) - normed - double(bias[i])) / size);
                    largest = std::max(largest, std::fabs(double(plain[i]) - normed) / size);
                }
                CHECK(largest < 1e-6);
            }
        }
    }
}

TEST_CASE("soft_cap of each instruction set is within 2^-21 of the cap of the exact value") {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        CAPTURE(std::string(table->name));
        std::vector<float> x;
        for (int i = -1000; i <= 1000; ++i) x.push_back(float(i) / 4);
        x.insert(x.end(), {1e30f, -1e30f, 1e-20f});
        std::vector<float> y = x;
        y.push_back(5.0f);
        table->soft_cap(y.data(), 30.0f, int64_t(x.size()));
        CHECK(y.back() == 5.0f);
        for (size_t i = 0; i < x.size(); ++i) {
            CHECK(std::fabs(double(y[i]) - 30 * std::tanh(double(x[i]) / 30)) < 30 * std::ldexp(1.0, -21));
        }
    }
}

TEST_CASE("attention of each instruction set agrees with the scalar oracle for all head counts and sizes") {
    const AttentionCase cases[] = {{1, 1, 64, 64},      {4, 1, 64, 64},   {1, 2, 16, 16},     {2, 3, 80, 80},
                                   {3, 17, 96, 96},     {4, 100, 64, 64}, {5, 33, 128, 128},  {7, 5, 8, 8},
                                   {8, 1000, 128, 128}, {6, 64, 72, 72},  {1, 257, 256, 256}, {9, 31, 20, 20},
                                   {5, 33, 192, 128},   {3, 40, 24, 70}};
    for_each_fast_table([&](const Kernels& fast) {
        for (AttentionCase c : cases) {
            CAPTURE(c.n_queries, c.n_positions, c.key_dim, c.value_dim);
            const auto expected = attend(scalar_kernels(), c, 1.0f, 4);
            CHECK(relative_error(attend(fast, c, 1.0f, 4), expected) < 2e-6);
            c.soft_cap = 2, c.slopes = true, c.sinks = true;
            const auto adjusted = attend(scalar_kernels(), c, 1.0f, 4);
            CHECK(relative_error(adjusted, expected) > 1e-3);  // they do something
            CHECK(relative_error(attend(fast, c, 1.0f, 4), adjusted) < 3e-6);
            c.float_cache = true;
            CHECK(attend(scalar_kernels(), c, 1.0f, 4) == adjusted);
            CHECK(relative_error(attend(fast, c, 1.0f, 4), adjusted) < 3e-6);
        }
    });
}

TEST_CASE("soft cap, slopes and sinks of attention are what their formulas say") {
    // One query (1), two positions with keys 1 and 2 and values 1 and 0: probabilities by hand.
    const float query = 1;
    const uint16_t keys[] = {float_to_half(1), float_to_half(2)};
    const uint16_t values[] = {float_to_half(1), float_to_half(0)};
    const float slope = 0.5f, sink = 0.25f;
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        CAPTURE(std::string(table->name));
        float log_sum = 0;
        const auto first_share = [&](float soft_cap, const float* slopes, const float* sinks) {
            float scores[2], output = 0;
            log_sum = 0;
            table->attention({.queries = &query,
                              .n_queries = 1,
                              .keys = keys,
                              .values = values,
                              .float_cache = false,
                              .key_stride = 1,
                              .value_stride = 1,
                              .n_positions = 2,
                              .key_dim = 1,
                              .value_dim = 1,
                              .scale = 1,
                              .soft_cap = soft_cap,
                              .slopes = slopes,
                              .sinks = sinks,
                              .scores = scores,
                              .output = &output,
                              .log_sums = &log_sum});
            return double(output);
        };
        const double e = std::exp(1.0);
        CHECK(first_share(0, nullptr, nullptr) == Approx(e / (e + e * e)).epsilon(1e-6));
        CHECK(log_sum == Approx(std::log(e + e * e)).epsilon(1e-6));
        CHECK(first_share(0, &slope, nullptr) ==
              Approx(std::exp(0.5) / (std::exp(0.5) + e * e)).epsilon(1e-6));
        CHECK(first_share(0, nullptr, &sink) == Approx(e / (e + e * e + std::exp(0.25))).epsilon(1e-6));
        CHECK(log_sum == Approx(std::log(e + e * e + std::exp(0.25))).epsilon(1e-6));
        const double a = std::exp(1.5 * std::tanh(1 / 1.5)), b = std::exp(1.5 * std::tanh(2 / 1.5));
        CHECK(first_share(1.5f, nullptr, nullptr) == Approx(a / (a + b)).epsilon(1e-6));
    }
}

TEST_CASE("attention stays finite where scores are huge, and then picks one value") {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        CAPTURE(std::string(table->name));
        const AttentionCase c{3, 50, 64, 64};
        const auto y = attend(*table, c, 1e6f, 8);
        CHECK(relative_error(y, attend(scalar_kernels(), c, 1e6f, 8)) < 1e-3);
        for (const float value : y) {
            REQUIRE(std::isfinite(value));
            // A probability of 1 leaves a half as it is.
            CHECK(half_to_float(float_to_half(value)) == value);
        }
    }
}
