#pragma once
// One group of threads, each a fibre. A warp's lanes run one after the other up to their next meeting: an
// exchange of the warp, or a barrier of the group.
#include <array>
#include <exception>
#include <memory>
#include <source_location>
#include <vector>

#include "runtime/gpu/emulator/fibre.h"
#include "runtime/gpu/emulator/memory.h"

namespace ingot::runtime::gpu::emulator {

class Group;

/// The group whose threads run now; set while Group::run() is on its way.
inline thread_local Group* running_group = nullptr;

enum class Exchange : uint8_t { Sum, Max, Shuffle, ShuffleXor, Product };

class Group {
  public:
    explicit Group(Memory& memory) : memory_(memory) {}

    /// All groups of a launch. `body` is called once for each thread, with the group's coordinates and the
    /// thread's index in now(). Throws Error for what a GPU would not forgive.
    using Body = void (*)(const void* arguments, Group& group);
    void run(const char* kernel, Body body, const void* arguments, const Grid& grid);

    // For the dialect, from inside of a thread.
    const Now& now() const { return now_; }
    uint32_t n_threads() const { return n_threads_; }
    Memory& memory() { return memory_; }
    GroupMemory& shared() { return shared_; }
    void barrier(const std::source_location& where);
    /// A lane's 32 bits for those of the others; `parameter` is a lane or a mask.
    uint32_t exchange(Exchange kind, uint32_t value, uint32_t parameter, const std::source_location& where);
    /// See the dialect: four bytes of two rows of A and of a row of B, for four elements of A · Bᵀ.
    std::array<int32_t, 4> product(uint32_t a0, uint32_t a1, uint32_t b, const std::source_location& where);

  private:
    enum class State : uint8_t { Runs, AtBarrier, AtExchange, Done };
    struct Lane {
        Fibre fibre;
        Group* group = nullptr;
        State state = State::Done;
        std::source_location where;  // of the meeting that it waits at
        Exchange kind{};
        uint32_t value = 0, parameter = 0, result = 0;
        std::array<uint32_t, 3> operands{};  // of a product …
        std::array<int32_t, 4> elements{};   // … and what it gets of it
    };
    static void run_lane(void* lane);
    void run_group();
    void run_warp(uint32_t first);
    void complete_exchange(uint32_t first);
    void complete_product(uint32_t first);
    void meet(Exchange kind, const std::source_location& where);
    Lane& lane(uint32_t index) { return *lanes_[index]; }

    Memory& memory_;
    GroupMemory shared_;
    Now now_;
    uint32_t n_threads_ = 0;
    Body body_ = nullptr;
    const void* arguments_ = nullptr;
    std::vector<std::unique_ptr<Lane>> lanes_;
    std::exception_ptr error_;
};

}  // namespace ingot::runtime::gpu::emulator
