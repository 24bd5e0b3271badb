#pragma once
// One group of threads, each a fibre. A warp's lanes run one after the other up to their next meeting: an
// exchange of the warp, or a barrier of the group.
#include <array>
#include <exception>
#include <memory>
#include <source_location>
#include <string_view>
#include <vector>

#include "runtime/gpu/emulator/counter.h"
#include "runtime/gpu/emulator/fibre.h"
#include "runtime/gpu/emulator/memory.h"
#include "runtime/gpu/emulator/warpgroup.h"

namespace ingot::runtime::gpu::emulator {

class Group;

inline bool same_place(const std::source_location& a, const std::source_location& b) {
    return a.line() == b.line() && a.column() == b.column() &&
           std::string_view(a.file_name()) == b.file_name();
}

/// The group whose threads run now; set while Group::run() is on its way.
inline thread_local Group* running_group = nullptr;

enum class Exchange : uint8_t { Sum, Max, Shuffle, ShuffleXor, Product, ProductF16, ProductBf16 };

class Group {
  public:
    explicit Group(Memory& memory) : memory_(memory) {}

    /// All groups of a launch. `body` is called once for each thread, with the group's coordinates and the
    /// thread's index in now(). Throws Error for what a GPU would not forgive.
    using Body = void (*)(const void* arguments, Group& group);
    void run(const char* kernel, Body body, const void* arguments, const Grid& grid);
    /// What its warps do from now on is counted; null: it is not. The counter must outlive that.
    void count(Counter* counter) { counter_ = counter; }

    // For the dialect, from inside of a thread.
    const Now& now() const { return now_; }
    uint32_t n_threads() const { return n_threads_; }
    GroupMemory& shared() { return shared_; }
    /// The bytes of one access, at `where` in the source.
    const std::byte* read(Address address, size_t size_bytes, const std::source_location& where) {
        if (counter_ != nullptr) count(AccessKind::Load, address, size_bytes, where);
        return memory_.read(address, size_bytes, now_);
    }
    std::byte* write(Address address, size_t size_bytes, const std::source_location& where) {
        if (counter_ != nullptr) count(AccessKind::Store, address, size_bytes, where);
        return memory_.write(address, size_bytes, now_);
    }
    /// Checks that it is there; nothing comes to the warp, so nothing is counted.
    void prefetch(Address address) { memory_.read(address, 1, now_); }
    void read_shared(const void* at, size_t size_bytes, const std::source_location& where) {
        if (counter_ != nullptr) count(AccessKind::GroupLoad, shared_.offset_of(at), size_bytes, where);
        shared_.note_read(at, size_bytes, now_);
    }
    void write_shared(const void* at, size_t size_bytes, const std::source_location& where) {
        if (counter_ != nullptr) count(AccessKind::GroupStore, shared_.offset_of(at), size_bytes, where);
        shared_.note_write(at, size_bytes, now_);
    }
    void barrier(const std::source_location& where);
    void wait_for_last_launch();
    /// A lane's 32 bits for those of the others; `parameter` is a lane or a mask.
    uint32_t exchange(Exchange kind, uint32_t value, uint32_t parameter, const std::source_location& where);
    /// A lane's part of A and B (see the dialect), and its four elements of A · Bᵀ, which is added to them:
    /// integers, or floats.
    using Operands = std::array<uint32_t, 6>;
    using Elements = std::array<uint32_t, 4>;
    void product(Exchange kind, const Operands& operands, Elements& elements,
                 const std::source_location& where);

    // Products of warpgroups, and copies to the group's memory: see the dialect.
    UnderWay& under_way() { return lane(now_.thread).under_way; }
    void add_warpgroup_product(WarpgroupProduct product);
    void commit_products();
    void wait_for_products(uint32_t n_left, const std::source_location& where);
    void begin_copy(void* to, const void* sixteen_bytes, const std::source_location& where);
    void commit_copies();
    void wait_for_copies(size_t n_left);

  private:
    enum class State : uint8_t { Runs, AtBarrier, AtExchange, AtProducts, Done };
    struct Lane {
        Fibre fibre;
        Group* group = nullptr;
        State state = State::Done;
        bool has_waited = false;
        std::source_location where;  // of the meeting that it waits at
        Exchange kind{};
        uint32_t value = 0, parameter = 0, result = 0;
        Operands operands{};  // of a product
        Elements elements{};
        UnderWay under_way;
    };
    static void run_lane(void* lane);
    void run_group();
    void run_warp(uint32_t first);
    void complete_exchange(uint32_t first);
    void complete_product(uint32_t first);
    void complete_float_product(uint32_t first);
    bool complete_products();
    void complete_product_of(uint32_t first, size_t number);
    void meet(Exchange kind, const std::source_location& where);
    void count(AccessKind kind, uint64_t place, size_t size_bytes, const std::source_location& where);
    Lane& lane(uint32_t index) { return *lanes_[index]; }

    Memory& memory_;
    GroupMemory shared_;
    Counter* counter_ = nullptr;
    Now now_;
    uint32_t n_threads_ = 0;
    Body body_ = nullptr;
    const void* arguments_ = nullptr;
    std::vector<std::unique_ptr<Lane>> lanes_;
    std::exception_ptr error_;
};

}  // namespace ingot::runtime::gpu::emulator
