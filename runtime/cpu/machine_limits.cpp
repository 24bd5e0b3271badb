#include "runtime/cpu/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "runtime/cpu/kernels.h"

namespace ingot::runtime::cpu {
namespace {

constexpr const LimitLoops* kLoops[] = {
#if defined(__x86_64__)
    &kAmxLimits,    &kAvx512Limits, &kAvxVnniLimits, &kAvx2Limits,
#elif defined(__aarch64__)
    &kI8mmLimits,
    &kNeonLimits,
#endif
    &kScalarLimits,
};

constexpr double kLoopSeconds = 0.02;  // that the run of a loop which counts takes at least
constexpr size_t kMostBytes = size_t(1) << 30;
constexpr size_t kLine = 256;  // bytes: what reading takes in whole numbers

std::atomic<uint64_t> sink;  // results that nobody wants, but that the compiler may not drop

template <typename Work>
double seconds_of(Work&& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// How often work(n_times) does something in a second: of the run that is long enough, after doubling n_times.
template <typename Work>
double times_per_second(int64_t n_times, Work&& work) {
    for (;; n_times *= 2) {
        const double seconds = seconds_of([&] { work(n_times); });
        if (seconds >= kLoopSeconds) return double(n_times) / seconds;
    }
}

// Operations per second of a loop on all threads.
template <typename Loop>
double operations_per_second(ThreadPool& pool, Loop loop, int64_t operations) {
    return double(operations) * pool.size() * times_per_second(1 << 12, [&](int64_t n_rounds) {
               pool.run([&](int) { sink += uint64_t(int64_t(loop(n_rounds))); });
           });
}

// Of one rate of each.
double median_of(std::span<const LimitRates> all, double LimitRates::*rate) {
    std::vector<double> values;
    for (const LimitRates& rates : all) values.push_back(rates.*rate);
    std::ranges::sort(values);
    return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

}  // namespace

const LimitLoops& limit_loops() {
    for (const LimitLoops* loops : kLoops) {
        if (loops->name == kernels().name) return *loops;
    }
    return kScalarLimits;
}

LimitRates median_of(std::span<const LimitRates> all) {
    if (all.empty()) return {};
    return {median_of(all, &LimitRates::read_bytes), median_of(all, &LimitRates::int8_operations),
            median_of(all, &LimitRates::float_operations), median_of(all, &LimitRates::matrix_operations)};
}

MachineLimits::MachineLimits(int n_threads, std::span<const std::byte> bytes)
    : pool_(n_threads), bytes_(bytes.first(std::min(bytes.size(), kMostBytes))) {}

LimitRates MachineLimits::measure() {
    const LimitLoops& loops = limit_loops();
    LimitRates rates;
    rates.int8_operations = operations_per_second(pool_, loops.multiply_int8, loops.int8_operations);
    rates.float_operations = operations_per_second(pool_, loops.multiply_float, loops.float_operations);
    if (loops.multiply_matrix != nullptr) {
        rates.matrix_operations =
            operations_per_second(pool_, loops.multiply_matrix, loops.matrix_operations);
    }
    if (bytes_.size() < kLeastBytes) return rates;

    // Small models are read often enough to be timed, and from the cache, as their products read them.
    const int64_t n_lines = int64_t(bytes_.size() / kLine);
    rates.read_bytes =
        double(n_lines) * double(kLine) * times_per_second(1, [&](int64_t n_times) {
            for (int64_t i = 0; i < n_times; ++i) {
                pool_.parallel_for(n_lines, 16, [&](int64_t begin, int64_t end) {
                    sink += loops.read(bytes_.data() + size_t(begin) * kLine, size_t(end - begin) * kLine);
                });
            }
        });
    return rates;
}

}  // namespace ingot::runtime::cpu
