// Attention of blocks of tokens, each instruction set that has it against the scalar oracle's of one token.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "format/blocks/q8_0.h"
#include "format/decode.h"
#include "format/half.h"
#include "runtime/cpu/kernels.h"
#include "tests/catch.h"
#include "tests/runtime/kernels.h"

using namespace ingot;
using namespace ingot::runtime::cpu;
using ingot::runtime::cache_bytes;
using ingot::runtime::CacheType;
using ingot::runtime::tensor_type;
using namespace kernel_tests;

namespace {

struct Case {
    int64_t n_tokens, n_heads, n_before, key_dim, value_dim;
    int64_t window = 0;  // positions that a token sees; 0: all
    bool adjusted = false;
    CacheType cache = CacheType::F16;
};

// Rows in a type of the cache: floats rounded to it. Of Q8_0 whole blocks.
std::vector<uint8_t> stored(CacheType type, const std::vector<float>& x) {
    std::vector<uint8_t> bytes(size_t(cache_bytes(type, int64_t(x.size()))));
    for (size_t i = 0; i < x.size(); ++i) {
        const uint16_t half = type == CacheType::F16 ? float_to_half(x[i]) : float_to_bf16(x[i]);
        if (type == CacheType::F32) std::memcpy(&bytes[4 * i], &x[i], 4);
        if (type == CacheType::F16 || type == CacheType::BF16) std::memcpy(&bytes[2 * i], &half, 2);
        if (type == CacheType::Q8_0) {  // steps of 1/8 reach far enough
            auto& block = reinterpret_cast<BlockQ8_0*>(bytes.data())[i / 32];
            block.d = float_to_half(0.125f);
            block.quants[i % 32] = int8_t(std::clamp(std::round(x[i] * 8), -127.0f, 127.0f));
        }
    }
    return bytes;
}

/// One KV head's cache, queries, and what is needed to attend to them.
struct Problem {
    explicit Problem(const Case& of, float positive_size = 0)
        : c(of),
          n_positions(c.n_before + c.n_tokens),
          key_stride(c.key_dim * 2 + (c.cache == CacheType::Q8_0 ? 32 : 3)),  // two KV heads and a gap
          value_stride(c.value_dim + (c.cache == CacheType::Q8_0 ? 64 : 5)),
          queries(random_floats(size_t(c.n_tokens * c.n_heads * c.key_dim), 1)),
          sinks(random_floats(size_t(c.n_heads), 3)) {
        floats = random_floats(size_t(n_positions * (key_stride + value_stride)), 2);
        if (positive_size != 0) {
            for (float& q : queries) q = -std::fabs(q) * positive_size;
            for (float& x : floats) x = std::fabs(x);
        }
        bytes = stored(c.cache, floats);
        decode_row(tensor_type(c.cache), bytes.data(), floats.data(), floats.size());
        for (int64_t h = 0; h < c.n_heads; ++h) slopes.push_back(std::exp2(-float(h + 1)));
        for (int64_t t = 0; t < c.n_tokens; ++t) {
            ends.push_back(c.n_before + t + 1);
            begins.push_back(c.window == 0 ? 0 : std::max<int64_t>(0, ends.back() - c.window));
        }
    }

    // (n_tokens, n_heads, value_dim) by the oracle, token by token
    std::vector<float> expected() const {
        std::vector<float> output(size_t(c.n_tokens * c.n_heads * c.value_dim));
        std::vector<float> scores(size_t(c.n_heads * n_positions));
        for (int64_t t = 0; t < c.n_tokens; ++t) {
            const int64_t begin = begins[size_t(t)];
            scalar_kernels().attention(
                {.queries = queries.data() + t * c.n_heads * c.key_dim,
                 .n_queries = c.n_heads,
                 .keys = floats.data() + begin * key_stride,
                 .values = floats.data() + n_positions * key_stride + begin * value_stride,
                 .float_cache = true,
                 .key_stride = key_stride,
                 .value_stride = value_stride,
                 .n_positions = ends[size_t(t)] - begin,
                 .key_dim = c.key_dim,
                 .value_dim = c.value_dim,
                 .scale = 1 / std::sqrt(float(c.key_dim)),
                 .soft_cap = c.adjusted ? 2.0f : 0.0f,
                 .slopes = c.adjusted ? slopes.data() : nullptr,
                 .sinks = c.adjusted ? sinks.data() : nullptr,
                 .scores = scores.data(),
                 .output = output.data() + t * c.n_heads * c.value_dim});
        }
        return output;
    }

    // The same by blocks of tokens.
    std::vector<float> found(const Kernels& kernels, int64_t block_tokens) const {
        constexpr float kUntouched = -12345.0f;
        const int64_t output_stride = c.n_heads * c.value_dim + 1;
        std::vector<float> padded(size_t(c.n_tokens * output_stride), kUntouched);
        std::vector<float> scratch(
            kernels.attention_block.scratch_floats(block_tokens * c.n_heads, c.key_dim, c.value_dim) + 1,
            kUntouched);
        for (int64_t t = 0; t < c.n_tokens; t += block_tokens) {
            kernels.attention_block.function(
                {.queries = queries.data() + t * c.n_heads * c.key_dim,
                 .query_stride = c.n_heads * c.key_dim,
                 .n_tokens = std::min(block_tokens, c.n_tokens - t),
                 .n_heads = c.n_heads,
                 .begins = begins.data() + t,
                 .ends = ends.data() + t,
                 .keys = bytes.data(),
                 .values = bytes.data() + cache_bytes(c.cache, n_positions * key_stride),
                 .cache = c.cache,
                 .key_stride = key_stride,
                 .value_stride = value_stride,
                 .key_dim = c.key_dim,
                 .value_dim = c.value_dim,
                 .scale = 1 / std::sqrt(float(c.key_dim)),
                 .soft_cap = c.adjusted ? 2.0f : 0.0f,
                 .slopes = c.adjusted ? slopes.data() : nullptr,
                 .sinks = c.adjusted ? sinks.data() : nullptr,
                 .scratch = scratch.data(),
                 .output = padded.data() + t * output_stride,
                 .output_stride = output_stride});
        }
        CHECK(scratch.back() == kUntouched);
        std::vector<float> output;
        for (int64_t t = 0; t < c.n_tokens; ++t) {
            const auto begin = padded.begin() + t * output_stride;
            output.insert(output.end(), begin, begin + output_stride - 1);
            CHECK(begin[output_stride - 1] == kUntouched);
        }
        return output;
    }

    Case c;
    int64_t n_positions, key_stride, value_stride;
    std::vector<float> queries, floats, slopes, sinks;
    std::vector<uint8_t> bytes;  // keys (n_positions, key_stride), then values; `floats` are the same decoded
    std::vector<int64_t> begins, ends;
};

}  // namespace

TEST_CASE(
    "attention of blocks agrees with the scalar oracle, and does not depend on how tokens are blocked") {
    const Case cases[] = {
        {1, 1, 0, 64, 64},        {2, 1, 0, 16, 16},        {7, 3, 0, 64, 64},     {24, 4, 0, 128, 128},
        {5, 2, 60, 80, 80},       {13, 1, 190, 96, 72},     {3, 7, 500, 24, 70},   {70, 1, 0, 8, 20},
        {9, 8, 65, 192, 64},      {40, 2, 100, 64, 64, 17}, {66, 1, 0, 32, 32, 1}, {20, 3, 300, 64, 64, 64},
        {4, 2, 130, 40, 40, 100},
    };
    for (const Kernels* table : all_kernels()) {
        if (!table->supported() || table->attention_block.function == nullptr) continue;
        // Tile registers multiply weights and values as sums of two BF16, without the product of the two
        // small terms: each of these is off by up to 2^-18, in cases with one position all the same way.
        // Measured: up to 6.9e-6.
        const double bound = table->name == "amx" ? 1e-5 : 3e-6;
        for (Case c : cases) {
            for (const bool adjusted : {false, true}) {
                for (const CacheType cache :
                     {CacheType::F16, CacheType::F32, CacheType::BF16, CacheType::Q8_0}) {
                    if (cache == CacheType::Q8_0 && (c.key_dim % 32 != 0 || c.value_dim % 32 != 0)) continue;
                    c.adjusted = adjusted, c.cache = cache;
                    CAPTURE(std::string(table->name), c.n_tokens, c.n_heads, c.n_before, c.key_dim,
                            c.value_dim, c.window, adjusted, int(cache));
                    const Problem problem(c);
                    const auto in_one = problem.found(*table, c.n_tokens);
                    CHECK(relative_error(in_one, problem.expected()) < bound);
                    CHECK(problem.found(*table, 1) == in_one);
                    CHECK(problem.found(*table, 5) == in_one);
                }
            }
        }
    }
}

TEST_CASE("attention of blocks survives scores far apart, and every one below zero") {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported() || table->attention_block.function == nullptr) continue;
        CAPTURE(std::string(table->name));
        for (const float size : {1e-3f, 30.0f, 1e4f}) {
            const Problem problem({.n_tokens = 30,
                                   .n_heads = 2,
                                   .n_before = 99,
                                   .key_dim = 32,
                                   .value_dim = 32,
                                   .cache = CacheType::F32},
                                  size);
            CHECK(relative_error(problem.found(*table, 8), problem.expected()) < 1e-4);
        }
    }
}
