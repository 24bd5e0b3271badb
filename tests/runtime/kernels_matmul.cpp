// Every instruction set that this machine has, against the scalar oracle; and the oracle against decode_row.
#include <algorithm>
#include <cmath>
#include <string>

#include "format/decode.h"
#include "format/error.h"
#include "runtime/cpu/kernels.h"
#include "tests/catch.h"
#include "tests/runtime/kernels.h"

using namespace ingot;
using namespace ingot::runtime::cpu;
using namespace kernel_tests;

namespace {

// The integers are exact, so what differs is the rounding of float sums. Layouts whose blocks are 32 elements
// are multiplied with unsigned quants u = q + zero, and the zeros are taken off as floats: where |q| is much
// smaller than a zero of 128 this loses digits. No quantizer writes such blocks (the largest |q| of a block
// is near 127), the extreme ones below are.
bool has_large_zero(TensorType type) {
    return type == TensorType::Q8_0 || type == TensorType::IQ4_NL || type == TensorType::IQ4_XS;
}
double tolerance(TensorType type) {
    return has_large_zero(type) ? 5e-6 : 3e-6;
}
double tolerance_of_extremes(TensorType type) {
    return has_large_zero(type) ? 5e-5 : 2e-6;
}

struct Shape {
    int64_t n_rows, n_in_blocks, n_tokens;
};

// y (n_tokens, n_rows) by this table and by the oracle, from the oracle's activations.
double difference_to_oracle(const Kernels& kernels, TensorType type, const Shape& shape, Values values,
                            float activation_offset, uint32_t seed) {
    const auto* fast = find_matmul(kernels, type);
    const auto* oracle = find_matmul(scalar_kernels(), type);
    REQUIRE(fast != nullptr);
    REQUIRE(fast->form == oracle->form);
    // F32 rows need no block; let them end anywhere.
    const int64_t n_in = info(type).quantized ? shape.n_in_blocks * block_elements(type)
                                              : shape.n_in_blocks * 16 + shape.n_in_blocks % 16;
    const auto weights = random_rows(type, shape.n_rows, n_in, values, seed);
    const auto x = random_floats(size_t(shape.n_tokens * n_in), seed + 1, activation_offset);
    const auto activations = make_activations(scalar_kernels(), fast->form, x, n_in);
    const auto expected = multiply(*oracle, weights, shape.n_rows, n_in, activations, shape.n_tokens);
    const auto found = multiply(*fast, weights, shape.n_rows, n_in, activations, shape.n_tokens);
    double error = relative_error(found, expected);
    if (fast->panels != nullptr) {
        const auto by_panels = multiply_tiles(kernels, *fast, Way::Panels, weights, shape.n_rows, n_in,
                                              activations, shape.n_tokens);
        error = std::max(error, relative_error(by_panels, expected));
    }
    return error;
}

}  // namespace

TEST_CASE("Each instruction set multiplies as the scalar oracle does, in any shape") {
    const Shape shapes[] = {
        {1, 1, 1},  {3, 2, 1},  {5, 3, 2},   {2, 5, 3},   {7, 8, 4},    {4, 16, 5},
        {9, 17, 7}, {6, 24, 8}, {11, 33, 9}, {3, 45, 13}, {70, 37, 23},
    };
    for (const Kernels* table : all_kernels()) {
        if (!table->supported() || table == &scalar_kernels()) continue;
        for (const TensorType type : layouts()) {
            for (const Shape& shape : shapes) {
                CAPTURE(std::string(table->name), std::string(name(type)), shape.n_rows, shape.n_in_blocks,
                        shape.n_tokens);
                CHECK(difference_to_oracle(*table, type, shape, Values::Random, 0.0f, 7) < tolerance(type));
            }
        }
    }
}

TEST_CASE("Rows of streams have the outputs of the same rows in one range") {
    constexpr int64_t kStreamRows = 5, kSpacing = 6, kBlocks = 3;
    const int64_t n_rows = kStreams * kSpacing;
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        for (const TensorType type : layouts()) {
            CAPTURE(std::string(table->name), std::string(name(type)));
            const auto* matmul = find_matmul(*table, type);
            const int64_t n_in = kBlocks * (info(type).quantized ? block_elements(type) : 16);
            const auto weights = random_rows(type, n_rows, n_in, Values::Random, 3);
            const auto activations =
                make_activations(scalar_kernels(), matmul->form, random_floats(size_t(n_in), 4, 0.0f), n_in);
            const auto all = multiply(*matmul, weights, n_rows, n_in, activations, 1);
            std::vector<float> expected = all, found(size_t(n_rows), 1e9f);
            for (int64_t row = kStreamRows; row < n_rows; row += kSpacing) expected[size_t(row)] = 1e9f;
            matmul->function({.weights = weights.data(),
                              .weight_stride = row_bytes(type, uint64_t(n_in)),
                              .n_rows = kStreamRows,
                              .spacing = kSpacing,
                              .n_in = n_in,
                              .activations = activations.data(),
                              .activation_stride = activations.size(),
                              .n_tokens = 1,
                              .output = found.data(),
                              .output_stride = n_rows});
            CHECK(found == expected);
        }
    }
}

TEST_CASE("Each instruction set multiplies extreme blocks as the scalar oracle does") {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported() || table == &scalar_kernels()) continue;
        for (const TensorType type : layouts()) {
            for (const Values values : {Values::Zero, Values::Largest, Values::Negative}) {
                for (const float offset : {0.0f, 30.0f, -30.0f}) {  // activations of all signs, or of one
                    CAPTURE(std::string(table->name), std::string(name(type)), int(values), offset);
                    const double error = difference_to_oracle(*table, type, {5, 19, 9}, values, offset, 11);
                    CHECK(error < tolerance_of_extremes(type));
                    if (values == Values::Zero) CHECK(error == 0);
                }
            }
        }
    }
}

TEST_CASE("Each instruction set rounds activations to the very same integers") {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        CAPTURE(std::string(table->name));
        const int64_t n = 256 * 7;
        auto x = random_floats(size_t(n), 3);
        for (int i = 256; i < 512; ++i) x[size_t(i)] = 0;                               // a block of zeros
        for (int i = 512; i < 768; ++i) x[size_t(i)] = float(i % 255) - 127.0f + 0.5f;  // ties
        for (int i = 768; i < 800; ++i) x[size_t(i)] *= 1e-36f;                         // all but zero
        for (int i = 800; i < 832; ++i) x[size_t(i)] *= 1e+36f;
        for (const ActivationForm form : {ActivationForm::Q8_0, ActivationForm::Q8_K}) {
            CHECK(make_activations(*table, form, x, n) == make_activations(scalar_kernels(), form, x, n));
        }
    }
}

TEST_CASE("The scalar oracle multiplies as decoded weights with decoded activations do, in double") {
    for (const TensorType type : layouts()) {
        CAPTURE(std::string(name(type)));
        const int64_t n_rows = 5, n_in = 768, n_tokens = 3;
        const auto weights = random_rows(type, n_rows, n_in, Values::Random, 5);
        const auto x = random_floats(size_t(n_tokens * n_in), 6);
        const auto* matmul = find_matmul(scalar_kernels(), type);
        REQUIRE(matmul != nullptr);
        const auto activations = make_activations(scalar_kernels(), matmul->form, x, n_in);
        const auto y = multiply(*matmul, weights, n_rows, n_in, activations, n_tokens);

        const size_t row_size = row_bytes(type, uint64_t(n_in));
        const size_t activation_size = activation_bytes(matmul->form, n_in);
        double activation_error = 0;
        std::vector<float> expected;
        for (int64_t t = 0; t < n_tokens; ++t) {
            const uint8_t* row = activations.data() + size_t(t) * activation_size;
            std::vector<double> decoded(static_cast<size_t>(n_in));
            for (int64_t i = 0; i < n_in; ++i) {
                const auto* blocks = reinterpret_cast<const ActivationBlock256*>(row);
                const ActivationRow32 row_32 = activation_row_32(row, n_in);
                switch (matmul->form) {
                    case ActivationForm::F32:
                        decoded[size_t(i)] = reinterpret_cast<const float*>(row)[i];
                        break;
                    case ActivationForm::Q8_0:
                        decoded[size_t(i)] = double(row_32.scales[i / 32]) * row_32.quants[i];
                        break;
                    case ActivationForm::Q8_K:
                        decoded[size_t(i)] = double(blocks[i / 256].scale) * blocks[i / 256].quants[i % 256];
                        break;
                }
                activation_error =
                    std::max(activation_error, std::fabs(decoded[size_t(i)] - x[size_t(t * n_in + i)]));
            }
            for (int64_t r = 0; r < n_rows; ++r) {
                std::vector<float> w(static_cast<size_t>(n_in));
                decode_row(type, weights.data() + size_t(r) * row_size, w.data(), uint64_t(n_in));
                double sum = 0;
                for (size_t i = 0; i < w.size(); ++i) sum += double(w[i]) * decoded[i];
                expected.push_back(float(sum));
            }
        }
        CHECK(relative_error(y, expected) < 3e-7);     // decode_row rounds each weight to float
        CHECK(activation_error < 100.0 / 254 * 1.01);  // half a step of the largest activation's block
    }
}

TEST_CASE("A layout without a fast kernel is multiplied by the scalar one, an unknown one by none") {
    Kernels bare = scalar_kernels();
    bare.name = "bare";
    bare.matmuls = {};
    CHECK(find_matmul(bare, TensorType::Q4_K) == find_matmul(scalar_kernels(), TensorType::Q4_K));
    CHECK(find_matmul(scalar_kernels(), TensorType::IQ1_S) == nullptr);
}
