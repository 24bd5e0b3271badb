// Every kernel of the GPU back end on the emulator, against the scalar oracle of the CPU.
#include <cmath>
#include <random>

#include "format/decode.h"
#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/gpu/emulator/emulator.h"
#include "runtime/gpu/gpu_backend.h"
#include "runtime/gpu/planes.h"
#include "tests/catch.h"
#include "tests/runtime/gpu.h"
#include "tests/runtime/kernels.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace kernel_tests;

namespace {

/// The two devices, and how a test puts things on them.
struct Devices {
    CpuBackend cpu{1, cpu::scalar_kernels()};
    GpuBackend gpu{gpu::open_device(tested_device())};
};

template <typename T>
std::unique_ptr<Buffer> on(Backend& backend, const std::vector<T>& values) {
    auto buffer = backend.allocate(std::max<size_t>(1, values.size()) * sizeof(T));
    backend.upload(std::as_bytes(std::span(values)), *buffer);
    return buffer;
}
template <typename T = float>
std::vector<T> from(Backend& backend, const Buffer& buffer, size_t n) {
    std::vector<T> values(n);
    backend.download(buffer, std::as_writable_bytes(std::span(values)));
    return values;
}

/// What `compute` leaves in n floats of y, which begins as ones, on each device; both must be within
/// `tolerance`, Euclidean and relative.
template <typename Compute>
void compare(size_t n, double tolerance, Compute compute) {
    Devices devices;
    std::vector<float> results[2];
    Backend* const backends[] = {&devices.cpu, &devices.gpu};
    for (int i = 0; i < 2; ++i) {
        const auto y = on(*backends[i], std::vector<float>(n, 1.0f));
        compute(*backends[i], *y);
        results[i] = from(*backends[i], *y, n);
    }
    for (const float value : results[1]) REQUIRE(std::isfinite(value));
    CHECK(relative_error(results[1], results[0]) <= tolerance);
}

/// Layouts that the device has kernels for.
std::vector<TensorType> device_layouts() {
    std::vector<TensorType> types;
    for (const TensorTypeInfo& type : tensor_types()) {
        if (gpu::find_layout(type.type) != nullptr) types.push_back(type.type);
    }
    return types;
}

std::vector<uint8_t> rows_of(TensorType type, int64_t n_rows, int64_t n_in, uint32_t seed) {
    if (type != TensorType::MXFP4) return random_rows(type, n_rows, n_in, Values::Random, seed);
    std::mt19937 generator(seed);
    std::vector<uint8_t> bytes(size_t(row_bytes(type, uint64_t(n_in)) * uint64_t(n_rows)));
    for (size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = uint8_t(i % 17 == 0 ? 120 + generator() % 12 : generator());
    return bytes;
}

}  // namespace

TEST_CASE("gpu: products of every layout are the oracle's, at odd shapes") {
    CHECK(device_layouts().size() == 16);
    for (const TensorType type : device_layouts()) {
        INFO(name(type));
        const int64_t block = info(type).block_elements;
        for (const int64_t n_in : {block, 3 * block, 5 * block, block == 1 ? int64_t(77) : 2 * block}) {
            for (const int64_t n_tokens : {1, 2, 9}) {
                const int64_t n_out = n_tokens == 1 ? 7 : 5;
                CAPTURE(n_in, n_tokens);
                const auto bytes = rows_of(type, n_out, n_in, uint32_t(n_in));
                const auto x = random_floats(size_t(n_tokens * n_in), 5);
                const auto biases = random_floats(size_t(n_out), 6);
                const bool biased = n_tokens == 2;
                // The same integers on both; the device adds floats, the oracle doubles.
                compare(size_t(n_tokens * n_out), 3e-6, [&](Backend& backend, Buffer& y) {
                    const auto weight =
                        backend.load_weight(type, n_in, n_out, std::as_bytes(std::span(bytes)));
                    const auto bias = on(backend, biases);
                    const Projection projection[] = {{weight.get(), biased ? bias.get() : nullptr, &y}};
                    backend.matmul(*on(backend, x), n_tokens, projection);
                });
            }
        }
    }
}

TEST_CASE("gpu: products of many tokens are the oracle's in every layout, at tiles that are not full") {
    for (const TensorType type : device_layouts()) {
        INFO(name(type));
        const int64_t block = info(type).block_elements;
        // Of what meets bfloat16s, the first 16 bits count.
        const bool meets_bf16 = type == TensorType::BF16 || type == TensorType::MXFP4;
        for (const int64_t n_tokens : {24, 67, 130}) {
            const int64_t n_out = n_tokens == 24 ? 65 : 17;
            const int64_t n_in = block == 1 ? 45 : n_tokens == 24 ? block : 256 + block;
            CAPTURE(n_in, n_tokens);
            const auto bytes = rows_of(type, n_out, n_in, uint32_t(n_in));
            const auto x = random_floats(size_t(n_tokens * n_in), 5);
            const auto biases = random_floats(size_t(n_out), 6);
            compare(size_t(n_tokens * n_out), meets_bf16 ? 8e-6 : 3e-6, [&](Backend& backend, Buffer& y) {
                const auto weight = backend.load_weight(type, n_in, n_out, std::as_bytes(std::span(bytes)));
                const auto bias = on(backend, biases);
                const Projection projection[] = {{weight.get(), n_tokens == 67 ? bias.get() : nullptr, &y}};
                backend.matmul(*on(backend, x), n_tokens, projection);
            });
        }
    }
}

TEST_CASE("gpu: activations of any size meet 16-bit weights") {
    constexpr int64_t kTokens = 30, kIn = 96, kOut = 9;
    for (const TensorType type : {TensorType::F16, TensorType::BF16, TensorType::MXFP4}) {
        INFO(name(type));
        const auto bytes = rows_of(type, kOut, kIn, 1);
        auto x = random_floats(kTokens * kIn, 2);
        for (size_t i = 0; i < x.size(); ++i) {
            x[i] *= std::pow(10.0f, float(int(i / kIn) - 15));  // 1e-15 … 1e14: rows on their own
            if (i % kIn < 5) x[i] *= 1e-4f;                     // and small elements beside large ones
        }
        Devices devices;
        std::vector<float> results[2];
        Backend* const backends[] = {&devices.cpu, &devices.gpu};
        for (int i = 0; i < 2; ++i) {
            const auto weight = backends[i]->load_weight(type, kIn, kOut, std::as_bytes(std::span(bytes)));
            const auto y = on(*backends[i], std::vector<float>(kTokens * kOut));
            const Projection projection[] = {{weight.get(), nullptr, y.get()}};
            backends[i]->matmul(*on(*backends[i], x), kTokens, projection);
            results[i] = from(*backends[i], *y, kTokens * kOut);
        }
        for (int64_t token = 0; token < kTokens; ++token) {
            CAPTURE(token);
            const auto row = [&](int i) {
                return std::vector(results[i].begin() + token * kOut,
                                   results[i].begin() + (token + 1) * kOut);
            };
            CHECK(relative_error(row(1), row(0)) <= (type == TensorType::F16 ? 2e-6 : 1.5e-5));
        }
    }
}

TEST_CASE("gpu: gate, up and their activation are one launch for a token") {
    for (const TensorType type : device_layouts()) {
        INFO(name(type));
        const int64_t n_in = 2 * info(type).block_elements, n_out = 7;
        const auto gates = rows_of(type, 3 * n_out, n_in, 1), ups = rows_of(type, 3 * n_out, n_in, 2);
        const auto biases = random_floats(size_t(3 * n_out), 3);
        const auto x = random_floats(size_t(n_in), 4);
        for (const bool has_experts : {false, true}) {
            const int64_t n_slots = has_experts ? 2 : 1, n = n_slots * n_out;
            for (const Activation activation : {Activation::Silu, Activation::SiluClamped}) {
                // What is activated, and both products.
                compare(size_t(3 * n), 3e-6, [&](Backend& backend, Buffer& y) {
                    const int64_t n_rows = has_experts ? 3 * n_out : n_out;
                    const auto gate =
                        backend.load_weight(type, n_in, n_rows, std::as_bytes(std::span(gates)));
                    const auto up = backend.load_weight(type, n_in, n_rows, std::as_bytes(std::span(ups)));
                    const auto bias = on(backend, biases);
                    const auto to_gate = backend.view(y, 0, size_t(n) * 4);
                    const auto to_up = backend.view(y, size_t(n) * 4, size_t(n) * 4);
                    const auto to = backend.view(y, size_t(2 * n) * 4, size_t(n) * 4);
                    const auto input = on(backend, x);
                    const auto chosen = on<int32_t>(backend, {2, 0});
                    const Projection both[] = {{gate.get(), bias.get(), to_gate.get()},
                                               {up.get(), nullptr, to_up.get()}};
                    auto* const gpu = dynamic_cast<GpuBackend*>(&backend);
                    const uint64_t before = gpu != nullptr ? gpu->queue().n_given() : 0;
                    if (has_experts) {
                        backend.matmul_experts(*input, false, 1, {chosen.get(), 3, 2}, both);
                    } else {
                        backend.matmul(*input, 1, both);
                    }
                    backend.activate(activation, *to_gate, to_up.get(), n, *to);
                    const bool makes_quants = gpu::find_layout(type)->n_shared != 0;
                    if (gpu != nullptr) CHECK(gpu->queue().n_given() - before == (makes_quants ? 2 : 1));
                    // In place, as a forward pass does it; nothing that was asked for later goes with it.
                    backend.activate(activation, *to_gate, to_up.get(), n, *to_up);
                    backend.add(*to_up, n, *to);
                });
            }
        }
    }
}

TEST_CASE("gpu: rows of every layout decode to the bit, and types without kernels by way of floats") {
    Devices devices;
    std::vector<TensorType> types = device_layouts();
    types.push_back(TensorType::F64);
    for (const TensorType type : types) {
        INFO(name(type));
        const int64_t n_in = 3 * info(type).block_elements, n_rows = 5;
        std::vector<uint8_t> bytes;
        if (type == TensorType::F64) {
            for (const double value :
                 {0.1, -2.5, 3e10, 0.0, 1.0, 1e-30, 7.0, 8.0, 9.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0}) {
                const auto* begin = reinterpret_cast<const uint8_t*>(&value);
                bytes.insert(bytes.end(), begin, begin + sizeof value);
            }
        } else {
            bytes = rows_of(type, n_rows, n_in, 1);
        }
        const std::vector<Token> tokens = {4, 0, 3, 3};
        const auto weight = devices.gpu.load_weight(type, n_in, n_rows, std::as_bytes(std::span(bytes)));
        const auto y = devices.gpu.allocate(tokens.size() * size_t(n_in) * sizeof(float));
        devices.gpu.embed_rows(*weight, tokens, *y);
        std::vector<float> expected(tokens.size() * size_t(n_in));
        for (size_t i = 0; i < tokens.size(); ++i) {
            decode_row(type, bytes.data() + size_t(tokens[i]) * row_bytes(type, uint64_t(n_in)),
                       expected.data() + i * size_t(n_in), uint64_t(n_in));
        }
        CHECK(from(devices.gpu, *y, expected.size()) == expected);
    }
}

TEST_CASE("gpu: several projections of one x, of layouts with different activations") {
    const auto x = random_floats(3 * 256, 1);
    const TensorType types[] = {TensorType::Q4_K, TensorType::Q8_0, TensorType::F16, TensorType::Q6_K};
    compare(4 * 3 * 6, 3e-6, [&](Backend& backend, Buffer& y) {
        std::vector<std::unique_ptr<Weight>> weights;
        std::vector<std::vector<uint8_t>> bytes;
        std::vector<std::unique_ptr<Buffer>> outputs;
        std::vector<Projection> projections;
        for (const TensorType type : types) {
            bytes.push_back(rows_of(type, 6, 256, 7));
            weights.push_back(backend.load_weight(type, 256, 6, std::as_bytes(std::span(bytes.back()))));
            outputs.push_back(backend.allocate(3 * 6 * sizeof(float)));
            projections.push_back({weights.back().get(), nullptr, outputs.back().get()});
        }
        backend.matmul(*on(backend, x), 3, projections);
        for (int64_t i = 0; i < 4; ++i)
            backend.copy_columns(*outputs[size_t(i)], {6, 0}, 3, 6, y, {6, 18 * i});
    });
}

TEST_CASE("gpu: products by experts") {
    for (const TensorType type : {TensorType::F32, TensorType::Q4_K, TensorType::MXFP4}) {
        INFO(name(type));
        constexpr int64_t kExperts = 3, kUsed = 2, kTokens = 4, kIn = 256, kOut = 6;
        const auto bytes = rows_of(type, kExperts * kOut, kIn, 1);
        const auto biases = random_floats(kExperts * kOut, 2);
        const std::vector<int32_t> experts = {0, 2, 1, 0, 2, 2, 1, 0};
        for (const bool x_has_slots : {false, true}) {
            const auto x = random_floats(size_t((x_has_slots ? kTokens * kUsed : kTokens) * kIn), 3);
            compare(kTokens * kUsed * kOut, 3e-6, [&](Backend& backend, Buffer& y) {
                const auto weight =
                    backend.load_weight(type, kIn, kExperts * kOut, std::as_bytes(std::span(bytes)));
                const auto bias = on(backend, biases);
                const auto chosen = on(backend, experts);
                const Projection projection[] = {{weight.get(), bias.get(), &y}};
                backend.matmul_experts(*on(backend, x), x_has_slots, kTokens, {chosen.get(), kExperts, kUsed},
                                       projection);
            });
        }
    }
}

TEST_CASE("gpu: products by experts, of many tokens: tiles of the tokens that went to one") {
    constexpr int64_t kExperts = 5, kUsed = 2, kIn = 96;
    for (const TensorType type : {TensorType::F32, TensorType::F16, TensorType::BF16, TensorType::MXFP4,
                                  TensorType::Q4_0, TensorType::Q8_0, TensorType::Q4_K, TensorType::Q6_K}) {
        INFO(name(type));
        const int64_t n_in = info(type).block_elements == 256 ? 256 : kIn;
        for (const int64_t n_tokens : {13, 170}) {  // of the latter, an expert has more than a wide tile
            CAPTURE(n_tokens);
            const int64_t n_out = n_tokens == 13 ? 70 : 5;
            const auto bytes = rows_of(type, kExperts * n_out, n_in, 1);
            const auto biases = random_floats(size_t(kExperts * n_out), 2);
            // Nothing goes to expert 3, most to expert 1.
            std::vector<int32_t> experts;
            for (int64_t i = 0; i < n_tokens; ++i) {
                experts.push_back(1);
                experts.push_back(i % 7 == 0 ? 4 : i % 5 == 0 ? 0 : 2);
            }
            for (const bool x_has_slots : {false, true}) {
                const int64_t n_rows = x_has_slots ? n_tokens * kUsed : n_tokens;
                const auto x = random_floats(size_t(n_rows * n_in), 3);
                compare(size_t(n_tokens * kUsed * n_out), 8e-6, [&](Backend& backend, Buffer& y) {
                    const auto weight =
                        backend.load_weight(type, n_in, kExperts * n_out, std::as_bytes(std::span(bytes)));
                    const auto bias = on(backend, biases);
                    const auto chosen = on(backend, experts);
                    const Projection projection[] = {{weight.get(), x_has_slots ? bias.get() : nullptr, &y}};
                    backend.matmul_experts(*on(backend, x), x_has_slots, n_tokens,
                                           {chosen.get(), kExperts, kUsed}, projection);
                });
            }
        }
    }
}

TEST_CASE("gpu: norms") {
    for (const NormKind kind : {NormKind::Rms, NormKind::Layer}) {
        for (const int64_t n : {1, 33, 300}) {
            const auto x = random_floats(size_t(6 * (n + 3)), 1, 0.5f),
                       weight = random_floats(size_t(3 * n), 2);
            compare(size_t(6 * (n + 3)), 2e-6, [&](Backend& backend, Buffer& y) {
                const auto weights = on(backend, weight);
                Norm norm{kind, 1e-3f, n, weights.get(), kind == NormKind::Layer ? weights.get() : nullptr};
                norm.n_groups = 3;
                norm.stride = n + 3;
                backend.norm(norm, *on(backend, x), 6, y);
            });
        }
    }
}

TEST_CASE("gpu: elementwise operations") {
    const auto x = random_floats(1000, 1), up = random_floats(1000, 2);
    for (int activation = 0; activation <= int(Activation::SiluClamped); ++activation) {
        CAPTURE(activation);
        for (const bool gated : {false, true}) {
            compare(1000, 1e-6, [&](Backend& backend, Buffer& y) {
                const auto device_up = on(backend, up);
                backend.activate(Activation(activation), *on(backend, x), gated ? device_up.get() : nullptr,
                                 1000, y);
            });
        }
    }
    for (const Elementwise function : {Elementwise::Scale, Elementwise::Clamp, Elementwise::SoftCap}) {
        compare(1000, 1e-6, [&](Backend& backend, Buffer& y) {
            backend.add(*on(backend, x), 1000, y);
            backend.map(function, 1.5f, 999, y);
        });
    }
    compare(600, 0, [&](Backend& backend, Buffer& y) {
        backend.scale_rows(*on(backend, x), *on(backend, up), 60, 10, 3, y);
    });
    compare(600, 0, [&](Backend& backend, Buffer& y) {
        backend.copy_rows(*on(backend, x), std::vector<int32_t>{9, 0, 9, 3}, 100, y);
    });
    compare(600, 0, [&](Backend& backend, Buffer& y) {
        backend.copy_columns(*on(backend, x), {13, 2}, 20, 7, y, {11, 4});
    });
    compare(300, 1e-6, [&](Backend& backend, Buffer& y) {
        backend.combine(*on(backend, x), *on(backend, up), 10, 3, 30, y);
    });
}

TEST_CASE("gpu: rotation, near and far") {
    const auto x = random_floats(4 * 3 * 20, 1);
    std::vector<float> frequencies(8);
    for (size_t i = 0; i < 8; ++i) frequencies[i] = float(std::pow(10000.0, -double(i) / 8));
    for (const RopePairing pairing : {RopePairing::Interleaved, RopePairing::Halves}) {
        for (const int32_t begin : {0, 1000, 131000, 1000000}) {
            CAPTURE(begin);
            const std::vector<int32_t> positions = {begin, begin + 1, begin + 2, begin + 70};
            // At a million the sine of a float's rounding is what differs.
            compare(x.size(), 1e-6, [&](Backend& backend, Buffer& y) {
                const auto table = on(backend, frequencies);
                backend.copy_columns(*on(backend, x), {240, 0}, 1, 240, y, {240, 0});
                backend.rope({pairing, 16, table.get(), 1.25f, 3}, positions, 3, 20, y);
            });
        }
    }
}

TEST_CASE("gpu: caches of every type hold the CPU's bytes") {
    constexpr int64_t kWidth = 96;
    auto x = random_floats(5 * kWidth, 1);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= std::pow(10.0f, float(int(i / 32 % 15) - 7));
    for (size_t i = 64; i < 96; ++i)
        x[i] = 0;  // a block of zeros, one that overflows, one of next to nothing
    for (size_t i = 96; i < 128; ++i) x[i] *= 1e30f;
    for (size_t i = 128; i < 160; ++i) x[i] *= 1e-30f;
    const std::vector<int32_t> positions = {3, 4, 7, 0, 12};
    for (const CacheType type : {CacheType::F16, CacheType::F32, CacheType::BF16, CacheType::Q8_0}) {
        INFO(name(tensor_type(type)));
        Devices devices;
        std::vector<uint8_t> bytes[2];
        Backend* const backends[] = {&devices.cpu, &devices.gpu};
        for (int i = 0; i < 2; ++i) {
            CHECK(backends[i]->has_cache_type(type));
            const auto cache =
                on(*backends[i], std::vector<uint8_t>(size_t(cache_bytes(type, 13 * kWidth)), 7));
            backends[i]->write_cache(*on(*backends[i], x), positions, kWidth, type, *cache);
            bytes[i] = from<uint8_t>(*backends[i], *cache, cache->size_bytes());
        }
        CHECK(bytes[1] == bytes[0]);
    }
}

namespace {

struct AttentionCase {
    int64_t n_heads, n_kv_heads, key_dim, value_dim;
    int64_t window = 0;
    bool chunked = false, slopes = false, sinks = false;
    float soft_cap = 0;
    int32_t first = 0;  // position
    int64_t n_tokens = 3;
    CacheType type = CacheType::F32;
};

void compare_attention(const AttentionCase& c, double tolerance) {
    INFO(name(tensor_type(c.type)));
    CAPTURE(c.n_heads, c.n_kv_heads, c.key_dim, c.value_dim, c.window, c.first, c.n_tokens);
    const int64_t n_positions = c.first + c.n_tokens;
    std::vector<int32_t> all(static_cast<size_t>(n_positions)), positions;
    for (size_t i = 0; i < all.size(); ++i) all[i] = int32_t(i);
    positions.assign(all.end() - c.n_tokens, all.end());
    const auto q = random_floats(size_t(c.n_tokens * c.n_heads * c.key_dim), 1);
    const auto k = random_floats(size_t(n_positions * c.n_kv_heads * c.key_dim), 2);
    const auto v = random_floats(size_t(n_positions * c.n_kv_heads * c.value_dim), 3);
    const auto some = random_floats(size_t(c.n_heads), 4);
    compare(size_t(c.n_tokens * c.n_heads * c.value_dim), tolerance, [&](Backend& backend, Buffer& y) {
        const auto keys = backend.allocate(k.size() * sizeof(float));
        const auto values = backend.allocate(v.size() * sizeof(float));
        const int64_t key_stride = c.n_kv_heads * c.key_dim, value_stride = c.n_kv_heads * c.value_dim;
        backend.write_cache(*on(backend, k), all, key_stride, c.type, *keys);
        backend.write_cache(*on(backend, v), all, value_stride, c.type, *values);
        HeadGeometry heads{c.n_heads, c.n_kv_heads, c.key_dim, c.value_dim, 0.2f};
        heads.window = c.window;
        heads.chunked = c.chunked;
        heads.soft_cap = c.soft_cap;
        const auto numbers = on<float>(backend, some);
        if (c.slopes) heads.slopes = numbers.get();
        if (c.sinks) heads.sinks = numbers.get();
        backend.attention(*on(backend, q), {keys.get(), values.get(), key_stride, value_stride, c.type},
                          positions, heads, y);
    });
}

}  // namespace

TEST_CASE("gpu: attention in all its variants") {
    const AttentionCase cases[] = {
        {4, 2, 32, 32},
        {4, 4, 20, 50, 7},
        {2, 1, 33, 65, 8, true},
        {4, 2, 16, 16, 0, false, true},
        {4, 2, 16, 16, 0, false, false, true, 3.0f},
        {2, 2, 32, 32, 0, false, true, true, 0, 299, 1},  // a single token, far on: splits
        {2, 1, 40, 512, 270, false, false, false, 0, 530, 1, CacheType::F16},
        {3, 1, 32, 32, 0, false, false, false, 0, 140, 2, CacheType::F16},
        {4, 2, 20, 36, 0, false, false, true, 0, 300, 1, CacheType::BF16},
        {4, 2, 64, 96, 0, false, true, false, 0, 299, 1, CacheType::Q8_0},
        {4, 2, 32, 64, 21, false, false, true, 5.0f, 60, 3, CacheType::Q8_0},
        {10, 2, 128, 128, 0, false, false, true, 0, 700, 1, CacheType::F16},
        {9, 1, 24, 264, 0, false, true, false, 0, 33, 1, CacheType::BF16},  // in two parts
        {5, 1, 600, 8, 0, false, false, false, 0, 40, 1, CacheType::F16},  // too wide for eight heads at once
        {2, 1, 1024, 512, 50, true, false, true, 0, 70, 2},
    };
    for (const AttentionCase& c : cases) compare_attention(c, 4e-6);
    // Every number of heads that share keys and values, of every type.
    for (const CacheType type : {CacheType::F16, CacheType::F32, CacheType::BF16, CacheType::Q8_0}) {
        for (int64_t n_sharing = 1; n_sharing <= 9; ++n_sharing)
            compare_attention({.n_heads = 2 * n_sharing,
                               .n_kv_heads = 2,
                               .key_dim = 96,
                               .value_dim = 32,
                               .first = 45,
                               .n_tokens = 1,
                               .type = type},
                              4e-6);
    }
    // One projection of the hidden state is keys and values (latent attention).
    const auto q = random_floats(2 * 16 * 576, 1), latent = random_floats(35 * 576, 2);
    std::vector<int32_t> positions(35);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = int32_t(i);
    compare(2 * 16 * 512, 4e-6, [&](Backend& backend, Buffer& y) {
        const auto cache = backend.allocate(latent.size() * 2);
        backend.write_cache(*on(backend, latent), positions, 576, CacheType::F16, *cache);
        backend.attention(*on(backend, q), {cache.get(), cache.get(), 576, 576, CacheType::F16},
                          std::span(positions).last(2), {16, 1, 576, 512, 0.1f}, y);
    });
    Devices devices;
    const auto any = on(devices.gpu, std::vector<float>(16));
    const HeadGeometry wide{1, 1, 8, 513, 1};
    CHECK_THROWS_WITH(
        devices.gpu.attention(*any, {any.get(), any.get(), 1, 1}, std::vector<int32_t>{0}, wide, *any),
        ContainsSubstring("513") && ContainsSubstring("--device cpu"));
}

// Queries, weights and what Q8_0 decodes to are rounded to halves: each by up to 2^-12 of itself.
TEST_CASE("gpu: attention of many tokens, in tiles") {
    const auto f16 = CacheType::F16, q8_0 = CacheType::Q8_0;
    const AttentionCase cases[] = {
        {4, 2, 32, 32, 0, false, false, false, 0, 0, 16, f16},
        {1, 1, 64, 64, 0, false, false, false, 0, 3, 70, f16},
        {3, 1, 20, 50, 7, false, false, true, 0, 60, 45, f16},  // most of the context is not seen
        {8, 2, 33, 65, 24, true, true, false, 0, 30, 40, f16},
        {4, 2, 128, 96, 0, false, true, true, 3.0f, 19, 33, f16},
        {2, 1, 96, 128, 40, false, false, false, 0, 0, 130, f16},
        {2, 2, 256, 200, 0, false, false, true, 0, 5, 17, f16},
        {3, 1, 130, 256, 9, true, false, false, 0, 0, 64, f16},
        {9, 1, 16, 16, 0, false, false, true, 0, 260, 16, f16},  // splits
        {4, 2, 64, 96, 0, false, true, false, 0, 9, 20, q8_0},
        {2, 1, 32, 64, 21, false, false, true, 5.0f, 270, 31, q8_0},
        {2, 1, 36, 28, 0, false, false, false, 0, 0, 16, CacheType::BF16},  // and those that have no tiles
        {2, 1, 32, 264, 0, false, false, false, 0, 0, 16, f16},
    };
    for (const AttentionCase& c : cases) compare_attention(c, 1e-3);
}

TEST_CASE("gpu: routing of every kind") {
    std::mt19937 random(1);
    for (int kind = 0; kind < 48; ++kind) {
        RoutingRule rule{.gating = Gating(kind % 3), .n_experts = 24, .n_used = 5};
        rule.normalize = kind / 3 % 2 == 1;
        rule.scale = 2.5f;
        if (kind / 6 % 2 == 1) rule.n_groups = 6, rule.n_groups_used = 3;
        rule.group_score = kind / 12 % 2 == 1 ? GroupScore::Largest : GroupScore::SumOfTwoLargest;
        CAPTURE(kind);
        auto logits = random_floats(7 * 24, random());
        logits[5] = logits[9] = logits[2];  // of equals, the first
        const auto bias = random_floats(24, random()), scales = random_floats(24, random());
        std::vector<int32_t> experts[2];
        std::vector<float> weights[2];
        Devices devices;
        Backend* const backends[] = {&devices.cpu, &devices.gpu};
        for (int i = 0; i < 2; ++i) {
            Backend& backend = *backends[i];
            const auto device_bias = on(backend, bias), device_scales = on(backend, scales);
            if (kind / 24 == 1)
                rule.selection_bias = device_bias.get(), rule.expert_scales = device_scales.get();
            const auto chosen = backend.allocate(7 * 5 * 4), found = backend.allocate(7 * 5 * 4);
            backend.route(rule, *on(backend, logits), 7, *chosen, *found);
            experts[i] = from<int32_t>(backend, *chosen, 35);
            weights[i] = from(backend, *found, 35);
        }
        CHECK(experts[1] == experts[0]);
        CHECK(relative_error(weights[1], weights[0]) < 1e-6);
    }
    // Logits that are no numbers choose some experts, each at most once.
    Devices devices;
    const auto chosen = devices.gpu.allocate(12), found = devices.gpu.allocate(12);
    for (const Gating gating : {Gating::Softmax, Gating::Sigmoid, Gating::SoftmaxOfChosen}) {
        const RoutingRule rule{.gating = gating, .n_experts = 4, .n_used = 3};
        devices.gpu.route(rule, *on<float>(devices.gpu, {NAN, NAN, 1, NAN}), 1, *chosen, *found);
        auto experts = from<int32_t>(devices.gpu, *chosen, 3);
        std::ranges::sort(experts);
        CHECK(std::ranges::adjacent_find(experts) == experts.end());
        CHECK((experts.front() >= 0 && experts.back() < 4));
    }
}

TEST_CASE("gpu: recurrent layers") {
    constexpr int64_t kTokens = 5, kTaps = 4;
    for (const bool tiled : {false, true}) {
        const DeltaHeads heads{
            .n_key_heads = 2, .n_value_heads = 4, .tiled = tiled, .key_dim = 9, .value_dim = 70};
        const auto x = random_floats(2 * kTokens * 18, 1), taps = random_floats(18 * kTaps, 2);
        const auto v = random_floats(kTokens * 4 * 70, 3), gates = random_floats(kTokens * 4, 4);
        compare(size_t(kTokens * 4 * 70), 2e-6, [&](Backend& backend, Buffer& y) {
            const auto state = on(backend, std::vector<float>(3 * 18, NAN));
            const auto matrix = on(backend, std::vector<float>(4 * 9 * 70, NAN));
            const auto decay = on<float>(backend, {-0.5f, -1, -2, -0.1f});
            const auto bias = on<float>(backend, {0.1f, -0.2f, 30, -30});
            const auto device_v = on(backend, v), device_gates = on(backend, gates);
            const auto q = backend.allocate(kTokens * 18 * sizeof(float));
            for (const bool fresh : {true, false}) {  // twice: the second time on what the first has left
                backend.convolve(*on(backend, x), *on(backend, taps), kTokens, 18, kTaps, fresh, *state, *q);
                const DeltaInputs inputs{
                    q.get(),     q.get(),   device_v.get(), device_gates.get(), device_gates.get(),
                    decay.get(), bias.get()};
                backend.delta_net(heads, inputs, kTokens, fresh, *matrix, y);
            }
        });
    }
    // Fewer tokens than taps: the state keeps some of what it had.
    const auto x = random_floats(3 * 18, 1), taps = random_floats(18 * kTaps, 2);
    compare(18, 1e-6, [&](Backend& backend, Buffer& y) {
        const auto state = on(backend, random_floats(3 * 18, 8));
        backend.convolve(*on(backend, x), *on(backend, taps), 1, 18, kTaps, false, *state, y);
        backend.convolve(*on(backend, x), *on(backend, taps), 1, 18, kTaps, false, *state, y);
    });
}

TEST_CASE("gpu: what was allocated is counted, and freed") {
    auto device = std::make_unique<gpu::EmulatorDevice>(1 << 20);
    gpu::EmulatorDevice& emulator = *device;
    {
        GpuBackend backend(std::move(device));
        const std::vector<uint8_t> bytes(18 * 3);
        const auto weight = backend.load_weight(TensorType::Q4_0, 32, 3, std::as_bytes(std::span(bytes)));
        CHECK(backend.allocated_bytes() == 3 * 32);  // rows begin at multiples of 16 bytes
        const auto buffer = backend.allocate(1000);
        CHECK(emulator.used_bytes() == backend.allocated_bytes());
        CHECK_THROWS_WITH(backend.allocate(1 << 20),
                          ContainsSubstring("1,048,576 bytes were asked for, 1,096 of 1,048,576"));
        CHECK(backend.allocated_bytes() == 1096);
    }
}
