// Whole models on the emulator: every family gives the CPU's logits.
#include <cmath>

#include "runtime/cpu/cpu_backend.h"
#include "runtime/forward.h"
#include "runtime/gpu/gpu_backend.h"
#include "tests/catch.h"
#include "tests/runtime/gpu.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace family_tests;

namespace {

// A prompt in two batches, then two tokens one after the other.
std::vector<float> logits(Backend& backend, const SmallFile& file) {
    const Model model(file.path(), backend);
    ForwardPass forward(model, kContext, 5, CacheType::F32);
    std::vector<Token> tokens(9);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = Token(i * 37 % kVocabulary);
    std::vector<float> all;
    const auto run = [&](size_t first, size_t n, int64_t n_logits) {
        REQUIRE(forward.run(std::span(tokens).subspan(first, n), n_logits));
        all.insert(all.end(), forward.logits().begin(), forward.logits().end());
    };
    run(0, 7, 2);
    run(7, 1, 1);
    run(8, 1, 1);
    return all;
}

// In units of the logits' own size.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
    REQUIRE(a.size() == b.size());
    double differences = 0, squares = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        REQUIRE(std::isfinite(a[i]));
        differences += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
        squares += double(b[i]) * double(b[i]);
    }
    return std::sqrt(differences / squares);
}

}  // namespace

TEST_CASE("gpu: every family has the CPU's logits") {
    for (const SmallModel& small : small_models()) {
        INFO(small.family);
        const SmallFile file(small);
        CpuBackend cpu(1, cpu::scalar_kernels());
        GpuBackend gpu(gpu::open_device(tested_device()));
        CHECK(difference(logits(gpu, file), logits(cpu, file)) < 1e-5);
    }
}

// Tiles of queries, and then the one-token kernels on what prompts have left in the cache. What differs in a
// float's last digits may be rounded to another BF16.
TEST_CASE(
    "gpu: every family has the CPU's logits and text behind a prompt of many tokens, with caches of "
    "numbers") {
    const std::pair<CacheType, double> bounds[] = {
        {CacheType::F16, 2e-3}, {CacheType::BF16, 1e-3}, {CacheType::F32, 1e-5}};
    [[maybe_unused]] size_t n_families = 0;
    for (const SmallModel& small : small_models()) {
        ++n_families;
        INFO(small.family);
        const SmallFile file(small);
        CpuBackend cpu(1, cpu::scalar_kernels());
        GpuBackend gpu(gpu::open_device(tested_device()));
        const Model on_cpu(file.path(), cpu), on_gpu(file.path(), gpu);
        for (const auto& [type, bound] : bounds) {
#if defined(__SANITIZE_ADDRESS__)  // many times slower: one of them for each family
            if (size_t(type) % 3 != n_families % 3) continue;
#endif
            INFO(name(tensor_type(type)));
            ForwardPass expected(on_cpu, kContext, 20, type), forward(on_gpu, kContext, 20, type);
            std::vector<Token> tokens(20);
            for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = Token(i * 37 % kVocabulary);
            const auto best = [](ForwardPass& pass) {
                return Token(std::ranges::max_element(pass.logits()) - pass.logits().begin());
            };
            for (int i = 0; i < 3; ++i) {
                expected.run(tokens, 1);
                forward.run(tokens, 1);
                CHECK(difference({forward.logits().begin(), forward.logits().end()},
                                 {expected.logits().begin(), expected.logits().end()}) < bound);
                CHECK(best(forward) == best(expected));
                tokens = {best(expected)};
            }
        }
    }
}

TEST_CASE("gpu: the largest logits come alone, and the others when they are asked for") {
    const SmallFile file(small_model("llama"));
    GpuBackend gpu(gpu::open_device(tested_device()));
    const Model model(file.path(), gpu);
    ForwardPass all(model, kContext, 5, CacheType::F32), some(model, kContext, 5, CacheType::F32);
    some.keep_largest(4);
    const std::vector<Token> tokens = {3, 7, 1, 9, 4, 2, 8};
    const auto is_same = [&] { return std::ranges::equal(some.logits(), all.logits()); };
    for (const int64_t n_logits : {2, 7}) {  // in one batch, in two
        all.cache().truncate(0);
        some.cache().truncate(0);
        all.run(tokens, n_logits);
        some.run(tokens, n_logits);
        for (int64_t row = 0; row < n_logits; ++row) {
            const std::span<const float> expected = all.logits_of(row).all;
            const Logits found = some.logits_of(row);
            CHECK(expected.size() == size_t(kVocabulary));
            CHECK(found.largest.size() == (n_logits == 2 ? 4 : 0));
            if (n_logits == 7) continue;
            const auto best = std::ranges::max_element(expected);
            CHECK(found.largest.front().token == Token(best - expected.begin()));
            CHECK(found.largest.front().logit == *best);
        }
        CHECK(is_same());
        CHECK(is_same());  // once more
    }
    some.cache().truncate(6);
    all.cache().truncate(6);
    some.run(std::span(tokens).last(1), 1);
    all.run(std::span(tokens).last(1), 1);
    some.keep_largest(2);  // others than those that are there
    CHECK(some.logits_of(0).largest.empty());
    CHECK(is_same());
    some.restore_logits(all.logits());
    CHECK(is_same());
}

TEST_CASE("gpu: the launches of a token are recorded when they come again, and are the same as one") {
    for (const char* family : {"llama", "qwen3moe", "qwen3next"}) {
        INFO(family);
        const SmallFile file(small_model(family));
        CpuBackend cpu(1, cpu::scalar_kernels());
        GpuBackend gpu(gpu::open_device(tested_device()));
        const Model on_cpu(file.path(), cpu), on_gpu(file.path(), gpu);
        ForwardPass expected(on_cpu, kContext, 5, CacheType::F32),
            forward(on_gpu, kContext, 5, CacheType::F32);
        uint64_t n_launched = 0;
        for (int i = 0; i < 12; ++i) {
            const Token token = Token(i * 37 % kVocabulary);
            expected.run({&token, 1}, 1);
            forward.run({&token, 1}, 1);
            CHECK(difference({forward.logits().begin(), forward.logits().end()},
                             {expected.logits().begin(), expected.logits().end()}) < 1e-5);
            const uint64_t n_more = gpu.queue().n_launched() - n_launched;
            n_launched += n_more;
            if (i >= 4) CHECK(n_more < 16);  // what stands before the positions are there
        }
        CHECK(gpu.queue().n_replays() >= 8);
    }
}
