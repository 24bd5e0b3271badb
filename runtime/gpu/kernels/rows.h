#pragma once
// Kernels of which each thread computes one element, and norms.
#include "arguments.h"
#include "quantize.h"

namespace ingot {
namespace runtime {
namespace gpu {

/// The thread's number in a launch of one-dimensional groups.
FUNCTION int64_t number_of(Thread me) {
    return int64_t(me.x) * me.n_threads + me.index;
}

/// erf, to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
FUNCTION float error_function(float x) {
    const float t = 1.0f / (1.0f + 0.3275911f * fabs(x));
    float sum = 1.061405429f;
    sum = fma(sum, t, -1.453152027f);
    sum = fma(sum, t, 1.421413741f);
    sum = fma(sum, t, -0.284496736f);
    sum = fma(sum, t, 0.254829592f);
    const float value = 1.0f - sum * t * exp(-x * x);
    return x < 0.0f ? -value : value;
}

/// The curves of runtime's Activation, by number.
FUNCTION float curve(int activation, float x) {
    switch (activation) {
        case 0:  // Silu
            return x / (1.0f + exp(-x));
        case 1:  // Gelu
            return x * 0.5f * (1.0f + error_function(x * 0.70710678f));
        case 2:  // GeluTanh
            return x * 0.5f * (1.0f + tanh(0.79788456f * (x + 0.044715f * x * x * x)));
        case 3:  // Relu
            return max(x, 0.0f);
        case 4:  // ReluSquared
            return max(x, 0.0f) * max(x, 0.0f);
        case 5:  // Sigmoid
            return 1.0f / (1.0f + exp(-x));
        default:  // SiluClamped
            return min(x, 7.0f) / (1.0f + exp(-1.702f * min(x, 7.0f)));
    }
}

FUNCTION float gated(int activation, float gate, float up) {
    if (activation == 6) up = min(max(up, -7.0f), 7.0f) + 1.0f;
    return curve(activation, gate) * up;
}

template <typename Arguments>
FUNCTION float activated(ARGUMENTS(Arguments) a, int64_t i) {
    return gated(a.activation, a.gate[i], a.up ? float(a.up[i]) : 1.0f);
}

KERNEL(activate, ActivateArguments) {
    const int64_t i = number_of(me);
    if (i < a.n) a.y[i] = activated(a, i);
}

/// A warp has 256 elements of a row, a lane eight.
KERNEL(activate_rows, ActivateRowsArguments) {
    const int first = int(me.x * me.n_warps() + me.warp()) * 256;
    const int64_t row = int64_t(me.y) * a.n;
    Eight eight = take_eight(me, a.of.gate + row, first, a.n, a.is_wide);
    Eight up = {{1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f}};
    if (a.of.up) up = take_eight(me, a.of.up + row, first, a.n, a.is_wide);
    for (int j = 0; j < 8; ++j) eight.x[j] = gated(a.of.activation, eight.x[j], up.x[j]);
    put_eight(me, a.of.y + row, first, a.n, a.is_wide, eight);
    quantize_part(me, a.to, eight, row, first, a.n);
}

KERNEL(map, MapArguments) {
    const int64_t i = number_of(me);
    if (i >= a.n) return;
    const float x = a.x[i];
    if (a.function == 0) a.x[i] = x * a.value;                     // Scale
    if (a.function == 1) a.x[i] = min(max(x, -a.value), a.value);  // Clamp
    if (a.function == 2) a.x[i] = a.value * tanh(x / a.value);     // SoftCap
}

KERNEL(add, AddArguments) {
    const int64_t i = number_of(me);
    if (i < a.n) a.y[i] = a.y[i] + a.x[i];
}

KERNEL(scale_rows, ScaleRowsArguments) {
    const int64_t i = number_of(me);
    if (i >= a.n_all) return;
    const int64_t row = i / a.n;
    a.y[i] = a.scales[row] * a.x[row / a.n_repeats * a.n + i % a.n];
}

KERNEL(copy_rows, CopyRowsArguments) {
    const int64_t i = number_of(me);
    if (i < a.n_all) a.y[i] = a.x[int64_t(a.rows[i / a.n]) * a.n + i % a.n];
}

KERNEL(copy_columns, CopyColumnsArguments) {
    const int64_t i = number_of(me);
    if (i >= a.n_all) return;
    const int64_t row = i / a.n, column = i % a.n;
    a.y[row * a.y_stride + a.y_first + column] = a.x[row * a.x_stride + a.x_first + column];
}

KERNEL(combine, CombineArguments) {
    const int64_t i = number_of(me);
    if (i >= a.n_all) return;
    const int64_t token = i / a.n, column = i % a.n;
    float sum = 0.0f;
    for (int64_t slot = token * a.n_used; slot < (token + 1) * a.n_used; ++slot)
        sum += a.weights[slot] * a.x[slot * a.n + column];
    a.y[i] = sum;
}

/// To nearest, ties to even; NaN stays NaN.
FUNCTION uint16_t float_to_bf16(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
    return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// Types whose elements are numbers; see runtime's CacheType.
FUNCTION void write_number(GLOBAL(uint8_t) cache, int type, int64_t at, float x) {
    if (type == 1) {  // F32
        store<float>(cache + 4 * at, x);
    } else {
        store<uint16_t>(cache + 2 * at, type == 2 ? float_to_bf16(x) : float_to_half(x));
    }
}

KERNEL(write_cache, WriteCacheArguments) {
    const int64_t i = number_of(me);
    if (i >= a.n_all) return;
    write_number(a.cache, a.type, int64_t(a.positions[i / a.n]) * a.n + i % a.n, a.x[i]);
}

/// A warp rounds a block of 32, as the CPU does: a half that scales, then the quants.
KERNEL(write_cache_q8_0, WriteCacheArguments) {
    const int64_t block = int64_t(me.x) * me.n_warps() + me.warp();
    if (block >= a.n_all / 32) return;
    const int64_t i = block * 32 + me.lane();
    const float x = a.x[i];
    const uint16_t d = float_to_half(min(me.lane_max(fabs(x)) / 127.0f, 65504.0f));
    const float scale = half_to_float(d);
    const float factor = scale > 0.0f ? 1.0f / scale : 0.0f;
    const int quant = int(rint(min(max(x * factor, -127.0f), 127.0f)));
    const int64_t first = block * 32;  // of a row: n is a multiple of 32
    const int64_t at = (int64_t(a.positions[first / a.n]) * a.n + first % a.n) / 32 * 34;
    if (me.lane() == 0) store<uint16_t>(a.cache + at, d);
    store<uint8_t>(a.cache + at + 2 + me.lane(), uint8_t(quant));
}

/// The cosine and sine of position * frequency. A float would lose the digits that matter of a large product,
/// so it is taken in two, head + tail (fma gives the exact rest), and the sums of angles are written out; the
/// tail is below 2^-7 for positions up to 2^17, so that three terms do.
struct Turn {
    float c, s;
};
FUNCTION Turn turn_of(float position, float frequency) {
    const float head = position * frequency;
    const float tail = fma(position, frequency, -head);
    const float small_cos = 1.0f - 0.5f * tail * tail;
    const float small_sin = tail - tail * tail * tail / 6.0f;
    return {cos(head) * small_cos - sin(head) * small_sin, sin(head) * small_cos + cos(head) * small_sin};
}

/// What thread i of a part does: it turns a pair, or takes care of an element behind or before the pairs.
FUNCTION void turn_part(ARGUMENTS(RopeArguments) a, ARGUMENTS(RopeArguments::Part) part, int64_t i) {
    const int number = int(i % part.n_threads);
    const int64_t row = i / part.n_threads;  // token, head
    const int position = a.positions[row / part.n_heads];
    const int64_t in_cache = (int64_t(position) * part.n_heads + row % part.n_heads) * part.head_dim;
    GLOBAL(float) x = part.x + row * part.head_dim;
    if (number >= a.n_pairs) {
        const int rest = number - a.n_pairs;
        const int element = rest < part.first ? rest : rest + 2 * a.n_pairs;
        write_number(part.cache, a.cache_type, in_cache + element, x[element]);
        return;
    }
    const Turn turn = turn_of(float(position), a.frequencies[number]);
    const float c = turn.c * a.magnitude, s = turn.s * a.magnitude;
    const int at = part.first + (a.interleaved != 0 ? 2 * number : number);
    const int other = at + (a.interleaved != 0 ? 1 : a.n_pairs);
    const float before = x[at], before_other = x[other];
    const float turned = before * c - before_other * s, turned_other = before * s + before_other * c;
    x[at] = turned;
    x[other] = turned_other;
    if (!part.cache) return;
    write_number(part.cache, a.cache_type, in_cache + at, turned);
    write_number(part.cache, a.cache_type, in_cache + other, turned_other);
}

KERNEL(rope, RopeArguments) {
    int64_t i = number_of(me);
    for (int p = 0; p < 2; ++p) {
        const int64_t n = int64_t(a.n_tokens) * a.parts[p].n_heads * a.parts[p].n_threads;
        if (i < n) {
            turn_part(a, a.parts[p], i);
            return;
        }
        i -= n;
    }
    if (i >= int64_t(a.n_tokens) * a.n_values) return;
    const int64_t at = int64_t(a.positions[i / a.n_values]) * a.n_values + i % a.n_values;
    write_number(a.value_cache, a.cache_type, at, a.values[i]);
}

struct NormShared {
    GROUP_ARRAY(float, parts, 32);  // of each warp
};

/// The sum over the group; every thread gets it.
FUNCTION float group_sum(Thread me, float value, GROUP(float) parts) {
    const float part = me.lane_sum(value);
    me.barrier();  // the last sum has been read
    if (me.lane() == 0) parts[me.warp()] = part;
    me.barrier();
    float sum = 0.0f;
    for (uint32_t w = 0; w < me.n_warps(); ++w) sum += parts[w];
    return sum;
}

/// x, brought to unit size.
FUNCTION float normed(ARGUMENTS(NormArguments) a, float x, float mean, float factor, float weight,
                      float bias) {
    const float y = (x - mean) * factor * weight;
    return a.bias ? y + bias : y;
}

/// A group norms a row; x_sum is x, where something is added to it. The variance is taken about the mean,
/// which loses no digits.
GROUP_KERNEL(norm, NormArguments, NormShared) {
    const int64_t row = int64_t(me.x) * a.stride;
    const int64_t weights = int64_t(int(me.x) % a.n_groups) * a.n;
    const int first = 4 * int(me.index), step = 4 * int(me.n_threads);
    float sum = 0.0f, squares = 0.0f;
    for (int i = first; i < a.n; i += step) {
        Four x = take_four(a.x + row, i, a.n, a.is_wide);
        if (a.added) {
            const Four added = take_four(a.added + row, i, a.n, a.is_wide);
            for (int j = 0; j < 4; ++j) x.x[j] += added.x[j];
            put_four(a.x_sum + row, i, a.n, a.is_wide, x);
        }
        for (int j = 0; j < 4; ++j) {
            sum += x.x[j];
            squares = fma(x.x[j], x.x[j], squares);
        }
    }
    float mean = 0.0f;
    if (a.is_layer != 0) {
        mean = group_sum(me, sum, shared.parts) / float(a.n);
        squares = 0.0f;
        for (int i = first; i < a.n; i += step) {
            const Four x = take_four(a.x + row, i, a.n, a.is_wide);
            for (int j = 0; j < 4; ++j) {
                const float difference = i + j < a.n ? x.x[j] - mean : 0.0f;
                squares = fma(difference, difference, squares);
            }
        }
    }
    const float factor = 1.0f / sqrt(group_sum(me, squares, shared.parts) / float(a.n) + a.epsilon);
    if (!a.to.quants) {
        for (int i = first; i < a.n; i += step) {
            Four x = take_four(a.x + row, i, a.n, a.is_wide);
            const Four weight = take_four(a.weight + weights, i, a.n, a.is_wide);
            Four bias = {{0.0f, 0.0f, 0.0f, 0.0f}};
            if (a.bias) bias = take_four(a.bias + weights, i, a.n, a.is_wide);
            for (int j = 0; j < 4; ++j) x.x[j] = normed(a, x.x[j], mean, factor, weight.x[j], bias.x[j]);
            put_four(a.y + row, i, a.n, a.is_wide, x);
        }
        return;
    }
    for (int part = 256 * int(me.warp()); part < a.n; part += 256 * int(me.n_warps())) {
        Eight x = take_eight(me, a.x + row, part, a.n, a.is_wide);
        const Eight weight = take_eight(me, a.weight + weights, part, a.n, a.is_wide);
        Eight bias = {{0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f}};
        if (a.bias) bias = take_eight(me, a.bias + weights, part, a.n, a.is_wide);
        for (int j = 0; j < 8; ++j) x.x[j] = normed(a, x.x[j], mean, factor, weight.x[j], bias.x[j]);
        put_eight(me, a.y + row, part, a.n, a.is_wide, x);
        quantize_part(me, a.to, x, row, part, a.n);
    }
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
