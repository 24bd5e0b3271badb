#pragma once
// What a device has to be able to do for the forward pass: memory, and about fifteen operations on it.
// The CPU implements it in cpu/cpu_backend.h. Shapes are written with the contiguous dimension last.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "format/tensor_type.h"
#include "runtime/activation.h"
#include "runtime/cache_type.h"

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
    /// What it takes on its device, or in the mapped file.
    virtual uint64_t size_bytes() const { return row_bytes(type_, uint64_t(n_in_)) * uint64_t(n_out_); }

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

enum class NormKind : uint8_t {
    Rms,    // x / sqrt(mean(x²) + epsilon) * weight
    Layer,  // (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias
};

/// Brings rows to unit size. Rows may be the beginnings of wider ones.
struct Norm {
    NormKind kind;
    float epsilon;
    int64_t n;                     // elements of a row
    const Buffer* weight;          // (n_groups, n)
    const Buffer* bias = nullptr;  // likewise, or null; Layer only
    int64_t n_groups = 1;          // row r has the weights of group r % n_groups
    int64_t stride = 0;            // elements from row to row, of x and of y; 0: n
};

/// Which two elements of a head are rotated together.
enum class RopePairing : uint8_t {
    Interleaved,  // 2i and 2i+1 ("norm")
    Halves,       // i and i + n_rot/2 ("neox")
};

struct Rope {
    RopePairing pairing;
    int64_t n_rot;              // elements of a head that are rotated, the others stay; even
    const Buffer* frequencies;  // (n_rot/2) floats, radians per position
    float magnitude;            // of the rotated pairs; 1 unless the context was extended
    int64_t first = 0;          // the first rotated element of a head
};

/// Keys and values of one layer. Position p's keys begin at element p * key_stride, its values at
/// p * value_stride: n_kv_heads heads each. Values may be the beginning of the keys.
struct KvLayer {
    Buffer* keys;
    Buffer* values;
    int64_t key_stride, value_stride;  // elements
    CacheType type = CacheType::F16;
};

struct HeadGeometry {
    int64_t n_heads;
    int64_t n_kv_heads;  // divides n_heads: each serves n_heads / n_kv_heads query heads
    int64_t key_dim;     // elements of a head of queries and keys
    int64_t value_dim;   // elements of a head of values and of the result
    float scale;         // of query · key

    int64_t window = 0;              // positions that a token sees, itself included; 0: all before it
    bool chunked = false;            // the sequence is cut into windows, a token sees its own up to itself
    float soft_cap = 0;              // scores become soft_cap * tanh(score / soft_cap); 0: they stay
    const Buffer* slopes = nullptr;  // (n_heads): slope * distance is taken from a score (ALiBi)
    const Buffer* sinks = nullptr;   // (n_heads): the score of one more position, whose values are zero
};

/// How a token's experts follow from its router logits.
enum class Gating : uint8_t {
    Softmax,          // probabilities over all experts
    Sigmoid,          // of each expert on its own
    SoftmaxOfChosen,  // the largest logits, then probabilities over those
};
enum class GroupScore : uint8_t { Largest, SumOfTwoLargest };

struct RoutingRule {
    Gating gating = Gating::Softmax;
    int64_t n_experts = 0;
    int64_t n_used = 0;         // experts of a token
    int64_t n_groups = 1;       // of experts, equally many in each …
    int64_t n_groups_used = 1;  // … of which only the best may be chosen from
    GroupScore group_score = GroupScore::SumOfTwoLargest;
    bool normalize = false;                  // the chosen weights are made to sum to 1
    float scale = 1;                         // of the weights, at last
    const Buffer* selection_bias = nullptr;  // (n_experts): added for the choice only, or null
    const Buffer* expert_scales = nullptr;   // (n_experts): of each expert's weight, or null
};

/// The experts that each token was sent to. A slot is a pair (token, choice): slot = token * n_used + choice.
struct ExpertChoice {
    const Buffer* experts;  // (n_tokens, n_used) of int32_t
    int64_t n_experts;
    int64_t n_used;
};

/// Heads of a gated delta net: each keeps a matrix (key_dim, value_dim) that maps keys to values.
struct DeltaHeads {
    int64_t n_key_heads = 0;
    int64_t n_value_heads = 0;  // a multiple: several share a key head …
    bool tiled = false;         // … value head h the key head h % n_key_heads, or else neighbours share one
    int64_t key_dim = 0;
    int64_t value_dim = 0;
};
struct DeltaInputs {
    const Buffer* q;  // (n_tokens, n_key_heads, key_dim), of length 1
    const Buffer* k;  // likewise
    const Buffer* v;  // (n_tokens, n_value_heads, value_dim)
    const Buffer*
        alpha;  // (n_tokens, n_value_heads): forgetting, as exp(decay * softplus(alpha + alpha_bias))
    const Buffer* beta;        // (n_tokens, n_value_heads): learning, as sigmoid(beta)
    const Buffer* decay;       // (n_value_heads), negative
    const Buffer* alpha_bias;  // (n_value_heads)
};

enum class Elementwise : uint8_t {
    Scale,    // x * value
    Clamp,    // x between -value and value
    SoftCap,  // value * tanh(x / value)
};

/// Elements of a row that operations on parts of rows look at.
struct Columns {
    int64_t stride;  // elements from row to row
    int64_t first;   // element of the row
};

/// A token and its logit.
struct TokenLogit {
    Token token;
    float logit;
};
/// Ties go to the lower id.
inline bool is_better(const TokenLogit& a, const TokenLogit& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

/// A device. Not thread-safe: one forward pass at a time. Operations run in the order of the calls; only
/// download() has to wait for them. Buffers and weights must not outlive their backend.
/// Floats are F32. Positions are those in the sequence, ascending, one per token.
class Backend {
  public:
    virtual ~Backend() = default;
    virtual std::string description() const = 0;  // "cpu (avx512, 2 threads)"

    // --- memory ---

    /// Weights and buffers from now on are this tensor's, or no tensor's where the name is empty: for back
    /// ends of several devices. A layer's cache counts as "blk.7.cache".
    virtual void begin_tensor(std::string_view) {}
    /// `bytes` stay valid and unchanged while the weight lives (they are the mapped file). Throws Error when
    /// the device cannot use the type.
    virtual std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                                std::span<const std::byte> bytes) = 0;
    /// Whether weights are looked at where load_weight() found them, and not before they are computed with.
    virtual bool computes_in_place() const { return false; }
    /// Whether keys and values can be kept so.
    virtual bool has_cache_type(CacheType type) const {
        return type == CacheType::F16 || type == CacheType::F32;
    }
    /// Contents undefined. Throws Error when there is not enough memory.
    virtual std::unique_ptr<Buffer> allocate(size_t size_bytes) = 0;
    /// A part of `buffer`, which must outlive it: writing one writes the other.
    virtual std::unique_ptr<Buffer> view(Buffer& buffer, size_t offset_bytes, size_t size_bytes) = 0;
    virtual void upload(std::span<const std::byte> source, Buffer& destination) = 0;
    virtual void download(const Buffer& source, std::span<std::byte> destination) = 0;

    // --- rows ---

    /// y (n_tokens, n_embd) = rows of table (n_vocab, n_embd). Tokens are inside the table.
    virtual void embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) = 0;
    /// y (rows, n) = the chosen rows of x (n_tokens, n); y is not x.
    virtual void copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) = 0;
    /// n elements of each of n_rows rows of x, to those of y; y is not x.
    virtual void copy_columns(const Buffer& x, Columns from, int64_t n_rows, int64_t n, Buffer& y,
                              Columns to) = 0;

    /// The k largest elements of each row of x (n_rows, n), best first, behind each other; k is at most n.
    /// What is not a number counts as -INFINITY. Waits, as download() does.
    virtual void largest(const Buffer& x, int64_t n_rows, int64_t n, int64_t k, std::span<TokenLogit> found);

    // --- arithmetic ---

    /// Several products of the same x (n_tokens, n_in); see Projection.
    virtual void matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) = 0;
    /// y = n_rows rows of x, each normed; y may be x.
    virtual void norm(const Norm& norm, const Buffer& x, int64_t n_rows, Buffer& y) = 0;
    /// y = activation(gate) * up, each (n); y may be gate; `up` may be null, which means 1.
    virtual void activate(Activation activation, const Buffer& gate, const Buffer* up, int64_t n,
                          Buffer& y) = 0;
    /// x (n), in place.
    virtual void map(Elementwise function, float value, int64_t n, Buffer& x) = 0;
    /// Row r of y (n_rows, n) = scales[r] * row r / n_repeats of x; y may be x where n_repeats is 1.
    virtual void scale_rows(const Buffer& x, const Buffer& scales, int64_t n_rows, int64_t n,
                            int64_t n_repeats, Buffer& y) = 0;
    /// y += x, each (n)
    virtual void add(const Buffer& x, int64_t n, Buffer& y) = 0;

    // --- attention ---

    /// Rotates x (n_tokens, n_heads, head_dim) in place.
    virtual void rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads, int64_t head_dim,
                      Buffer& x) = 0;
    /// Stores x (n_tokens, n) in the rows of cache (context, n) at the tokens' positions.
    virtual void write_cache(const Buffer& x, std::span<const int32_t> positions, int64_t n, CacheType type,
                             Buffer& cache) = 0;
    /// q (n_tokens, n_heads, key_dim), y (n_tokens, n_heads, value_dim): softmax(q · keys * scale) · values
    /// over the positions up to the token's own that the window shows. The cache already holds the tokens
    /// themselves.
    virtual void attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                           const HeadGeometry& heads, Buffer& y) = 0;

    // --- recurrent layers: a state, updated, takes the cache's place. A fresh one counts as zero. ---

    /// y[t][i] = sum over j of weight[i][j] * x[t - n_taps + 1 + j][i];  x, y (n_tokens, n), weight (n,
    /// n_taps). The state (n_taps - 1, n) holds the rows before x, and then the last ones of x.
    virtual void convolve(const Buffer& x, const Buffer& weight, int64_t n_tokens, int64_t n, int64_t n_taps,
                          bool fresh, Buffer& state, Buffer& y) = 0;
    /// y (n_tokens, n_value_heads, value_dim): what each head's matrix (Yang et al. 2024) answers to the
    /// query, after it forgot a part and learned the token's key and value; state (n_value_heads, key_dim,
    /// value_dim).
    virtual void delta_net(const DeltaHeads& heads, const DeltaInputs& inputs, int64_t n_tokens, bool fresh,
                           Buffer& state, Buffer& y) = 0;

    // --- experts ---

    /// logits (n_tokens, n_experts) -> experts (n_tokens, n_used), best first, as int32_t, and the weights
    /// (n_tokens, n_used) that go with them.
    virtual void route(const RoutingRule& rule, const Buffer& logits, int64_t n_tokens, Buffer& experts,
                       Buffer& weights) = 0;
    /// Several products by the matrices of experts: a weight holds n_experts of them behind each other, each
    /// (n_out, n_in); a bias is (n_experts, n_out). Output row `slot` is the slot's expert's matrix by x's
    /// row `token`, or by x's row `slot` where x has a row for each slot.
    virtual void matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens,
                                const ExpertChoice& choice, std::span<const Projection> projections) = 0;
    /// y (n_tokens, n) = sum over a token's slots of weights (n_tokens, n_used) * x (n_tokens * n_used, n)
    virtual void combine(const Buffer& x, const Buffer& weights, int64_t n_tokens, int64_t n_used, int64_t n,
                         Buffer& y) = 0;
};

}  // namespace ingot::runtime
