// Products by warpgroups, of every layout, against exact ones of the decoded weights: what rounding
// activations and weights to 16 bits does, and that it is less than what 8 bits do.
#include <cstdlib>

#include "format/decode.h"
#include "tests/runtime/gpu_devices.h"

using namespace gpu_tests;

namespace {

/// W (n_out, n_in) · x (n_tokens, n_in), in doubles; `chosen` says of which matrix a row of y is, and of
/// which row of x.
std::vector<float> exact(TensorType type, const std::vector<uint8_t>& bytes, int64_t n_in, int64_t n_out,
                         const std::vector<float>& x,
                         const std::vector<std::pair<int64_t, int64_t>>& chosen) {
    std::vector<float> weights(bytes.size() / row_bytes(type, uint64_t(n_in)) * size_t(n_in));
    decode_row(type, bytes.data(), weights.data(), weights.size());
    std::vector<float> y;
    for (const auto& [matrix, row] : chosen) {
        for (int64_t out = 0; out < n_out; ++out) {
            const float* const w = &weights[size_t((matrix * n_out + out) * n_in)];
            const float* const in = &x[size_t(row * n_in)];
            double sum = 0;
            for (int64_t i = 0; i < n_in; ++i) sum += double(w[i]) * double(in[i]);
            y.push_back(float(sum));
        }
    }
    return y;
}
std::vector<std::pair<int64_t, int64_t>> each_row(int64_t n_tokens) {
    std::vector<std::pair<int64_t, int64_t>> rows;
    for (int64_t i = 0; i < n_tokens; ++i) rows.emplace_back(0, i);
    return rows;
}

// A half rounds to within 2^-11, which is 2^-11 / sqrt(3) / 1.4 = 2.0e-4 of either factor at most; with it,
// of a weight that is a scale by a quant minus a min, both of these are rounded. Two terms leave 2^-22, of
// BF16 2^-16.
double tolerance(TensorType type) {
    if (type == TensorType::F16) return 2e-6;
    if (type == TensorType::BF16) return 8e-6;
    return 4.5e-4;
}

std::vector<TensorType> warpgroup_layouts() {
    std::vector<TensorType> types = device_layouts();
    std::erase_if(types, [](TensorType type) { return gpu::find_layout(type)->n_terms == 0; });
    return types;
}

struct Fixture {
    GpuBackend gpu{gpu::open_device(tested_device())};
    bool has_products = gpu.uses_warpgroup_products();

    std::vector<float> product(TensorType type, const std::vector<uint8_t>& bytes, int64_t n_in,
                               int64_t n_out, const std::vector<float>& x, int64_t n_tokens,
                               const std::vector<float>* biases = nullptr) {
        const auto weight = gpu.load_weight(type, n_in, n_out, std::as_bytes(std::span(bytes)));
        const auto bias = biases != nullptr ? on(gpu, *biases) : nullptr;
        const auto y = on(gpu, std::vector<float>(size_t(n_tokens * n_out), 1.0f)), input = on(gpu, x);
        const Projection projection[] = {{weight.get(), bias.get(), y.get()}};
        gpu.matmul(*input, n_tokens, projection);
        last = gpu.queue().last();
        return from(gpu, *y, size_t(n_tokens * n_out));
    }
    std::optional<gpu::Kernel> last;
};

}  // namespace

TEST_CASE("gpu: products by warpgroups lose what 16 bits lose, in every layout, at tiles that are not full") {
    Fixture fixture;
    CHECK((fixture.has_products || tested_device() != "emulator"));
    if (!fixture.has_products) return;
    CHECK(warpgroup_layouts().size() == 15);
    for (const TensorType type : warpgroup_layouts()) {
        INFO(name(type));
        const gpu::Layout& layout = *gpu::find_layout(type);
        const int64_t block = info(type).block_elements;
        for (const int64_t n_tokens : {65, 130, 300}) {
            const int64_t n_out = n_tokens == 65 ? 131 : n_tokens == 130 ? 70 : 9;
            const int64_t n_in = block == 256  ? n_tokens == 65 ? 256 : 768
                                 : block == 32 ? n_tokens == 65    ? 32
                                                 : n_tokens == 130 ? 416
                                                                   : 672
                                               : n_tokens - 20;
            CAPTURE(n_in, n_tokens);
            const auto bytes = rows_of(type, n_out, n_in, uint32_t(n_in));
            const auto x = random_floats(size_t(n_tokens * n_in), 5);
            const auto expected = exact(type, bytes, n_in, n_out, x, each_row(n_tokens));
            fixture.gpu.use_warpgroup_products(true);
            const double error =
                relative_error(fixture.product(type, bytes, n_in, n_out, x, n_tokens), expected);
            CHECK(fixture.last == (n_tokens == 130 ? layout.wide_warpgroup : layout.warpgroup));
            CHECK(error <= tolerance(type));
            fixture.gpu.use_warpgroup_products(false);
            const double by_tiles =
                relative_error(fixture.product(type, bytes, n_in, n_out, x, n_tokens), expected);
            CHECK(fixture.last == layout.wide);
            if (layout.n_shared != 0) CHECK(8 * error < by_tiles);
        }
    }
}

TEST_CASE("gpu: warpgroups add biases") {
    Fixture fixture;
    if (!fixture.has_products) return;
    constexpr int64_t kIn = 128, kOut = 10, kTokens = 70;
    const auto bytes = rows_of(TensorType::Q4_0, kOut, kIn, 1);
    const auto x = random_floats(kTokens * kIn, 2), biases = random_floats(kOut, 3);
    auto expected = exact(TensorType::Q4_0, bytes, kIn, kOut, x, each_row(kTokens));
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += biases[i % kOut];
    CHECK(relative_error(fixture.product(TensorType::Q4_0, bytes, kIn, kOut, x, kTokens, &biases),
                         expected) <= tolerance(TensorType::Q4_0));
}

TEST_CASE("gpu: weights and activations of any size meet in warpgroups") {
    Fixture fixture;
    if (!fixture.has_products) return;
    constexpr int64_t kTokens = 66, kOut = 9;
    for (const TensorType type : {TensorType::F16, TensorType::BF16, TensorType::MXFP4, TensorType::Q4_1,
                                  TensorType::Q8_0, TensorType::Q4_K, TensorType::Q6_K}) {
        INFO(name(type));
        const int64_t n_in = info(type).block_elements == 256 ? 256 : 96;
        for (const float scale : {0x1p-9f, 1.0f, 0x1p11f}) {
            CAPTURE(scale);
            auto bytes = rows_of(type, kOut, n_in, 1);
            // Halves of the blocks, or exponents.
            const size_t block_bytes = info(type).block_bytes;
            for (size_t b = 0; info(type).quantized && b < bytes.size(); b += block_bytes) {
                if (type == TensorType::MXFP4) bytes[b] = uint8_t(bytes[b] + 4 * std::ilogb(scale));
                for (const size_t offset : half_offsets(type)) {
                    uint16_t half;
                    std::memcpy(&half, &bytes[b + offset], 2);
                    half = float_to_half(half_to_float(half) * scale);
                    std::memcpy(&bytes[b + offset], &half, 2);
                }
            }
            auto x = random_floats(kTokens * size_t(n_in), 2);
            for (size_t i = 0; i < x.size(); ++i) {
                const auto token = i / size_t(n_in);
                x[i] *= std::pow(10.0f, float(token) / 3 - 11);  // 1e-11 … 5e10: rows on their own
                if (i % size_t(n_in) < 5) x[i] *= 1e-4f;         // and small elements beside large ones
            }
            const auto expected = exact(type, bytes, n_in, kOut, x, each_row(kTokens));
            const auto y = fixture.product(type, bytes, n_in, kOut, x, kTokens);
            for (int64_t token = 0; token < kTokens; ++token) {
                CAPTURE(token);
                const auto row = [&](const std::vector<float>& all) {
                    return std::vector(all.begin() + token * kOut, all.begin() + (token + 1) * kOut);
                };
                CHECK(relative_error(row(y), row(expected)) <= 5 * tolerance(type));  // of few sums
            }
        }
    }
}

TEST_CASE("gpu: warpgroups multiply by several layouts, whose orders of activations differ") {
    Fixture fixture;
    if (!fixture.has_products) return;
    constexpr int64_t kTokens = 67, kIn = 256, kOut = 6;
    const auto x = random_floats(kTokens * kIn, 1);
    const TensorType types[] = {TensorType::Q4_K, TensorType::Q6_K,  TensorType::Q4_K, TensorType::F16,
                                TensorType::Q8_0, TensorType::MXFP4, TensorType::BF16};
    std::vector<std::vector<uint8_t>> bytes;
    std::vector<std::unique_ptr<Weight>> weights;
    std::vector<std::unique_ptr<Buffer>> outputs;
    std::vector<Projection> projections;
    for (const TensorType type : types) {
        bytes.push_back(rows_of(type, kOut, kIn, uint32_t(bytes.size())));
        weights.push_back(fixture.gpu.load_weight(type, kIn, kOut, std::as_bytes(std::span(bytes.back()))));
        outputs.push_back(fixture.gpu.allocate(kTokens * kOut * sizeof(float)));
        projections.push_back({weights.back().get(), nullptr, outputs.back().get()});
    }
    fixture.gpu.matmul(*on(fixture.gpu, x), kTokens, projections);
    for (size_t i = 0; i < projections.size(); ++i) {
        INFO(name(types[i]));
        CHECK(relative_error(from(fixture.gpu, *outputs[i], kTokens * kOut),
                             exact(types[i], bytes[i], kIn, kOut, x, each_row(kTokens))) <=
              tolerance(types[i]));
    }
}

TEST_CASE("gpu: warpgroups multiply by experts, of many tokens") {
    Fixture fixture;
    if (!fixture.has_products) return;
    constexpr int64_t kExperts = 5, kUsed = 2, kTokens = 170;
    for (const TensorType type :
         {TensorType::F16, TensorType::MXFP4, TensorType::Q4_0, TensorType::Q4_K, TensorType::Q6_K}) {
        INFO(name(type));
        const int64_t n_in = info(type).block_elements == 256 ? 256 : 96, n_out = 11;
        const auto bytes = rows_of(type, kExperts * n_out, n_in, 1);
        const auto biases = random_floats(size_t(kExperts * n_out), 2);
        std::vector<int32_t> experts;  // nothing goes to expert 3, most to expert 1: more than a tile
        for (int64_t i = 0; i < kTokens; ++i) {
            experts.push_back(1);
            experts.push_back(i % 7 == 0 ? 4 : i % 5 == 0 ? 0 : 2);
        }
        for (const bool x_has_slots : {false, true}) {
            CAPTURE(x_has_slots);
            const auto x = random_floats(size_t((x_has_slots ? kTokens * kUsed : kTokens) * n_in), 3);
            std::vector<std::pair<int64_t, int64_t>> chosen;
            for (int64_t slot = 0; slot < kTokens * kUsed; ++slot)
                chosen.emplace_back(experts[size_t(slot)], x_has_slots ? slot : slot / kUsed);
            auto expected = exact(type, bytes, n_in, n_out, x, chosen);
            for (size_t i = 0; i < expected.size(); ++i) {
                const auto expert = size_t(chosen[i / size_t(n_out)].first);
                expected[i] += biases[expert * size_t(n_out) + i % size_t(n_out)];
            }
            GpuBackend& gpu = fixture.gpu;
            const auto weight =
                gpu.load_weight(type, n_in, kExperts * n_out, std::as_bytes(std::span(bytes)));
            const auto bias = on(gpu, biases), to = on(gpu, experts);
            const auto y = gpu.allocate(expected.size() * sizeof(float)), input = on(gpu, x);
            const Projection projection[] = {{weight.get(), bias.get(), y.get()}};
            gpu.matmul_experts(*input, x_has_slots, kTokens, {to.get(), kExperts, kUsed}, projection);
            CHECK(gpu.queue().last() == gpu::find_layout(type)->warpgroup);
            CHECK(relative_error(from(gpu, *y, expected.size()), expected) <= tolerance(type));
        }
    }
}

TEST_CASE("gpu: INGOT_GPU_PRODUCTS turns warpgroups off, or is an error") {
    const auto open = [](const char* products) {
        setenv("INGOT_GPU_PRODUCTS", products, 1);
        const std::shared_ptr<void> undo(nullptr, [](void*) { unsetenv("INGOT_GPU_PRODUCTS"); });
        return GpuBackend(gpu::open_device("emulator")).uses_warpgroup_products();
    };
    if (std::getenv("INGOT_GPU_PRODUCTS") != nullptr) return;  // the tests are to be without warpgroups
    CHECK(GpuBackend(gpu::open_device("emulator")).uses_warpgroup_products());
    CHECK_FALSE(open("tiles"));
    CHECK_THROWS_WITH(open("tile"), ContainsSubstring("INGOT_GPU_PRODUCTS=tile: expected tiles"));
}
