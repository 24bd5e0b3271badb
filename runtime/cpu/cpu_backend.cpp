#include "runtime/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "format/decode.h"
#include "format/error.h"
#include "runtime/cpu/cpu_internal.h"

namespace ingot::runtime {

using cpu::ActivationForm;
using cpu::Way;

CpuBackend::CpuBackend(int n_threads, const cpu::Kernels& kernels)
    : kernels_(kernels), pool_(n_threads), scratch_(size_t(pool_.size())), shares_(size_t(pool_.size())) {}

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

std::unique_ptr<Buffer> CpuBackend::view(Buffer& buffer, size_t offset_bytes, size_t size_bytes) {
    return std::make_unique<CpuBuffer>(data<std::byte>(buffer) + offset_bytes, size_bytes);
}

void CpuBackend::upload(std::span<const std::byte> source, Buffer& destination) {
    std::memcpy(data<std::byte>(destination), source.data(), source.size());
}

void CpuBackend::download(const Buffer& source, std::span<std::byte> destination) {
    std::memcpy(destination.data(), data<std::byte>(source), destination.size());
}

// --- rows ---

void CpuBackend::embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) {
    const CpuWeight& weight = cpu_weight(table);
    const int64_t n = weight.n_in();
    each_token(int64_t(tokens.size()), n, [&](int64_t token) {
        decode_row(weight.type(), weight.row(tokens[size_t(token)]), data(y) + token * n, uint64_t(n));
    });
}

void CpuBackend::copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) {
    for (size_t i = 0; i < rows.size(); ++i) {
        std::memcpy(data(y) + int64_t(i) * n, data(x) + int64_t(rows[i]) * n, size_t(n) * sizeof(float));
    }
}

void CpuBackend::copy_columns(const Buffer& x, Columns from, int64_t n_rows, int64_t n, Buffer& y,
                              Columns to) {
    each_token(n_rows, n, [&](int64_t row) {
        std::memcpy(data(y) + row * to.stride + to.first, data(x) + row * from.stride + from.first,
                    size_t(n) * sizeof(float));
    });
}

// --- arithmetic ---

void CpuBackend::norm(const Norm& norm, const Buffer& x, int64_t n_rows, Buffer& y) {
    const int64_t stride = norm.stride != 0 ? norm.stride : norm.n;
    each_token(n_rows, norm.n, [&](int64_t row) {
        const int64_t group = norm.n_groups == 1 ? 0 : row % norm.n_groups;
        const float* weight = data(*norm.weight) + group * norm.n;
        const float* from = data(x) + row * stride;
        float* to = data(y) + row * stride;
        if (norm.kind == NormKind::Rms) {
            kernels_.rms_norm(from, weight, norm.epsilon, to, norm.n);
        } else {
            const float* bias = norm.bias != nullptr ? data(*norm.bias) + group * norm.n : nullptr;
            kernels_.layer_norm(from, weight, bias, norm.epsilon, to, norm.n);
        }
    });
}

// x (n_tokens, n_in) in the form that a kernel wants; floats are taken as they are.
CpuBackend::Activations CpuBackend::activations(const float* x, int64_t n_tokens, int64_t n_in,
                                                ActivationForm form) {
    if (form == ActivationForm::F32) return {x, size_t(n_in) * sizeof(float)};
    const size_t stride = cpu::activation_bytes(form, n_in);
    std::byte* const rows =
        at_least(activations_[size_t(form)][size_t(Way::Rows)], size_t(n_tokens) * stride);
    const auto convert = form == ActivationForm::Q8_0 ? kernels_.quantize_q8_0 : kernels_.quantize_q8_k;
    each_token(n_tokens, n_in,
               [&](int64_t token) { convert(x + token * n_in, rows + size_t(token) * stride, n_in); });
    return {rows, stride};
}

// The same in the tiles that a way of computing wants.
CpuBackend::Activations CpuBackend::tiled(const float* x, int64_t n_tokens, int64_t n_in, ActivationForm form,
                                          Way way) {
    const cpu::Tiling& tiling = kernels_.tiling(form, way);
    const size_t stride = tiling.bytes(n_in);
    const ActivationForm row_form = way == Way::Matrix ? ActivationForm::F32 : form;
    const size_t row_stride = cpu::activation_bytes(row_form, n_in);
    const int64_t n_tiles = divide_up(n_tokens, tiling.n_tokens);
    std::byte* const tiles = at_least(activations_[size_t(form)][size_t(way)], size_t(n_tiles) * stride);
    deal(n_tiles, n_tokens * n_in >= kParallelElements, [&](int thread, int64_t tile) {
        const int64_t first = tile * tiling.n_tokens;
        const int64_t n = std::min(tiling.n_tokens, n_tokens - first);
        const float* from = x + first * n_in;
        const void* rows = from;
        if (row_form != ActivationForm::F32) {
            std::byte* const converted =
                at_least(scratch_[size_t(thread)].rows, size_t(tiling.n_tokens) * row_stride);
            const auto convert =
                form == ActivationForm::Q8_0 ? kernels_.quantize_q8_0 : kernels_.quantize_q8_k;
            for (int64_t t = 0; t < n; ++t)
                convert(from + t * n_in, converted + size_t(t) * row_stride, n_in);
            rows = converted;
        }
        tiling.pack(rows, row_stride, n, n_in, tiles + size_t(tile) * stride);
    });
    return {tiles, stride, way};
}

const cpu::Kernels::Matmul& CpuBackend::kernel_of(const Weight& weight) const {
    const cpu::Kernels::Matmul* kernel = cpu_weight(weight).matmul;
    return kernel != nullptr ? *kernel : *cpu::find_matmul(kernels_, TensorType::F32);  // of decoded rows
}

Way CpuBackend::way_of(const Weight& weight, int64_t n_tokens) const {
    return kernels_.way_of(kernel_of(weight), n_tokens);
}

// Rows of a weight that a thread takes at a time, out of n_rows.
int64_t CpuBackend::chunk_rows(const Weight& weight, int64_t n_rows, Way way) const {
    int64_t rows = kChunkBytes / std::max<int64_t>(1, int64_t(cpu_weight(weight).stride));
    if (way != Way::Rows) {
        constexpr int64_t kChunksOfThread = 4;  // at least, so that none waits long for the last
        rows = std::min(kPanelChunkRows, n_rows / (kChunksOfThread * pool_.size()));
    }
    return std::max(kMinChunkRows, rows / kMinChunkRows * kMinChunkRows);
}

// How the rows of a whole weight are shared by the threads.
cpu::RowTasks CpuBackend::tasks_of(const Weight& of, int64_t n_tokens, Way way) const {
    const CpuWeight& weight = cpu_weight(of);
    if (n_tokens > 1 || weight.matmul == nullptr)
        return cpu::RowTasks::in_chunks(weight.n_out(), chunk_rows(weight, weight.n_out(), way));
    const int64_t n_each = kChunkBytes / std::max<int64_t>(1, cpu::kStreams * int64_t(weight.stride));
    return cpu::RowTasks::in_streams(weight.n_out(), pool_.size(), std::max<int64_t>(1, n_each));
}

void CpuBackend::matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) {
    // The activations once in each form and way that a projection wants.
    Activations forms[cpu::kActivationForms][cpu::kWays] = {};
    const auto form_of = [&](const Weight& weight) -> Activations& {
        return forms[size_t(cpu_weight(weight).form())][size_t(way_of(weight, n_tokens))];
    };
    int64_t n_tasks = 0;
    int64_t n_products = 0;
    for (const Projection& projection : projections) {
        const CpuWeight& weight = cpu_weight(*projection.weight);
        Activations& form = form_of(weight);
        if (form.rows == nullptr) {
            const Way way = way_of(weight, n_tokens);
            form = way == Way::Rows ? activations(data(x), n_tokens, weight.n_in(), weight.form())
                                    : tiled(data(x), n_tokens, weight.n_in(), weight.form(), way);
        }
        n_tasks += tasks_of(weight, n_tokens, form.way).count();
        n_products += weight.n_out() * weight.n_in() * n_tokens;
    }
    deal(n_tasks, n_products >= kParallelElements, [&](int thread, int64_t task) {
        for (const Projection& projection : projections) {  // tasks are numbered through them
            const CpuWeight& weight = cpu_weight(*projection.weight);
            const Activations& input = form_of(weight);
            const int64_t n_out = weight.n_out();
            const cpu::RowTasks tasks = tasks_of(weight, n_tokens, input.way);
            if (task >= tasks.count()) {
                task -= tasks.count();
                continue;
            }
            tasks.each(task, [&](const cpu::Rows& rows) {
                float* output = data(*projection.output) + rows.first;  // (n_tokens, rows of n_out)
                multiply(thread, weight, rows, input, n_tokens, output, n_out);
                if (projection.bias == nullptr) return;
                const float* bias = data(*projection.bias) + rows.first;
                const int64_t n_pieces = rows.spacing != 0 ? cpu::kStreams : n_tokens;
                const int64_t distance = rows.spacing != 0 ? rows.spacing : n_out;
                for (int64_t i = 0; i < n_pieces; ++i) {
                    kernels_.add(bias + i * rows.spacing, output + i * distance, rows.n);
                }
            });
            return;
        }
    });
}

// Rows of a weight by n_tokens rows of input.
void CpuBackend::multiply(int thread, const Weight& of, const cpu::Rows& rows, const Activations& input,
                          int64_t n_tokens, float* output, int64_t output_stride) {
    const CpuWeight& weight = cpu_weight(of);
    const int64_t n_in = weight.n_in();

    cpu::MatmulArguments arguments{};
    arguments.weights = weight.row(rows.first);
    arguments.weight_stride = weight.stride;
    arguments.n_rows = rows.n;
    arguments.spacing = rows.spacing;
    arguments.n_in = n_in;
    arguments.activations = input.rows;
    arguments.activation_stride = input.stride;
    arguments.n_tokens = n_tokens;
    arguments.output = output;
    arguments.output_stride = output_stride;

    if (weight.matmul == nullptr) {  // decode, then float
        AlignedVector<float>& floats = scratch_[size_t(thread)].decoded;
        floats.resize(size_t(rows.n * n_in));
        for (int64_t i = 0; i < rows.n; ++i) {
            decode_row(weight.type(), weight.row(rows.first + i), floats.data() + i * n_in, uint64_t(n_in));
        }
        arguments.weights = floats.data();
        arguments.weight_stride = size_t(n_in) * sizeof(float);
    }
    const cpu::Kernels::Matmul& kernel = kernel_of(weight);
    kernel.function_of(input.way)(arguments);
}

void CpuBackend::activate(Activation activation, const Buffer& gate, const Buffer* up, int64_t n, Buffer& y) {
    constexpr int64_t kElements = 4096;
    deal(divide_up(n, kElements), n >= kParallelElements, [&](int, int64_t task) {
        const int64_t first = task * kElements;
        kernels_.activate(activation, data(gate) + first, up != nullptr ? data(*up) + first : nullptr,
                          data(y) + first, std::min(kElements, n - first));
    });
}

void CpuBackend::map(Elementwise function, float value, int64_t n, Buffer& x) {
    constexpr int64_t kElements = 8192;
    deal(divide_up(n, kElements), n >= kParallelElements, [&](int, int64_t task) {
        float* const begin = data(x) + task * kElements;
        float* const end = begin + std::min(kElements, n - task * kElements);
        switch (function) {
            case Elementwise::Scale:
                for (float* element = begin; element < end; ++element) *element *= value;
                return;
            case Elementwise::Clamp:
                for (float* element = begin; element < end; ++element) {
                    *element = std::min(std::max(*element, -value), value);
                }
                return;
            case Elementwise::SoftCap:
                kernels_.soft_cap(begin, value, end - begin);
                return;
        }
    });
}

void CpuBackend::scale_rows(const Buffer& x, const Buffer& scales, int64_t n_rows, int64_t n,
                            int64_t n_repeats, Buffer& y) {
    each_token(n_rows, n, [&](int64_t row) {
        const float scale = data(scales)[row];
        const float* from = data(x) + row / n_repeats * n;
        float* to = data(y) + row * n;
        for (int64_t i = 0; i < n; ++i) to[i] = scale * from[i];
    });
}

void CpuBackend::add(const Buffer& x, int64_t n, Buffer& y) {
    constexpr int64_t kElements = 8192;
    deal(divide_up(n, kElements), n >= 4 * kParallelElements, [&](int, int64_t task) {
        const int64_t first = task * kElements;
        kernels_.add(data(x) + first, data(y) + first, std::min(kElements, n - first));
    });
}

}  // namespace ingot::runtime
