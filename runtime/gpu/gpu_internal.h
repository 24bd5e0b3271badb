#pragma once
// What lies on a GpuBackend's device.
#include <algorithm>
#include <vector>

#include "runtime/gpu/gpu_backend.h"
#include "runtime/gpu/kernels/arguments.h"
#include "runtime/gpu/planes.h"

namespace ingot::runtime {

/// Groups of n_each that n elements take. Throws Error when a launch cannot have so many.
uint32_t groups_of(int64_t n, int64_t n_each);

class GpuBuffer final : public Buffer {
  public:
    GpuBuffer(GpuBackend& backend, size_t size_bytes, gpu::Access access = gpu::Access::ReadAndWrite)
        : Buffer(size_bytes),
          backend_(backend),
          access_(access),
          address_(backend.allocate_bytes(size_bytes, access)) {}
    /// A part of another one.
    GpuBuffer(GpuBackend& backend, gpu::Address address, size_t size_bytes)
        : Buffer(size_bytes),
          backend_(backend),
          access_(gpu::Access::ReadAndWrite),
          address_(address),
          is_view_(true) {}
    ~GpuBuffer() override {
        if (!is_view_) backend_.free_bytes(address_, size_bytes(), access_);
    }
    GpuBuffer(const GpuBuffer&) = delete;
    gpu::Address address() const { return address_; }

  private:
    GpuBackend& backend_;
    gpu::Access access_;
    gpu::Address address_;
    bool is_view_ = false;
};

class GpuWeight final : public Weight {
  public:
    GpuWeight(GpuBackend& backend, TensorType type, const gpu::Layout& layout, int64_t n_in, int64_t n_out,
              size_t device_row)
        : Weight(type, n_in, n_out),
          layout_(layout),
          device_row_(device_row),
          memory_(backend, size_t(n_out) * device_row, gpu::Access::Read) {}
    const gpu::Layout& layout() const { return layout_; }
    size_t device_row() const { return device_row_; }  // bytes from row to row
    gpu::Address address() const { return memory_.address(); }
    /// By which products of warpgroups multiply it.
    float factor() const { return factor_; }
    void set_factor(float factor) { factor_ = factor; }
    uint64_t size_bytes() const override { return memory_.size_bytes(); }

  private:
    const gpu::Layout& layout_;
    size_t device_row_;
    float factor_ = 1;
    GpuBuffer memory_;
};

struct GpuBackend::Scratch {
    explicit Scratch(GpuBackend&) {}
    std::unique_ptr<GpuBuffer> buffer;
};

/// Numbers that were uploaded last.
struct GpuBackend::Indices {
    explicit Indices(GpuBackend& backend) : memory(backend) {}
    Scratch memory;
    std::vector<int32_t> values;
    gpu::Address at = 0;
};

/// See gpu::QuantizeArguments.
struct GpuBackend::Quantized {
    explicit Quantized(GpuBackend& backend) : quants(backend), scales(backend), sums(backend) {}
    Scratch quants, scales, sums;
};

/// See gpu::SplitArguments.
struct GpuBackend::SplitForm {
    bool is_f16;
    gpu::ElementOrder order;
    bool has_low;
    bool operator==(const SplitForm&) const = default;
};

/// Likewise.
struct GpuBackend::Halves {
    explicit Halves(GpuBackend& backend) : high(backend), low(backend), scales(backend) {}
    Scratch high, low, scales;
};

/// See gpu::SortSlotsArguments.
struct GpuBackend::SortedSlots {
    explicit SortedSlots(GpuBackend& backend) : counts(backend), slots(backend), tiles(backend) {}
    Scratch counts, slots, tiles;
};

inline gpu::Address address_of(const Buffer& buffer) {
    return static_cast<const GpuBuffer&>(buffer).address();
}
/// Whether rows of floats, each n_apart elements behind the one before, begin at multiples of 16 bytes.
inline bool are_wide(int64_t n_apart, std::initializer_list<gpu::Address> rows) {
    return n_apart % 4 == 0 && std::ranges::all_of(rows, [](gpu::Address at) { return at % 16 == 0; });
}
inline const GpuWeight& gpu_weight(const Weight& weight) {
    return static_cast<const GpuWeight&>(weight);
}
template <typename T>
GLOBAL(T)
global(gpu::Address address) {
    return GLOBAL(T)(address);
}
inline GLOBAL(float) floats(Buffer& buffer) {
    return global<float>(address_of(buffer));
}
inline GLOBAL(const float) floats(const Buffer& buffer) {
    return global<const float>(address_of(buffer));
}

}  // namespace ingot::runtime
