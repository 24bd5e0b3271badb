// The CPU kernels alone, without a model.
//   decode/TYPE/THREADS   one token: bytes of weights per second, and as a share of what plain reading
//   reaches
//                         on the same buffer at the same time (of_read; each is the median of the passes)
//   prefill/TYPE/THREADS  512 tokens through the kernels that the back end takes for so many: multiplications
//                         per second (with as many additions), and as a share of what the instruction that
//                         they are made of reaches alone, measured between the passes (of_limit)
//   barrier/THREADS       an empty job of the thread pool
// INGOT_ISA forces an instruction set.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "runtime/cpu/kernels.h"
#include "runtime/cpu/machine_limits.h"
#include "runtime/cpu/thread_pool.h"

namespace {

using namespace ingot;
using namespace ingot::runtime;
using namespace ingot::runtime::cpu;

constexpr int64_t kInputs = 4096;                   // n_in of all products
constexpr size_t kDecodeBytes = size_t(400) << 20;  // more than a last-level cache holds
constexpr int64_t kPrefillRows = 1024;
constexpr int64_t kPrefillTokens = 512;

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(values.size() / 2), values.end());
    return values[values.size() / 2];
}

// Any bits are valid quants; small bytes keep the halves among them finite and away from subnormals.
std::vector<uint8_t> random_weights(size_t n_bytes) {
    std::vector<uint8_t> weights(n_bytes);
    std::minstd_rand random(1);
    for (size_t i = 0; i < 4096; ++i) weights[i] = uint8_t(0x11 + random() % 32);
    for (size_t i = 4096; i < n_bytes; i += 4096) {
        std::memcpy(&weights[i], weights.data(), std::min<size_t>(4096, n_bytes - i));
    }
    return weights;
}

std::vector<uint8_t> random_activations(ActivationForm form, int64_t n_tokens) {
    std::minstd_rand random(2);
    std::vector<float> x(static_cast<size_t>(n_tokens * kInputs));
    for (auto& value : x) value = float(random() % 2001) / 1000.0f - 1.0f;
    const size_t row_size = activation_bytes(form, kInputs);
    std::vector<uint8_t> rows(size_t(n_tokens) * row_size);
    for (int64_t t = 0; t < n_tokens; ++t) {
        const float* from = x.data() + t * kInputs;
        uint8_t* to = rows.data() + size_t(t) * row_size;
        if (form == ActivationForm::F32)
            std::memcpy(to, from, row_size);
        else if (form == ActivationForm::Q8_0)
            kernels().quantize_q8_0(from, to, kInputs);
        else
            kernels().quantize_q8_k(from, to, kInputs);
    }
    return rows;
}

// All bytes once, by each thread four streams of a contiguous part, prefetched: the fastest plain C++ found.
void read(ThreadPool& pool, const std::vector<uint8_t>& bytes) {
    pool.parallel_for(int64_t(bytes.size() / 256), 16, [&](int64_t begin, int64_t end) {
        uint64_t sums[8] = {};
        const size_t stream_size = size_t(end - begin) * 64;
        const uint8_t* first = bytes.data() + size_t(begin) * 256;
        for (size_t i = 0; i < stream_size; i += 64) {
            for (size_t stream = 0; stream < 4; ++stream) {
                const uint8_t* line = first + stream * stream_size + i;
                __builtin_prefetch(line + 2048);
                uint64_t words[8];
                std::memcpy(words, line, sizeof words);
                for (int j = 0; j < 8; ++j) sums[j] ^= words[j];
            }
        }
        benchmark::DoNotOptimize(sums);
    });
}

void multiply(ThreadPool& pool, MatmulFunction function, TensorType type, const std::vector<uint8_t>& weights,
              int64_t n_rows, const void* activations, size_t activation_stride, int64_t n_tokens,
              std::vector<float>& output) {
    const size_t row_size = row_bytes(type, kInputs);
    pool.parallel_for(n_rows, 32, [&](int64_t begin, int64_t end) {
        function({.weights = weights.data() + size_t(begin) * row_size,
                  .weight_stride = row_size,
                  .n_rows = end - begin,
                  .n_in = kInputs,
                  .activations = activations,
                  .activation_stride = activation_stride,
                  .n_tokens = n_tokens,
                  .output = output.data() + begin,
                  .output_stride = n_rows});
    });
}

void decode(benchmark::State& state, TensorType type, int n_threads) {
    ThreadPool pool(n_threads);
    const auto& matmul = *find_matmul(kernels(), type);
    const int64_t n_rows = int64_t(kDecodeBytes / row_bytes(type, kInputs));
    const auto weights = random_weights(size_t(n_rows) * row_bytes(type, kInputs));
    const auto activations = random_activations(matmul.form, 1);
    std::vector<float> output(static_cast<size_t>(n_rows));
    std::vector<double> times, shares;
    for (auto _ : state) {
        auto start = std::chrono::steady_clock::now();
        read(pool, weights);
        const double read_time = seconds_since(start);
        start = std::chrono::steady_clock::now();
        multiply(pool, matmul.function, type, weights, n_rows, activations.data(), activations.size(), 1,
                 output);
        const double time = seconds_since(start);
        times.push_back(time);
        shares.push_back(read_time / time);
        state.SetIterationTime(time);
    }
    state.counters["GB/s"] = double(weights.size()) / median(times) / 1e9;
    state.counters["of_read"] = median(shares);
}

// Rows of activations, packed into the table's tiles.
std::vector<uint8_t> pack_tiles(const Tiling& tiling, const std::vector<uint8_t>& rows, size_t row_size) {
    const int64_t n_tiles = (kPrefillTokens + tiling.n_tokens - 1) / tiling.n_tokens;
    std::vector<uint8_t> tiles(size_t(n_tiles) * tiling.bytes(kInputs));
    for (int64_t tile = 0; tile < n_tiles; ++tile) {
        const int64_t first = tile * tiling.n_tokens;
        tiling.pack(rows.data() + size_t(first) * row_size, row_size,
                    std::min(tiling.n_tokens, kPrefillTokens - first), kInputs,
                    tiles.data() + size_t(tile) * tiling.bytes(kInputs));
    }
    return tiles;
}

void prefill(benchmark::State& state, TensorType type, int n_threads) {
    ThreadPool pool(n_threads);
    const auto& matmul = *find_matmul(kernels(), type);
    const auto weights = random_weights(size_t(kPrefillRows) * row_bytes(type, kInputs));
    const Way way = kernels().way_of(matmul, kPrefillTokens);
    const ActivationForm form = way == Way::Matrix ? ActivationForm::F32 : matmul.form;
    auto activations = random_activations(form, kPrefillTokens);
    size_t stride = activation_bytes(form, kInputs);
    if (way != Way::Rows) {
        const Tiling& tiling = kernels().tiling(matmul.form, way);
        activations = pack_tiles(tiling, activations, stride);
        stride = tiling.bytes(kInputs);
    }
    std::vector<float> output(static_cast<size_t>(kPrefillRows * kPrefillTokens));
    // An operation is a multiplication or an addition.
    const LimitLoops& limits = limit_loops();
    const bool floats = matmul.form == ActivationForm::F32;
    const int64_t round = (way == Way::Matrix ? limits.matrix_operations
                           : floats           ? limits.float_operations
                                              : limits.int8_operations) /
                          2;  // multiplications
    constexpr double kProducts = double(kInputs) * kPrefillRows * kPrefillTokens;
    std::vector<double> times, shares;
    for (auto _ : state) {
        auto start = std::chrono::steady_clock::now();
        multiply(pool, matmul.function_of(way), type, weights, kPrefillRows, activations.data(), stride,
                 kPrefillTokens, output);
        const double time = seconds_since(start);
        times.push_back(time);
        state.SetIterationTime(time);
        const int64_t n_rounds = int64_t(kProducts) / round / 4;  // of each thread
        start = std::chrono::steady_clock::now();
        pool.run([&](int) {
            if (way == Way::Matrix) {
                benchmark::DoNotOptimize(limits.multiply_matrix(n_rounds));
            } else if (floats) {
                benchmark::DoNotOptimize(limits.multiply_float(n_rounds));
            } else {
                benchmark::DoNotOptimize(limits.multiply_int8(n_rounds));
            }
        });
        const double limit_rate = double(n_rounds * round * n_threads) / seconds_since(start);
        shares.push_back(kProducts / time / limit_rate);
    }
    state.counters["GMAC/s"] = kProducts / median(times) / 1e9;
    state.counters["of_limit"] = median(shares);
}

void barrier(benchmark::State& state, int n_threads) {
    ThreadPool pool(n_threads);
    const std::function<void(int)> job = [](int) {};
    for (auto _ : state) pool.run(job);
}

}  // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::AddCustomContext("instruction set", std::string(kernels().name));
    benchmark::AddCustomContext("int8 instruction", std::string(limit_loops().int8_instruction));
    const int n_cores = ThreadPool::default_threads();
    for (const int n_threads : n_cores > 1 ? std::vector<int>{1, n_cores} : std::vector<int>{1}) {
        const std::string suffix = fmt::format("/{}", n_threads);
        for (const auto& matmul : scalar_kernels().matmuls) {
            const TensorType type = matmul.type;
            const std::string name = std::string(ingot::name(type)) + suffix;
            benchmark::RegisterBenchmark(("decode/" + name).c_str(),
                                         [=](benchmark::State& state) { decode(state, type, n_threads); })
                ->UseManualTime()
                ->Iterations(15)
                ->Unit(benchmark::kMillisecond);
            benchmark::RegisterBenchmark(("prefill/" + name).c_str(),
                                         [=](benchmark::State& state) { prefill(state, type, n_threads); })
                ->UseManualTime()
                ->Iterations(15)
                ->Unit(benchmark::kMillisecond);
        }
        benchmark::RegisterBenchmark(("barrier" + suffix).c_str(), [=](benchmark::State& state) {
            barrier(state, n_threads);
        })->UseRealTime();
    }
    benchmark::RunSpecifiedBenchmarks();
}
