#pragma once
// What a GPU has to be able to do: a dozen calls. CUDA (cuda/device.cu), Metal (metal/device.mm) and the
// emulator (gpu/emulator) implement them; the back end above (gpu_backend.h) and the kernels (kernels/) are
// the same for all three.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "format/error.h"
#include "runtime/gpu/kernels/table.h"

namespace ingot::runtime::gpu {

/// A place in the device's memory, as its kernels see it. 0 is no place.
using Address = uint64_t;

/// What kernels may do with an allocation. Uploads may write both.
enum class Access : uint8_t { Read, ReadAndWrite };

struct DeviceProperties {
    std::string name;                     // "NVIDIA H100 80GB HBM3"
    std::string kind;                     // "cuda", "metal", "emulator": what --device calls it
    uint64_t memory_bytes = 0;            // all there is
    uint64_t free_bytes = 0;              // that could be allocated now, as far as the device knows
    uint32_t n_processors = 1;            // groups run on so many at once
    uint32_t group_memory = 0;            // bytes that a group may share
    bool has_warpgroup_products = false;  // kernels/warpgroup.h
    bool has_bf16_attention = true;       // of prompts, with caches whose numbers are sums of bfloat16s
};

/// Thrown by Device::allocate() when there is no room.
class OutOfMemory : public Error {
  public:
    using Error::Error;
};

/// Groups of a launch, and the threads of each, a multiple of kLanes.
struct Grid {
    uint32_t x = 1, y = 1, z = 1;
    uint32_t n_threads = kLanes;
};

/// A position in a device's order of work.
using Event = uint64_t;
/// A recorded sequence of launches.
using Sequence = uint32_t;

/// Writes bytes of an upload, those from `offset` on, where the device wants them.
using Fill = std::function<void(size_t offset, std::span<std::byte> part)>;

/// Not thread-safe. Work is done in the order of the calls; fill(), launch() and replay() may return before
/// it is done, and report a failure of earlier work. After an Error that says that the device is lost, every
/// call throws.
class Device {
  public:
    virtual ~Device() = default;
    virtual DeviceProperties properties() const = 0;
    /// A device without memory only counts (placement.h): uploads to it may be left out.
    virtual bool has_memory() const { return true; }

    /// Aligned to kAlignment bytes; contents undefined. Throws OutOfMemory with the numbers.
    virtual Address allocate(size_t size_bytes, Access access) = 0;
    /// Never throws: what a lost device had is gone.
    virtual void free(Address address) = 0;
    /// An upload of what `fill` makes, without a copy in between: in order, in parts of whole rows of
    /// row_bytes, of which size_bytes is a multiple.
    virtual void fill(Address destination, size_t size_bytes, size_t row_bytes, const Fill& fill) = 0;
    /// Waits for all work before it.
    virtual void download(Address source, std::span<std::byte> destination) = 0;

    /// `arguments` is the kernel's struct (kernels/arguments.h).
    virtual void launch(Kernel kernel, const Grid& grid, std::span<const std::byte> arguments) = 0;

    /// Launches between the two are remembered and not done. Allocations, uploads and downloads are errors.
    virtual void begin_sequence() = 0;
    virtual Sequence end_sequence() = 0;
    /// Does the launches of a sequence again, with the arguments they had and what now lies in memory.
    virtual void replay(Sequence sequence) = 0;
    virtual void forget(Sequence sequence) = 0;

    /// An event after all work before it; wait() returns when it is done.
    virtual Event event() = 0;
    virtual void wait(Event event) = 0;

    /// `source` may be changed as soon as the call returns.
    void upload(std::span<const std::byte> source, Address destination) {
        fill(destination, source.size(), 1, [&](size_t offset, std::span<std::byte> part) {
            std::memcpy(part.data(), source.data() + offset, part.size());
        });
    }
    template <typename Arguments>
    void launch(Kernel kernel, const Grid& grid, const Arguments& arguments) {
        static_assert(std::is_trivially_copyable_v<Arguments>);
        launch(kernel, grid, std::as_bytes(std::span(&arguments, 1)));
    }
};

inline constexpr size_t kAlignment = 256;  // bytes

/// Devices by what --device calls them: "emulator", "cuda", "cuda:1", "metal". Throws Error naming what there
/// is when there is no such device.
std::unique_ptr<Device> open_device(const std::string& name);
/// Whether open_device() knows the name; the device itself may still be absent.
bool is_device_name(const std::string& name);
/// What "auto" means on this machine: a GPU where there is one, else "cpu", which is no device of these.
std::string best_device();

}  // namespace ingot::runtime::gpu
