// An NVIDIA GPU as a device. The runtime library is linked statically and looks for the driver when it is
// first called: a program with this in it starts on machines without one. The kernels are kernels.cu's.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "format/error.h"
#include "runtime/cuda/kernels.h"
#include "runtime/gpu/devices.h"

namespace ingot::runtime::gpu {
namespace {

/// Memory of the host that the GPU can read by itself, in two halves: one is filled while the other is read,
/// so that reading the file and copying overlap.
struct Staging {
    static constexpr size_t kLeastBytes = 8 << 20;
    struct Half {
        std::byte* memory = nullptr;
        size_t size = 0;  // bytes
        cudaEvent_t free_at = nullptr;
    };
    Half halves[2];
    int next = 0;
};

class CudaDevice final : public Device {
  public:
    explicit CudaDevice(int index) : index_(index) {
        check(cudaSetDevice(index_), "cudaSetDevice");
        check(cudaGetDeviceProperties(&device_, index_), "cudaGetDeviceProperties");
        check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
        cudaFuncAttributes kernel{};
        check(cudaFuncGetAttributes(&kernel, cuda_kernels()[0].function), "cudaFuncGetAttributes");
        const char* const wish = std::getenv("INGOT_CUDA_OVERLAP");
        launches_overlap_ =
            device_.major >= 9 && kernel.ptxVersion >= 90 && (wish == nullptr || *wish != '0');
        find_warpgroup_products();
    }

    // Nothing to be done about errors here: what was allocated is gone with a lost device.
    ~CudaDevice() override {
        use();
        cudaStreamSynchronize(stream_);
        for (const auto& [id, graph] : graphs_) cudaGraphExecDestroy(graph);
        for (const auto& [id, event] : events_) cudaEventDestroy(event);
        for (const Staging::Half& half : staging_.halves) {
            if (half.free_at != nullptr) cudaEventDestroy(half.free_at);
            if (half.memory != nullptr) cudaFreeHost(half.memory);
        }
        cudaStreamDestroy(stream_);
    }

    DeviceProperties properties() const override {
        use();
        size_t free_bytes = 0, all_bytes = 0;
        cudaMemGetInfo(&free_bytes, &all_bytes);
        return {device_.name,
                "cuda",
                all_bytes,
                free_bytes,
                uint32_t(device_.multiProcessorCount),
                uint32_t(device_.sharedMemPerBlock),
                has_warpgroup_products_,
                device_.major >= 8};
    }

    Address allocate(size_t size_bytes, Access) override {
        use();
        void* memory = nullptr;
        const cudaError_t error = cudaMalloc(&memory, std::max<size_t>(size_bytes, 1));
        if (error == cudaErrorMemoryAllocation) {
            cudaGetLastError();  // it has been seen
            const DeviceProperties now = properties();
            throw OutOfMemory(fmt::format("out of memory: {} bytes were asked for, {} of {} are free on {}",
                                          grouped(size_bytes), grouped(now.free_bytes),
                                          grouped(now.memory_bytes), now.name));
        }
        check(error, "cudaMalloc");
        return reinterpret_cast<Address>(memory);
    }
    void free(Address address) override {
        use();
        cudaFree(reinterpret_cast<void*>(address));
    }

    void fill(Address destination, size_t size_bytes, size_t row_bytes, const Fill& fill) override {
        use();
        const size_t n_most = std::max<size_t>(1, Staging::kLeastBytes / row_bytes) * row_bytes;
        for (size_t at = 0; at < size_bytes; at += n_most) {
            const size_t n = std::min(n_most, size_bytes - at);
            Staging::Half& half = free_half(n_most);
            fill(at, std::span(half.memory, n));
            check(cudaMemcpyAsync(reinterpret_cast<void*>(destination + at), half.memory, n,
                                  cudaMemcpyHostToDevice, stream_),
                  "an upload");
            check(cudaEventRecord(half.free_at, stream_), "cudaEventRecord");
        }
    }
    void download(Address source, std::span<std::byte> destination) override {
        use();
        check(cudaMemcpyAsync(destination.data(), reinterpret_cast<const void*>(source), destination.size(),
                              cudaMemcpyDeviceToHost, stream_),
              "a download");
        check(cudaStreamSynchronize(stream_), "work before a download");
    }

    void launch(Kernel kernel, const Grid& grid, std::span<const std::byte> arguments) override {
        const CudaKernel& entry = cuda_kernels()[size_t(kernel)];
        if (arguments.size() != entry.argument_bytes) {
            fail("kernel {}: has {} bytes of arguments; expected {}", entry.name, arguments.size(),
                 entry.argument_bytes);
        }
        use();
        void* parameters[] = {const_cast<std::byte*>(arguments.data())};
        cudaLaunchAttribute overlap{};
        overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        overlap.val.programmaticStreamSerializationAllowed = 1;
        cudaLaunchConfig_t config{};
        config.gridDim = dim3(grid.x, grid.y, grid.z);
        config.blockDim = dim3(grid.n_threads);
        config.dynamicSmemBytes = entry.group_bytes;
        config.stream = stream_;
        config.attrs = &overlap;
        config.numAttrs = launches_overlap_ ? 1 : 0;
        check(cudaLaunchKernelExC(&config, entry.function, parameters), entry.name);
    }

    void begin_sequence() override {
        use();
        check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    }
    Sequence end_sequence() override {
        use();
        cudaGraph_t graph = nullptr;
        check(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
        cudaGraphExec_t ready = nullptr;
        const cudaError_t error = cudaGraphInstantiate(&ready, graph, 0);
        cudaGraphDestroy(graph);
        check(error, "cudaGraphInstantiate");
        graphs_[++n_graphs_] = ready;
        return n_graphs_;
    }
    void replay(Sequence sequence) override {
        const auto found = graphs_.find(sequence);
        if (found == graphs_.end()) fail("cuda: there is no sequence {}", sequence);
        use();
        check(cudaGraphLaunch(found->second, stream_), "cudaGraphLaunch");
    }
    void forget(Sequence sequence) override {
        const auto found = graphs_.find(sequence);
        if (found == graphs_.end()) return;
        cudaGraphExecDestroy(found->second);
        graphs_.erase(found);
    }

    Event event() override {
        use();
        cudaEvent_t event = nullptr;
        check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
        events_[++n_events_] = event;
        check(cudaEventRecord(event, stream_), "cudaEventRecord");
        return n_events_;
    }
    void wait(Event id) override {
        const auto found = events_.find(id);
        if (found == events_.end()) return;  // waited for before
        const cudaError_t error = cudaEventSynchronize(found->second);
        cudaEventDestroy(found->second);
        events_.erase(found);
        check(error, "work before an event");
    }

  private:
    // Kernels that ask for more of a group's memory than others have a body only where they were compiled for
    // just this GPU: an empty one needs no registers for sums.
    void find_warpgroup_products() {
        for (size_t i = 0; i < n_cuda_kernels(); ++i) {
            const CudaKernel& entry = cuda_kernels()[i];
            if (entry.group_bytes == 0) continue;
            cudaFuncAttributes kernel{};
            check(cudaFuncGetAttributes(&kernel, entry.function), entry.name);
            has_warpgroup_products_ =
                kernel.numRegs > 64 && entry.group_bytes <= device_.sharedMemPerBlockOptin;
            if (!has_warpgroup_products_) return;
            check(cudaFuncSetAttribute(entry.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       int(entry.group_bytes)),
                  entry.name);
        }
    }

    // The runtime's calls are about the thread's current device, which is another's where there are several.
    void use() const { cudaSetDevice(index_); }

    // The half that was used less lately, when the GPU has read it.
    Staging::Half& free_half(size_t least_bytes) {
        Staging::Half& half = staging_.halves[staging_.next];
        staging_.next = 1 - staging_.next;
        if (half.free_at == nullptr) {
            check(cudaEventCreateWithFlags(&half.free_at, cudaEventDisableTiming), "cudaEventCreate");
        } else {
            check(cudaEventSynchronize(half.free_at), "an upload");
        }
        if (half.size >= least_bytes) return half;
        check(cudaFreeHost(std::exchange(half.memory, nullptr)), "cudaFreeHost");
        half.size = 0;
        const size_t n = std::max(least_bytes, Staging::kLeastBytes);
        check(cudaMallocHost(reinterpret_cast<void**>(&half.memory), n), "cudaMallocHost");
        half.size = n;
        return half;
    }

    // Most errors of the runtime mean that nothing more can be done with the device in this process.
    void check(cudaError_t error, const char* what) {
        if (error == cudaSuccess && !lost_) return;
        lost_ = true;
        fail("cuda:{}: {}: {}; the device is lost: start again, or use --device cpu", index_, what,
             error == cudaSuccess ? "an earlier call failed" : cudaGetErrorString(error));
    }

    int index_;
    bool lost_ = false;
    /// A launch may begin before the one before it is done (programmatic dependent launch, from Hopper on):
    /// kernels wait by themselves, where they were compiled to. INGOT_CUDA_OVERLAP=0 turns it off.
    bool launches_overlap_ = false;
    bool has_warpgroup_products_ = false;
    cudaDeviceProp device_{};
    cudaStream_t stream_ = nullptr;
    Staging staging_;
    std::map<Sequence, cudaGraphExec_t> graphs_;
    std::map<Event, cudaEvent_t> events_;
    Sequence n_graphs_ = 0;
    Event n_events_ = 0;
};

}  // namespace

int n_cuda_devices() {
    int n = 0;
    // Without a driver this is an error, and there are none.
    return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

std::unique_ptr<Device> open_cuda_device(int index) {
    int n = 0;
    const cudaError_t error = cudaGetDeviceCount(&n);
    if (error != cudaSuccess) fail("no CUDA device: {}; use --device cpu", cudaGetErrorString(error));
    if (index < 0 || index >= n)
        fail("there is no device cuda:{}; this machine has {} (from 0 on)", index, n);
    return std::make_unique<CudaDevice>(index);
}

}  // namespace ingot::runtime::gpu
