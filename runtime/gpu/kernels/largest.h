#pragma once
// The largest numbers of a row. A warp takes 1,024 of them, 32 neighbours a lane, and leaves the k largest of
// these; what all warps leave are the numbers of the next launch.
#include "arguments.h"
#include "quantize.h"

namespace ingot {
namespace runtime {
namespace gpu {

enum : int { kNumbersOfLane = kLargestPart / 32 };

/// Grows with x, from 1 on; NaN counts as -INFINITY, -0 as 0.
FUNCTION uint32_t rank_of(float x) {
    uint32_t bits = bits_of(x == 0.0f ? 0.0f : x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) bits = 0xff800000u;
    return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
FUNCTION float number_of_rank(uint32_t rank) {
    return float_of((rank >> 31) != 0 ? rank & 0x7fffffffu : ~rank);
}

/// The sum of the lanes' values up to and with its own.
FUNCTION int sum_so_far(Thread me, int value) {
    for (uint32_t n = 1; n < 32; n *= 2) {
        const int before = me.shuffle(value, me.lane() >= n ? me.lane() - n : me.lane());
        if (me.lane() >= n) value += before;
    }
    return value;
}

struct Ranks {
    uint32_t of[kNumbersOfLane];  // 0: there is no number
};

/// How many of the warp's ranks are at least so large.
FUNCTION int n_from(Thread me, LOCAL(const Ranks) ranks, uint32_t least) {
    float n = 0.0f;
    for (int j = 0; j < kNumbersOfLane; ++j) n += ranks.of[j] >= least ? 1.0f : 0.0f;
    return int(me.lane_sum(n));
}

KERNEL(choose_largest, LargestArguments) {
    const int part = int(me.x) * kLargestPart, first = part + kNumbersOfLane * int(me.lane());
    const int64_t row = int64_t(me.y) * a.n;
    Ranks ranks;
    UNROLLED for (int j = 0; j < kNumbersOfLane; j += 4) {
        const Four four = take_four(a.x + row, first + j, a.n, a.is_wide);
        for (int k = 0; k < 4; ++k) ranks.of[j + k] = first + j + k < a.n ? rank_of(four.x[k]) : 0u;
    }
    // The k-th largest rank, bit by bit; those above it are in, and the first of its equals.
    const int k = min(a.k, a.n - part);
    uint32_t least = 0;
    for (uint32_t bit = 0x80000000u; bit != 0; bit /= 2) {
        if (n_from(me, ranks, least | bit) >= k) least |= bit;
    }
    const int n_equals = k - (least == 0xffffffffu ? 0 : n_from(me, ranks, least + 1));
    int n_above = 0, n_equal = 0;  // of the lane's
    for (int j = 0; j < kNumbersOfLane; ++j) {
        n_above += ranks.of[j] > least ? 1 : 0;
        n_equal += ranks.of[j] == least ? 1 : 0;
    }
    int n_left = n_equals - (sum_so_far(me, n_equal) - n_equal);  // equals that may still be taken
    const int n_mine = n_above + min(max(n_left, 0), n_equal);
    int64_t to = int64_t(me.y) * a.n_left + int(me.x) * a.k + sum_so_far(me, n_mine) - n_mine;
    for (int j = 0; j < kNumbersOfLane; ++j) {
        const bool is_equal = ranks.of[j] == least;
        if (ranks.of[j] < least || (is_equal && n_left <= 0)) continue;
        if (is_equal) --n_left;
        a.y[to] = number_of_rank(ranks.of[j]);
        a.places_in_y[to] = a.places ? int32_t(a.places[row + first + j]) : first + j;
        ++to;
    }
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
