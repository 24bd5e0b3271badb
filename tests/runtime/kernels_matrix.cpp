// Products by matrix registers against those of floats: the oracle's product of decoded weights.
#include <algorithm>
#include <string>

#include "format/decode.h"
#include "runtime/cpu/kernels.h"
#include "tests/catch.h"
#include "tests/runtime/kernels.h"

using namespace ingot;
using namespace ingot::runtime::cpu;
using namespace kernel_tests;

namespace {

// BF16 rounds to within 2^-8, and both factors are rounded: 2^-8 / sqrt(3) / 1.4 of each is 0.0023 of a sum
// of many. Floats are sums of two BF16, which leave 2^-16.
double tolerance(TensorType type) {
    return info(type).quantized ? 3.5e-3 : 1e-5;
}

/// A product, exact but for its floats, and what others say of it.
class Product {
  public:
    Product(TensorType type, int64_t n_rows, int64_t n_in_blocks, int64_t n_tokens, Values values,
            float offset)
        : type_(type),
          n_rows_(n_rows),
          n_in_(info(type).quantized ? n_in_blocks * block_elements(type)
                                     : n_in_blocks * 16 + n_in_blocks % 16),
          n_tokens_(n_tokens),
          weights_(random_rows(type, n_rows, n_in_, values, 7)),
          x_(random_floats(size_t(n_tokens * n_in_), 8, offset)) {
        std::vector<float> decoded(size_t(n_rows * n_in_));
        decode_row(type, weights_.data(), decoded.data(), decoded.size());
        const std::vector<uint8_t> bytes(reinterpret_cast<const uint8_t*>(decoded.data()),
                                         reinterpret_cast<const uint8_t*>(decoded.data() + decoded.size()));
        expected_ = multiply(*find_matmul(scalar_kernels(), TensorType::F32), bytes, n_rows, n_in_,
                             rows_in(ActivationForm::F32), n_tokens);
    }
    double error_by(const Kernels& table, Way way) const {
        const Kernels::Matmul& matmul = *find_matmul(table, type_);
        const auto rows = rows_in(way == Way::Matrix ? ActivationForm::F32 : matmul.form);
        return relative_error(multiply_tiles(table, matmul, way, weights_, n_rows_, n_in_, rows, n_tokens_),
                              expected_);
    }

  private:
    std::vector<uint8_t> rows_in(ActivationForm form) const {
        return make_activations(scalar_kernels(), form, x_, n_in_);
    }
    TensorType type_;
    int64_t n_rows_, n_in_, n_tokens_;
    std::vector<uint8_t> weights_;
    std::vector<float> x_, expected_;
};

template <typename Check>
void for_each_matrix(Check&& check) {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        for (const TensorType type : layouts()) {
            const Kernels::Matmul& matmul = *find_matmul(*table, type);
            if (matmul.matrix == nullptr) continue;
            CAPTURE(std::string(table->name), std::string(name(type)));
            check(*table, type);
        }
    }
}

}  // namespace

TEST_CASE("matrix registers multiply as floats do, but for BF16's rounding, in any shape") {
    struct Shape {
        int64_t n_rows, n_in_blocks, n_tokens;
    };
    const Shape shapes[] = {{1, 1, 1},    {3, 2, 1},    {16, 5, 16},  {17, 8, 33},  {33, 16, 31},
                            {31, 17, 32}, {70, 37, 65}, {129, 3, 96}, {300, 9, 70}, {40, 33, 600}};
    for_each_matrix([&](const Kernels& table, TensorType type) {
        for (const auto& [n_rows, n_in_blocks, n_tokens] : shapes) {
            CAPTURE(n_rows, n_in_blocks, n_tokens);
            const Product product(type, n_rows, n_in_blocks, n_tokens, Values::Random, 0);
            // A single output may be small by chance.
            CHECK(product.error_by(table, Way::Matrix) < tolerance(type) * (n_rows * n_tokens < 16 ? 10 : 1));
        }
    });
}

TEST_CASE("matrix registers multiply extreme blocks as floats do") {
    for_each_matrix([&](const Kernels& table, TensorType type) {
        for (const Values values : {Values::Zero, Values::Largest, Values::Negative}) {
            for (const float offset : {0.0f, 30.0f, -30.0f}) {  // activations of all signs, or of one
                CAPTURE(int(values), offset);
                const double error = Product(type, 37, 19, 41, values, offset).error_by(table, Way::Matrix);
                CHECK(error < tolerance(type));
                if (values == Values::Zero) CHECK(error == 0);
            }
        }
    });
}

TEST_CASE("matrix registers are nearer to the products of floats than activations of 8 bits are") {
    for_each_matrix([&](const Kernels& table, TensorType type) {
        if (!info(type).quantized) return;
        const Product product(type, 64, 32, 64, Values::Random, 0);
        CHECK(product.error_by(table, Way::Matrix) < 0.7 * product.error_by(table, Way::Panels));
    });
}
