#pragma once
// What this machine can do at best, measured by loops that do nothing else: the yardstick of `ingot bench`.
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/cpu/limit_tables.h"
#include "runtime/cpu/thread_pool.h"

namespace ingot::runtime::cpu {

/// Those that go with the kernels in use.
const LimitLoops& limit_loops();

/// Per second, by all threads together.
struct LimitRates {
    double read_bytes = 0;
    double int8_operations = 0;
    double float_operations = 0;
    double matrix_operations = 0;  // none: without matrix registers
};

/// Of each rate the middle one, or the mean of the two in the middle; zeros of none.
LimitRates median_of(std::span<const LimitRates> rates);

/// Measures again and again, just before and after what is compared with it: a processor that is shared, or
/// grows hot, has another limit a second later. Not thread-safe.
class MachineLimits {
  public:
    /// `n_threads` 0 means ThreadPool::default_threads(). `bytes` are what is read: those that the model
    /// reads, at least kLeastBytes of them; they must stay valid. With fewer, reading has no limit.
    MachineLimits(int n_threads, std::span<const std::byte> bytes);
    static constexpr size_t kLeastBytes = size_t(1) << 16;

    LimitRates measure();  // takes about 100 ms, or as long as reading does

  private:
    ThreadPool pool_;
    std::span<const std::byte> bytes_;
};

}  // namespace ingot::runtime::cpu
