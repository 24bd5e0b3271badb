#pragma once
// Products for many tokens by warpgroups: a group of two computes 128 rows of weights by 128 tokens
// (warpgroup_*) or 256 (wide_warpgroup_*). Weights are A: each thread fetches the bytes of two rows that
// become its own registers, and decodes them to halves. Activations are B: 16 bits, copied to the group's
// memory in stages of 64 elements, a ring of them. Nothing is scaled on the way; weights meet activations as
// halves, both brought near 2^15 by powers of two.
//
// The order of elements within a product doesn't matter as long as it is that of both. Of a span of 128
// elements the four lanes that have a row take a unit each (layouts.h), 32 weights whose bits lie together;
// the first runs of all four units are one stage, the second ones the next. x is brought into that order
// beforehand (see split_rows).
#include "dialect_warpgroup.h"
#include "tiles.h"

namespace ingot::runtime::gpu {

enum : int {
    kSpan = kWarpgroupSpan,
    kStageElements = kSpan / 2,
    kStageWords = kStageElements / 2,  // of a token: 128 bytes
    kStageProducts = kStageElements / 16,
};

// ── Weights ─────────────────────────────────────────────────────────────────────────────────────────────

/// Whether decoded bytes are signed ones.
template <typename Layout>
struct BytesOf {
    enum : int { kSigned = 0 };
};
template <>
struct BytesOf<Q8_0> {
    enum : int { kSigned = 1 };
};
template <>
struct BytesOf<IQ4_NL> : BytesOf<Q8_0> {};
template <>
struct BytesOf<IQ4_XS> : BytesOf<Q8_0> {};
template <>
struct BytesOf<MXFP4> : BytesOf<Q8_0> {};

/// Which of a span's four units lane t of four has: of each layout, the runs 0 of lanes 0 … 3 are in the
/// order of split_rows.
template <typename Layout>
struct UnitOf {
    FUNCTION static int lane(int t) { return t; }
};
template <>
struct UnitOf<Q2_K> {
    FUNCTION static int lane(int t) { return t % 2 * 2 + t / 2; }
};
template <>
struct UnitOf<Q3_K> : UnitOf<Q2_K> {};

/// A thread's weights of a span of one row: blocks.
template <typename Layout>
struct SpanOf {
    typedef F16 Numbers;
    typedef Raw Fetched;
    enum : int { kTerms = 1 };  // of x
    struct Decoded {
        uint32_t q[8];
        uint32_t scales[2], mins[2];  // of each run, twice: halves
    };

    FUNCTION static Raw fetch(ARGUMENTS(TileArguments) a, GLOBAL(const uint8_t) row, int span, int t) {
        const int unit = 4 * span + UnitOf<Layout>::lane(t);
        if (unit >= a.n / 32) return Raw{};
        return Layout::fetch(Row{row, a.n / int(Layout::kElements)}, unit / int(Layout::kUnits),
                             unit % int(Layout::kUnits));
    }
    FUNCTION static Decoded decode(ARGUMENTS(TileArguments) a, LOCAL(const Raw) raw, int span, int t) {
        const Unit unit = Layout::decode(raw, (4 * span + UnitOf<Layout>::lane(t)) % int(Layout::kUnits));
        Decoded decoded;
        UNROLLED for (int i = 0; i < 8; ++i) decoded.q[i] =
            BytesOf<Layout>::kSigned != 0 ? unit.q[i] ^ 0x80808080u : unit.q[i];
        UNROLLED for (int r = 0; r < 2; ++r) {
            const float scale = unit.scale[r] * a.weight_factor, min = -unit.min[r] * a.weight_factor;
            decoded.scales[r] = halves_of(scale, scale);
            decoded.mins[r] = halves_of(min, min);
        }
        return decoded;
    }
    /// Elements 4 j + 2 half … of run r.
    FUNCTION static uint32_t two(LOCAL(const Decoded) weights, int r, int j, int half) {
        constexpr uint32_t kOffset = 128 * BytesOf<Layout>::kSigned + Layout::kOffset;
        constexpr uint32_t kMinus = (0xe400u | kOffset) * 0x10001u;  // -1024 - kOffset
        const uint32_t q = add_halves(halves_of_bytes(weights.q[4 * r + j], half), kMinus);  // exact
        if (Layout::kHasMin != 0) return multiply_add_halves(q, weights.scales[r], weights.mins[r]);
        return multiply_halves(q, weights.scales[r]);
    }
};

/// … and numbers of 16 bits, which meet x in two terms.
struct Fetched32 {
    uint4 of[4];
};
template <typename Layout>
struct SpanOfNumbers {
    typedef Layout Numbers;
    typedef Fetched32 Fetched;
    typedef Fetched32 Decoded;
    enum : int { kTerms = 2 };

    FUNCTION static Fetched32 fetch(ARGUMENTS(TileArguments) a, GLOBAL(const uint8_t) row, int span, int t) {
        Fetched32 numbers;
        UNROLLED for (int i = 0; i < 4; ++i) {
            const int element = kSpan * span + 32 * t + 8 * i;
            numbers.of[i] = uint4{0, 0, 0, 0};
            if (element < a.n) numbers.of[i] = load_once<uint4>(row + 2 * int64_t(element));
        }
        return numbers;
    }
    FUNCTION static Fetched32 decode(ARGUMENTS(TileArguments), LOCAL(const Fetched32) numbers, int, int) {
        return numbers;
    }
    FUNCTION static uint32_t two(LOCAL(const Fetched32) weights, int r, int j, int half) {
        return copy_of(word_of(weights.of[2 * r + j / 2], 2 * (j % 2) + half));
    }
};
template <>
struct SpanOf<F16> : SpanOfNumbers<F16> {};
template <>
struct SpanOf<BF16> : SpanOfNumbers<BF16> {};

// ── Tiles ───────────────────────────────────────────────────────────────────────────────────────────────

/// As many stages as the group's memory has room for, up to six: while one is multiplied by, the one before
/// may still be read, and the rest are on their way.
template <int n_tokens, int n_terms>
struct WarpgroupStages {
    enum : int {
        kWords = n_terms * n_tokens * kStageWords,
        kMost = 200 * 1024 / 4 / kWords,
        kStages = kMost < 6 ? kMost : 6,
    };
};

template <int n_tokens, int n_terms>
struct WarpgroupShared {
    typedef WarpgroupStages<n_tokens, n_terms> Stages;
    GROUP_ARRAY(uint32_t, x,
                int(Stages::kStages) * int(Stages::kWords));  // (stage, term, token, word), swizzled
    GROUP_ARRAY(int64_t, x_at, n_tokens);                     // bytes, where a token's row of x begins
    GROUP_ARRAY(int64_t, y_at, n_tokens);                     // elements, likewise of y; -1: there is none
    GROUP_ARRAY(float, x_scales, n_tokens);
};
struct WarpgroupMemory {
    GROUP(uint32_t) x;
    GROUP(int64_t) x_at;
    GROUP(int64_t) y_at;
    GROUP(float) x_scales;
};

template <typename Layout, int n_tokens>
struct WarpgroupTile {
    typedef SpanOf<Layout> Span;
    typedef typename Span::Numbers Numbers;
    typedef WarpgroupStages<n_tokens, Span::kTerms> Stages;
    enum : int { kStages = Stages::kStages, kAhead = kStages - 2, kTerms = Span::kTerms };

    /// Begins to copy a stage of x, if there is such a one; eight threads copy a token's.
    FUNCTION static void begin_stage(ARGUMENTS(TileArguments) a, Thread me, LOCAL(const WarpgroupMemory) tile,
                                     int stage, int place) {
        if (stage < a.n_padded / kStageElements) {
            const int chunk = int(me.index) % 8, first = int(me.index) / 8;
            const int word = place * Stages::kWords + first * kStageWords + 4 * (chunk ^ (first % 8));
            const int bytes = 2 * (kStageElements * stage + 8 * chunk);
            GLOBAL(const uint8_t) high = a.high + bytes;
            GLOBAL(const uint8_t) low = kTerms > 1 ? a.low + bytes : high;
            UNROLLED for (int i = 0; i < n_tokens / 32; ++i) {
                const int64_t at = tile.x_at[first + 32 * i];
                begin_copy(tile.x + (word + 32 * i * kStageWords), high + at);
                if (kTerms > 1) begin_copy(tile.x + (word + (n_tokens + 32 * i) * kStageWords), low + at);
            }
        }
        end_copies_of_set(me);  // of none, at the end: sets are counted
    }

    FUNCTION static void compute(ARGUMENTS(TileArguments) a, Thread me, LOCAL(const WarpgroupMemory) tile) {
        const int expert = a.experts ? int(a.experts[me.y]) : 0;
        if (expert < 0) return;
        const TilePlace place = {int(me.x) * kWarpgroupRows, int(me.y) * n_tokens, int64_t(expert) * a.n_out};
        for (int i = int(me.index); i < n_tokens; i += kWarpgroupThreads) {
            const int token = tile_token(a, place, i), x_row = max(token, 0) / a.n_slots;
            tile.y_at[i] = token >= 0 ? int64_t(token) * a.n_out : -1;
            tile.x_at[i] = 2 * int64_t(x_row) * a.n_padded;
            tile.x_scales[i] = a.scales[x_row];
        }
        me.barrier();
        for (int stage = 0; stage < kAhead; ++stage) begin_stage(a, me, tile, stage, stage);

        const int row = 16 * int(me.warp()) + int(me.lane()) / 4, t = int(me.lane()) % 4;  // … and 8 below
        GLOBAL(const uint8_t) weights[2] = {tile_weights(a, place, row), tile_weights(a, place, row + 8)};
        WarpgroupSums<n_tokens> sums;
        WarpgroupNumbers numbers[2][kStageProducts];  // of a stage and the one before it
        typename Span::Fetched fetched[2] = {Span::fetch(a, weights[0], 0, t),
                                             Span::fetch(a, weights[1], 0, t)};
        int from = 0, to = kAhead;  // places of stages in the ring
        for (int span = 0; span < a.n_padded / kSpan; ++span) {
            const typename Span::Decoded decoded[2] = {Span::decode(a, fetched[0], span, t),
                                                       Span::decode(a, fetched[1], span, t)};
            UNROLLED for (int r = 0; r < 2; ++r) {
                UNROLLED for (int j = 0; j < kStageProducts; ++j) {
                    UNROLLED for (int i = 0; i < 4; ++i) numbers[r][j].of[i] =
                        Span::two(decoded[i % 2], r, j, i / 2);
                }
                wait_for_copies<kAhead - 1>(me);  // for the stage
                show_to_products(me);
                me.barrier();  // and nobody multiplies by the stage before the last any more
                begin_products(me);
                UNROLLED for (int j = 0; j < kStageProducts; ++j) {
                    UNROLLED for (int term = 0; term < kTerms; ++term) {
                        const uint64_t x =
                            swizzled_rows(tile.x + (from * Stages::kWords + term * n_tokens * kStageWords));
                        add_warpgroup_product(Numbers{}, me, numbers[r][j], columns_from(x, 16 * j), sums,
                                              span + r + j + term > 0);
                    }
                }
                end_products(me);
                if (r == 0 &&
                    span + 1 < a.n_padded / kSpan) {  // early enough for the next fence between the proxies
                    fetched[0] = Span::fetch(a, weights[0], span + 1, t);
                    fetched[1] = Span::fetch(a, weights[1], span + 1, t);
                }
                begin_stage(a, me, tile, 2 * span + r + kAhead, to);
                from = from + 1 < kStages ? from + 1 : 0;
                to = to + 1 < kStages ? to + 1 : 0;
                wait_for_products<1>(me, sums);  // the last stage's
            }
        }
        wait_for_products<0>(me, sums);

        const float unit = 1.0f / a.weight_factor;  // exact
        UNROLLED for (int m = 0; m < 2; ++m) {
            const int out = place.row + row + 8 * m;
            if (out >= a.n_out) continue;
            GLOBAL(float) rows = a.y + out;
            const float bias = a.bias ? float(a.bias[place.matrix_row + out]) : 0.0f;
            UNROLLED for (int c = 0; c < n_tokens / 8; ++c) {
                UNROLLED for (int j = 0; j < 2; ++j) {
                    const int i = 8 * c + 2 * t + j;
                    const int64_t at = tile.y_at[i];
                    const float sum = m == 0 ? sums.of[4 * c + j] : sums.of[4 * c + 2 + j];
                    const float y = sum * unit * float(tile.x_scales[i]) + bias;
                    if (at >= 0) rows[at] = y;
                }
            }
        }
    }
};

#define TILE_OF_WARPGROUPS(name, layout, n_tokens)                                                          \
    typedef WarpgroupShared<n_tokens, SpanOf<layout>::kTerms> name##_##layout##_shared;                     \
    WARPGROUP_KERNEL(name##_##layout, TileArguments, name##_##layout##_shared, kWarpgroupThreads) {         \
        const WarpgroupMemory tile = {shared.x + 0, shared.x_at + 0, shared.y_at + 0, shared.x_scales + 0}; \
        WarpgroupTile<layout, n_tokens>::compute(a, me, tile);                                              \
    }
#define TILES_OF_WARPGROUPS(layout)                    \
    TILE_OF_WARPGROUPS(warpgroup, layout, kWideTokens) \
    TILE_OF_WARPGROUPS(wide_warpgroup, layout, kWidestTokens)
INGOT_WARPGROUP_LAYOUTS(TILES_OF_WARPGROUPS)
#undef TILE_OF_WARPGROUPS
#undef TILES_OF_WARPGROUPS

}  // namespace ingot::runtime::gpu
