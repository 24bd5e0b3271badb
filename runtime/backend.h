#pragma once
// What a device has to be able to do for the forward pass: memory, and about a dozen operations on it.
// The CPU implements it in cpu/cpu_backend.h. Shapes are written with the contiguous dimension last.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "format/tensor_type.h"

namespace ingot::runtime {

using Token = int32_t;

/// A piece of the device's memory; only its backend looks inside. Freed with the object.
class Buffer {
  public:
    virtual ~Buffer() = default;
    size_t size_bytes() const { return size_bytes_; }

  protected:
    explicit Buffer(size_t size_bytes) : size_bytes_(size_bytes) {}

  private:
    size_t size_bytes_;
};

/// A matrix of the model, resident on the device in the file's own layout (or in one that the device
/// prefers).
class Weight {
  public:
    virtual ~Weight() = default;
    TensorType type() const { return type_; }
    int64_t n_in() const { return n_in_; }    // elements of a row
    int64_t n_out() const { return n_out_; }  // rows

  protected:
    Weight(TensorType type, int64_t n_in, int64_t n_out) : type_(type), n_in_(n_in), n_out_(n_out) {}

  private:
    TensorType type_;
    int64_t n_in_, n_out_;
};

/// One output of matmul(): W (n_out, n_in) · x (n_tokens, n_in) + bias -> output (n_tokens, n_out)
struct Projection {
    const Weight* weight;
    const Buffer* bias;  // (n_out) floats, or null
    Buffer* output;      // (n_tokens, n_out) floats
};

/// Which two elements of a head are rotated together.
enum class RopePairing : uint8_t {
    Interleaved,  // 2i and 2i+1 ("norm")
    Halves,       // i and i + n_rot/2 ("neox")
};

struct Rope {
    RopePairing pairing;
    int64_t n_rot;              // the first n_rot elements of a head are rotated, the others stay; even
    const Buffer* frequencies;  // (n_rot/2) floats, radians per position
    float magnitude;            // of the rotated pairs; 1 unless YaRN asks for more
};

/// Keys and values of one layer, F16, each (context, n_kv_heads, head_dim).
struct KvLayer {
    Buffer* keys;
    Buffer* values;
};

struct HeadGeometry {
    int64_t n_heads;
    int64_t n_kv_heads;  // divides n_heads: each serves n_heads / n_kv_heads query heads
    int64_t head_dim;
    int64_t window;  // positions that a token sees, itself included; 0: all before it
    float scale;     // of query · key
};

/// A device. Not thread-safe: one forward pass at a time. Operations run in the order of the calls; only
/// download() has to wait for them. Buffers and weights must not outlive their backend.
/// Floats are F32. Positions are those in the sequence, ascending, one per token.
class Backend {
  public:
    virtual ~Backend() = default;
    virtual std::string description() const = 0;  // "cpu (avx512, 2 threads)"

    // --- memory ---

    /// `bytes` stay valid and unchanged while the weight lives (they are the mapped file). Throws Error when
    /// the device cannot use the type.
    virtual std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                                std::span<const std::byte> bytes) = 0;
    /// Contents undefined. Throws Error when there is not enough memory.
    virtual std::unique_ptr<Buffer> allocate(size_t size_bytes) = 0;
    virtual void upload(std::span<const std::byte> source, Buffer& destination) = 0;
    virtual void download(const Buffer& source, std::span<std::byte> destination) = 0;

    // --- operations ---

    /// y (n_tokens, n_embd) = rows of table (n_vocab, n_embd). Tokens are inside the table.
    virtual void embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) = 0;
    /// y = x / sqrt(mean(x²) + epsilon) * weight;  x, y (n_tokens, n), weight (n)
    virtual void rms_norm(const Buffer& x, const Buffer& weight, float epsilon, int64_t n_tokens, int64_t n,
                          Buffer& y) = 0;
    /// Several products of the same x (n_tokens, n_in); see Projection.
    virtual void matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) = 0;
    /// Rotates x (n_tokens, n_heads, head_dim) in place.
    virtual void rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads, int64_t head_dim,
                      Buffer& x) = 0;
    /// Rounds k and v (n_tokens, n_kv_heads * head_dim) to F16 into the cache at the tokens' positions.
    virtual void write_kv(const Buffer& k, const Buffer& v, std::span<const int32_t> positions,
                          int64_t kv_width, const KvLayer& cache) = 0;
    /// q, y (n_tokens, n_heads, head_dim): softmax(q · keys * scale) · values over the positions up to the
    /// token's own that the window shows. The cache already holds the tokens themselves.
    virtual void attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                           const HeadGeometry& heads, Buffer& y) = 0;
    /// y = gate / (1 + exp(-gate)) * up, each (n); y may be gate.
    virtual void silu_multiply(const Buffer& gate, const Buffer& up, int64_t n, Buffer& y) = 0;
    /// y += x, each (n)
    virtual void add(const Buffer& x, int64_t n, Buffer& y) = 0;
    /// y (rows, n) = the chosen rows of x (n_tokens, n); y is not x.
    virtual void copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) = 0;
};

}  // namespace ingot::runtime
