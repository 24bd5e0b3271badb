#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/backend.h"

namespace ingot::runtime {

/// Several devices as one. Each weight lives on the device that its tensor is placed on, and is multiplied
/// there; all else is done where the last weight was. A buffer has memory on the devices that have touched
/// it, and is copied when one reads what another has written: at the border between two devices' layers, that
/// is the residual stream. A cache is where its layer is.
class PlacedBackend final : public Backend {
  public:
    /// Bytes of memory on one device. Weights that stay in the mapped file count, too.
    struct Usage {
        uint64_t weights = 0;  // and vectors of the model
        uint64_t cache = 0;    // keys and values, states
        uint64_t buffers = 0;  // activations
        uint64_t total() const { return weights + cache + buffers; }
    };
    using Place = std::function<size_t(std::string_view tensor)>;  // the number of a device
    /// The type of a tensor, in place of its own. For devices that only count.
    using TypeOf = std::function<TensorType(std::string_view tensor, TensorType own)>;

    PlacedBackend(std::vector<std::unique_ptr<Backend>> devices, Place place, TypeOf type_of = {});
    ~PlacedBackend() override;

    size_t n_devices() const { return devices_.size(); }
    Backend& device(size_t index) { return *devices_[index]; }
    Usage usage(size_t device) const;
    /// By part of the model: see Model::part_of(). Activations are in Model::kBeginning.
    const std::map<int64_t, Usage>& usage_of_parts(size_t device) const { return usage_[device]; }
    /// Bytes of weights and of keys and values that a device has read in computing, so far.
    uint64_t read_bytes(size_t device) const { return read_bytes_[device]; }
    uint64_t n_copies() const { return n_copies_; }  // from device to device, so far

    std::string description() const override;
    bool computes_in_place() const override { return devices_[current_]->computes_in_place(); }
    bool has_cache_type(CacheType type) const override;
    void begin_tensor(std::string_view name) override;
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
    struct PlacedBuffer;
    struct PlacedWeight;
    enum class Kind : uint8_t { Weight, Cache, Buffer };

    uint64_t& counter(size_t device, const PlacedBuffer& buffer);
    static PlacedBuffer& placed(const Buffer& buffer);
    Backend& here() { return *devices_[current_]; }
    /// The buffer's memory on the current device …
    Buffer& memory(PlacedBuffer& buffer);
    Buffer& view_of(PlacedBuffer& view, Buffer& memory);
    /// … with so many bytes from its beginning as they are now;
    const Buffer& read(const Buffer& buffer, size_t n_bytes);
    /// … to be overwritten so far;
    Buffer& write(Buffer& buffer, size_t n_bytes);
    /// … to be changed in places, all else kept.
    Buffer& change(Buffer& buffer);
    const Buffer* read_or_null(const Buffer* buffer);
    const Buffer& read_all(const Buffer& buffer);
    void bring(PlacedBuffer& buffer, size_t n_bytes);
    size_t newest(const PlacedBuffer& buffer) const;
    template <typename Multiply>
    void each_device(std::span<const Projection> projections, int64_t n_rows, int64_t n_experts,
                     int64_t n_read, Multiply multiply);

    std::vector<std::unique_ptr<Backend>> devices_;
    Place place_;
    TypeOf type_of_;
    std::vector<std::map<int64_t, Usage>> usage_;  // by device and part
    std::vector<uint64_t> read_bytes_;
    size_t current_ = 0;
    std::string tensor_;  // that memory is for, or empty
    uint64_t n_copies_ = 0;
    std::vector<std::byte> staging_;  // between two devices
};

}  // namespace ingot::runtime
