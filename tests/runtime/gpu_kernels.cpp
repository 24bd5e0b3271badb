// The kernels of the GPU back end on the emulator (products: gpu_products.cpp, attention: gpu_attention.cpp),
// against the scalar oracle of the CPU.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <random>

#include "format/decode.h"
#include "format/error.h"
#include "runtime/gpu/emulator/emulator.h"
#include "tests/runtime/gpu_devices.h"

using namespace gpu_tests;

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

TEST_CASE("gpu: queries and keys are turned and written by one launch, as by several") {
    std::vector<float> frequencies(8);
    for (size_t i = 0; i < 8; ++i) frequencies[i] = float(std::pow(10000.0, -double(i) / 8));
    const std::vector<int32_t> positions = {5, 6, 9};
    const auto q = random_floats(3 * 4 * 32, 1), k = random_floats(3 * 2 * 32, 2),
               v = random_floats(3 * 96, 3);
    for (const CacheType type : {CacheType::F16, CacheType::F32, CacheType::BF16, CacheType::Q8_0}) {
        for (const RopePairing pairing : {RopePairing::Interleaved, RopePairing::Halves}) {
            INFO(name(tensor_type(type)));
            Devices devices;
            Backend& gpu = devices.gpu;
            const auto table = on(gpu, frequencies);
            const Rope rope{pairing, 16, table.get(), 1.25f, 5};
            std::vector<std::vector<uint8_t>> results[2];
            for (const bool together : {false, true}) {
                const auto device_q = on(gpu, q), device_k = on(gpu, k), device_v = on(gpu, v);
                const auto keys = on(gpu, std::vector<uint8_t>(size_t(cache_bytes(type, 10 * 64)), 7));
                const auto values = on(gpu, std::vector<uint8_t>(size_t(cache_bytes(type, 10 * 96)), 7));
                from(gpu, *table, 8);
                const uint64_t n_before = devices.gpu.queue().n_launched();
                const auto finish = [&] {
                    if (!together) from(gpu, *table, 8);  // what waits is done
                };
                gpu.rope(rope, positions, 4, 32, *device_q);
                finish();
                gpu.rope(rope, positions, 2, 32, *device_k);
                finish();
                gpu.write_cache(*device_k, positions, 64, type, *keys);
                finish();
                gpu.write_cache(*device_v, positions, 96, type, *values);
                for (const Buffer* buffer : {device_q.get(), device_k.get(), keys.get(), values.get()})
                    results[together].push_back(from<uint8_t>(gpu, *buffer, buffer->size_bytes()));
                const uint64_t n_launched = devices.gpu.queue().n_launched() - n_before;
                CHECK(n_launched == (!together ? 4 : type == CacheType::Q8_0 ? 3 : 1));
            }
            CHECK(results[0] == results[1]);
        }
    }
    // What is no part of it stays behind it: the same rows once more, others' positions, another type.
    Devices devices;
    Backend& gpu = devices.gpu;
    const auto table = on(gpu, frequencies), x = on(gpu, k), other = on(gpu, v);
    const auto cache = gpu.allocate(10 * 96 * 4);
    const Rope rope{RopePairing::Halves, 16, table.get(), 1};
    from(gpu, *table, 8);
    gpu.rope(rope, positions, 2, 32, *x);
    gpu.rope(rope, positions, 2, 32, *x);
    gpu.write_cache(*x, positions, 64, CacheType::F16, *cache);
    gpu.write_cache(*other, positions, 96, CacheType::F32, *cache);
    from(gpu, *table, 8);
    CHECK(devices.gpu.queue().n_launched() == 3);
    const auto rows = from(gpu, *cache, 10 * 96);
    CHECK(std::equal(v.begin(), v.begin() + 96, rows.begin() + 5 * 96));
}

TEST_CASE("gpu: the largest of a row are found, of equals the first") {
    Devices devices;
    std::mt19937 random(1);
    for (const int64_t n : {1, 33, 1023, 1024, 1025, 3000, 70001}) {
        for (const int64_t k : {1, 3, 40, 256, 300}) {
            if (k > n) continue;
            CAPTURE(n, k);
            constexpr int64_t kRows = 3;
            std::vector<float> x(size_t(kRows * n));
            for (float& value : x) value = 0.25f * float(int(random() % 2000) - 1000);
            for (int64_t i = 0; i < n; ++i) {  // a row of few different numbers, and one of others
                x[size_t(n + i)] = float(random() % 3) - 1;
                x[size_t(2 * n + i)] = std::array{-INFINITY, NAN, -0.0f, 0.0f, INFINITY}[random() % 5];
            }
            std::vector<TokenLogit> found[2];
            Backend* const backends[] = {&devices.cpu, &devices.gpu};
            for (int i = 0; i < 2; ++i) {
                found[i].resize(size_t(kRows * k));
                backends[i]->largest(*on(*backends[i], x), kRows, n, k, found[i]);
            }
            for (int64_t row = 0; row < kRows; ++row) {
                std::vector<TokenLogit> all;
                for (int64_t i = 0; i < n; ++i) {
                    const float value = x[size_t(row * n + i)];
                    all.push_back({Token(i), std::isnan(value) ? -INFINITY : value});
                }
                std::ranges::stable_sort(all, std::greater(), &TokenLogit::logit);
                int64_t n_wrong = 0;
                for (int64_t i = 0; i < k; ++i) {
                    for (const auto& of_device : found) {
                        const TokenLogit& one = of_device[size_t(row * k + i)];
                        n_wrong += one.token != all[size_t(i)].token || one.logit != all[size_t(i)].logit;
                    }
                }
                CHECK(n_wrong == 0);
            }
        }
    }
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
