// Products by weights on a GPU.
#include <algorithm>
#include <type_traits>

#include "runtime/gpu/gpu_internal.h"

namespace ingot::runtime {

using namespace gpu;

namespace {

constexpr uint32_t kMatmulThreads = 128;  // of groups whose warps compute a row each
constexpr int64_t kLeastTileTokens = 24;  // fewer leave too much of a tile idle
constexpr size_t kMostMatrices = std::extent_v<decltype(MatvecsArguments::parts)>;  // of one launch

}  // namespace

// x (n_rows, n) in 8 bits, in scratch: by the kernel that made x, where that still waits.
void GpuBackend::quantize(const Buffer& x, int64_t n_rows, int64_t n, uint32_t n_shared, Quantized& to) {
    QuantizeArguments a{};
    a.x = floats(x);
    a.to.quants = global<uint8_t>(scratch(to.quants, size_t(n_rows * n)));
    a.to.scales = global<float>(scratch(to.scales, size_t(n_rows * n / 32) * sizeof(float)));
    a.to.sums = global<float>(scratch(to.sums, size_t(n_rows * n / 16) * sizeof(float)));
    a.to.n_shared = int32_t(n_shared);
    a.n = int32_t(n);
    const bool by_norm = queue_.amend_last<NormArguments>(Kernel::norm, [&](Grid& grid, NormArguments& norm) {
        const bool same = norm.y.address() == a.x.address() && norm.n == a.n && norm.stride == n &&
                          grid.x == uint32_t(n_rows) && !norm.to.quants;
        if (same) norm.to = a.to;
        return same;
    });
    if (by_norm) return;
    const Grid grid{.x = groups_of(n, 256 * (kMatmulThreads / kLanes)),
                    .y = uint32_t(n_rows),
                    .n_threads = kMatmulThreads};
    ActivateRowsArguments rows{};
    const bool by_activation = queue_.amend_last<ActivateArguments>(Kernel::activate, [&](Grid&, auto& last) {
        rows.of = last;
        return last.y.address() == a.x.address() && last.n == n_rows * n;
    });
    if (!by_activation) return queue_.launch(Kernel::quantize, grid, a);
    queue_.drop_last();
    rows.to = a.to;
    rows.n = a.n;
    queue_.launch(Kernel::activate_rows, grid, rows);
}

// One output of a product of n_rows outputs: rows of x, or slots of n_slots for each row. With experts, each
// of theirs.
void GpuBackend::multiply(const Buffer& x, int64_t n_rows, const Projection& projection,
                          const Quantized* quantized, const ExpertChoice* choice, int64_t n_slots) {
    const GpuWeight& weight = gpu_weight(*projection.weight);
    MatmulArguments a{};
    a.weights = global<const uint8_t>(weight.address());
    if (quantized != nullptr) {
        a.quants = global<const uint8_t>(quantized->quants.buffer->address());
        a.scales = global<const float>(quantized->scales.buffer->address());
        a.sums = global<const float>(quantized->sums.buffer->address());
    } else {
        a.x = floats(x);
    }
    if (projection.bias != nullptr) a.bias = floats(*projection.bias);
    if (choice != nullptr) a.experts = global<const int32_t>(address_of(*choice->experts));
    a.y = floats(*projection.output);
    a.row_bytes = int64_t(weight.device_row());
    a.n = int32_t(weight.n_in());
    a.n_out = int32_t(weight.n_out() / (choice != nullptr ? choice->n_experts : 1));
    a.n_tokens = int32_t(n_rows);
    a.n_slots = int32_t(n_slots);
    if (choice == nullptr && n_rows >= kLeastTileTokens) {
        const Grid tiles{groups_of(a.n_out, kTile), groups_of(n_rows, kTile), 1, kTileThreads};
        return queue_.launch(weight.layout().tile, tiles, a);
    }
    const bool one_each = choice != nullptr || n_rows == 1;
    Grid grid{.x = groups_of(a.n_out, kMatmulThreads / kLanes), .n_threads = kMatmulThreads};
    grid.y = one_each ? uint32_t(n_rows) : groups_of(n_rows, kTokensAtOnce);
    queue_.launch(one_each ? weight.layout().matvec : weight.layout().matmul, grid, a);
}

// x in the form that a weight wants, made once for all projections; null: as floats.
const GpuBackend::Quantized* GpuBackend::form_of(const Buffer& x, int64_t n_rows, const Weight& of,
                                                 std::span<bool, 2> is_made) {
    const GpuWeight& weight = gpu_weight(of);
    const uint32_t n_shared = weight.layout().n_shared;
    if (n_shared == 0) return nullptr;
    Quantized& quantized = n_shared == 32 ? *by_32_ : *by_256_;
    bool& made = is_made[n_shared == 32 ? 0 : 1];
    if (!made) quantize(x, n_rows, weight.n_in(), n_shared, quantized);
    made = true;
    return &quantized;
}

// Products of one token by matrices in one layout.
void GpuBackend::multiply_together(const Buffer& x, std::span<const Projection> projections,
                                   const Quantized* quantized) {
    const GpuWeight& first = gpu_weight(*projections[0].weight);
    MatvecsArguments a{};
    if (quantized != nullptr) {
        a.quants = global<const uint8_t>(quantized->quants.buffer->address());
        a.scales = global<const float>(quantized->scales.buffer->address());
        a.sums = global<const float>(quantized->sums.buffer->address());
    } else {
        a.x = floats(x);
    }
    a.n = int32_t(first.n_in());
    int64_t n_rows = 0;
    for (size_t i = 0; i < projections.size(); ++i) {
        const GpuWeight& weight = gpu_weight(*projections[i].weight);
        a.parts[i].weights = global<const uint8_t>(weight.address());
        if (projections[i].bias != nullptr) a.parts[i].bias = floats(*projections[i].bias);
        a.parts[i].y = floats(*projections[i].output);
        a.parts[i].row_bytes = int64_t(weight.device_row());
        a.parts[i].n_out = weight.n_out();
        n_rows += weight.n_out();
    }
    const Grid grid{.x = groups_of(n_rows, kMatmulThreads / kLanes), .n_threads = kMatmulThreads};
    queue_.launch(first.layout().matvecs, grid, a);
}

void GpuBackend::matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) {
    bool is_made[2] = {};
    for (size_t i = 0; i < projections.size();) {
        const auto layout = [&](size_t j) { return &gpu_weight(*projections[j].weight).layout(); };
        const Quantized* quantized = form_of(x, n_tokens, *projections[i].weight, is_made);
        size_t end = i + 1;
        while (n_tokens == 1 && end < std::min(i + kMostMatrices, projections.size()) &&
               layout(end) == layout(i))
            ++end;
        if (end - i > 1) {
            multiply_together(x, projections.subspan(i, end - i), quantized);
        } else {
            multiply(x, n_tokens, projections[i], quantized, nullptr, 1);
        }
        i = end;
    }
}

void GpuBackend::matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens,
                                const ExpertChoice& choice, std::span<const Projection> projections) {
    const int64_t n_slots = n_tokens * choice.n_used;
    bool is_made[2] = {};
    for (const Projection& projection : projections) {
        const Quantized* quantized =
            form_of(x, x_has_slots ? n_slots : n_tokens, *projection.weight, is_made);
        multiply(x, n_slots, projection, quantized, &choice, x_has_slots ? 1 : choice.n_used);
    }
}

}  // namespace ingot::runtime
