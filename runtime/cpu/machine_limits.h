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
};

/// Measures again and again, beside what is compared with it, and tells the best: what keeps a loop that does
/// nothing else from its limit is another program. Not thread-safe.
class MachineLimits {
  public:
    /// `n_threads` 0 means ThreadPool::default_threads(). `bytes` are what is read: those that the model
    /// reads, at least kLeastBytes of them; they must stay valid. With fewer, reading has no limit.
    MachineLimits(int n_threads, std::span<const std::byte> bytes);
    static constexpr size_t kLeastBytes = size_t(1) << 16;

    void measure();  // about 50 ms, or as long as reading takes
    const LimitRates& rates() const { return rates_; }

  private:
    ThreadPool pool_;
    std::span<const std::byte> bytes_;
    LimitRates rates_;
};

}  // namespace ingot::runtime::cpu
