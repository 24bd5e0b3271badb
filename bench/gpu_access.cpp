// What the kernels' memory accesses would be on a GPU, counted by the emulator: a line of commas for each
// kernel of each case below, the shapes being Llama 3 8B's with fewer rows. See bench/gpu_access.py.
//
//   bench_gpu_access            kernels
//   bench_gpu_access --places   … and each place in their sources whose accesses take more steps than needed
#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <random>

#include "runtime/gpu/emulator/emulator.h"
#include "runtime/gpu/gpu_backend.h"
#include "runtime/gpu/planes.h"

namespace {

using namespace ingot;
using namespace ingot::runtime;
using gpu::emulator::AccessCounts;
using gpu::emulator::AccessKind;
using gpu::emulator::KernelCounts;

constexpr int64_t kWidth = 4096, kHidden = 14336, kHeads = 32, kKvHeads = 8, kHeadDim = 128;
constexpr int64_t kRows = 64;     // of weights
constexpr int64_t kExperts = 16;  // of a layer, where it has any
constexpr int32_t kDepth = 700;   // tokens before

struct Bench {
    gpu::emulator::Counter counter;
    gpu::EmulatorDevice* device;  // the back end's
    GpuBackend backend;
    std::unique_ptr<Buffer> one = floats(1);
    bool with_places = false;

    explicit Bench(std::unique_ptr<gpu::EmulatorDevice> emulator = std::make_unique<gpu::EmulatorDevice>())
        : device(emulator.get()), backend(std::move(emulator)) {
        backend.use_warpgroup_products(false);
    }

    std::unique_ptr<Buffer> floats(int64_t n) {
        std::minstd_rand random(1);
        std::vector<float> values(static_cast<size_t>(n));
        for (float& value : values) value = float(random() % 2001) / 1000.0f - 1.0f;
        auto buffer = backend.allocate(values.size() * sizeof(float));
        backend.upload(std::as_bytes(std::span(values)), *buffer);
        return buffer;
    }
    // Small bytes keep the halves among them finite.
    std::unique_ptr<Weight> weight(TensorType type, int64_t n_in, int64_t n_out) {
        std::minstd_rand random(2);
        std::vector<std::byte> bytes(size_t(row_bytes(type, uint64_t(n_in)) * uint64_t(n_out)));
        for (std::byte& byte : bytes) byte = std::byte(0x11 + random() % 32);
        return backend.load_weight(type, n_in, n_out, bytes);
    }
    /// What `work` gives the back end, and nothing else.
    void count(const std::string& name, const std::function<void()>& work) {
        finish();
        counter.clear();
        device->count(&counter);
        work();
        finish();
        device->count(nullptr);
        print(name);
    }
    void finish() {
        std::byte some[4];
        backend.download(*one, some);
    }
    void print(const std::string& name) const {
        for (const auto& [kernel, counts] : counter.kernels()) {
            const KernelCounts& c = counts;
            fmt::print("kernel,{},{}", name, kernel);
            for (const AccessCounts& a : {c.loads, c.stores, c.weights, c.group})
                fmt::print(",{},{},{},{}", a.n_instructions, a.n_bytes, a.n_steps, a.n_least);
            fmt::print(",{},{},{},{}\n", c.weight_bytes, c.n_exchanges, c.n_products, c.n_barriers);
        }
        if (!with_places) return;
        for (const auto& [site, counts] : counter.sites()) {
            if (counts.n_steps == counts.n_least) continue;
            constexpr const char* kKinds[] = {"load", "store", "load of group", "store to group"};
            const char* const slash = std::strrchr(site.file, '/');
            fmt::print("place,{},{},{}:{}:{},{},{},{},{},{}\n", name, site.kernel,
                       slash != nullptr ? slash + 1 : site.file, site.line, site.column,
                       kKinds[size_t(site.kind)], counts.n_instructions, counts.n_bytes, counts.n_steps,
                       counts.n_least);
        }
    }
};

void count_products(Bench& bench) {
    for (const TensorTypeInfo& type : tensor_types()) {
        if (gpu::find_layout(type.type) == nullptr) continue;
        for (const int64_t n_tokens : {1, 8, 32, 128}) {
            const int64_t n_in = n_tokens <= 8 ? kWidth : 1024;
            const auto weight = bench.weight(type.type, n_in, kRows);
            const auto x = bench.floats(n_tokens * n_in), y = bench.floats(n_tokens * kRows);
            const Projection projection[] = {{weight.get(), nullptr, y.get()}};
            bench.count(fmt::format("{} token{}", n_tokens, n_tokens == 1 ? "" : "s"),
                        [&] { bench.backend.matmul(*x, n_tokens, projection); });
        }
        bench.backend.use_warpgroup_products(true);
        {
            const auto weight = bench.weight(type.type, 1024, kRows);
            const auto x = bench.floats(128 * 1024), y = bench.floats(128 * kRows);
            const Projection projection[] = {{weight.get(), nullptr, y.get()}};
            bench.count("128 tokens", [&] { bench.backend.matmul(*x, 128, projection); });
        }
        bench.backend.use_warpgroup_products(false);
        const auto weight = bench.weight(type.type, kWidth, 4);
        const auto y = bench.floats(4 * kWidth);
        bench.count("rows of a table", [&] {
            bench.backend.embed_rows(*weight, std::vector<Token>{0, 2, 3, 1}, *y);
        });
    }
}

void count_rows(Bench& bench) {
    const auto x = bench.floats(kHidden), y = bench.floats(kHidden), z = bench.floats(kHidden);
    const auto factors = bench.floats(kWidth);
    const auto weight = bench.weight(TensorType::Q4_K, kWidth, 4),
               down = bench.weight(TensorType::Q4_K, kHidden, 4);
    const auto of_weight = bench.floats(4);
    const Projection product[] = {{weight.get(), nullptr, of_weight.get()}};
    const Projection down_product[] = {{down.get(), nullptr, of_weight.get()}};
    const Norm norm{NormKind::Rms, 1e-5f, kWidth, factors.get()};
    bench.count("norm", [&] { bench.backend.norm(norm, *x, 1, *y); });
    bench.count("norm, in 8 bits", [&] {
        bench.backend.norm(norm, *x, 1, *y);
        bench.backend.matmul(*y, 1, product);
    });
    bench.count("sum, norm, in 8 bits", [&] {
        bench.backend.add(*x, kWidth, *z);
        bench.backend.norm(norm, *z, 1, *y);
        bench.backend.matmul(*y, 1, product);
    });
    bench.count("activation", [&] { bench.backend.activate(Activation::Silu, *x, y.get(), kHidden, *z); });
    bench.count("activation, in 8 bits", [&] {
        bench.backend.activate(Activation::Silu, *x, y.get(), kHidden, *z);
        bench.backend.matmul(*z, 1, down_product);
    });
    const auto logits = bench.floats(2 * 16384);
    std::vector<TokenLogit> found(2 * 40);
    bench.count("largest", [&] { bench.backend.largest(*logits, 2, 16384, 40, found); });
}

void count_attention(Bench& bench) {
    for (const CacheType type : {CacheType::F16, CacheType::Q8_0}) {
        for (const int64_t n_tokens : {1, 64}) {
            std::vector<int32_t> positions;
            for (int64_t i = 0; i < n_tokens; ++i) positions.push_back(kDepth + int32_t(i));
            const int64_t n_all = kDepth + n_tokens, n_heads = n_tokens == 1 ? kHeads : 4;
            const int64_t n_kv = n_tokens == 1 ? kKvHeads : 1, stride = n_kv * kHeadDim;
            const auto keys = bench.floats(n_all * stride), values = bench.floats(n_all * stride);
            const auto q = bench.floats(n_tokens * n_heads * kHeadDim),
                       y = bench.floats(n_tokens * n_heads * kHeadDim);
            const auto k = bench.floats(n_tokens * stride), v = bench.floats(n_tokens * stride);
            const auto frequencies = bench.floats(kHeadDim / 2);
            const Rope rope{RopePairing::Halves, kHeadDim, frequencies.get(), 1};
            bench.count(fmt::format("{} token{}, cache in {}", n_tokens, n_tokens == 1 ? "" : "s",
                                    type == CacheType::F16 ? "F16" : "Q8_0"),
                        [&] {
                            bench.backend.rope(rope, positions, n_heads, kHeadDim, *q);
                            bench.backend.rope(rope, positions, n_kv, kHeadDim, *k);
                            bench.backend.write_cache(*k, positions, stride, type, *keys);
                            bench.backend.write_cache(*v, positions, stride, type, *values);
                            bench.backend.attention(*q, {keys.get(), values.get(), stride, stride, type},
                                                    positions, {n_heads, n_kv, kHeadDim, kHeadDim, 0.1f}, *y);
                        });
        }
    }
}

void count_experts(Bench& bench) {
    constexpr int64_t kTokens = 64, kUsed = 2, kIn = 512;
    const auto logits = bench.floats(kTokens * kExperts), weights = bench.floats(kTokens * kUsed);
    const auto experts = bench.backend.allocate(kTokens * kUsed * sizeof(int32_t));
    const auto matrices = bench.weight(TensorType::Q4_K, kIn, kExperts * kRows);
    const auto x = bench.floats(kTokens * kIn), y = bench.floats(kTokens * kUsed * kRows),
               z = bench.floats(kTokens * kRows);
    RoutingRule rule;
    rule.n_experts = kExperts;
    rule.n_used = kUsed;
    bench.count("experts", [&] {
        bench.backend.route(rule, *logits, kTokens, *experts, *weights);
        const Projection projection[] = {{matrices.get(), nullptr, y.get()}};
        bench.backend.matmul_experts(*x, false, kTokens, {experts.get(), kExperts, kUsed}, projection);
        bench.backend.combine(*y, *weights, kTokens, kUsed, kRows, *z);
    });
}

void count_states(Bench& bench) {
    constexpr int64_t kTokens = 4, kTaps = 4;
    const auto x = bench.floats(kTokens * kWidth), taps = bench.floats(kTaps * kWidth);
    const auto state = bench.floats(kTaps * kWidth), y = bench.floats(kTokens * kWidth);
    const auto gates = bench.floats(kTokens * kHeads), matrix = bench.floats(kHeads * kHeadDim * kHeadDim);
    bench.count("states", [&] {
        bench.backend.convolve(*x, *taps, kTokens, kWidth, kTaps, false, *state, *y);
        const DeltaInputs inputs{x.get(),     x.get(),     y.get(),    gates.get(),
                                 gates.get(), gates.get(), gates.get()};
        const auto answer = bench.floats(kTokens * kWidth);
        bench.backend.delta_net({kHeads, kHeads, false, kHeadDim, kHeadDim}, inputs, kTokens, false, *matrix,
                                *answer);
    });
}

}  // namespace

int main(int argc, char** argv) {
    Bench bench;
    bench.with_places = argc > 1 && std::strcmp(argv[1], "--places") == 0;
    count_products(bench);
    count_rows(bench);
    count_attention(bench);
    count_experts(bench);
    count_states(bench);
}
