#include "runtime/kv_cache.h"

#include "format/error.h"

namespace ingot::runtime {
namespace {

// Bytes of `width` elements for each position: positions ≤ 2^31, widths ≤ 2^32; so checked.
uint64_t rows_bytes(int64_t width, int64_t n_context) {
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(uint64_t(width) * sizeof(uint16_t), uint64_t(n_context), &bytes)) {
        fail("a KV cache of {} positions does not fit in 64 bits; choose a smaller context", n_context);
    }
    return bytes;
}

}  // namespace

uint64_t KvCache::size_bytes(const Hyperparameters& model, int64_t n_context) {
    uint64_t sum = 0;
    for (const LayerGeometry& layer : model.layers) {
        for (const int64_t width : {layer.k_width(), layer.v_width()}) {
            if (__builtin_add_overflow(sum, rows_bytes(width, n_context), &sum)) {
                fail("a KV cache of {} positions does not fit in 64 bits; choose a smaller context",
                     n_context);
            }
        }
    }
    return sum;
}

KvCache::KvCache(Backend& backend, const Hyperparameters& model, int64_t n_context) : n_context_(n_context) {
    const uint64_t all_bytes = size_bytes(model, n_context);
    try {
        for (const LayerGeometry& layer : model.layers) {
            layers_.push_back({.keys = backend.allocate(rows_bytes(layer.k_width(), n_context)),
                               .values = backend.allocate(rows_bytes(layer.v_width(), n_context)),
                               .key_width = layer.k_width(),
                               .value_width = layer.v_width()});
        }
    } catch (const Error& error) {
        fail("the KV cache of {} positions takes {:.1f} MiB: {}; choose a smaller context", n_context,
             double(all_bytes) / (1 << 20), error.what());
    }
}

}  // namespace ingot::runtime
