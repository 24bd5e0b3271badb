// An Apple GPU as a device, as thin as it can be. Memory is shared with the CPU: uploads and downloads are
// copies by the CPU, after the GPU has finished. Launches are collected in one command buffer until somebody
// waits.
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include <cstring>
#include <map>
#include <vector>

#include "format/error.h"
#include "runtime/gpu/devices.h"

namespace ingot::runtime::gpu {
namespace {

#define INGOT_ENTRY(name, Arguments) #name,
#define INGOT_LAYOUT_ENTRIES(layout) \
    "embed_" #layout, "matvec_" #layout, "matmul_" #layout, "tile_" #layout, "wide_" #layout,
const char* const kNames[] = {INGOT_COMMON_KERNELS(INGOT_ENTRY) INGOT_LAYOUTS(INGOT_LAYOUT_ENTRIES)};
#undef INGOT_ENTRY
#undef INGOT_LAYOUT_ENTRIES
constexpr size_t kKernels = sizeof kNames / sizeof *kNames;

std::string text(NSString* string) {
    return string != nil ? std::string([string UTF8String]) : std::string();
}
std::string text(NSError* error) {
    return error != nil ? text([error localizedDescription]) : "no reason was given";
}

class MetalDevice final : public Device {
  public:
    MetalDevice() : device_(MTLCreateSystemDefaultDevice()) {
        if (device_ == nil) fail("this machine has no Metal device; use --device cpu");
        queue_ = [device_ newCommandQueue];
        NSError* error = nil;
        // Beside the program, where the build has put it.
        NSString* folder = [[[NSBundle mainBundle] executablePath] stringByDeletingLastPathComponent];
        NSString* path =
            [folder stringByAppendingPathComponent:[NSString stringWithUTF8String:"ingot.metallib"]];
        library_ = [device_ newLibraryWithURL:[NSURL fileURLWithPath:path] error:&error];
        if (library_ == nil) fail("{}: the kernels cannot be loaded: {}", text(path), text(error));
    }
    ~MetalDevice() override {
        if (encoder_ != nil) [encoder_ endEncoding];
    }

    DeviceProperties properties() const override {
        const uint64_t all = [device_ recommendedMaxWorkingSetSize], used = [device_ currentAllocatedSize];
        return {text([device_ name]),        "metal", all,
                all > used ? all - used : 0, 8,       uint32_t([device_ maxThreadgroupMemoryLength])};
    }

    Address allocate(size_t size_bytes, Access) override {
        const DeviceProperties now = properties();
        id<MTLBuffer> buffer = nil;
        if (size_bytes <= now.free_bytes)
            buffer = [device_ newBufferWithLength:(size_bytes > 0 ? size_bytes : 1)
                                          options:MTLResourceStorageModeShared];
        if (buffer == nil) {
            throw OutOfMemory(fmt::format("out of memory: {} bytes were asked for, {} of {} are free on {}",
                                          grouped(size_bytes), grouped(now.free_bytes),
                                          grouped(now.memory_bytes), now.name));
        }
        finish();  // launches see the buffers that there were when their encoder was made
        const Address address = [buffer gpuAddress];
        buffers_[address] = buffer;
        return address;
    }
    void free(Address address) override {
        if (encoder_ != nil) submit();
        buffers_.erase(address);  // a command buffer keeps what it uses
    }

    void fill(Address destination, size_t size_bytes, size_t, const Fill& fill) override {
        finish();
        if (size_bytes != 0) fill(0, std::span(static_cast<std::byte*>(bytes(destination)), size_bytes));
    }
    void download(Address source, std::span<std::byte> destination) override {
        finish();
        if (!destination.empty()) std::memcpy(destination.data(), bytes(source), destination.size());
    }

    void launch(Kernel kernel, const Grid& grid, std::span<const std::byte> arguments) override {
        if (is_recording_) {
            recording_.push_back({kernel, grid, {arguments.begin(), arguments.end()}});
            return;
        }
        id<MTLComputePipelineState> pipeline = pipeline_of(kernel);
        if (encoder_ == nil) begin();
        [encoder_ setComputePipelineState:pipeline];
        [encoder_ setBytes:arguments.data() length:arguments.size() atIndex:0];
        [encoder_ dispatchThreadgroups:MTLSizeMake(grid.x, grid.y, grid.z)
                 threadsPerThreadgroup:MTLSizeMake(grid.n_threads, 1, 1)];
    }

    void begin_sequence() override {
        is_recording_ = true;
        recording_.clear();
    }
    Sequence end_sequence() override {
        is_recording_ = false;
        sequences_[++n_sequences_] = std::move(recording_);
        recording_.clear();
        return n_sequences_;
    }
    void replay(Sequence sequence) override {
        const auto found = sequences_.find(sequence);
        if (found == sequences_.end()) fail("metal: there is no sequence {}", sequence);
        for (const Launch& launched : found->second)
            launch(launched.kernel, launched.grid, std::span<const std::byte>(launched.arguments));
    }
    void forget(Sequence sequence) override { sequences_.erase(sequence); }

    Event event() override { return ++n_events_; }
    void wait(Event) override { finish(); }

  private:
    struct Launch {
        Kernel kernel;
        Grid grid;
        std::vector<std::byte> arguments;
    };

    id<MTLComputePipelineState> pipeline_of(Kernel kernel) {
        id<MTLComputePipelineState> __strong& pipeline = pipelines_[size_t(kernel)];
        if (pipeline == nil) {
            NSError* error = nil;
            id<MTLFunction> function =
                [library_ newFunctionWithName:[NSString stringWithUTF8String:kNames[size_t(kernel)]]];
            if (function != nil)
                pipeline = [device_ newComputePipelineStateWithFunction:function error:&error];
            if (pipeline == nil) fail("metal: kernel {}: {}", kNames[size_t(kernel)], text(error));
        }
        return pipeline;
    }

    // Dispatches of an encoder are done one after the other, and see what the ones before have written.
    void begin() {
        check();
        commands_ = [queue_ commandBuffer];
        encoder_ = [commands_ computeCommandEncoder];
        for (const auto& [address, buffer] : buffers_)
            [encoder_ useResource:buffer usage:MTLResourceUsageRead | MTLResourceUsageWrite];
    }
    void check() const {
        if (!failure_.empty())
            fail("metal: {}; the device is lost: start again, or use --device cpu", failure_);
    }
    void submit() {
        [encoder_ endEncoding];
        encoder_ = nil;
        [commands_ commit];
    }
    void finish() {
        if (encoder_ != nil) submit();
        if (commands_ == nil) return check();
        [commands_ waitUntilCompleted];
        NSError* error = [commands_ error];
        commands_ = nil;
        if (error != nil) failure_ = text(error);
        check();
    }

    std::byte* bytes(Address address) {
        auto found = buffers_.upper_bound(address);
        if (found == buffers_.begin()) fail("metal: there is no memory at {:#x}", address);
        --found;
        return static_cast<std::byte*>([found->second contents]) + (address - found->first);
    }

    id<MTLDevice> device_;
    id<MTLCommandQueue> queue_;
    id<MTLLibrary> library_;
    id<MTLCommandBuffer> commands_ = nil;
    id<MTLComputeCommandEncoder> encoder_ = nil;
    id<MTLComputePipelineState> pipelines_[kKernels] = {};
    std::map<Address, id<MTLBuffer>> buffers_;
    std::map<Sequence, std::vector<Launch>> sequences_;
    std::vector<Launch> recording_;
    bool is_recording_ = false;
    Sequence n_sequences_ = 0;
    Event n_events_ = 0;
    std::string failure_;  // of work that was given to the device
};

}  // namespace

int n_metal_devices() {
    return MTLCreateSystemDefaultDevice() != nil ? 1 : 0;
}

std::unique_ptr<Device> open_metal_device() {
    return std::make_unique<MetalDevice>();
}

}  // namespace ingot::runtime::gpu
