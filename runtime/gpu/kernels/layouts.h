#pragma once
// Weights on the device. A row's blocks are taken apart into planes, so that everything in them is aligned
// and neighbouring lanes read neighbouring bytes: first all blocks' largest field, then the next. A field of
// s bytes that begins at byte o of the planes' order lies, for block b of n, at n * o + b * s. (Host:
// gpu/planes.h.)
//
//     layout    planes: bytes of each block                                elements of a block
//     Q4_0      quants 16, d 2                                             32
//     Q4_1      quants 16, d and min 4                                     32
//     Q5_0      quants 16, high bits 4, d 2                                32
//     Q5_1      quants 16, high bits 4, d and min 4                        32
//     Q8_0      quants 16, the other quants 16, d 2                        32
//     IQ4_NL    quants 16, d 2                                             32
//     MXFP4     floats 16, exponent 1                                      32
//     Q2_K      quants 64, scales 16, d and dmin 4                         256
//     Q3_K      quants 64, high bits 32, scales 12, d 2                    256
//     Q4_K      quants 128, (d, dmin, scales) 16                           256
//     Q5_K      quants 128, high bits 32, (d, dmin, scales) 16             256
//     Q6_K      quants 128, high bits 64, scales 16, d 2                   256
//     IQ4_XS    quants 128, (d, high scales, low scales) 8                 256
//
// What a lane takes at a time is a unit: 32 weights whose quants share bytes, in two runs of 16 neighbours.
// A layout fetches a unit's bytes, Raw, and decodes them: what lies between the two is up to a kernel, which
// has to have many bytes under way. The bits are those of format/blocks/.
#include "dialect.h"

namespace ingot {
namespace runtime {
namespace gpu {

/// w[i] = scale[r] * (q[i] - the layout's kOffset) - min[r] for the weights of run r.
struct Unit {
    uint32_t q[8];  // signed bytes: run 0 in words 0 … 3, run 1 in words 4 … 7
    float scale[2];
    float min[2];
};

/// What is fetched of it: the quants of its runs, bits that belong to them (or quants of run 1), scales.
struct Raw {
    uint4 quants, high, head;
};

/// Which runs have one scale and one min: none, both of a unit, or those of two units, run 0 of units 2i and
/// 2i + 1 and run 1 of these. Of activations, both runs of a unit always have one scale.
enum : int { kNothing, kRunsOfUnit, kRunsOfNeighbours };

/// A row in planes.
struct Row {
    GLOBAL(const uint8_t) bytes;
    int n_blocks;
};

// ── Four bytes at a time ────────────────────────────────────────────────────────────────────────────────

/// Each byte minus n, as a signed byte; bytes below 128, n up to 128. The top bits keep bytes from borrowing.
FUNCTION uint32_t minus(uint32_t bytes, uint32_t n) {
    return ((bytes | 0x80808080u) - n * 0x01010101u) ^ 0x80808080u;
}
/// Bits 0 … 3 become bits 4 of bytes 0 … 3.
FUNCTION uint32_t spread(uint32_t bits) {
    return ((bits & 0xfu) * 0x02040810u) & 0x10101010u;
}
FUNCTION uint32_t byte_of(uint32_t word, int i) {
    return (word >> (8 * i)) & 0xffu;
}
FUNCTION uint32_t word_of(uint4 words, int i) {
    return i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
}
FUNCTION float low_half(uint32_t word) {
    return half_to_float(uint16_t(word & 0xffffu));
}
FUNCTION float high_half(uint32_t word) {
    return half_to_float(uint16_t(word >> 16));
}

/// 2^23 + byte i of the word, whose bits are the lowest of such a float.
FUNCTION float lifted_byte(uint32_t word, int i) {
    return float_of(0x4b000000u | byte_of(word, i));
}
/// scale * byte i of the word: 2^23 times a half is taken away exactly.
FUNCTION float scaled_byte(float scale, uint32_t word, int i) {
    return fma(scale, lifted_byte(word, i), -8388608.0f * scale);
}

/// (words >> shift) & mask, into one run.
FUNCTION void take_bits(uint4 words, int shift, uint32_t mask, LOCAL(Unit) unit, int run) {
    unit.q[4 * run + 0] = (words.x >> shift) & mask;
    unit.q[4 * run + 1] = (words.y >> shift) & mask;
    unit.q[4 * run + 2] = (words.z >> shift) & mask;
    unit.q[4 * run + 3] = (words.w >> shift) & mask;
}
/// The run |= bits of the words, which lie `shift` above where the mask wants them, or below.
FUNCTION void add_bits(uint4 words, int shift, uint32_t mask, LOCAL(Unit) unit, int run) {
    unit.q[4 * run + 0] |= rotated(words.x, shift) & mask;
    unit.q[4 * run + 1] |= rotated(words.y, shift) & mask;
    unit.q[4 * run + 2] |= rotated(words.z, shift) & mask;
    unit.q[4 * run + 3] |= rotated(words.w, shift) & mask;
}
FUNCTION void take_nibbles(uint4 words, LOCAL(Unit) unit) {
    take_bits(words, 0, 0x0f0f0f0fu, unit, 0);
    take_bits(words, 4, 0x0f0f0f0fu, unit, 1);
}
/// A unit whose weights are scale[r] * q[i] - min[r].
template <typename Layout>
FUNCTION Unit decode_all(Raw raw, int u) {
    Unit unit = Layout::decode(raw, u);
    if (Layout::kOffset != 0) {
        for (int i = 0; i < 8; ++i) unit.q[i] = minus(unit.q[i], uint32_t(Layout::kOffset));
    }
    return unit;
}
FUNCTION void set_scales(float scale, float min, LOCAL(Unit) unit) {
    unit.scale[0] = unit.scale[1] = scale;
    unit.min[0] = unit.min[1] = min;
}

// ── Blocks of 32: one unit, runs 0 … 15 and 16 … 31 ─────────────────────────────────────────────────────

struct Block32 {
    enum : int { kElements = 32, kUnits = 1, kHasMin = 0, kOffset = 0, kShared = kRunsOfUnit };
    FUNCTION static int run(int, int r) { return 16 * r; }  // the first element of a unit's run
};

struct Q4_0 : Block32 {
    enum : int { kOffset = 8 };
    FUNCTION static Raw fetch(Row row, int b, int) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 16 * b);
        raw.head.x = load<uint16_t>(row.bytes + 16 * row.n_blocks + 2 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int) {
        Unit unit;
        take_nibbles(raw.quants, unit);
        set_scales(low_half(raw.head.x), 0.0f, unit);
        return unit;
    }
};

struct Q4_1 : Block32 {
    enum : int { kHasMin = 1 };
    FUNCTION static Raw fetch(Row row, int b, int) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 16 * b);
        raw.head.x = load<uint32_t>(row.bytes + 16 * row.n_blocks + 4 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int) {
        Unit unit;
        take_nibbles(raw.quants, unit);
        set_scales(low_half(raw.head.x), -high_half(raw.head.x), unit);
        return unit;
    }
};

/// Nibbles, and bit i of the word as bit 4 of element i.
FUNCTION void take_fives(uint4 words, uint32_t bits, LOCAL(Unit) unit) {
    UNROLLED for (int i = 0; i < 4; ++i) {
        const uint32_t nibbles = word_of(words, i);
        unit.q[i] = (nibbles & 0x0f0f0f0fu) | spread(bits >> (4 * i));
        unit.q[4 + i] = ((nibbles >> 4) & 0x0f0f0f0fu) | spread(bits >> (16 + 4 * i));
    }
}

struct Q5_0 : Block32 {
    enum : int { kOffset = 16 };
    FUNCTION static Raw fetch(Row row, int b, int) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 16 * b);
        raw.high.x = load<uint32_t>(row.bytes + 16 * row.n_blocks + 4 * b);
        raw.head.x = load<uint16_t>(row.bytes + 20 * row.n_blocks + 2 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int) {
        Unit unit;
        take_fives(raw.quants, raw.high.x, unit);
        set_scales(low_half(raw.head.x), 0.0f, unit);
        return unit;
    }
};

struct Q5_1 : Block32 {
    enum : int { kHasMin = 1 };
    FUNCTION static Raw fetch(Row row, int b, int) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 16 * b);
        raw.high.x = load<uint32_t>(row.bytes + 16 * row.n_blocks + 4 * b);
        raw.head.x = load<uint32_t>(row.bytes + 20 * row.n_blocks + 4 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int) {
        Unit unit;
        take_fives(raw.quants, raw.high.x, unit);
        set_scales(low_half(raw.head.x), -high_half(raw.head.x), unit);
        return unit;
    }
};

struct Q8_0 : Block32 {
    FUNCTION static Raw fetch(Row row, int b, int) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 16 * b);
        raw.high = load_once<uint4>(row.bytes + 16 * row.n_blocks + 16 * b);
        raw.head.x = load<uint16_t>(row.bytes + 32 * row.n_blocks + 2 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int) {
        Unit unit;
        take_bits(raw.quants, 0, 0xffffffffu, unit, 0);
        take_bits(raw.high, 0, 0xffffffffu, unit, 1);
        set_scales(low_half(raw.head.x), 0.0f, unit);
        return unit;
    }
};

/// Nibbles become bytes of a table of 16, which is four words.
FUNCTION void take_entries(uint4 table, uint4 nibbles, LOCAL(Unit) unit) {
    UNROLLED for (int i = 0; i < 4; ++i) {
        const uint2 entries = look_up(table, word_of(nibbles, i));
        unit.q[i] = entries.x;
        unit.q[4 + i] = entries.y;
    }
}
/// -127 -104 -83 -65 | -49 -35 -22 -10 | 1 13 25 38 | 53 69 89 113
TABLE(uint32_t, kIq4Values, 4) = {0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u};
FUNCTION uint4 iq4_values() {
    return uint4{kIq4Values[0], kIq4Values[1], kIq4Values[2], kIq4Values[3]};
}
/// 0 1 2 3 | 4 6 8 12 | 0 -1 -2 -3 | -4 -6 -8 -12: twice the 4-bit floats
TABLE(uint32_t, kFp4Doubled, 4) = {0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu};
FUNCTION uint4 fp4_doubled() {
    return uint4{kFp4Doubled[0], kFp4Doubled[1], kFp4Doubled[2], kFp4Doubled[3]};
}

struct IQ4_NL : Block32 {
    FUNCTION static Raw fetch(Row row, int b, int) { return Q4_0::fetch(row, b, 0); }
    FUNCTION static Unit decode(Raw raw, int) {
        Unit unit;
        take_entries(iq4_values(), raw.quants, unit);
        set_scales(low_half(raw.head.x), 0.0f, unit);
        return unit;
    }
};

/// A word of a block of 4-bit floats, elements 4i … 4i + 3 in its low nibbles and 16 + 4i … in the high ones.
struct FloatWord {
    uint32_t word, exponent;
};
/// 2^(exponent - 127), of which 2^-127 is a subnormal float.
FUNCTION float power_of(uint32_t exponent) {
    return float_of(max(exponent << 23, uint32_t(0x00400000)));
}
/// Elements of a byte and of the next but one: the bits of a 4-bit float are those of a half that is 2^-14 of
/// it.
FUNCTION void two_halves(uint32_t signs, uint32_t others, LOCAL(float) first, LOCAL(float) second) {
    const uint32_t halves = (signs & 0x80008000u) | (others & 0x0e000e00u);
    first = low_half(halves);
    second = high_half(halves);
}

struct MXFP4 : Block32 {
    FUNCTION static FloatWord fetch_word(Row row, int b, int i) {
        FloatWord floats;
        floats.word = load<uint32_t>(row.bytes + (16 * b + 4 * i));
        floats.exponent = row.bytes[16 * row.n_blocks + b];
        return floats;
    }
    FUNCTION static Raw fetch(Row row, int b, int) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 16 * b);
        raw.head.x = row.bytes[16 * row.n_blocks + b];
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int) {
        Unit unit;
        take_entries(fp4_doubled(), raw.quants, unit);
        set_scales(0.5f * power_of(raw.head.x), 0.0f, unit);  // of twice the floats
        return unit;
    }
};

// ── Super-blocks of 256: eight units ────────────────────────────────────────────────────────────────────

/// Two bits of four elements 32 apart in a byte. Unit u: half of the super-block u / 4, half of its bytes u /
/// 2 % 2, bits 4 (u % 2) … and the next two.
struct TwoBits {
    enum : int { kElements = 256, kUnits = 8, kHasMin = 0, kOffset = 0, kShared = kNothing };
    FUNCTION static int run(int u, int r) { return 128 * (u / 4) + 64 * (u % 2) + 32 * r + 16 * (u / 2 % 2); }
    /// Two units have them.
    FUNCTION static uint4 fetch_quants(GLOBAL(const uint8_t) quants, int u) {
        return load<uint4>(quants + 32 * (u / 4) + 16 * (u / 2 % 2));
    }
    FUNCTION static void take_quants(uint4 quants, int u, LOCAL(Unit) unit) {
        take_bits(quants, 4 * (u % 2), 0x03030303u, unit, 0);
        take_bits(quants, 4 * (u % 2) + 2, 0x03030303u, unit, 1);
    }
    // A scale for each run: of four bytes, shifted so, run r's is byte 2r.
    FUNCTION static int shift_of_scales(int u) { return 8 * (u / 2 % 2); }
};

struct Q2_K : TwoBits {
    enum : int { kHasMin = 1 };
    FUNCTION static Raw fetch(Row row, int b, int u) {
        Raw raw = {};
        raw.quants = fetch_quants(row.bytes + 64 * b, u);
        raw.head.x = load<uint32_t>(row.bytes + 64 * row.n_blocks + 16 * b + 8 * (u / 4) + 4 * (u % 2));
        raw.head.y = load<uint32_t>(row.bytes + 80 * row.n_blocks + 4 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int u) {
        Unit unit;
        take_quants(raw.quants, u, unit);
        const uint32_t both = raw.head.x >> shift_of_scales(u);
        const uint32_t scales = both & 0x000f000fu, mins = (both >> 4) & 0x000f000fu;
        for (int r = 0; r < 2; ++r) {
            unit.scale[r] = scaled_byte(low_half(raw.head.y), scales, 2 * r);
            unit.min[r] = scaled_byte(high_half(raw.head.y), mins, 2 * r);
        }
        return unit;
    }
};

struct Q3_K : TwoBits {
    enum : int { kOffset = 4 };
    // Of the twelve bytes of scales (format/blocks/q3_k.h), low bits are in the first eight, in two words,
    // and high ones in the last four.
    FUNCTION static Raw fetch(Row row, int b, int u) {
        Raw raw = {};
        raw.quants = fetch_quants(row.bytes + 64 * b, u);
        raw.high = load<uint4>(row.bytes + 64 * row.n_blocks + 32 * b + 16 * (u / 2 % 2));
        GLOBAL(const uint8_t) scales = row.bytes + 96 * row.n_blocks + 12 * b;
        raw.head.x = load<uint32_t>(scales + 4 * (u % 2));
        raw.head.y = load<uint32_t>(scales + 8);
        raw.head.z = load<uint16_t>(row.bytes + 108 * row.n_blocks + 2 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int u) {
        Unit unit;
        take_quants(raw.quants, u, unit);
        const uint32_t low = raw.head.x >> (shift_of_scales(u) + 4 * (u / 4));
        const uint32_t top = rotated(raw.head.y, shift_of_scales(u) + 2 * (run(u, 0) / 64) - 4);
        const uint32_t scales = (low & 0x000f000fu) | (top & 0x00300030u);
        for (int r = 0; r < 2; ++r) {
            add_bits(raw.high, run(u, r) / 32 - 2, 0x04040404u, unit, r);
            unit.scale[r] = low_half(raw.head.z) * (lifted_byte(scales, 2 * r) - (8388608.0f + 32.0f));
            unit.min[r] = 0.0f;
        }
        return unit;
    }
};

/// Two nibbles of elements 32 apart in a byte. Unit u: 64 elements u / 2, half of their bytes u % 2.
struct TwoNibbles {
    enum : int { kElements = 256, kUnits = 8, kHasMin = 1, kOffset = 0, kShared = kRunsOfNeighbours };
    FUNCTION static int run(int u, int r) { return 64 * (u / 2) + 32 * r + 16 * (u % 2); }
    /// The head is d, dmin (halves) and twelve bytes of scales and minimums: format/blocks/q4_k.h.
    /// Number s = 2 (u / 2) + r of eight is all of it in byte s, or from the fifth on has its upper two bits
    /// there and the others in a nibble of the last word. Both runs' become bytes 0 and 1 of a word.
    FUNCTION static void take_scales(uint4 head, int u, LOCAL(Unit) unit) {
        const bool is_split = u >= 4;
        const int byte = 16 * (u / 2 % 2), shift = is_split ? byte + 2 : byte;
        const uint32_t whole = is_split ? 0x3030u : 0x3f3fu, nibble = is_split ? 0x0f0fu : 0u;
        const uint32_t scales = ((head.y >> shift) & whole) | ((head.w >> byte) & nibble);
        const uint32_t mins = ((head.z >> shift) & whole) | ((head.w >> (byte + 4)) & nibble);
        for (int r = 0; r < 2; ++r) {
            unit.scale[r] = scaled_byte(low_half(head.x), scales, r);
            unit.min[r] = scaled_byte(high_half(head.x), mins, r);
        }
    }
};

struct Q4_K : TwoNibbles {
    FUNCTION static Raw fetch(Row row, int b, int u) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 128 * b + 16 * u);
        raw.head = load<uint4>(row.bytes + 128 * row.n_blocks + 16 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int u) {
        Unit unit;
        take_nibbles(raw.quants, unit);
        take_scales(raw.head, u, unit);
        return unit;
    }
};

struct Q5_K : TwoNibbles {
    FUNCTION static Raw fetch(Row row, int b, int u) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 128 * b + 16 * u);
        raw.high = load<uint4>(row.bytes + 128 * row.n_blocks + 32 * b + 16 * (u % 2));
        raw.head = load<uint4>(row.bytes + 160 * row.n_blocks + 16 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int u) {
        Unit unit;
        take_nibbles(raw.quants, unit);
        for (int r = 0; r < 2; ++r) add_bits(raw.high, run(u, r) / 32 - 4, 0x10101010u, unit, r);
        take_scales(raw.head, u, unit);
        return unit;
    }
};

struct Q6_K {
    enum : int { kElements = 256, kUnits = 8, kHasMin = 0, kOffset = 32, kShared = kNothing };
    // Nibbles of elements 64 apart in a byte. Unit u: 128 elements u / 4, a quarter of their bytes u % 4.
    FUNCTION static int run(int u, int r) { return 128 * (u / 4) + 64 * r + 16 * (u % 4); }
    // Scales are bytes: run r's is byte u % 4 of word r of these two.
    FUNCTION static Raw fetch(Row row, int b, int u) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 128 * b + 16 * u);
        raw.high = load<uint4>(row.bytes + 128 * row.n_blocks + 64 * b + 32 * (u / 4) + 16 * (u % 2));
        const uint2 scales = load<uint2>(row.bytes + 192 * row.n_blocks + 16 * b + 8 * (u / 4));
        raw.head.x = scales.x;
        raw.head.y = scales.y;
        raw.head.z = load<uint16_t>(row.bytes + 208 * row.n_blocks + 2 * b);
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int u) {
        Unit unit;
        take_nibbles(raw.quants, unit);
        for (int r = 0; r < 2; ++r) {
            add_bits(raw.high, 2 * (run(u, r) / 32 % 4) - 4, 0x30303030u, unit, r);
            const uint32_t scale = byte_of(r == 0 ? raw.head.x : raw.head.y, u % 4);
            unit.scale[r] = low_half(raw.head.z) * float(int8_t(scale));
            unit.min[r] = 0.0f;
        }
        return unit;
    }
};

struct IQ4_XS {
    enum : int { kElements = 256, kUnits = 8, kHasMin = 0, kOffset = 0, kShared = kRunsOfUnit };
    FUNCTION static int run(int u, int r) { return 32 * u + 16 * r; }
    FUNCTION static Raw fetch(Row row, int b, int u) {
        Raw raw = {};
        raw.quants = load_once<uint4>(row.bytes + 128 * b + 16 * u);
        const uint2 head = load<uint2>(row.bytes + 128 * row.n_blocks + 8 * b);
        raw.head.x = head.x;
        raw.head.y = head.y;
        return raw;
    }
    FUNCTION static Unit decode(Raw raw, int u) {
        Unit unit;
        take_entries(iq4_values(), raw.quants, unit);
        const uint32_t low = (raw.head.y >> (4 * u)) & 0xfu;
        const uint32_t high = (raw.head.x >> (16 + 2 * u)) & 3u;
        set_scales(low_half(raw.head.x) * float(int(low | (high << 4)) - 32), 0.0f, unit);
        return unit;
    }
};

// ── Numbers ─────────────────────────────────────────────────────────────────────────────────────────────

// Sixteen bytes at a time: element j of those.

struct F32 {
    enum : int { kAtOnce = 4, kBytes = 4 };
    FUNCTION static float at(uint4 words, int j) { return float_of(word_of(words, j)); }
};
struct F16 {
    enum : int { kAtOnce = 8, kBytes = 2 };
    FUNCTION static float at(uint4 words, int j) {
        return half_to_float(uint16_t(word_of(words, j / 2) >> (16 * (j % 2))));
    }
};
struct BF16 {
    enum : int { kAtOnce = 8, kBytes = 2 };
    FUNCTION static float at(uint4 words, int j) {
        return float_of((word_of(words, j / 2) >> (16 * (j % 2))) << 16);
    }
};

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
