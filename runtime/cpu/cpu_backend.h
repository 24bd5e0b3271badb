#pragma once
#include <memory>
#include <vector>

#include "runtime/backend.h"
#include "runtime/cpu/aligned_vector.h"
#include "runtime/cpu/kernels.h"
#include "runtime/cpu/row_tasks.h"
#include "runtime/cpu/thread_pool.h"

namespace ingot::runtime {

/// The processor as a device. Weights stay in the mapped file; rows of a product are dealt to the threads in
/// small chunks, so that a thread that was held up does not hold up the others. Which thread computes a row
/// never changes its value: results do not depend on the number of threads.
class CpuBackend final : public Backend {
  public:
    /// `n_threads` 0 means one per physical core that the process may use.
    explicit CpuBackend(int n_threads = 0, const cpu::Kernels& kernels = cpu::kernels());
    ~CpuBackend() override;

    std::string description() const override;
    int n_threads() const { return pool_.size(); }

    std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                        std::span<const std::byte> bytes) override;
    bool computes_in_place() const override { return true; }
    bool has_cache_type(CacheType) const override { return true; }
    std::unique_ptr<Buffer> allocate(size_t size_bytes) override;
    std::unique_ptr<Buffer> view(Buffer& buffer, size_t offset_bytes, size_t size_bytes) override;
    void upload(std::span<const std::byte> source, Buffer& destination) override;
    void download(const Buffer& source, std::span<std::byte> destination) override;

    void embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) override;
    void copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) override;
    void copy_columns(const Buffer& x, Columns from, int64_t n_rows, int64_t n, Buffer& y,
                      Columns to) override;

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
    struct Activations;
    struct Scratch;     // one thread's
    struct Share;       // likewise
    struct RopeAngles;  // sines and cosines of one table at some positions
    struct Piece;       // of what a token attends to

    Activations activations(const float* x, int64_t n_tokens, int64_t n_in, cpu::ActivationForm form);
    Activations tiled(const float* x, int64_t n_tokens, int64_t n_in, cpu::ActivationForm form, cpu::Way way);
    const cpu::Kernels::Matmul& kernel_of(const Weight& weight) const;
    cpu::Way way_of(const Weight& weight, int64_t n_tokens) const;
    int64_t chunk_rows(const Weight& weight, int64_t n_rows, cpu::Way way) const;
    cpu::RowTasks tasks_of(const Weight& weight, int64_t n_tokens, cpu::Way way) const;
    void multiply(int thread, const Weight& weight, const cpu::Rows& rows, const Activations& input,
                  int64_t n_tokens, float* output, int64_t output_stride);
    void attend_blocks(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                       const HeadGeometry& heads, Buffer& y);
    void attend_tokens(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                       const HeadGeometry& heads, Buffer& y);
    void attend_piece(int thread, const Buffer& q, const KvLayer& cache, const Piece& piece,
                      const HeadGeometry& heads, int64_t kv_head, float* outputs, float* log_sums);
    void merge_pieces(std::span<const Piece> pieces, int64_t token, int64_t position,
                      const HeadGeometry& heads, int64_t head, float* output) const;
    template <typename Job>
    void deal(int64_t n_tasks, bool parallel, Job&& job);
    template <typename Job>
    void each_token(int64_t n_tokens, int64_t n_elements, Job&& job);
    const RopeAngles& rope_angles(const Rope& rope, std::span<const int32_t> positions);

    const cpu::Kernels& kernels_;
    ThreadPool pool_;
    std::vector<Scratch> scratch_;  // per thread
    std::vector<Share> shares_;     // per thread, of the job at hand
    // (n_tokens, n_in) activations by form and by the way of their product: in rows or in tiles
    AlignedVector<std::byte> activations_[cpu::kActivationForms][cpu::kWays];
    // Of the pieces that tokens attend to: (pieces, n_heads, value_dim) and (pieces, n_heads)
    AlignedVector<float> piece_outputs_, piece_log_sums_;
    std::vector<RopeAngles> rope_angles_;  // of the tables in use: the same for many layers of a pass
    AlignedVector<std::byte>
        expert_inputs_;  // activations in the order of their experts, see matmul_experts()
};

}  // namespace ingot::runtime
