// Attention on a GPU, and what stands before it: which of its kernels, by how many groups.
#include <algorithm>
#include <limits>
#include <optional>

#include "format/error.h"
#include "runtime/gpu/gpu_backend.h"
#include "runtime/gpu/gpu_internal.h"
#include "runtime/gpu/kernels/arguments.h"

namespace ingot::runtime {

using namespace gpu;

namespace {

constexpr uint32_t kThreads = 256;         // of groups whose threads compute an element each
constexpr int64_t kGroupsOfProcessor = 4;  // that it wants to have to be busy
constexpr int64_t kLeastSplit = 128;       // positions that are worth a group
constexpr int64_t kMostParts = 64;         // splits of all tokens: bounds the scratch, on every device alike
constexpr int64_t kTiledTokens = 16;       // from so many on, tiles of queries

struct AttentionKernels {
    Kernel by_1, by_4, by_8;  // heads
};
#define INGOT_ENTRY(type) \
    {Kernel::attention_1_##type, Kernel::attention_4_##type, Kernel::attention_8_##type},
constexpr AttentionKernels kKernels[] = {INGOT_CACHE_TYPES(INGOT_ENTRY)};  // by CacheType
#undef INGOT_ENTRY

// How many heads a group of the kernel has; 0: it is none of these.
int heads_at_once(Kernel kernel) {
    for (const AttentionKernels& kernels : kKernels) {
        if (kernel == kernels.by_1) return 1;
        if (kernel == kernels.by_4) return 4;
        if (kernel == kernels.by_8) return 8;
    }
    return 0;
}

struct PromptKernels {
    Kernel by_64, by_128, by_256, by_640;  // elements of a head, at most
};
#define INGOT_ENTRY(type)                                                     \
    {Kernel::prompt_attention_64_##type, Kernel::prompt_attention_128_##type, \
     Kernel::prompt_attention_256_##type, Kernel::prompt_attention_640_##type},
constexpr PromptKernels kPromptKernels[] = {INGOT_CACHE_TYPES(INGOT_ENTRY)};  // likewise
#undef INGOT_ENTRY

// The kernel for many tokens, if there is one for such heads; and what a group of it has.
struct PromptKernel {
    std::optional<Kernel> kernel;
    int64_t n_queries = kTileQueries;
    uint32_t n_threads = kTileThreads;
};
PromptKernel prompt_kernel(CacheType type, const AttentionArguments& a, bool has_bf16) {
    const PromptKernels& kernels = kPromptKernels[size_t(type)];
    const int dim = std::max(a.key_dim, a.value_dim);
    const bool has_sums = type == CacheType::F32 || type == CacheType::BF16;  // of bfloat16s
    if (has_sums && !has_bf16) return {};
    if (dim <= 64) return {kernels.by_64};
    if (dim <= 128) return {kernels.by_128};
    if (dim <= 256 && !has_sums) return {kernels.by_256};
    if (a.key_dim > kPartedKeyDim || a.is_wide == 0) return {};
    if (dim <= 256) return {kernels.by_256, kPartedQueries, kPartedThreads};
    return {kernels.by_640, type == CacheType::F32 ? kPartedSums : kPartedQueries, kPartedThreads};
}

// Into how many the positions are split so that the device is busy. The lengths of contexts count by 2 *
// kLeastSplit: so many tokens long a text's launches are the same.
int64_t n_splits(int64_t n_groups, int64_t n_tokens, int64_t n_seen, int64_t n_processors) {
    const int64_t n_worth = 2 * ((n_seen + 2 * kLeastSplit - 1) / (2 * kLeastSplit));
    if (n_worth <= 2) return 1;
    const int64_t n_wanted = (kGroupsOfProcessor * n_processors + n_groups - 1) / n_groups;
    return std::max<int64_t>(1, std::min({n_worth, n_wanted, kMostParts / n_tokens}));
}

int64_t n_threads_of(const RopeArguments& a) {
    int64_t n = int64_t(a.n_tokens) * a.n_values;
    for (const RopeArguments::Part& part : a.parts) n += int64_t(a.n_tokens) * part.n_heads * part.n_threads;
    return n;
}

// Whether n floats at x are among those that a part turns.
bool overlaps(Address x, int64_t n, const RopeArguments::Part& part, int64_t n_tokens) {
    const auto n_turned = uint64_t(n_tokens * part.n_heads * part.head_dim);
    return x < part.x.address() + n_turned * sizeof(float) &&
           part.x.address() < x + uint64_t(n) * sizeof(float);
}

// Makes the second part of the launch `last` what the launch `a` is about.
bool join(const RopeArguments& a, RopeArguments& last) {
    if (last.parts[1].n_heads != 0 || last.n_values != 0 || last.parts[0].cache) return false;
    if (last.positions.address() != a.positions.address() || last.n_tokens != a.n_tokens ||
        last.frequencies.address() != a.frequencies.address() || last.n_pairs != a.n_pairs ||
        last.magnitude != a.magnitude || last.interleaved != a.interleaved ||
        overlaps(a.parts[0].x.address(), int64_t(a.n_tokens) * a.parts[0].n_heads * a.parts[0].head_dim,
                 last.parts[0], a.n_tokens))
        return false;
    last.parts[1] = a.parts[0];
    return true;
}

// The same for what is written to a cache: what `last` has turned, or something beside it.
bool join(const WriteCacheArguments& a, RopeArguments& last) {
    if (last.positions.address() != a.positions.address() || a.n_all != int64_t(last.n_tokens) * a.n ||
        last.n_values != 0)
        return false;
    bool has_keys = false;
    for (RopeArguments::Part& part : last.parts) {
        has_keys = has_keys || part.cache;
        if (!overlaps(a.x.address(), a.n_all, part, last.n_tokens)) continue;
        if (part.x.address() != a.x.address()) return false;
        if (part.cache || part.n_heads * part.head_dim != a.n) return false;
        if (has_keys && last.cache_type != a.type) return false;
        part.cache = a.cache;
        part.n_threads = part.head_dim - last.n_pairs;  // the pairs, and each element that is in none
        last.cache_type = a.type;
        return true;
    }
    if (!has_keys || last.cache_type != a.type) return false;
    last.values = a.x;
    last.value_cache = a.cache;
    last.n_values = a.n;
    return true;
}

}  // namespace

void GpuBackend::rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads, int64_t head_dim,
                      Buffer& x) {
    RopeArguments a{};
    a.parts[0].x = floats(x);
    a.parts[0].n_heads = int32_t(n_heads);
    a.parts[0].head_dim = int32_t(head_dim);
    a.parts[0].first = int32_t(rope.first);
    a.parts[0].n_threads = int32_t(rope.n_rot / 2);
    a.frequencies = floats(*rope.frequencies);
    a.positions = global<const int32_t>(indices(*positions_, positions));
    a.magnitude = rope.magnitude;
    a.n_tokens = int32_t(positions.size());
    a.n_pairs = int32_t(rope.n_rot / 2);
    a.interleaved = rope.pairing == RopePairing::Interleaved;
    if (n_threads_of(a) == 0) return;
    const bool joined = queue_.amend_last<RopeArguments>(Kernel::rope, [&](Grid& grid, RopeArguments& last) {
        if (!join(a, last)) return false;
        grid.x = groups_of(n_threads_of(last), kThreads);
        return true;
    });
    if (joined) return;
    queue_.launch(Kernel::rope, {.x = groups_of(n_threads_of(a), kThreads), .n_threads = kThreads}, a);
}

void GpuBackend::write_cache(const Buffer& x, std::span<const int32_t> positions, int64_t n, CacheType type,
                             Buffer& cache) {
    WriteCacheArguments a{};
    a.x = floats(x);
    a.positions = global<const int32_t>(indices(*positions_, positions));
    a.cache = global<uint8_t>(address_of(cache));
    a.n_all = int64_t(positions.size()) * n;
    a.n = int32_t(n);
    a.type = int32_t(type);
    const Grid grid{.x = groups_of(a.n_all, kThreads), .n_threads = kThreads};  // a thread for each element
    if (a.n_all == 0) return;
    if (type == CacheType::Q8_0) return queue_.launch(Kernel::write_cache_q8_0, grid, a);
    const bool joined =
        queue_.amend_last<RopeArguments>(Kernel::rope, [&](Grid& of_last, RopeArguments& last) {
            if (!join(a, last)) return false;
            of_last.x = groups_of(n_threads_of(last), kThreads);
            return true;
        });
    if (!joined) queue_.launch(Kernel::write_cache, grid, a);
}

void GpuBackend::attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                           const HeadGeometry& heads, Buffer& y) {
    if (heads.key_dim > kMaxKeyDim || heads.value_dim > kMaxValueDim) {
        fail("heads of {} and {} elements; the kernels of {} take up to {} and {}: use --device cpu",
             heads.key_dim, heads.value_dim, description(), int(kMaxKeyDim), int(kMaxValueDim));
    }
    if (cache.type == CacheType::Q8_0 && (heads.key_dim | heads.value_dim) % 32 != 0) {
        fail("heads of {} and {} elements are not in whole blocks of Q8_0, of 32: keep them as F16",
             heads.key_dim, heads.value_dim);
    }
    const int64_t n_tokens = int64_t(positions.size());
    const int64_t n_seen = heads.window != 0 ? std::min<int64_t>(heads.window, positions.back() + 1)
                                             : int64_t(positions.back()) + 1;
    AttentionArguments a{};
    a.q = floats(q);
    a.keys = global<const uint8_t>(address_of(*cache.keys));
    a.values = global<const uint8_t>(address_of(*cache.values));
    a.positions = global<const int32_t>(indices(*positions_, positions));
    if (heads.slopes != nullptr) a.slopes = floats(*heads.slopes);
    if (heads.sinks != nullptr) a.sinks = floats(*heads.sinks);
    a.y = floats(y);
    a.key_stride = cache.key_stride;
    a.value_stride = cache.value_stride;
    a.n_tokens = int32_t(n_tokens);
    a.n_heads = int32_t(heads.n_heads);
    a.n_kv_heads = int32_t(heads.n_kv_heads);
    a.key_dim = int32_t(heads.key_dim);
    a.value_dim = int32_t(heads.value_dim);
    a.window = int32_t(std::min<int64_t>(heads.window, std::numeric_limits<int32_t>::max() / 2));
    a.chunked = heads.chunked;
    a.cache_type = int32_t(cache.type);
    a.is_wide = ((heads.key_dim | heads.value_dim | cache.key_stride | cache.value_stride) % 8 == 0) &&
                ((address_of(*cache.keys) | address_of(*cache.values)) % 16 == 0);
    a.scale = heads.scale;
    a.soft_cap = heads.soft_cap;
    a.one_by_soft_cap = heads.soft_cap > 0 ? 1 / heads.soft_cap : 0;

    const int64_t n_sharing = heads.n_heads / heads.n_kv_heads;
    const PromptKernel tiled = n_tokens >= kTiledTokens
                                   ? prompt_kernel(cache.type, a, properties_.has_bf16_attention)
                                   : PromptKernel{};
    Kernel kernel{};
    Grid grid{.n_threads = kAttentionWarps * kLanes};
    if (tiled.kernel) {
        kernel = *tiled.kernel;
        grid.x = groups_of(n_tokens * n_sharing, tiled.n_queries);
        grid.y = uint32_t(heads.n_kv_heads);
        grid.n_threads = tiled.n_threads;
    } else {
        const AttentionKernels& kernels = kKernels[size_t(cache.type)];
        const bool fit_8 = kMostHeads * groups_of(heads.key_dim, 8) * 8 <= kQueryElements;
        const int64_t n_at_once = n_sharing == 1 ? 1 : n_sharing <= 4 || !fit_8 ? 4 : 8;
        kernel = n_at_once == 1 ? kernels.by_1 : n_at_once == 4 ? kernels.by_4 : kernels.by_8;
        grid.x = uint32_t(heads.n_kv_heads) * groups_of(n_sharing, n_at_once) *
                 groups_of(heads.value_dim, kValuesOfPart);
        grid.y = uint32_t(n_tokens);
    }
    grid.z = uint32_t(n_splits(int64_t(grid.x) * grid.y, n_tokens, n_seen, properties_.n_processors));
    a.n_splits = int32_t(grid.z);
    if (n_seen > 2 * kLeastSplit && n_tokens <= kMostParts / 2) {  // splits or not: they are the device's
        const size_t n = size_t(heads.n_heads * kMostParts * (2 + heads.value_dim));
        a.partial = global<float>(scratch(*partial_, n * sizeof(float)));
    }
    queue_.launch(kernel, grid, a);
    if (a.n_splits == 1) return;
    MergeAttentionArguments merge{};
    merge.partial = a.partial;
    merge.sinks = a.sinks;
    merge.y = a.y;
    merge.n_heads = a.n_heads;
    merge.value_dim = a.value_dim;
    merge.n_splits = a.n_splits;
    merge.n_heads_of_group = 1;
    queue_.launch(Kernel::merge_attention,
                  {.x = uint32_t(heads.n_heads), .y = uint32_t(n_tokens), .n_threads = 128}, merge);
}

// Where the answer y (n_rows, n) was the last to be asked for, and its groups have, or can have, whole
// blocks of what is to be made of it.
bool GpuBackend::quantize_answer(const QuantizeArguments& quantize, int64_t n_rows) {
    const auto is_same = [&](const auto& last) {
        return last.y.address() == quantize.x.address() && last.n_heads * last.value_dim == quantize.n &&
               !last.to.quants;
    };
    const auto is_whole = [&](int n_heads, int value_dim) {
        return n_heads * value_dim % quantize.to.n_shared == 0;
    };
    if (queue_.last() == Kernel::merge_attention) {
        return queue_.amend_last<MergeAttentionArguments>(
            Kernel::merge_attention, [&](Grid& grid, MergeAttentionArguments& last) {
                int n = 1;  // heads of a group
                while (n < last.n_heads && !is_whole(n, last.value_dim)) ++n;
                if (!is_same(last) || grid.y != uint32_t(n_rows) || last.n_heads % n != 0 ||
                    !is_whole(n, last.value_dim))
                    return false;
                last.to = quantize.to;
                last.n_heads_of_group = n;
                grid.x = uint32_t(last.n_heads / n);
                grid.n_threads = n == 1 ? 128 : 256;
                return true;
            });
    }
    const int n_at_once = queue_.last() ? heads_at_once(*queue_.last()) : 0;
    if (n_at_once == 0) return false;
    return queue_.amend_last<AttentionArguments>(*queue_.last(), [&](Grid&, AttentionArguments& last) {
        const int n_sharing = last.n_heads / last.n_kv_heads, n = std::min(n_at_once, n_sharing);
        if (!is_same(last) || last.n_tokens != n_rows || last.n_splits != 1 ||
            last.value_dim > kValuesOfPart || !is_whole(n, last.value_dim) ||
            !is_whole(n_sharing % n, last.value_dim))
            return false;
        last.to = quantize.to;
        return true;
    });
}

}  // namespace ingot::runtime
