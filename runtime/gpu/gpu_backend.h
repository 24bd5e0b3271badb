#pragma once
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "runtime/backend.h"
#include "runtime/gpu/device.h"
#include "runtime/gpu/launch_queue.h"

namespace ingot::runtime {

namespace gpu {
struct ActivateArguments;
struct QuantizeArguments;
struct TileArguments;
}  // namespace gpu
class GpuWeight;
class ThreadPool;

/// A GPU as a back end: the operations of backend.h as launches of kernels. Weights are copied to the device,
/// in a layout that it likes (gpu/planes.h); types without kernels are decoded to floats there. Activations
/// meet quantized weights as the same 8-bit integers as on the CPU.
class GpuBackend final : public Backend {
  public:
    explicit GpuBackend(std::unique_ptr<gpu::Device> device);
    ~GpuBackend() override;

    gpu::Device& device() { return *device_; }
    std::string description() const override;
    /// Whether prompts' products are those of warpgroups, on devices that have them (NVIDIA's Hopper):
    /// activations are rounded to 16 bits there, not to 8. They are, unless the environment has
    /// INGOT_GPU_PRODUCTS=tiles.
    bool uses_warpgroup_products() const { return uses_warpgroups_; }
    void use_warpgroup_products(bool use) { uses_warpgroups_ = use && has_warpgroups_; }
    /// Of weights, buffers and scratch.
    uint64_t allocated_bytes() const { return allocated_; }
    uint64_t weight_bytes() const { return weights_; }
    const LaunchQueue& queue() const { return queue_; }

    bool has_cache_type(CacheType) const override { return true; }
    std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                        std::span<const std::byte> bytes) override;
    std::unique_ptr<Buffer> allocate(size_t size_bytes) override;
    std::unique_ptr<Buffer> view(Buffer& buffer, size_t offset_bytes, size_t size_bytes) override;
    void upload(std::span<const std::byte> source, Buffer& destination) override;
    void download(const Buffer& source, std::span<std::byte> destination) override;

    void embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) override;
    void copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) override;
    void copy_columns(const Buffer& x, Columns from, int64_t n_rows, int64_t n, Buffer& y,
                      Columns to) override;
    void largest(const Buffer& x, int64_t n_rows, int64_t n, int64_t k, std::span<TokenLogit> found) override;

    void matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) override;
    void norm(const Norm& norm, const Buffer& x, int64_t n_rows, Buffer& y) override;
    void activate(Activation activation, const Buffer& gate, const Buffer* up, int64_t n, Buffer& y) override;
    void map(Elementwise function, float value, int64_t n, Buffer& x) override;
    void scale_rows(const Buffer& x, const Buffer& scales, int64_t n_rows, int64_t n, int64_t n_repeats,
                    Buffer& y) override;
    void add(const Buffer& x, int64_t n, Buffer& y) override;

    void rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads, int64_t head_dim,
              Buffer& x) override;
    void write_cache(const Buffer& x, std::span<const int32_t> positions, int64_t n, CacheType type,
                     Buffer& cache) override;
    void attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                   const HeadGeometry& heads, Buffer& y) override;

    void convolve(const Buffer& x, const Buffer& weight, int64_t n_tokens, int64_t n, int64_t n_taps,
                  bool fresh, Buffer& state, Buffer& y) override;
    void delta_net(const DeltaHeads& heads, const DeltaInputs& inputs, int64_t n_tokens, bool fresh,
                   Buffer& state, Buffer& y) override;

    void route(const RoutingRule& rule, const Buffer& logits, int64_t n_tokens, Buffer& experts,
               Buffer& weights) override;
    void matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens, const ExpertChoice& choice,
                        std::span<const Projection> projections) override;
    void combine(const Buffer& x, const Buffer& weights, int64_t n_tokens, int64_t n_used, int64_t n,
                 Buffer& y) override;

  private:
    friend class GpuBuffer;
    struct Scratch;  // memory that grows on demand
    struct Quantized;
    struct Halves;
    struct SplitForm;
    struct SortedSlots;
    struct Indices;
    struct Input;
    struct Sorted;

    gpu::Address allocate_bytes(size_t size_bytes, gpu::Access access);
    void free_bytes(gpu::Address address, size_t size_bytes, gpu::Access access);
    gpu::Address scratch(Scratch& scratch, size_t size_bytes);
    gpu::Address indices(Indices& indices, std::span<const int32_t> values);
    void quantize(const Buffer& x, int64_t n_rows, int64_t n, uint32_t n_shared, Quantized& to);
    bool quantize_answer(const gpu::QuantizeArguments& quantize, int64_t n_rows);
    void split(const Buffer& x, int64_t n_rows, int64_t n, const SplitForm& form);
    void reserve_quantized(int64_t n_rows, int64_t n, Quantized& to);
    void reserve_split(int64_t n_rows, int64_t n, bool has_low);
    void give_split(Input& input, const GpuWeight& weight, gpu::TileArguments& arguments);
    int64_t tokens_of_warpgroups(int64_t n_out, int64_t n_tokens) const;
    template <typename Arguments>
    void give(Input& input, const GpuWeight& weight, Arguments& arguments);
    void multiply_few(Input& input, const Projection& projection);
    void multiply_one(Input& input, std::span<const Projection> projections, const ExpertChoice* choice,
                      int64_t n_slots, int64_t n_shared);
    void multiply_one_by_all(Input& input, std::span<const Projection> projections,
                             const ExpertChoice* choice, int64_t n_slots, int64_t n_shared);
    void multiply_tiles(Input& input, const Projection& projection, const Sorted* sorted);
    Sorted sort(const ExpertChoice& choice, int64_t n_slots, int64_t n_shared);
    bool activate_product(const gpu::ActivateArguments& activate);
    template <typename Arguments>
    void launch_each(gpu::Kernel kernel, int64_t n, const Arguments& arguments);

    /// job(begin, end) for parts of [0, n_rows) that are n_bytes long: by all threads where that pays.
    void share_rows(int64_t n_rows, size_t n_bytes, const std::function<void(int64_t, int64_t)>& job);

    /// The device, when nothing waits for it any more.
    gpu::Device& idle_device();

    std::unique_ptr<gpu::Device> device_;
    gpu::DeviceProperties properties_;
    bool has_warpgroups_ = false, uses_warpgroups_ = false;
    LaunchQueue queue_;
    std::unique_ptr<ThreadPool> loaders_;          // of weights
    std::exception_ptr error_;                     // that could not be thrown when it came
    uint64_t allocated_ = 0, weights_ = 0;         // bytes
    std::unique_ptr<Indices> tokens_, positions_;  // also rows
    std::unique_ptr<Quantized> by_32_, by_256_;    // activations in 8 bits, by how many share a scale
    std::unique_ptr<Halves> halves_;               // … in two parts of 16 bits
    std::unique_ptr<SortedSlots> sorted_;          // by expert
    std::unique_ptr<Scratch> partial_;             // answers of attention; the largest so far
};

}  // namespace ingot::runtime
