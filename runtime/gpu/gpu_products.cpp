// Products by weights on a GPU.
#include <algorithm>
#include <optional>
#include <type_traits>

#include "runtime/gpu/gpu_internal.h"

namespace ingot::runtime {

using namespace gpu;

namespace {

constexpr int64_t kWarpsOfGroup = kMatmulThreads / kLanes;
constexpr int64_t kLeastTileTokens = 24;  // fewer leave too much of a tile idle
constexpr int64_t kLeastWideTokens = 65;  // fewer are two small tiles
constexpr int64_t kLeastSlots = 4;        // of an expert, on average, for which tiles pay
constexpr size_t kMostMatrices = std::extent_v<decltype(MatvecArguments::parts)>;  // of one launch
constexpr int32_t kNoActivation = -1;

/// Elements from row to row of activations in 16 bits: steps of a tile are whole.
int64_t padded(int64_t n) {
    return (n + kWarpgroupSpan - 1) / kWarpgroupSpan * kWarpgroupSpan;
}

/// The layout whose product for one token the kernel is; null: none.
const Layout* layout_of_matvec(Kernel kernel) {
    for (const TensorTypeInfo& type : tensor_types()) {
        const Layout* const layout = find_layout(type.type);
        if (layout != nullptr && layout->matvec == kernel) return layout;
    }
    return nullptr;
}

}  // namespace

void GpuBackend::reserve_quantized(int64_t n_rows, int64_t n, Quantized& to) {
    scratch(to.quants, size_t(n_rows * n));
    scratch(to.scales, size_t(n_rows * n / 32) * sizeof(float));
    scratch(to.sums, size_t(n_rows * n / 16) * sizeof(float));
}
void GpuBackend::reserve_split(int64_t n_rows, int64_t n, bool has_low) {
    const size_t n_bytes = size_t(n_rows) * size_t(padded(n)) * sizeof(uint16_t);
    scratch(halves_->high, n_bytes);
    if (has_low) scratch(halves_->low, n_bytes);
    scratch(halves_->scales, size_t(n_rows) * sizeof(float));
}

// x (n_rows, n) in 8 bits, in scratch: by the kernel that made x, where that still waits.
void GpuBackend::quantize(const Buffer& x, int64_t n_rows, int64_t n, uint32_t n_shared, Quantized& to) {
    QuantizeArguments a{};
    a.x = floats(x);
    reserve_quantized(n_rows, n, to);
    a.to.quants = global<uint8_t>(to.quants.buffer->address());
    a.to.scales = global<float>(to.scales.buffer->address());
    a.to.sums = global<float>(to.sums.buffer->address());
    a.to.n_shared = int32_t(n_shared);
    a.n = int32_t(n);
    a.is_wide = are_wide(n, {a.x.address()});
    const bool by_norm = queue_.amend_last<NormArguments>(Kernel::norm, [&](Grid& grid, NormArguments& norm) {
        const bool same = norm.y.address() == a.x.address() && norm.n == a.n && norm.stride == n &&
                          grid.x == uint32_t(n_rows) && !norm.to.quants;
        if (same) norm.to = a.to;
        return same;
    });
    if (by_norm || quantize_answer(a, n_rows)) return;
    const Grid grid{
        .x = groups_of(n, 256 * kWarpsOfGroup), .y = uint32_t(n_rows), .n_threads = kMatmulThreads};
    ActivateRowsArguments rows{};
    const bool by_activation = queue_.amend_last<ActivateArguments>(Kernel::activate, [&](Grid&, auto& last) {
        rows.of = last;
        return last.y.address() == a.x.address() && last.n == n_rows * n;
    });
    if (!by_activation) return queue_.launch(Kernel::quantize, grid, a);
    queue_.drop_last();
    rows.to = a.to;
    rows.n = a.n;
    rows.is_wide = are_wide(n, {rows.of.gate.address(), rows.of.up.address(), rows.of.y.address()});
    queue_.launch(Kernel::activate_rows, grid, rows);
}

// x in one or two parts of 16 bits, in scratch.
void GpuBackend::split(const Buffer& x, int64_t n_rows, int64_t n, const SplitForm& form) {
    SplitArguments a{};
    a.n = int32_t(n);
    a.n_padded = int32_t(padded(n));
    a.x = floats(x);
    reserve_split(n_rows, n, form.has_low);
    a.high = global<uint8_t>(halves_->high.buffer->address());
    if (form.has_low) a.low = global<uint8_t>(halves_->low.buffer->address());
    a.scales = global<float>(halves_->scales.buffer->address());
    a.is_f16 = form.is_f16;
    a.order = form.order;
    queue_.launch(Kernel::split_rows, {.x = uint32_t(n_rows), .n_threads = kMaxThreads}, a);
}

/// x (n_rows, n) of a product, in the forms that its weights want: each is made once.
struct GpuBackend::Input {
    const Buffer& x;
    int64_t n_rows;
    bool has_by_32 = false, has_by_256 = false;
    std::optional<SplitForm> split = {};  // the last that was made
    // Of the product that is asked for, many tokens:
    bool is_wide = false;
    bool by_warpgroups = false;
};

template <typename Arguments>
void GpuBackend::give(Input& input, const GpuWeight& weight, Arguments& a) {
    const Layout& layout = weight.layout();
    a.n = int32_t(weight.n_in());
    if (layout.type == TensorType::F32) {
        a.x = floats(input.x);
        return;
    }
    if constexpr (std::is_same_v<Arguments, TileArguments>) {
        if (input.by_warpgroups || layout.n_shared == 0) return give_split(input, weight, a);
        // Memory for the other way, too: what a product takes doesn't depend on the device (placement.h).
        if (input.is_wide) reserve_split(input.n_rows, weight.n_in(), false);
    }
    if (layout.n_shared == 0) {
        a.x = floats(input.x);
        return;
    }
    Quantized& quantized = layout.n_shared == 32 ? *by_32_ : *by_256_;
    bool& is_made = layout.n_shared == 32 ? input.has_by_32 : input.has_by_256;
    if (!is_made) quantize(input.x, input.n_rows, weight.n_in(), layout.n_shared, quantized);
    is_made = true;
    a.quants = global<const uint8_t>(quantized.quants.buffer->address());
    a.scales = global<const float>(quantized.scales.buffer->address());
    a.sums = global<const float>(quantized.sums.buffer->address());
}

void GpuBackend::give_split(Input& input, const GpuWeight& weight, TileArguments& a) {
    const Layout& layout = weight.layout();
    if (layout.n_shared != 0)
        reserve_quantized(input.n_rows, weight.n_in(), layout.n_shared == 32 ? *by_32_ : *by_256_);
    SplitForm form{.is_f16 = layout.type == TensorType::F16, .order = kAsTheyAre, .has_low = true};
    if (input.by_warpgroups) {
        // MXFP4 has room in a half, brought near its largest.
        form = {
            .is_f16 = layout.type != TensorType::BF16, .order = layout.order, .has_low = layout.n_terms == 2};
        if (layout.n_shared == 0) reserve_split(input.n_rows, weight.n_in(), true);
    }
    if (input.split != form) split(input.x, input.n_rows, weight.n_in(), form);
    input.split = form;
    a.high = global<const uint8_t>(halves_->high.buffer->address());
    if (form.has_low) a.low = global<const uint8_t>(halves_->low.buffer->address());
    a.scales = global<const float>(halves_->scales.buffer->address());
    a.n_padded = int32_t(padded(weight.n_in()));
    a.weight_factor = weight.factor();
}

// A few tokens, which share the weights that a warp decodes.
void GpuBackend::multiply_few(Input& input, const Projection& projection) {
    const GpuWeight& weight = gpu_weight(*projection.weight);
    MatmulArguments a{};
    give(input, weight, a);
    a.weights = global<const uint8_t>(weight.address());
    if (projection.bias != nullptr) a.bias = floats(*projection.bias);
    a.y = floats(*projection.output);
    a.row_bytes = int64_t(weight.device_row());
    a.n_out = int32_t(weight.n_out());
    a.n_tokens = int32_t(input.n_rows);
    const Grid grid{.x = groups_of(a.n_out, kWarpsOfGroup * kRowsOfWarp),
                    .y = groups_of(input.n_rows, kTokensAtOnce),
                    .n_threads = kMatmulThreads};
    queue_.launch(weight.layout().matmul, grid, a);
}

/// Slots of experts, sorted by expert for tiles of n_tokens.
struct GpuBackend::Sorted {
    int64_t n_experts, n_slots;
    int64_t n_shared;  // slots that share a row of x
    int64_t n_tokens, n_tiles;
    Address slots, tiles;
};

GpuBackend::Sorted GpuBackend::sort(const ExpertChoice& choice, int64_t n_slots, int64_t n_shared) {
    Sorted sorted{choice.n_experts, n_slots, n_shared, kTileTokens, 0, 0, 0};
    if (n_slots / choice.n_experts >= kLeastWideTokens) sorted.n_tokens = kWideTokens;
    const int64_t n_experts = std::min(choice.n_experts, n_slots);  // that have any, at most
    sorted.n_tiles = n_slots / sorted.n_tokens + n_experts;
    SortSlotsArguments a{};
    a.experts = global<const int32_t>(address_of(*choice.experts));
    // Room for both sizes of tiles: the most slots then take the most memory.
    const auto integers = [&](Scratch& memory, int64_t n) {
        return global<int32_t>(scratch(memory, size_t(n) * sizeof(int32_t)));
    };
    a.counts = integers(sorted_->counts, choice.n_experts);
    a.slots = integers(sorted_->slots, n_slots + kWideTokens * n_experts);
    a.tiles = integers(sorted_->tiles, n_slots / kTileTokens + n_experts);
    a.n_slots = int32_t(n_slots);
    a.n_experts = int32_t(choice.n_experts);
    a.n_tiles = int32_t(sorted.n_tiles);
    a.n_tokens = int32_t(sorted.n_tokens);
    const Grid grid{.x = uint32_t(choice.n_experts), .n_threads = kMaxThreads};
    queue_.launch(Kernel::count_slots, grid, a);
    queue_.launch(Kernel::sort_slots, grid, a);
    sorted.slots = a.slots.address();
    sorted.tiles = a.tiles.address();
    return sorted;
}

/// Of a group of warpgroups, for so many tokens: small tiles are less efficient (each weight is decoded for
/// half as many tokens), large ones may leave processors idle.
int64_t GpuBackend::tokens_of_warpgroups(int64_t n_out, int64_t n_tokens) const {
    const auto time = [&](int64_t n_each) {
        const int64_t n_groups = int64_t(groups_of(n_out, kWarpgroupRows)) * groups_of(n_tokens, n_each);
        return groups_of(n_groups, properties_.n_processors) * n_each;
    };
    return time(kWidestTokens) <= time(kWideTokens) ? kWidestTokens : kWideTokens;
}

// Many tokens: tiles of rows by tokens, or by slots of an expert.
void GpuBackend::multiply_tiles(Input& input, const Projection& projection, const Sorted* sorted) {
    const GpuWeight& weight = gpu_weight(*projection.weight);
    const Layout& layout = weight.layout();
    const bool is_wide =
        sorted != nullptr ? sorted->n_tokens == kWideTokens : input.n_rows >= kLeastWideTokens;
    input.is_wide = is_wide;
    input.by_warpgroups = is_wide && uses_warpgroups_ && layout.n_terms != 0;
    TileArguments a{};
    give(input, weight, a);
    a.weights = global<const uint8_t>(weight.address());
    if (projection.bias != nullptr) a.bias = floats(*projection.bias);
    a.y = floats(*projection.output);
    a.row_bytes = int64_t(weight.device_row());
    a.n_out = int32_t(weight.n_out() / (sorted != nullptr ? sorted->n_experts : 1));
    a.n_tokens = int32_t(input.n_rows);
    a.n_slots = 1;
    Kernel kernel = is_wide ? layout.wide : layout.tile;
    int64_t n_each = is_wide ? kWideTokens : kTileTokens;
    Grid grid{.x = groups_of(a.n_out, kTileRows), .n_threads = kTileThreads};
    if (input.by_warpgroups) {
        if (sorted == nullptr) n_each = tokens_of_warpgroups(a.n_out, input.n_rows);
        kernel = n_each == kWidestTokens ? layout.wide_warpgroup : layout.warpgroup;
        grid = {.x = groups_of(a.n_out, kWarpgroupRows), .n_threads = kWarpgroupThreads};
    }
    grid.y = groups_of(input.n_rows, n_each);
    if (sorted != nullptr) {
        a.slots = global<const int32_t>(sorted->slots);
        a.experts = global<const int32_t>(sorted->tiles);
        a.n_slots = int32_t(sorted->n_shared);
        grid.y = uint32_t(sorted->n_tiles);
    }
    queue_.launch(kernel, grid, a);
}

// One token, or slots of experts, by matrices in one layout.
void GpuBackend::multiply_one(Input& input, std::span<const Projection> projections,
                              const ExpertChoice* choice, int64_t n_slots, int64_t n_shared) {
    const GpuWeight& first = gpu_weight(*projections[0].weight);
    MatvecArguments a{};
    give(input, first, a);
    a.activation = kNoActivation;
    a.n_slots = int32_t(n_shared);
    if (choice != nullptr) a.experts = global<const int32_t>(address_of(*choice->experts));
    int64_t n_pairs = 0;  // of rows
    for (size_t i = 0; i < projections.size(); ++i) {
        const GpuWeight& weight = gpu_weight(*projections[i].weight);
        a.parts[i].weights = global<const uint8_t>(weight.address());
        if (projections[i].bias != nullptr) a.parts[i].bias = floats(*projections[i].bias);
        a.parts[i].y = floats(*projections[i].output);
        a.parts[i].row_bytes = int64_t(weight.device_row());
        a.parts[i].n_out = int32_t(weight.n_out() / (choice != nullptr ? choice->n_experts : 1));
        n_pairs += (a.parts[i].n_out + 1) / kRowsOfWarp;
    }
    const Grid grid{
        .x = groups_of(n_pairs, kWarpsOfGroup), .y = uint32_t(n_slots), .n_threads = kMatmulThreads};
    queue_.launch(first.layout().matvec, grid, a);
}

// As many at once as a launch can have.
void GpuBackend::multiply_one_by_all(Input& input, std::span<const Projection> projections,
                                     const ExpertChoice* choice, int64_t n_slots, int64_t n_shared) {
    const auto layout = [&](size_t i) { return &gpu_weight(*projections[i].weight).layout(); };
    for (size_t i = 0, end = 0; i < projections.size(); i = end) {
        while (end < std::min(i + kMostMatrices, projections.size()) && layout(end) == layout(i)) ++end;
        multiply_one(input, projections.subspan(i, end - i), choice, n_slots, n_shared);
    }
}

void GpuBackend::matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) {
    Input input{.x = x, .n_rows = n_tokens};
    if (n_tokens == 1) return multiply_one_by_all(input, projections, nullptr, 1, 1);
    for (const Projection& projection : projections) {
        if (n_tokens < kLeastTileTokens) {
            multiply_few(input, projection);
        } else {
            multiply_tiles(input, projection, nullptr);
        }
    }
}

void GpuBackend::matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens,
                                const ExpertChoice& choice, std::span<const Projection> projections) {
    const int64_t n_slots = n_tokens * choice.n_used, n_shared = x_has_slots ? 1 : choice.n_used;
    Input input{.x = x, .n_rows = n_slots / n_shared};
    if (n_slots < kLeastTileTokens || n_slots < kLeastSlots * choice.n_experts)
        return multiply_one_by_all(input, projections, &choice, n_slots, n_shared);
    const Sorted sorted = sort(choice, n_slots, n_shared);
    for (const Projection& projection : projections) multiply_tiles(input, projection, &sorted);
}

// Where the two products that are activated were the last to be asked for, they do that, too.
bool GpuBackend::activate_product(const ActivateArguments& activate) {
    const std::optional<Kernel> last = queue_.last();
    if (!activate.up || !last || layout_of_matvec(*last) == nullptr) return false;
    return queue_.amend_last<MatvecArguments>(*last, [&](Grid& grid, MatvecArguments& product) {
        const MatvecArguments::Part& gate = product.parts[0];
        const MatvecArguments::Part& up = product.parts[1];
        if (product.activation != kNoActivation || product.parts[2].n_out != 0 || gate.n_out != up.n_out ||
            gate.y.address() != activate.gate.address() || up.y.address() != activate.up.address() ||
            activate.n != int64_t(gate.n_out) * grid.y)
            return false;
        if (product.x && product.x.address() == activate.y.address()) return false;  // others still read it
        product.activated = activate.y;
        product.activation = activate.activation;
        grid.x = groups_of(gate.n_out, kWarpsOfGroup);
        return true;
    });
}

}  // namespace ingot::runtime
