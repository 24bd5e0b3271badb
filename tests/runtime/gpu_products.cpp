// Products on the emulator, of every layout and shape, against the scalar oracle of the CPU.
#include "tests/runtime/gpu_devices.h"

using namespace gpu_tests;

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
