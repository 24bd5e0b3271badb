// Attention on the emulator, against the scalar oracle of the CPU.
#include <utility>

#include "tests/runtime/gpu_devices.h"

using namespace gpu_tests;

namespace {

struct AttentionCase {
    int64_t n_heads, n_kv_heads, key_dim, value_dim;
    int64_t window = 0;
    bool chunked = false, slopes = false, sinks = false;
    float soft_cap = 0;
    int32_t first = 0;  // position
    int64_t n_tokens = 3;
    CacheType type = CacheType::F32;
};

void compare_attention(const AttentionCase& c, double tolerance) {
    INFO(name(tensor_type(c.type)));
    CAPTURE(c.n_heads, c.n_kv_heads, c.key_dim, c.value_dim, c.window, c.first, c.n_tokens);
    const int64_t n_positions = c.first + c.n_tokens;
    std::vector<int32_t> all(static_cast<size_t>(n_positions)), positions;
    for (size_t i = 0; i < all.size(); ++i) all[i] = int32_t(i);
    positions.assign(all.end() - c.n_tokens, all.end());
    const auto q = random_floats(size_t(c.n_tokens * c.n_heads * c.key_dim), 1);
    const auto k = random_floats(size_t(n_positions * c.n_kv_heads * c.key_dim), 2);
    const auto v = random_floats(size_t(n_positions * c.n_kv_heads * c.value_dim), 3);
    const auto some = random_floats(size_t(c.n_heads), 4);
    compare(size_t(c.n_tokens * c.n_heads * c.value_dim), tolerance, [&](Backend& backend, Buffer& y) {
        const auto keys = backend.allocate(k.size() * sizeof(float));
        const auto values = backend.allocate(v.size() * sizeof(float));
        const int64_t key_stride = c.n_kv_heads * c.key_dim, value_stride = c.n_kv_heads * c.value_dim;
        backend.write_cache(*on(backend, k), all, key_stride, c.type, *keys);
        backend.write_cache(*on(backend, v), all, value_stride, c.type, *values);
        HeadGeometry heads{c.n_heads, c.n_kv_heads, c.key_dim, c.value_dim, 0.2f};
        heads.window = c.window;
        heads.chunked = c.chunked;
        heads.soft_cap = c.soft_cap;
        const auto numbers = on<float>(backend, some);
        if (c.slopes) heads.slopes = numbers.get();
        if (c.sinks) heads.sinks = numbers.get();
        backend.attention(*on(backend, q), {keys.get(), values.get(), key_stride, value_stride, c.type},
                          positions, heads, y);
    });
}

// The launches of attention and a product by one matrix, and what the product is. `at_once`: nothing is in
// the way of their becoming one.
struct AnswerAndProduct {
    std::vector<float> answer, product;
    uint64_t n_launches;
};
AnswerAndProduct multiply_answer(const HeadGeometry& heads, int64_t n_positions, int64_t n_tokens,
                                 TensorType type, bool at_once) {
    GpuBackend gpu(gpu::open_device(tested_device()));
    const int64_t width = heads.n_heads * heads.value_dim, n_out = 5;
    const auto q = on(gpu, random_floats(size_t(n_tokens * heads.n_heads * heads.key_dim), 1));
    const int64_t key_width = heads.n_kv_heads * heads.key_dim,
                  value_width = heads.n_kv_heads * heads.value_dim;
    const auto keys = on(gpu, random_floats(size_t(n_positions * key_width), 2));
    const auto values = on(gpu, random_floats(size_t(n_positions * value_width), 3));
    const auto bytes = rows_of(type, n_out, width, 4);
    const auto weight = gpu.load_weight(type, width, n_out, std::as_bytes(std::span(bytes)));
    std::vector<int32_t> positions;
    for (int64_t i = n_positions - n_tokens; i < n_positions; ++i) positions.push_back(int32_t(i));
    const auto y = gpu.allocate(size_t(n_tokens * width) * sizeof(float));
    const auto product = gpu.allocate(size_t(n_tokens * n_out) * sizeof(float));
    const Projection projection[] = {{weight.get(), nullptr, product.get()}};
    gpu.matmul(*y, n_tokens, projection);  // scratch and positions are there
    const auto attend = [&] {
        gpu.attention(*q, {keys.get(), values.get(), key_width, value_width, CacheType::F32}, positions,
                      heads, *y);
    };
    attend();
    from(gpu, *y, 1);
    const uint64_t n_before = gpu.queue().n_given();
    attend();
    if (!at_once) from(gpu, *y, 1);
    gpu.matmul(*y, n_tokens, projection);
    const uint64_t n_launches = gpu.queue().n_given() - n_before;
    return {from(gpu, *y, size_t(n_tokens * width)), from(gpu, *product, size_t(n_tokens * n_out)),
            n_launches};
}

}  // namespace

TEST_CASE("gpu: attention in all its variants") {
    const AttentionCase cases[] = {
        {4, 2, 32, 32},
        {4, 4, 20, 50, 7},
        {2, 1, 33, 65, 8, true},
        {4, 2, 16, 16, 0, false, true},
        {4, 2, 16, 16, 0, false, false, true, 3.0f},
        {2, 2, 32, 32, 0, false, true, true, 0, 299, 1},  // a single token, far on: splits
        {2, 1, 40, 512, 270, false, false, false, 0, 530, 1, CacheType::F16},
        {3, 1, 32, 32, 0, false, false, false, 0, 140, 2, CacheType::F16},
        {4, 2, 20, 36, 0, false, false, true, 0, 300, 1, CacheType::BF16},
        {4, 2, 64, 96, 0, false, true, false, 0, 299, 1, CacheType::Q8_0},
        {4, 2, 32, 64, 21, false, false, true, 5.0f, 60, 3, CacheType::Q8_0},
        {10, 2, 128, 128, 0, false, false, true, 0, 700, 1, CacheType::F16},
        {9, 1, 24, 264, 0, false, true, false, 0, 33, 1, CacheType::BF16},  // in two parts
        {5, 1, 600, 8, 0, false, false, false, 0, 40, 1, CacheType::F16},  // too wide for eight heads at once
        {2, 1, 1024, 512, 50, true, false, true, 0, 70, 2},
    };
    for (const AttentionCase& c : cases) compare_attention(c, 4e-6);
    // Every number of heads that share keys and values, of every type.
    for (const CacheType type : {CacheType::F16, CacheType::F32, CacheType::BF16, CacheType::Q8_0}) {
        for (int64_t n_sharing = 1; n_sharing <= 9; ++n_sharing)
            compare_attention({.n_heads = 2 * n_sharing,
                               .n_kv_heads = 2,
                               .key_dim = 96,
                               .value_dim = 32,
                               .first = 45,
                               .n_tokens = 1,
                               .type = type},
                              4e-6);
    }
    // One projection of the hidden state is keys and values (latent attention).
    const auto q = random_floats(2 * 16 * 576, 1), latent = random_floats(35 * 576, 2);
    std::vector<int32_t> positions(35);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = int32_t(i);
    compare(2 * 16 * 512, 4e-6, [&](Backend& backend, Buffer& y) {
        const auto cache = backend.allocate(latent.size() * 2);
        backend.write_cache(*on(backend, latent), positions, 576, CacheType::F16, *cache);
        backend.attention(*on(backend, q), {cache.get(), cache.get(), 576, 576, CacheType::F16},
                          std::span(positions).last(2), {16, 1, 576, 512, 0.1f}, y);
    });
    Devices devices;
    const auto any = on(devices.gpu, std::vector<float>(16));
    const HeadGeometry wide{1, 1, 8, 513, 1};
    CHECK_THROWS_WITH(
        devices.gpu.attention(*any, {any.get(), any.get(), 1, 1}, std::vector<int32_t>{0}, wide, *any),
        ContainsSubstring("513") && ContainsSubstring("--device cpu"));
    const KvLayer blocks{any.get(), any.get(), 32, 32, CacheType::Q8_0};
    CHECK_THROWS_WITH(devices.gpu.attention(*any, blocks, std::vector<int32_t>{0}, {2, 2, 16, 16, 1}, *any),
                      ContainsSubstring("whole blocks of Q8_0"));
}

// See kernels/attention_numbers.h for what is rounded: of F16 and Q8_0, each number by up to 2^-12 of itself.
// The bounds are for scores of up to a hundred, as long heads have them here; the kernels for one token are
// within 1e-6 of the same ones in F32.
TEST_CASE("gpu: attention of many tokens, in tiles") {
    const AttentionCase cases[] = {
        {4, 2, 32, 32, 0, false, false, false, 0, 0, 16},
        {1, 1, 64, 64, 0, false, false, false, 0, 3, 70},
        {3, 1, 20, 50, 7, false, false, true, 0, 60, 45},  // most of the context is not seen
        {8, 2, 33, 65, 24, true, true, false, 0, 30, 40},
        {4, 2, 128, 96, 0, false, true, true, 3.0f, 19, 33},
        {2, 1, 96, 128, 40, false, false, false, 0, 0, 130},
        {2, 2, 256, 200, 0, false, false, true, 0, 5, 17},
        {3, 1, 130, 256, 9, true, false, false, 0, 0, 64},
        {9, 1, 16, 16, 0, false, false, true, 0, 260, 16},  // splits
        {2, 1, 32, 64, 21, false, false, true, 5.0f, 270, 31},
        {5, 1, 40, 264, 0, false, true, false, 0, 20, 21},  // warps share queries, from here on
        {2, 2, 576, 512, 30, true, false, true, 4.0f, 40, 37},
        {3, 1, 640, 72, 0, false, false, true, 0, 290, 16},  // splits
        {17, 1, 168, 320, 33, false, true, false, 0, 12, 18},
        {2, 1, 648, 8, 0, false, false, false, 0, 0, 16},   // one that has no tiles
        {2, 1, 36, 260, 0, false, false, false, 0, 0, 16},  // likewise
    };
    const std::pair<CacheType, double> bounds[] = {
        {CacheType::F16, 1.5e-3}, {CacheType::Q8_0, 1.5e-3}, {CacheType::BF16, 3e-5}, {CacheType::F32, 6e-6}};
    for (const auto& [type, bound] : bounds) {
        for (AttentionCase c : cases) {
            // Q8_0 has rows of whole blocks.
            if (type == CacheType::Q8_0) {
                c.key_dim = (c.key_dim + 31) / 32 * 32;
                c.value_dim = (c.value_dim + 31) / 32 * 32;
            }
            c.type = type;
            compare_attention(c, bound);
        }
    }
}

TEST_CASE("gpu: keys and values in the same rows of the cache, for many tokens") {
    constexpr int64_t kTokens = 19, kHeads = 5, kPositions = 50;
    const auto q = random_floats(kTokens * kHeads * 576, 1), latent = random_floats(kPositions * 576, 2);
    std::vector<int32_t> positions(kPositions);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = int32_t(i);
    const std::pair<CacheType, double> bounds[] = {
        {CacheType::F16, 1.5e-3}, {CacheType::Q8_0, 1.5e-3}, {CacheType::BF16, 3e-5}, {CacheType::F32, 6e-6}};
    for (const auto& [type, bound] : bounds) {
        INFO(name(tensor_type(type)));
        compare(kTokens * kHeads * 512, bound, [&, type = type](Backend& backend, Buffer& y) {
            const auto cache = backend.allocate(size_t(cache_bytes(type, kPositions * 576)));
            backend.write_cache(*on(backend, latent), positions, 576, type, *cache);
            backend.attention(*on(backend, q), {cache.get(), cache.get(), 576, 576, type},
                              std::span(positions).last(kTokens), {kHeads, 1, 576, 512, 0.1f}, y);
        });
    }
}

TEST_CASE("gpu: what attention answers is rounded to 8 bits by the launch that writes it") {
    struct Case {
        HeadGeometry heads;
        TensorType type;
        int64_t n_positions, n_tokens;
        uint64_t n_launches;  // with the product's
    };
    const Case cases[] = {
        {{8, 2, 32, 64, 0.2f}, TensorType::Q4_0, 40, 1, 2},
        {{8, 2, 32, 64, 0.2f}, TensorType::Q4_K, 40, 1, 2},   // four heads are a block of 256
        {{16, 2, 32, 32, 0.2f}, TensorType::Q6_K, 40, 3, 2},  // eight are
        {{4, 4, 32, 96, 0.2f}, TensorType::Q8_0, 40, 1, 2},   // a head by itself has whole blocks of 32 …
        {{8, 8, 32, 96, 0.2f}, TensorType::Q4_K, 40, 1, 3},   // … and none of 256
        {{9, 1, 32, 32, 0.2f}, TensorType::Q5_0, 40, 1, 2},   // the last group has one head
        {{24, 2, 32, 32, 0.2f}, TensorType::Q4_K, 40, 1, 3},  // twelve, in groups of eight and four
        {{8, 8, 40, 40, 0.2f}, TensorType::Q4_0, 40, 1, 3},   // none has whole blocks
        {{1, 1, 32, 512, 0.2f}, TensorType::Q4_0, 40, 1, 3},  // of a head in two parts
        {{8, 2, 32, 64, 0.2f}, TensorType::Q4_0, 700, 1, 3},  // with splits
        {{8, 2, 32, 64, 0.2f}, TensorType::Q4_K, 700, 1, 3},
        {{8, 8, 32, 96, 0.2f}, TensorType::Q4_K, 700, 2, 3},  // eight heads are three blocks
        {{8, 8, 40, 40, 0.2f}, TensorType::Q4_0, 700, 1, 3},  // four are five
        {{3, 3, 32, 256, 0.2f}, TensorType::Q4_K, 700, 1, 3},
        {{12, 4, 32, 64, 0.2f}, TensorType::Q5_K, 700, 1, 3},
        {{16, 4, 32, 48, 0.2f}, TensorType::Q4_K, 700, 1, 3},  // all sixteen
        {{4, 2, 32, 64, 0.2f}, TensorType::F16, 40, 1, 2},     // one that wants no integers
        {{8, 2, 32, 64, 0.2f}, TensorType::Q4_0, 40, 17, 3},   // a prompt's, in tiles
    };
    for (const Case& c : cases) {
        INFO(name(c.type));
        CAPTURE(c.heads.n_heads, c.heads.n_kv_heads, c.heads.value_dim, c.n_positions, c.n_tokens);
        const auto found = multiply_answer(c.heads, c.n_positions, c.n_tokens, c.type, true);
        const auto expected = multiply_answer(c.heads, c.n_positions, c.n_tokens, c.type, false);
        CHECK(found.n_launches == c.n_launches);
        CHECK(found.answer == expected.answer);
        CHECK(found.product == expected.product);
    }
}
