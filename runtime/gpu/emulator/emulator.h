#pragma once
#include <map>
#include <vector>

#include "runtime/gpu/device.h"
#include "runtime/gpu/emulator/group.h"

namespace ingot::runtime::gpu {

/// A GPU in software, for finding mistakes: threads of a group are fibres, which meet at barriers and
/// exchange values in warps of 32; every access is checked. Errors are thrown by the launch that makes them.
/// Slow.
class EmulatorDevice final : public Device {
  public:
    static constexpr uint64_t kMemoryBytes = uint64_t(16) << 30;

    explicit EmulatorDevice(uint64_t memory_bytes = kMemoryBytes) : memory_(memory_bytes), group_(memory_) {}

    DeviceProperties properties() const override;
    Address allocate(size_t size_bytes, Access access) override;
    void free(Address address) override { memory_.free(address); }
    void fill(Address destination, size_t size_bytes, size_t row_bytes, const Fill& fill) override;
    void download(Address source, std::span<std::byte> destination) override;
    void launch(Kernel kernel, const Grid& grid, std::span<const std::byte> arguments) override;
    using Device::launch;
    void begin_sequence() override;
    Sequence end_sequence() override;
    void replay(Sequence sequence) override;
    void forget(Sequence sequence) override { sequences_.erase(sequence); }
    Event event() override { return ++n_events_; }
    void wait(Event) override {}

    /// Counts what launches do from now on; null: they are not counted, which costs nothing.
    void count(emulator::Counter* counter) { group_.count(counter); }

    // For tests.
    size_t n_allocations() const { return memory_.n_allocations(); }
    uint64_t used_bytes() const { return memory_.used_bytes(); }
    /// Any body as a kernel.
    void launch(const char* name, emulator::Group::Body body, const Grid& grid, const void* arguments) {
        group_.run(name, body, arguments, grid);
    }

  private:
    struct Launch {
        Kernel kernel;
        Grid grid;
        std::vector<std::byte> arguments;
    };
    void check_not_recording(const char* what) const;

    emulator::Memory memory_;
    emulator::Group group_;
    std::map<Sequence, std::vector<Launch>> sequences_;
    std::vector<Launch> recording_;
    bool is_recording_ = false;
    Sequence n_sequences_ = 0;
    Event n_events_ = 0;
};

}  // namespace ingot::runtime::gpu
