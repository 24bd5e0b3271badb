#pragma once
// What a GPU would do for the accesses of a warp: the emulator's lanes run one after the other, and their
// accesses are put together here. Nothing is timed; what is counted is exact.
#include <compare>
#include <cstdint>
#include <map>
#include <source_location>
#include <string>
#include <unordered_set>
#include <vector>

namespace ingot::runtime::gpu::emulator {

enum class AccessKind : uint8_t { Load, Store, GroupLoad, GroupStore };

/// Instructions of warps of one kind.
struct AccessCounts {
    uint64_t n_instructions = 0;
    uint64_t n_bytes = 0;  // different ones of each instruction: a byte that several lanes want is one
    /// Of the device's memory, sectors of 32 bytes that were touched. Of the group's, times that its 32 banks
    /// of 4 bytes were asked: lanes that want different words of a bank wait for each other; half a warp at a
    /// time wants 8 bytes, a quarter of it 16.
    uint64_t n_steps = 0;
    uint64_t n_least = 0;  // steps that so many bytes in a row, or lanes in banks of their own, would take

    /// The share of the bytes of sectors that was asked for.
    double efficiency() const { return n_steps == 0 ? 1.0 : double(n_bytes) / double(32 * n_steps); }
    /// Steps for each that is needed.
    double repeats() const { return n_least == 0 ? 1.0 : double(n_steps) / double(n_least); }
    AccessCounts& operator+=(const AccessCounts& other);
};

struct KernelCounts {
    uint64_t n_launches = 0;
    AccessCounts loads, stores;  // of the device's memory
    AccessCounts weights;        // those loads that are of memory that kernels may only read
    AccessCounts group;          // loads and stores of the group's memory
    uint64_t n_exchanges = 0, n_products = 0, n_barriers = 0;  // of warps
    uint64_t weight_bytes = 0;  // in the sectors of weights that were touched, each once a launch
};

/// The same of one place in a kernel's source.
struct Site {
    std::string kernel;
    const char* file;
    uint32_t line, column;
    AccessKind kind;
    auto operator<=>(const Site&) const = default;
};

/// Lanes' accesses are one instruction when they come from the same place, and each lane has been there as
/// often since the warp's last meeting (an exchange or a barrier): lanes that went another way in between are
/// then still told apart. Not thread-safe.
class Counter {
  public:
    const std::map<std::string, KernelCounts>& kernels() const { return kernels_; }
    const std::map<Site, AccessCounts>& sites() const { return sites_; }
    /// Of a kernel that has been launched; zeros for another one.
    KernelCounts of(const std::string& kernel) const;
    void clear();

    // For the emulator.
    void begin_launch(const char* kernel);
    void end_launch();
    /// `place` is an address, or an offset in the group's memory.
    void note(AccessKind kind, uint32_t lane, uint64_t place, size_t size_bytes, bool is_weight,
              const std::source_location& where);
    enum class Meeting : uint8_t { Exchange, Product, Barrier, End };
    /// A warp's lanes have met, or ended.
    void meet(Meeting meeting);

  private:
    struct Access {
        uint32_t lane;
        uint64_t place;
    };
    struct Instruction {
        size_t size_bytes = 0;
        bool is_weight = false;
        std::vector<Access> accesses;
    };
    struct Pending {  // of a site, since the last meeting
        uint32_t lane = 0;
        size_t n_of_lane = 0;  // times that this lane was there
        size_t n_used = 0;     // of instructions: they are kept for their memory
        std::vector<Instruction> instructions;
    };
    AccessCounts count_sectors(const Instruction& instruction);
    AccessCounts count_passes(const Instruction& instruction);

    std::map<std::string, KernelCounts> kernels_;
    std::map<Site, AccessCounts> sites_;
    std::map<Site, Pending> pending_;
    std::unordered_set<uint64_t> weight_sectors_;  // of the launch
    std::string kernel_;
    KernelCounts* counts_ = nullptr;
    std::vector<uint64_t> places_;
};

}  // namespace ingot::runtime::gpu::emulator
