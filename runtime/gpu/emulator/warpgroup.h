#pragma once
// Products of warpgroups as PTX has them (wgmma): 128 threads begin them together, they are under way until
// they are waited for, and they read the group's memory by a way of their own, the asynchronous proxy.
#include <cstdint>
#include <source_location>
#include <vector>

namespace ingot::runtime::gpu::emulator {

constexpr uint32_t kWarpgroup = 128;  // threads

/// Throws Error: the running thread touches a register of a product that is under way.
[[noreturn]] void fail_under_way(const char* verb);
/// How often the running thread has ordered its registers before products.
uint64_t n_fences_of_thread();

/// A thread's register that products read or add to. Between a product's beginning and the wait for it nobody
/// else may touch it; after a change, it must be ordered before the next product (begin_products).
template <typename T>
class Register {
  public:
    static constexpr uint64_t kNever = ~uint64_t(0);

    Register() = default;
    Register(const Register&) = delete;
    operator T() const {
        if (n_products_ != 0) fail_under_way("reads");
        return value_;
    }
    Register& operator=(T value) {
        if (n_products_ != 0) fail_under_way("changes");
        value_ = value;
        changed_ = n_fences_of_thread();
        return *this;
    }

  private:
    friend class Group;
    T value_{};
    uint32_t n_products_ = 0;    // under way
    uint64_t changed_ = kNever;  // after so many fences of its thread
};

/// A thread's part of a product.
struct WarpgroupProduct {
    std::source_location where;
    uint64_t b;  // descriptor
    uint32_t n;  // rows of B
    bool is_f16;
    bool adds;  // to the sums, which begin at zero otherwise
    uint32_t a[4];
    Register<uint32_t>* a_registers;  // 4
    Register<float>* sums;            // n / 2
};

/// Sixteen bytes on their way to the group's memory.
struct PendingCopy {
    void* to;
    uint32_t words[4];
};

/// What a thread has under way, oldest group first; the last group is still open.
struct UnderWay {
    std::vector<std::vector<WarpgroupProduct>> products{1};
    std::vector<std::vector<PendingCopy>> copies{1};
    uint64_t n_fences = 0;  // of registers
    uint32_t n_left = 0;    // groups of products that it does not wait for

    bool has_products() const { return products.size() > 1 || !products.front().empty(); }
    bool has_copies() const { return copies.size() > 1 || !copies.front().empty(); }
};

}  // namespace ingot::runtime::gpu::emulator
