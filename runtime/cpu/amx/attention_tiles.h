#pragma once
// What attention by tile registers works on: elements of a cache, floats as sums of BF16, and the scratch.
// See attention_block.cpp.
#include "runtime/cpu/amx/tiles.h"
#include "runtime/cpu/attention_block.h"
#include "runtime/cpu/avx512/cached.h"

namespace ingot::runtime::cpu::amx {
namespace {

// Rows, positions and dimensions go in pairs of tiles: 2 × 2 tiles of sums, 2 of the one factor and 2 of the
// other are all eight registers.
constexpr int64_t kPair = 2 * kTileRows;
constexpr int64_t kPositions = 128;  // of a block
constexpr int64_t kBlockPairs = kPositions / kPair;
constexpr int kKeyTerms = 3, kValueTerms = 2;  // at most
constexpr int kQueryTerms = 3, kWeightTerms = 2;
constexpr int64_t kTileFloats = kTileBytes / int64_t(sizeof(float));
constexpr int64_t kHalfFloats = 2 * kTileFloats, kSumFloats = 2 * kHalfFloats;  // of 2 × 2 tiles

constexpr int64_t pairs(int64_t n) {
    return (n + kPair - 1) / kPair;
}
constexpr int64_t pair_bytes(int n_terms) {
    return 2 * n_terms * kTileBytes;
}

// What a row has for its largest score at first: above that of a position that it does not see, below all
// others.
constexpr float kNoScore = kLowestScore / 2;

/// Elements of a cache. kTerms hold them exactly.
template <typename Layout, int n_terms>
struct Cached {
    static constexpr int kTerms = n_terms;
    // 16 elements from the i-th on, or the n that there are and zeros.
    INGOT_INLINE __m512 load(const void* cache, int64_t i, int64_t n) {
        return n > 0 ? Layout::load(cache, i, n) : _mm512_setzero_ps();
    }
};

/// Two floats of each lane as sums of two BF16: the first ones in the lower halves.
INGOT_INLINE void split_pair(__m512 first, __m512 second, __m512i& high, __m512i& low) {
    high = pair_of_bf16(_mm512_castps_si512(first), _mm512_castps_si512(second));
    const __m512i upper = _mm512_and_si512(high, _mm512_set1_epi32(int(0xffff0000)));
    first = _mm512_sub_ps(first, _mm512_castsi512_ps(_mm512_slli_epi32(high, 16)));
    second = _mm512_sub_ps(second, _mm512_castsi512_ps(upper));
    low = pair_of_bf16(_mm512_castps_si512(first), _mm512_castps_si512(second));
}

/// What 16 rows have besides tiles.
struct alignas(64) Rows {
    float largest[kTileRows];  // score so far
    float sums[kTileRows];     // of the weights so far
    float slopes[kTileRows];   // of ALiBi, for scores that are multiplied with log2 e; below zero
    int32_t begins[kTileRows], ends[kTileRows];
};

/// The scratch, in bytes. Factors are pairs of tiles of BF16: the terms of the one, then of the other. Sums
/// are 2 × 2 tiles: those of the first tile of rows, then of the second.
struct Scratch {
    Scratch(int64_t n_rows, int64_t key_dim, int64_t value_dim)
        : row_pairs(pairs(n_rows)), key_steps(pairs(key_dim)), value_pairs(pairs(value_dim)) {}
    int64_t row_pairs, key_steps, value_pairs;

    static constexpr int64_t kSumBytes = kSumFloats * int64_t(sizeof(float));
    int64_t keys_at = row_pairs * key_steps * pair_bytes(kQueryTerms);
    int64_t values_at = keys_at + kBlockPairs * key_steps * pair_bytes(kKeyTerms);
    int64_t scores_at = values_at + value_pairs * kBlockPairs * pair_bytes(kValueTerms);
    int64_t outputs_at = scores_at + 2 * kBlockPairs * kSumBytes;
    int64_t rows_at = outputs_at + row_pairs * value_pairs * kSumBytes;
    int64_t n_bytes = rows_at + row_pairs * 2 * int64_t(sizeof(Rows));

    std::byte* memory = nullptr;  // aligned to cache lines

    std::byte* queries(int64_t row_pair) const {
        return memory + row_pair * key_steps * pair_bytes(kQueryTerms);
    }
    std::byte* keys(int64_t block_pair, int n_terms) const {
        return memory + keys_at + block_pair * key_steps * pair_bytes(n_terms);
    }
    std::byte* values(int64_t value_pair, int n_terms) const {
        return memory + values_at + value_pair * kBlockPairs * pair_bytes(n_terms);
    }
    /// (kBlockPairs) of a pair of rows: scores, in whose place come weights.
    float* scores(int64_t i) const {
        return reinterpret_cast<float*>(memory + scores_at + i * kBlockPairs * kSumBytes);
    }
    float* outputs(int64_t row_pair) const {  // (value_pairs), to be divided by the sums of the weights
        return reinterpret_cast<float*>(memory + outputs_at + row_pair * value_pairs * kSumBytes);
    }
    Rows& rows(int64_t row_tile) const { return reinterpret_cast<Rows*>(memory + rows_at)[row_tile]; }
};

/// Where the terms of tile `half` of a pair are, in memory that has n_terms of both for each step.
INGOT_INLINE std::byte* terms_of(std::byte* pairs_of_terms, int64_t step, int64_t half, int n_terms) {
    return pairs_of_terms + step * pair_bytes(n_terms) + half * n_terms * kTileBytes;
}

}  // namespace
}  // namespace ingot::runtime::cpu::amx
