#include "runtime/cpu/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "runtime/cpu/kernels.h"

namespace ingot::runtime::cpu {
namespace {

constexpr const LimitLoops* kLoops[] = {
#if defined(__x86_64__)
    &kAvx512Limits,
    &kAvxVnniLimits,
    &kAvx2Limits,
#elif defined(__aarch64__)
    &kI8mmLimits,
    &kNeonLimits,
#endif
    &kScalarLimits,
};

constexpr double kLoopSeconds = 0.01;  // of the longest run of each loop, about
constexpr size_t kMostBytes = size_t(1) << 30;
constexpr size_t kLine = 256;  // bytes: what reading takes in whole numbers

std::atomic<uint64_t> sink;  // results that nobody wants, but that the compiler may not drop

template <typename Work>
double seconds_of(Work&& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Operations per second of a loop on all threads, doubling its rounds until it runs long enough.
template <typename Loop>
double operations_per_second(ThreadPool& pool, Loop loop, int64_t operations) {
    double best = 0;
    for (int64_t n_rounds = 1 << 12;; n_rounds *= 2) {
        const double seconds =
            seconds_of([&] { pool.run([&](int) { sink += uint64_t(int64_t(loop(n_rounds))); }); });
        best = std::max(best, double(n_rounds * operations) * pool.size() / seconds);
        if (seconds >= kLoopSeconds) return best;
    }
}

}  // namespace

const LimitLoops& limit_loops() {
    for (const LimitLoops* loops : kLoops) {
        if (loops->name == kernels().name) return *loops;
    }
    return kScalarLimits;
}

MachineLimits::MachineLimits(int n_threads, std::span<const std::byte> bytes)
    : pool_(n_threads), bytes_(bytes.first(std::min(bytes.size(), kMostBytes))) {}

void MachineLimits::measure() {
    const LimitLoops& loops = limit_loops();
    const auto raise = [](double& best, double rate) { best = std::max(best, rate); };
    raise(rates_.int8_operations, operations_per_second(pool_, loops.multiply_int8, loops.int8_operations));
    raise(rates_.float_operations,
          operations_per_second(pool_, loops.multiply_float, loops.float_operations));
    if (bytes_.size() < kLeastBytes) return;

    // Small models are read often enough to be timed, and from the cache, as their products read them.
    const int64_t n_lines = int64_t(bytes_.size() / kLine);
    const auto read_all = [&](int64_t n_times) {
        return seconds_of([&] {
            for (int64_t i = 0; i < n_times; ++i) {
                pool_.parallel_for(n_lines, 16, [&](int64_t begin, int64_t end) {
                    sink += loops.read(bytes_.data() + size_t(begin) * kLine, size_t(end - begin) * kLine);
                });
            }
        });
    };
    read_all(1);
    for (int64_t n_times = 1;; n_times *= 2) {
        const double seconds = read_all(n_times);
        raise(rates_.read_bytes, double(n_times) * double(n_lines) * double(kLine) / seconds);
        if (seconds >= kLoopSeconds) return;
    }
}

}  // namespace ingot::runtime::cpu
