#include "runtime/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <new>

#include "format/decode.h"
#include "format/error.h"

namespace ingot::runtime {

using cpu::ActivationForm;

namespace {

constexpr size_t kCacheLine = 64;  // bytes

class CpuBuffer final : public Buffer {
  public:
    explicit CpuBuffer(size_t size_bytes)
        : Buffer(size_bytes), data_(::operator new(size_bytes, std::align_val_t(kCacheLine))) {}
    void* data() const { return data_.get(); }

  private:
    struct Free {
        void operator()(void* data) const { ::operator delete(data, std::align_val_t(kCacheLine)); }
    };
    std::unique_ptr<void, Free> data_;
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
    ActivationForm form() const { return matmul ? matmul->form : ActivationForm::F32; }

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
const CpuWeight& cpu_weight(const Weight& weight) {
    return static_cast<const CpuWeight&>(weight);
}

// Below this many elements waking the other threads costs more than it gains.
constexpr int64_t kParallelElements = 16384;

// Bytes of weights that a thread takes at a time: long enough for the prefetchers, short enough to share
// evenly.
constexpr int64_t kChunkBytes = 64 << 10;
constexpr int64_t kMinChunkRows = 16;  // one cache line of output

int64_t chunk_rows(const CpuWeight& weight) {
    const int64_t rows = kChunkBytes / std::max<int64_t>(1, int64_t(weight.stride));
    return std::max(kMinChunkRows, rows / kMinChunkRows * kMinChunkRows);
}

int64_t divide_up(int64_t n, int64_t by) {
    return (n + by - 1) / by;
}

}  // namespace

// The input of a product, (n_tokens, n_in) in some form.
struct CpuBackend::Activations {
    const void* rows = nullptr;
    size_t stride = 0;  // bytes from token to token
};

struct CpuBackend::Scratch {
    std::vector<float> decoded;  // rows of a weight without a kernel: (rows, n_in)
    std::vector<float> scores;   // attention: (query heads of one KV head, positions)
};

CpuBackend::CpuBackend(int n_threads, const cpu::Kernels& kernels)
    : kernels_(kernels), pool_(n_threads), scratch_(size_t(pool_.size())) {}

CpuBackend::~CpuBackend() = default;

std::string CpuBackend::description() const {
    return fmt::format("cpu ({}, {} thread{})", kernels_.name, pool_.size(), pool_.size() == 1 ? "" : "s");
}

// --- memory ---

std::unique_ptr<Weight> CpuBackend::load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                                std::span<const std::byte> bytes) {
    const cpu::Kernels::Matmul* matmul = cpu::find_matmul(kernels_, type);
    if (matmul == nullptr && !info(type).decodable) {
        fail("type {} can be inspected but not computed with by this version", name(type));
    }
    if (bytes.size() < row_bytes(type, uint64_t(n_in)) * uint64_t(n_out)) {
        fail("has {} bytes; {} rows of {} elements take {}", bytes.size(), n_out, n_in,
             row_bytes(type, uint64_t(n_in)) * uint64_t(n_out));
    }
    return std::make_unique<CpuWeight>(type, n_in, n_out, bytes.data(), matmul);
}

std::unique_ptr<Buffer> CpuBackend::allocate(size_t size_bytes) {
    try {
        return std::make_unique<CpuBuffer>(size_bytes);
    } catch (const std::bad_alloc&) {
        fail("out of memory: {:.1f} MiB could not be allocated", double(size_bytes) / (1 << 20));
    }
}

void CpuBackend::upload(std::span<const std::byte> source, Buffer& destination) {
    std::memcpy(data<std::byte>(destination), source.data(), source.size());
}

void CpuBackend::download(const Buffer& source, std::span<std::byte> destination) {
    std::memcpy(destination.data(), data<std::byte>(source), destination.size());
}

// --- work for the threads ---

// job(thread, task) for every task; each thread takes the next one that nobody has.
template <typename Job>
void CpuBackend::deal(int64_t n_tasks, bool parallel, Job&& job) {
    if (!parallel || n_tasks == 1 || pool_.size() == 1) {
        for (int64_t task = 0; task < n_tasks; ++task) job(0, task);
        return;
    }
    std::atomic<int64_t> next{0};
    const auto work = [&](int thread) {
        for (;;) {
            const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
            if (task >= n_tasks) return;
            job(thread, task);
        }
    };
    pool_.run(std::ref(work));
}

// job(token) for each, shared when there is enough to do.
template <typename Job>
void CpuBackend::each_token(int64_t n_tokens, int64_t n_elements, Job&& job) {
    const bool parallel = n_tokens > 1 && n_tokens * n_elements >= kParallelElements;
    constexpr int64_t kTokens = 8;
    deal(divide_up(n_tokens, kTokens), parallel, [&](int, int64_t task) {
        const int64_t end = std::min(n_tokens, (task + 1) * kTokens);
        for (int64_t token = task * kTokens; token < end; ++token) job(token);
    });
}

// --- operations ---

void CpuBackend::embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) {
    const CpuWeight& weight = cpu_weight(table);
    const int64_t n = weight.n_in();
    each_token(int64_t(tokens.size()), n, [&](int64_t token) {
        decode_row(weight.type(), weight.row(tokens[size_t(token)]), data(y) + token * n, uint64_t(n));
    });
}

void CpuBackend::rms_norm(const Buffer& x, const Buffer& weight, float epsilon, int64_t n_tokens, int64_t n,
                          Buffer& y) {
    each_token(n_tokens, n, [&](int64_t token) {
        kernels_.rms_norm(data(x) + token * n, data(weight), epsilon, data(y) + token * n, n);
    });
}

// x (n_tokens, n_in) in the form that a kernel wants; floats are taken as they are.
CpuBackend::Activations CpuBackend::activations(const float* x, int64_t n_tokens, int64_t n_in,
                                                ActivationForm form) {
    if (form == ActivationForm::F32) return {x, size_t(n_in) * sizeof(float)};
    const size_t stride = cpu::activation_bytes(form, n_in);
    std::vector<std::byte>& rows = form == ActivationForm::Q8_0 ? q8_0_ : q8_k_;
    if (rows.size() < size_t(n_tokens) * stride) rows.resize(size_t(n_tokens) * stride);
    const auto convert = form == ActivationForm::Q8_0 ? kernels_.quantize_q8_0 : kernels_.quantize_q8_k;
    each_token(n_tokens, n_in,
               [&](int64_t token) { convert(x + token * n_in, rows.data() + size_t(token) * stride, n_in); });
    return {rows.data(), stride};
}

void CpuBackend::matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) {
    // The activations once in each form that a projection wants.
    Activations forms[3] = {};
    int64_t n_tasks = 0;
    int64_t n_products = 0;
    for (const Projection& projection : projections) {
        const CpuWeight& weight = cpu_weight(*projection.weight);
        Activations& form = forms[size_t(weight.form())];
        if (form.rows == nullptr) form = activations(data(x), n_tokens, weight.n_in(), weight.form());
        n_tasks += divide_up(weight.n_out(), chunk_rows(weight));
        n_products += weight.n_out() * weight.n_in() * n_tokens;
    }
    deal(n_tasks, n_products >= kParallelElements, [&](int thread, int64_t task) {
        const Projection* projection = projections.data();
        for (;; ++projection) {  // tasks are numbered through the projections
            const CpuWeight& weight = cpu_weight(*projection->weight);
            const int64_t n_chunks = divide_up(weight.n_out(), chunk_rows(weight));
            if (task < n_chunks) break;
            task -= n_chunks;
        }
        const CpuWeight& weight = cpu_weight(*projection->weight);
        matmul_rows(thread, *projection, task * chunk_rows(weight), forms[size_t(weight.form())], n_tokens);
    });
}

// The chunk of output rows that begins at `first`.
void CpuBackend::matmul_rows(int thread, const Projection& projection, int64_t first,
                             const Activations& input, int64_t n_tokens) {
    const CpuWeight& weight = cpu_weight(*projection.weight);
    const int64_t n_in = weight.n_in();
    const int64_t n_out = weight.n_out();
    float* output = data(*projection.output) + first;  // (n_tokens, n_rows of n_out)

    cpu::MatmulArguments arguments{};
    arguments.weights = weight.row(first);
    arguments.weight_stride = weight.stride;
    arguments.n_rows = std::min(chunk_rows(weight), n_out - first);
    arguments.n_in = n_in;
    arguments.activations = input.rows;
    arguments.activation_stride = input.stride;
    arguments.n_tokens = n_tokens;
    arguments.output = output;
    arguments.output_stride = n_out;

    const cpu::Kernels::Matmul* kernel = weight.matmul;
    if (kernel == nullptr) {  // decode, then float
        kernel = cpu::find_matmul(kernels_, TensorType::F32);
        std::vector<float>& rows = scratch_[size_t(thread)].decoded;
        rows.resize(size_t(arguments.n_rows * n_in));
        for (int64_t row = 0; row < arguments.n_rows; ++row) {
            decode_row(weight.type(), weight.row(first + row), rows.data() + row * n_in, uint64_t(n_in));
        }
        arguments.weights = rows.data();
        arguments.weight_stride = size_t(n_in) * sizeof(float);
    }
    kernel->function(arguments);

    if (projection.bias != nullptr) {
        for (int64_t token = 0; token < n_tokens; ++token) {
            kernels_.add(data(*projection.bias) + first, output + token * n_out, arguments.n_rows);
        }
    }
}

void CpuBackend::update_rope_angles(const Rope& rope, std::span<const int32_t> positions) {
    const int64_t n_pairs = rope.n_rot / 2;
    const std::span frequencies(data(*rope.frequencies), size_t(n_pairs));
    if (std::ranges::equal(frequencies, rope_frequencies_) &&
        std::ranges::equal(positions, rope_positions_) && rope_magnitude_ == rope.magnitude) {
        return;
    }
    rope_frequencies_.assign(frequencies.begin(), frequencies.end());
    rope_positions_.assign(positions.begin(), positions.end());
    rope_magnitude_ = rope.magnitude;
    rope_cos_.resize(positions.size() * size_t(n_pairs));
    rope_sin_.resize(rope_cos_.size());
    each_token(int64_t(positions.size()), rope.n_rot * 16, [&](int64_t token) {
        for (int64_t pair = 0; pair < n_pairs; ++pair) {
            // In double: a float product of a large position loses digits that the sine needs.
            const double angle = double(positions[size_t(token)]) * double(frequencies[size_t(pair)]);
            rope_cos_[size_t(token * n_pairs + pair)] = float(std::cos(angle)) * rope.magnitude;
            rope_sin_[size_t(token * n_pairs + pair)] = float(std::sin(angle)) * rope.magnitude;
        }
    });
}

void CpuBackend::rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads, int64_t head_dim,
                      Buffer& x) {
    update_rope_angles(rope, positions);
    const int64_t n_pairs = rope.n_rot / 2;
    // The pair's two elements, and from pair to pair.
    const bool interleaved = rope.pairing == RopePairing::Interleaved;
    const int64_t distance = interleaved ? 1 : n_pairs;
    const int64_t step = interleaved ? 2 : 1;
    each_token(int64_t(positions.size()), n_heads * head_dim, [&](int64_t token) {
        const float* cos = rope_cos_.data() + token * n_pairs;
        const float* sin = rope_sin_.data() + token * n_pairs;
        for (int64_t head = 0; head < n_heads; ++head) {
            float* v = data(x) + (token * n_heads + head) * head_dim;
            for (int64_t pair = 0; pair < n_pairs; ++pair) {
                const float a = v[pair * step];
                const float b = v[pair * step + distance];
                v[pair * step] = a * cos[pair] - b * sin[pair];
                v[pair * step + distance] = a * sin[pair] + b * cos[pair];
            }
        }
    });
}

void CpuBackend::write_kv(const Buffer& k, const Buffer& v, std::span<const int32_t> positions,
                          int64_t kv_width, const KvLayer& cache) {
    each_token(int64_t(positions.size()), 2 * kv_width, [&](int64_t token) {
        const int64_t at = int64_t(positions[size_t(token)]) * kv_width;
        kernels_.to_half(data(k) + token * kv_width, data<uint16_t>(*cache.keys) + at, kv_width);
        kernels_.to_half(data(v) + token * kv_width, data<uint16_t>(*cache.values) + at, kv_width);
    });
}

void CpuBackend::attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                           const HeadGeometry& heads, Buffer& y) {
    const int64_t n_tokens = int64_t(positions.size());
    const int64_t group = heads.n_heads / heads.n_kv_heads;  // query heads of one KV head
    const int64_t kv_width = heads.n_kv_heads * heads.head_dim;
    const int64_t n_last = int64_t(positions.back()) + 1;
    const bool parallel = n_tokens * n_last * heads.n_heads * heads.head_dim >= kParallelElements;

    deal(n_tokens * heads.n_kv_heads, parallel, [&](int thread, int64_t task) {
        // All tokens of one KV head, then the next head: its keys and values stay in the cache.
        const int64_t kv_head = task / n_tokens;
        const int64_t token = task % n_tokens;
        const int64_t end = int64_t(positions[size_t(token)]) + 1;
        const int64_t begin = heads.window > 0 ? std::max<int64_t>(0, end - heads.window) : 0;
        const int64_t first = begin * kv_width + kv_head * heads.head_dim;
        const int64_t query = (token * heads.n_heads + kv_head * group) * heads.head_dim;
        std::vector<float>& scores = scratch_[size_t(thread)].scores;
        if (scores.size() < size_t(group * (end - begin))) scores.resize(size_t(group * (end - begin)));

        cpu::AttentionArguments arguments{};
        arguments.queries = data(q) + query;
        arguments.n_queries = group;
        arguments.keys = data<uint16_t>(*cache.keys) + first;
        arguments.values = data<uint16_t>(*cache.values) + first;
        arguments.kv_stride = kv_width;
        arguments.n_positions = end - begin;
        arguments.head_dim = heads.head_dim;
        arguments.scale = heads.scale;
        arguments.scores = scores.data();
        arguments.output = data(y) + query;
        kernels_.attention(arguments);
    });
}

void CpuBackend::silu_multiply(const Buffer& gate, const Buffer& up, int64_t n, Buffer& y) {
    constexpr int64_t kElements = 4096;
    deal(divide_up(n, kElements), n >= kParallelElements, [&](int, int64_t task) {
        const int64_t first = task * kElements;
        kernels_.silu_multiply(data(gate) + first, data(up) + first, data(y) + first,
                               std::min(kElements, n - first));
    });
}

void CpuBackend::add(const Buffer& x, int64_t n, Buffer& y) {
    constexpr int64_t kElements = 8192;
    deal(divide_up(n, kElements), n >= 4 * kParallelElements, [&](int, int64_t task) {
        const int64_t first = task * kElements;
        kernels_.add(data(x) + first, data(y) + first, std::min(kElements, n - first));
    });
}

void CpuBackend::copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) {
    for (size_t i = 0; i < rows.size(); ++i) {
        std::memcpy(data(y) + int64_t(i) * n, data(x) + int64_t(rows[i]) * n, size_t(n) * sizeof(float));
    }
}

}  // namespace ingot::runtime
