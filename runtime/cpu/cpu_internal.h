#pragma once
// What the sources of the CPU backend share: its memory, and how work is dealt to its threads.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <vector>

#include "format/tensor_type.h"
#include "runtime/cpu/aligned_vector.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/system_memory.h"

namespace ingot::runtime {

class CpuBuffer final : public Buffer {
  public:
    /// Throws std::bad_alloc. What is large, as the cache of a long context, is in large pages: a head's keys
    /// are spread over all of it, and small pages are more than the processor remembers.
    explicit CpuBuffer(size_t size_bytes) : Buffer(size_bytes) {
        if (size_bytes >= LargeMemory::kPageBytes) {
            large_ = LargeMemory(size_bytes);
            data_ = large_.bytes().data();
        } else {
            own_.reset(::operator new(size_bytes, std::align_val_t(kCacheLine)));
            data_ = own_.get();
        }
    }
    /// A part of another one.
    CpuBuffer(void* data, size_t size_bytes) : Buffer(size_bytes), data_(data) {}
    void* data() const { return data_; }

  private:
    struct Free {
        void operator()(void* data) const { ::operator delete(data, std::align_val_t(kCacheLine)); }
    };
    std::unique_ptr<void, Free> own_;
    LargeMemory large_;  // or this, or neither: it is another one's
    void* data_;
};

class CpuWeight final : public Weight {
  public:
    CpuWeight(TensorType type, int64_t n_in, int64_t n_out, const std::byte* file_bytes,
              const cpu::Kernels::Matmul* kernel)
        : Weight(type, n_in, n_out),
          bytes(file_bytes),
          stride(row_bytes(type, uint64_t(n_in))),
          matmul(kernel) {}
    const std::byte* row(int64_t index) const { return bytes + size_t(index) * stride; }
    cpu::ActivationForm form() const { return matmul ? matmul->form : cpu::ActivationForm::F32; }

    const std::byte* bytes;              // (n_out, n_in) in the file
    size_t stride;                       // bytes from row to row
    const cpu::Kernels::Matmul* matmul;  // null: rows are decoded to floats first
};

template <typename T = float>
T* data(Buffer& buffer) {
    return static_cast<T*>(static_cast<CpuBuffer&>(buffer).data());
}
template <typename T = float>
const T* data(const Buffer& buffer) {
    return static_cast<const T*>(static_cast<const CpuBuffer&>(buffer).data());
}
inline const CpuWeight& cpu_weight(const Weight& weight) {
    return static_cast<const CpuWeight&>(weight);
}

/// Below this many elements waking the other threads costs more than it gains.
inline constexpr int64_t kParallelElements = 16384;

inline int64_t divide_up(int64_t n, int64_t by) {
    return (n + by - 1) / by;
}

/// A buffer of at least so many bytes; it only grows.
inline std::byte* at_least(AlignedVector<std::byte>& buffer, size_t size_bytes) {
    if (buffer.size() < size_bytes) buffer.resize(size_bytes);
    return buffer.data();
}

/// Bytes of weights that a thread takes at a time: short enough to share evenly.
inline constexpr int64_t kChunkBytes = 64 << 10;
inline constexpr int64_t kMinChunkRows = 32;     // two cache lines of output, and the rows of a panel
inline constexpr int64_t kPanelChunkRows = 256;  // with many tokens: each panel fetches the next one ahead

/// The input of a product, (n_tokens, n_in) in some form.
struct CpuBackend::Activations {
    const void* rows = nullptr;
    size_t stride = 0;  // bytes from token to token, or from tile to tile
    cpu::Way way = cpu::Way::Rows;
};

struct CpuBackend::RopeAngles {
    std::vector<float> frequencies;  // (n_rot/2)
    std::vector<int32_t> positions;
    float magnitude = 0;
    std::vector<float> cos, sin;  // (n_tokens, n_rot/2), times the magnitude
};

struct CpuBackend::Scratch {
    AlignedVector<float> decoded;   // rows of a weight without a kernel: (rows, n_in)
    AlignedVector<float> scores;    // attention's scratch
    AlignedVector<float> products;  // of one expert: (its slots, rows of a chunk)
    AlignedVector<std::byte> rows;  // activations of a tile
};

/// Tasks that one thread does first.
struct alignas(kCacheLine) CpuBackend::Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
};

/// job(thread, task) for every task. Each thread begins with neighbouring ones of its own, which lie behind
/// each other in memory; then it helps the others.
template <typename Job>
void CpuBackend::deal(int64_t n_tasks, bool parallel, Job&& job) {
    if (!parallel || n_tasks == 1 || pool_.size() == 1) {
        for (int64_t task = 0; task < n_tasks; ++task) job(0, task);
        return;
    }
    const int n_threads = pool_.size();
    for (int thread = 0; thread < n_threads; ++thread) {
        shares_[size_t(thread)].next.store(n_tasks * thread / n_threads, std::memory_order_relaxed);
        shares_[size_t(thread)].end = n_tasks * (thread + 1) / n_threads;
    }
    const auto work = [&](int thread) {
        for (int i = 0; i < n_threads; ++i) {
            Share& share = shares_[size_t((thread + i) % n_threads)];
            for (;;) {
                const int64_t task = share.next.fetch_add(1, std::memory_order_relaxed);
                if (task >= share.end) break;
                job(thread, task);
            }
        }
    };
    pool_.share(std::ref(work));
}

/// job(token) for each, shared when there is enough to do.
template <typename Job>
void CpuBackend::each_token(int64_t n_tokens, int64_t n_elements, Job&& job) {
    const bool parallel = n_tokens > 1 && n_tokens * n_elements >= kParallelElements;
    constexpr int64_t kTokens = 8;
    deal(divide_up(n_tokens, kTokens), parallel, [&](int, int64_t task) {
        const int64_t end = std::min(n_tokens, (task + 1) * kTokens);
        for (int64_t token = task * kTokens; token < end; ++token) job(token);
    });
}

}  // namespace ingot::runtime
