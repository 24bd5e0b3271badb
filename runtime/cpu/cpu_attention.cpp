// Attention and what surrounds it: rotation, the cache.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "format/blocks/q8_0.h"
#include "format/decode.h"
#include "format/half.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/cpu/cpu_internal.h"

namespace ingot::runtime {
namespace {

constexpr float kLargestHalf = 65504;

// The first position that the token before position `end` sees.
int64_t first_seen(const HeadGeometry& heads, int64_t end) {
    if (heads.window == 0) return 0;
    if (heads.chunked) return (end - 1) / heads.window * heads.window;
    return std::max<int64_t>(0, end - heads.window);
}

// What the kernels of one token and of many tokens are told about the query heads from `first` on.
template <typename Arguments>
void describe_heads(const HeadGeometry& heads, int64_t first, Arguments& arguments) {
    arguments.key_dim = heads.key_dim;
    arguments.value_dim = heads.value_dim;
    arguments.scale = heads.scale;
    arguments.soft_cap = heads.soft_cap;
    arguments.slopes = heads.slopes != nullptr ? data(*heads.slopes) + first : nullptr;
    arguments.sinks = heads.sinks != nullptr ? data(*heads.sinks) + first : nullptr;
}

// x (n) to the nearest of scale * -127 … 127, the scale being a half; n a multiple of 32.
void quantize(const float* x, int64_t n, BlockQ8_0* blocks) {
    for (; n > 0; n -= 32, x += 32, ++blocks) {
        float largest = 0;
        for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
        blocks->d = float_to_half(std::min(largest / 127, kLargestHalf));
        const float scale = half_to_float(blocks->d);
        const float factor = scale > 0 ? 1 / scale : 0;
        for (int i = 0; i < 32; ++i) {
            blocks->quants[i] = int8_t(std::lrint(std::clamp(x[i] * factor, -127.0f, 127.0f)));
        }
    }
}

}  // namespace

const CpuBackend::RopeAngles& CpuBackend::rope_angles(const Rope& rope, std::span<const int32_t> positions) {
    const int64_t n_pairs = rope.n_rot / 2;
    const std::span frequencies(data(*rope.frequencies), size_t(n_pairs));
    for (const RopeAngles& known : rope_angles_) {
        if (std::ranges::equal(positions, known.positions) && rope.magnitude == known.magnitude &&
            std::ranges::equal(frequencies, known.frequencies)) {
            return known;
        }
    }
    constexpr size_t kTables = 2;  // a model has one, or one for each kind of layer
    if (rope_angles_.size() < kTables) {
        rope_angles_.emplace_back();
    } else {  // the older one makes room
        std::rotate(rope_angles_.begin(), rope_angles_.begin() + 1, rope_angles_.end());
    }
    RopeAngles& angles = rope_angles_.back();
    angles.frequencies.assign(frequencies.begin(), frequencies.end());
    angles.positions.assign(positions.begin(), positions.end());
    angles.magnitude = rope.magnitude;
    angles.cos.resize(positions.size() * size_t(n_pairs));
    angles.sin.resize(angles.cos.size());
    each_token(int64_t(positions.size()), rope.n_rot * 16, [&](int64_t token) {
        for (int64_t pair = 0; pair < n_pairs; ++pair) {
            // In double: a float product of a large position loses digits that the sine needs.
            const double angle = double(positions[size_t(token)]) * double(frequencies[size_t(pair)]);
            angles.cos[size_t(token * n_pairs + pair)] = float(std::cos(angle)) * rope.magnitude;
            angles.sin[size_t(token * n_pairs + pair)] = float(std::sin(angle)) * rope.magnitude;
        }
    });
    return angles;
}

void CpuBackend::rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads, int64_t head_dim,
                      Buffer& x) {
    const RopeAngles& angles = rope_angles(rope, positions);
    const int64_t n_pairs = rope.n_rot / 2;
    // The pair's two elements, and from pair to pair.
    const bool interleaved = rope.pairing == RopePairing::Interleaved;
    const int64_t distance = interleaved ? 1 : n_pairs;
    const int64_t step = interleaved ? 2 : 1;
    each_token(int64_t(positions.size()), n_heads * head_dim, [&](int64_t token) {
        const float* cos = angles.cos.data() + token * n_pairs;
        const float* sin = angles.sin.data() + token * n_pairs;
        for (int64_t head = 0; head < n_heads; ++head) {
            float* v = data(x) + (token * n_heads + head) * head_dim + rope.first;
            for (int64_t pair = 0; pair < n_pairs; ++pair) {
                const float a = v[pair * step];
                const float b = v[pair * step + distance];
                v[pair * step] = a * cos[pair] - b * sin[pair];
                v[pair * step + distance] = a * sin[pair] + b * cos[pair];
            }
        }
    });
}

void CpuBackend::write_cache(const Buffer& x, std::span<const int32_t> positions, int64_t n, CacheType type,
                             Buffer& cache) {
    each_token(int64_t(positions.size()), n, [&](int64_t token) {
        const float* from = data(x) + token * n;
        const int64_t at = int64_t(positions[size_t(token)]) * n;
        switch (type) {
            case CacheType::F16:
                return kernels_.to_half(from, data<uint16_t>(cache) + at, n);
            case CacheType::F32:
                std::memcpy(data(cache) + at, from, size_t(n) * sizeof(float));
                return;
            case CacheType::BF16:
                std::transform(from, from + n, data<uint16_t>(cache) + at, float_to_bf16);
                return;
            case CacheType::Q8_0:
                return quantize(from, n, data<BlockQ8_0>(cache) + at / 32);
        }
    });
}

void CpuBackend::attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                           const HeadGeometry& heads, Buffer& y) {
    constexpr int64_t kLeastRows = 24;  // from which on unpacking keys and values for all at once pays
    const int64_t group = heads.n_heads / heads.n_kv_heads;
    const int64_t n_tokens = int64_t(positions.size());
    const bool is_plain = cache.type == CacheType::F16 || cache.type == CacheType::F32;
    if (kernels_.attention_block.function != nullptr &&
        ((n_tokens > 1 && n_tokens * group >= kLeastRows) || !is_plain)) {
        attend_blocks(q, cache, positions, heads, y);
    } else {
        attend_tokens(q, cache, positions, heads, y);
    }
}

// Many tokens: blocks of rows, which are the queries of some tokens and some heads that share a KV head.
void CpuBackend::attend_blocks(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                               const HeadGeometry& heads, Buffer& y) {
    constexpr int64_t kLeastRows = 96, kTasksOfThread = 4;  // fewer rows are not worth more tasks
    const int64_t n_tokens = int64_t(positions.size());
    const int64_t group = heads.n_heads / heads.n_kv_heads;
    const bool is_few = n_tokens * group < kernels_.attention_block.least_rows;
    const cpu::AttentionBlockKernel& kernel = is_few ? kernels_.attention_of_few : kernels_.attention_block;
    const int64_t shared_rows = n_tokens * heads.n_heads / (kTasksOfThread * pool_.size());
    const int64_t rows = std::clamp(shared_rows, kLeastRows, kernel.n_rows);
    const int64_t block_heads = std::min(group, rows);
    const int64_t block_tokens = std::max<int64_t>(1, rows / block_heads);
    const int64_t head_blocks = divide_up(group, block_heads);
    const int64_t token_blocks = divide_up(n_tokens, block_tokens);
    std::vector<int64_t> begins, ends;
    for (const int32_t position : positions) {
        ends.push_back(int64_t(position) + 1);
        begins.push_back(first_seen(heads, ends.back()));
    }
    const size_t scratch_floats =
        kernel.scratch_floats(block_tokens * block_heads, heads.key_dim, heads.value_dim);

    const bool parallel = n_tokens * ends.back() * heads.n_heads * heads.key_dim >= kParallelElements;
    deal(token_blocks * heads.n_kv_heads * head_blocks, parallel, [&](int thread, int64_t task) {
        // The last tokens see most: they come first, so that no thread is left with them at the end.
        const int64_t token = (token_blocks - 1 - task / (heads.n_kv_heads * head_blocks)) * block_tokens;
        const int64_t kv_head = task / head_blocks % heads.n_kv_heads;
        const int64_t head_of_group = task % head_blocks * block_heads;
        const int64_t head = kv_head * group + head_of_group;
        AlignedVector<float>& scratch = scratch_[size_t(thread)].scores;
        if (scratch.size() < scratch_floats) scratch.resize(scratch_floats);

        cpu::AttentionBlockArguments arguments{};
        arguments.queries = data(q) + (token * heads.n_heads + head) * heads.key_dim;
        arguments.query_stride = heads.n_heads * heads.key_dim;
        arguments.n_tokens = std::min(block_tokens, n_tokens - token);
        arguments.n_heads = std::min(block_heads, group - head_of_group);
        arguments.begins = begins.data() + token;
        arguments.ends = ends.data() + token;
        arguments.keys = data<std::byte>(*cache.keys) + cache_bytes(cache.type, kv_head * heads.key_dim);
        arguments.values =
            data<std::byte>(*cache.values) + cache_bytes(cache.type, kv_head * heads.value_dim);
        arguments.cache = cache.type;
        arguments.key_stride = cache.key_stride;
        arguments.value_stride = cache.value_stride;
        describe_heads(heads, head, arguments);
        arguments.scratch = scratch.data();
        arguments.output = data(y) + (token * heads.n_heads + head) * heads.value_dim;
        arguments.output_stride = heads.n_heads * heads.value_dim;
        kernel.function(arguments);
    });
}

// Positions that a token sees, or some of them.
struct CpuBackend::Piece {
    int64_t token, begin, end;
    bool is_last;
};

// Few tokens: each with the query heads of one KV head. What a token sees is taken in pieces, so that there
// is work for more threads than heads; where they end depends on nothing but the position.
void CpuBackend::attend_tokens(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                               const HeadGeometry& heads, Buffer& y) {
    constexpr int64_t kPiecePositions = 1024;
    const int64_t n_tokens = int64_t(positions.size());
    const int64_t group = heads.n_heads / heads.n_kv_heads;  // query heads of one KV head
    std::vector<Piece> pieces;
    for (int64_t token = 0; token < n_tokens; ++token) {
        const int64_t end = int64_t(positions[size_t(token)]) + 1;
        for (int64_t begin = first_seen(heads, end); begin < end;) {
            const int64_t piece_end = std::min(end, (begin / kPiecePositions + 1) * kPiecePositions);
            pieces.push_back({token, begin, piece_end, piece_end == end});
            begin = piece_end;
        }
    }
    const int64_t n_pieces = int64_t(pieces.size());
    const int64_t n_last = int64_t(positions.back()) + 1;
    const bool parallel = n_tokens * n_last * heads.n_heads * heads.key_dim >= kParallelElements;
    // Several pieces of a token have outputs and sums of their own first.
    const bool is_split = n_pieces > n_tokens;
    const int64_t output_size = heads.n_heads * heads.value_dim;  // of a piece
    if (is_split) {
        piece_outputs_.resize(size_t(n_pieces * output_size));
        piece_log_sums_.resize(size_t(n_pieces * heads.n_heads));
    }
    deal(n_pieces * heads.n_kv_heads, parallel, [&](int thread, int64_t task) {
        // All tokens of one KV head, then the next head: its keys and values stay in the cache.
        const int64_t kv_head = task / n_pieces, index = task % n_pieces;
        const Piece& piece = pieces[size_t(index)];
        const int64_t head = kv_head * group;  // the first of the group
        float* const outputs =
            is_split ? piece_outputs_.data() + index * output_size : data(y) + piece.token * output_size;
        float* const log_sums = is_split ? piece_log_sums_.data() + index * heads.n_heads + head : nullptr;
        attend_piece(thread, q, cache, piece, heads, kv_head, outputs + head * heads.value_dim, log_sums);
    });
    if (!is_split) return;
    deal(n_tokens * heads.n_heads, parallel, [&](int, int64_t task) {
        const int64_t token = task / heads.n_heads, head = task % heads.n_heads;
        merge_pieces(pieces, token, int64_t(positions[size_t(token)]), heads, head,
                     data(y) + task * heads.value_dim);
    });
}

// The query heads of one KV head -> (group, value_dim) outputs, and their sums' logarithms or none.
void CpuBackend::attend_piece(int thread, const Buffer& q, const KvLayer& cache, const Piece& piece,
                              const HeadGeometry& heads, int64_t kv_head, float* outputs, float* log_sums) {
    const int64_t group = heads.n_heads / heads.n_kv_heads, head = kv_head * group;
    const int64_t n_positions = piece.end - piece.begin;
    AlignedVector<float>& scores = scratch_[size_t(thread)].scores;
    if (scores.size() < size_t(group * n_positions)) scores.resize(size_t(group * n_positions));

    cpu::AttentionArguments arguments{};
    arguments.queries = data(q) + (piece.token * heads.n_heads + head) * heads.key_dim;
    arguments.n_queries = group;
    const int64_t key = piece.begin * cache.key_stride + kv_head * heads.key_dim;
    const int64_t value = piece.begin * cache.value_stride + kv_head * heads.value_dim;
    arguments.float_cache = cache.type == CacheType::F32;
    arguments.keys = data<std::byte>(*cache.keys) + cache_bytes(cache.type, key);
    arguments.values = data<std::byte>(*cache.values) + cache_bytes(cache.type, value);
    arguments.key_stride = cache.key_stride;
    arguments.value_stride = cache.value_stride;
    if (cache.type != CacheType::F16 && cache.type != CacheType::F32) {  // of which kernels know nothing
        AlignedVector<float>& floats = scratch_[size_t(thread)].decoded;
        const auto decode = [&](const void* rows, int64_t stride, int64_t dim, float* to) {
            for (int64_t p = 0; p < n_positions; ++p) {
                decode_row(tensor_type(cache.type),
                           static_cast<const std::byte*>(rows) + cache_bytes(cache.type, p * stride),
                           to + p * dim, uint64_t(dim));
            }
        };
        floats.resize(size_t(n_positions * (heads.key_dim + heads.value_dim)));
        float* const values = floats.data() + n_positions * heads.key_dim;
        decode(arguments.keys, cache.key_stride, heads.key_dim, floats.data());
        decode(arguments.values, cache.value_stride, heads.value_dim, values);
        arguments.float_cache = true;
        arguments.keys = floats.data();
        arguments.values = values;
        arguments.key_stride = heads.key_dim;
        arguments.value_stride = heads.value_dim;
    }
    arguments.n_positions = n_positions;
    describe_heads(heads, head, arguments);
    if (!piece.is_last) arguments.sinks = nullptr;  // a sink counts once, at no distance
    arguments.scores = scores.data();
    arguments.output = outputs;
    arguments.log_sums = log_sums;
    kernels_.attention(arguments);
}

// The outputs of a token's pieces for one head, each with its share of the sum of all -> (value_dim)
void CpuBackend::merge_pieces(std::span<const Piece> pieces, int64_t token, int64_t position,
                              const HeadGeometry& heads, int64_t head, float* output) const {
    const auto of_token = std::ranges::equal_range(pieces, token, {}, &Piece::token);
    // A piece takes the slope times the distance to its own last position away: the rest is missing.
    const float slope = heads.slopes != nullptr ? data(*heads.slopes)[head] : 0;
    const auto log_sum = [&](const Piece& piece) {
        const int64_t index = &piece - pieces.data();
        return piece_log_sums_[size_t(index * heads.n_heads + head)] -
               slope * float(position + 1 - piece.end);
    };
    float largest = -INFINITY, sum = 0;
    for (const Piece& piece : of_token) largest = std::max(largest, log_sum(piece));
    for (const Piece& piece : of_token) sum += std::exp(log_sum(piece) - largest);
    std::fill_n(output, heads.value_dim, 0.0f);
    for (const Piece& piece : of_token) {
        const float share = std::exp(log_sum(piece) - largest) / sum;
        const float* from =
            piece_outputs_.data() + ((&piece - pieces.data()) * heads.n_heads + head) * heads.value_dim;
        for (int64_t i = 0; i < heads.value_dim; ++i) output[i] += share * from[i];
    }
}

}  // namespace ingot::runtime
