#pragma once
// Devices without memory, on which a model is loaded and run to see what that would take: the code that
// allocates is the code that counts.
#include <unordered_map>

#include "runtime/backend.h"
#include "runtime/gpu/device.h"

namespace ingot::runtime {

/// A GPU that has memory in name only. Launches and copies do nothing; downloads are zeros.
class CountingDevice final : public gpu::Device {
  public:
    gpu::DeviceProperties properties() const override { return {.name = "a GPU", .kind = "a GPU"}; }
    bool has_memory() const override { return false; }
    gpu::Address allocate(size_t, gpu::Access) override { return ++n_allocations_ << 40; }
    void free(gpu::Address) override {}
    void fill(gpu::Address, size_t, size_t, const gpu::Fill&) override {}
    void download(gpu::Address, std::span<std::byte> to) override {
        std::fill(to.begin(), to.end(), std::byte{0});
    }
    void launch(gpu::Kernel, const gpu::Grid&, std::span<const std::byte>) override {}
    using Device::launch;
    void begin_sequence() override {}
    gpu::Sequence end_sequence() override { return 0; }
    void replay(gpu::Sequence) override {}
    void forget(gpu::Sequence) override {}
    gpu::Event event() override { return 0; }
    void wait(gpu::Event) override {}

  private:
    gpu::Address n_allocations_ = 0;
};

// clang-format off
/// The CPU, likewise: weights are in the file, buffers are nowhere.
class CountingBackend final : public Backend {
  public:
    std::string description() const override { return "cpu"; }
    bool computes_in_place() const override { return true; }
    bool has_cache_type(CacheType) const override { return true; }
    std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out, std::span<const std::byte>) override {
        return std::make_unique<CountedWeight>(type, n_in, n_out);
    }
    std::unique_ptr<Buffer> allocate(size_t size_bytes) override { return std::make_unique<CountedBuffer>(size_bytes); }
    std::unique_ptr<Buffer> view(Buffer&, size_t, size_t size_bytes) override { return allocate(size_bytes); }
    void upload(std::span<const std::byte>, Buffer&) override {}
    void download(const Buffer&, std::span<std::byte> to) override { std::fill(to.begin(), to.end(), std::byte{0}); }
    void embed_rows(const Weight&, std::span<const Token>, Buffer&) override {}
    void copy_rows(const Buffer&, std::span<const int32_t>, int64_t, Buffer&) override {}
    void copy_columns(const Buffer&, Columns, int64_t, int64_t, Buffer&, Columns) override {}
    void matmul(const Buffer&, int64_t, std::span<const Projection>) override {}
    void norm(const Norm&, const Buffer&, int64_t, Buffer&) override {}
    void activate(Activation, const Buffer&, const Buffer*, int64_t, Buffer&) override {}
    void map(Elementwise, float, int64_t, Buffer&) override {}
    void scale_rows(const Buffer&, const Buffer&, int64_t, int64_t, int64_t, Buffer&) override {}
    void add(const Buffer&, int64_t, Buffer&) override {}
    void rope(const Rope&, std::span<const int32_t>, int64_t, int64_t, Buffer&) override {}
    void write_cache(const Buffer&, std::span<const int32_t>, int64_t, CacheType, Buffer&) override {}
    void attention(const Buffer&, const KvLayer&, std::span<const int32_t>, const HeadGeometry&, Buffer&) override {}
    void convolve(const Buffer&, const Buffer&, int64_t, int64_t, int64_t, bool, Buffer&, Buffer&) override {}
    void delta_net(const DeltaHeads&, const DeltaInputs&, int64_t, bool, Buffer&, Buffer&) override {}
    void route(const RoutingRule&, const Buffer&, int64_t, Buffer&, Buffer&) override {}
    void matmul_experts(const Buffer&, bool, int64_t, const ExpertChoice&, std::span<const Projection>) override {}
    void combine(const Buffer&, const Buffer&, int64_t, int64_t, int64_t, Buffer&) override {}

  private:
    struct CountedBuffer final : Buffer {
        explicit CountedBuffer(size_t size_bytes) : Buffer(size_bytes) {}
    };
    struct CountedWeight final : Weight {
        CountedWeight(TensorType type, int64_t n_in, int64_t n_out) : Weight(type, n_in, n_out) {}
    };
};
// clang-format on

}  // namespace ingot::runtime
