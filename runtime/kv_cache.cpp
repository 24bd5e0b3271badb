#include "runtime/kv_cache.h"

#include <algorithm>

#include "format/error.h"

namespace ingot::runtime {
namespace {

// Bytes of `width` elements for each position: positions ≤ 2^31, widths ≤ 2^32; so checked.
uint64_t rows_bytes(int64_t width, int64_t n_context, CacheType type) {
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(uint64_t(cache_bytes(type, width)), uint64_t(n_context), &bytes)) {
        fail("a KV cache of {} positions does not fit in 64 bits; choose a smaller context", n_context);
    }
    return bytes;
}

int64_t value_width(const LayerGeometry& layer) {
    return layer.mixer == Mixer::LatentAttention ? 0 : layer.v_width();  // else inside the keys
}

// What begin_tensor() takes it for.
std::string cache_name(size_t layer) {
    return fmt::format("blk.{}.cache", layer);
}

// Heads are looked at one by one: each has to be whole blocks.
bool fits_heads(const LayerGeometry& layer, CacheType type) {
    if (type != CacheType::Q8_0 || layer.mixer == Mixer::DeltaNet) return true;
    return layer.key_dim % 32 == 0 && layer.value_dim % 32 == 0;
}

void check_heads(const Hyperparameters& model, CacheType type) {
    for (size_t i = 0; i < model.layers.size(); ++i) {
        const LayerGeometry& layer = model.layers[i];
        if (fits_heads(layer, type)) continue;
        fail(
            "keys and values as Q8_0 need heads of 32, 64, 96 … elements; layer {} has {} and {}: keep them "
            "as F16",
            i, layer.key_dim, layer.value_dim);
    }
}

}  // namespace

bool KvCache::fits_type(const Hyperparameters& model, CacheType type) {
    return std::ranges::all_of(model.layers, [&](const auto& layer) { return fits_heads(layer, type); });
}

uint64_t KvCache::size_bytes(const Hyperparameters& model, int64_t n_context, CacheType type) {
    const DeltaGeometry& delta = model.delta;
    const DeltaHeads& heads = delta.heads;
    uint64_t sum = 0;
    for (size_t i = 0; i < model.layers.size(); ++i) {
        const LayerGeometry& layer = model.layers[i];
        if (layer.kv_layer != int64_t(i)) continue;
        uint64_t bytes = uint64_t((delta.n_taps - 1) * delta.mixed_width() +
                                  heads.n_value_heads * heads.key_dim * heads.value_dim) *
                         sizeof(float);
        if (layer.mixer != Mixer::DeltaNet) {
            bytes = rows_bytes(layer.k_width(), n_context, type);
            if (__builtin_add_overflow(bytes, rows_bytes(value_width(layer), n_context, type), &bytes))
                bytes = UINT64_MAX;
        }
        if (__builtin_add_overflow(sum, bytes, &sum)) {
            fail("a KV cache of {} positions does not fit in 64 bits; choose a smaller context", n_context);
        }
    }
    return sum;
}

KvCache::KvCache(Backend& backend, const Hyperparameters& model, int64_t n_context, CacheType type)
    : backend_(backend), n_context_(n_context), type_(type), has_states_(model.has_recurrent_layers()) {
    check_heads(model, type);
    if (!backend.has_cache_type(type)) {
        fail("{} cannot keep keys and values as {}: keep them as F16", backend.description(),
             name(tensor_type(type)));
    }
    const uint64_t all_bytes = size_bytes(model, n_context, type);
    const auto state = [&](int64_t n) {
        return State{backend.allocate(size_t(n) * sizeof(float)), nullptr, n};
    };
    try {
        for (const LayerGeometry& geometry : model.layers) {
            backend.begin_tensor(cache_name(layers_.size()));
            Layer& layer = layers_.emplace_back();
            layer.source = geometry.kv_layer;
            if (layer.source + 1 != int64_t(layers_.size())) continue;
            if (geometry.mixer == Mixer::DeltaNet) {
                const DeltaHeads& heads = model.delta.heads;
                layer.convolution = state((model.delta.n_taps - 1) * model.delta.mixed_width());
                layer.delta = state(heads.n_value_heads * heads.key_dim * heads.value_dim);
                continue;
            }
            layer.key_width = geometry.k_width();
            layer.value_width = value_width(geometry);
            layer.keys = backend.allocate(rows_bytes(layer.key_width, n_context, type));
            if (layer.value_width != 0)
                layer.values = backend.allocate(rows_bytes(layer.value_width, n_context, type));
        }
    } catch (const Error& error) {
        fail("the KV cache of {} positions takes {:.1f} MiB: {}; choose a smaller context", n_context,
             double(all_bytes) / (1 << 20), error.what());
    }
    backend.begin_tensor({});
}

void KvCache::copy(const Buffer& from, int64_t n, Buffer& to) {
    backend_.copy_columns(from, {n, 0}, 1, n, to, {n, 0});
}

void KvCache::keep_states() {
    n_kept_ = n_used_;
    if (!has_states_) return;
    for (size_t i = 0; i < layers_.size(); ++i) {
        backend_.begin_tensor(cache_name(i));
        for (State* state : {&layers_[i].convolution, &layers_[i].delta}) {
            if (!state->now) continue;
            if (!state->kept) state->kept = backend_.allocate(state->now->size_bytes());
            copy(*state->now, state->n, *state->kept);
        }
    }
    backend_.begin_tensor({});
}

std::vector<KvCache::Content> KvCache::contents(int64_t n_positions) const {
    const TensorType type = tensor_type(type_);
    std::vector<Content> contents;
    for (size_t i = 0; i < layers_.size(); ++i) {
        const Layer& layer = layers_[i];
        const auto add = [&](const char* part, TensorType of, int64_t width, int64_t n_rows, Buffer* buffer) {
            if (buffer == nullptr) return;
            contents.push_back({fmt::format("blk.{}.{}", i, part), of, uint64_t(width), uint64_t(n_rows),
                                buffer,
                                buffer == layer.convolution.now.get() || buffer == layer.delta.now.get()});
        };
        add("keys", type, layer.key_width, n_positions, layer.keys.get());
        add("values", type, layer.value_width, n_positions, layer.values.get());
        add("convolution", TensorType::F32, layer.convolution.n, 1, layer.convolution.now.get());
        add("delta", TensorType::F32, layer.delta.n, 1, layer.delta.now.get());
    }
    return contents;
}

void KvCache::truncate(int64_t n) {
    if (has_states_ && n != 0) {
        if (n != n_kept_) {
            fail("a recurrent model cannot go back to position {} of {}: begin the sequence again", n,
                 n_used_);
        }
        for (Layer& layer : layers_) {
            for (State* state : {&layer.convolution, &layer.delta}) {
                if (state->kept) copy(*state->kept, state->n, *state->now);
            }
        }
    }
    n_used_ = n;
}

}  // namespace ingot::runtime
