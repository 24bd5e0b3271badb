// Products with many tokens for weights that are floats; see matrix.h. Activations are sums of two BF16, and
// so are weights of F16 and F32.
#include "runtime/cpu/amx/matrix.h"
#include "runtime/cpu/avx512/layouts_plain.h"

namespace ingot::runtime::cpu::amx {
namespace {

template <typename Layout, int n_terms>
struct Plain {
    static constexpr int kTerms = n_terms;
    template <typename Tiles>
    INGOT_INLINE void unpack(const uint8_t* const (&rows)[kTileRows], int64_t input, int64_t n,
                             Tiles&& tiles) {
        for (int64_t i = 0; i < n; i += kStepInputs) {
            __m512i terms[kTerms][kTileRows];
            for (int r = 0; r < kTileRows; ++r) {
                const __m512 first = Layout::load(avx512::lanes(n - i), rows[r], input + i);
                __m512 second = _mm512_setzero_ps();
                if (n - i > 16) second = Layout::load(avx512::lanes(n - i - 16), rows[r], input + i + 16);
                __m512i of_row[kTerms];
                split(first, second, of_row);
                for (int term = 0; term < kTerms; ++term) terms[term][r] = of_row[term];
            }
            for (int term = 0; term < kTerms; ++term)
                store_weights(terms[term], tiles(i / kStepInputs, term));
        }
    }
};

/// 32 floats, or the first n of them and zeros, as one or two BF16 each.
template <int n_terms>
INGOT_INLINE void pack_floats(const float* x, int64_t n, std::byte* to) {
    const __m512 first = _mm512_maskz_loadu_ps(avx512::lanes(n), x);
    const __m512 second = n > 16 ? _mm512_maskz_loadu_ps(avx512::lanes(n - 16), x + 16) : _mm512_setzero_ps();
    __m512i terms[n_terms];
    split(first, second, terms);
    for (int term = 0; term < n_terms; ++term) _mm512_storeu_si512(to + 2 * term * kTileBytes, terms[term]);
}

// A token after the other: a row is read as one stream.
template <int n_terms>
void pack_tile(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    constexpr int64_t kStepBytes = n_terms * 2 * kTileBytes;
    for (int64_t t = 0; t < kTileTokens; ++t) {
        auto* to = static_cast<std::byte*>(tile) + t * kTileRowBytes;
        if (t >= n_tokens) {  // is not there
            for (int64_t i = 0; i < n_in; i += kStepInputs, to += kStepBytes)
                pack_floats<n_terms>(nullptr, 0, to);
            continue;
        }
        const auto* x =
            reinterpret_cast<const float*>(static_cast<const std::byte*>(rows) + size_t(t) * stride);
        int64_t i = 0;
        for (; i + kStepInputs <= n_in; i += kStepInputs, to += kStepBytes)
            pack_floats<n_terms>(x + i, kStepInputs, to);
        if (i < n_in) pack_floats<n_terms>(x + i, n_in - i, to);
    }
}

size_t tile_bytes(int64_t n_in, int n_terms) {
    return size_t((n_in + kStepInputs - 1) / kStepInputs * n_terms * 2 * kTileBytes);
}

}  // namespace

size_t tile_bytes_rounded(int64_t n_in) {
    return tile_bytes(n_in, 1);
}
size_t tile_bytes_split(int64_t n_in) {
    return tile_bytes(n_in, 2);
}
void pack_tile_rounded(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    pack_tile<1>(rows, stride, n_tokens, n_in, tile);
}
void pack_tile_split(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    pack_tile<2>(rows, stride, n_tokens, n_in, tile);
}

void matrix_f32(const MatmulArguments& m) {
    multiply_matrix<Plain<avx512::F32, 2>, 2>(m);
}
void matrix_f16(const MatmulArguments& m) {
    multiply_matrix<Plain<avx512::F16, 2>, 2>(m);
}
void matrix_bf16(const MatmulArguments& m) {
    multiply_matrix<Plain<avx512::BF16, 1>, 2>(m);
}

}  // namespace ingot::runtime::cpu::amx
