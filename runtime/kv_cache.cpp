#include "runtime/kv_cache.h"

#include "format/error.h"

namespace ingot::runtime {
namespace {

// Bytes of one layer's keys (or values): positions ≤ 2^31, widths ≤ 2^32; so checked.
uint64_t layer_bytes(const Hyperparameters& model, int64_t n_context) {
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(uint64_t(model.kv_width()) * sizeof(uint16_t), uint64_t(n_context), &bytes) ||
        bytes > UINT64_MAX / 2 / uint64_t(model.n_layers)) {
        fail("a KV cache of {} positions does not fit in 64 bits; choose a smaller context", n_context);
    }
    return bytes;
}

}  // namespace

uint64_t KvCache::size_bytes(const Hyperparameters& model, int64_t n_context) {
    return 2 * uint64_t(model.n_layers) * layer_bytes(model, n_context);
}

KvCache::KvCache(Backend& backend, const Hyperparameters& model, int64_t n_context) : n_context_(n_context) {
    const uint64_t bytes = layer_bytes(model, n_context);
    try {
        for (int64_t layer = 0; layer < model.n_layers; ++layer) {
            keys_.push_back(backend.allocate(bytes));
            values_.push_back(backend.allocate(bytes));
        }
    } catch (const Error& error) {
        fail("the KV cache of {} positions takes {:.1f} MiB: {}; choose a smaller context", n_context,
             double(size_bytes(model, n_context)) / (1 << 20), error.what());
    }
}

}  // namespace ingot::runtime
