// Several sequences in one pass: each must read as if it were alone.
#include <cmath>

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/forward.h"
#include "tests/catch.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using family_tests::SmallFile;

namespace {

std::vector<Token> tokens_of(int64_t sequence, size_t n) {
    std::vector<Token> tokens(n);
    for (size_t i = 0; i < n; ++i)
        tokens[i] = Token((size_t(sequence) * 31 + i * 17 + 5) % family_tests::kVocabulary);
    return tokens;
}

// Largest difference, in units of the logits' root mean square.
double difference(std::span<const float> a, std::span<const float> b) {
    REQUIRE(a.size() == b.size());
    double most = 0, squares = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        most = std::max(most, std::abs(double(a[i]) - double(b[i])));
        squares += double(b[i]) * double(b[i]);
    }
    return most / std::sqrt(squares / double(b.size()));
}

}  // namespace

TEST_CASE("sequences of different lengths in one pass have the logits that each has alone, in every family") {
    constexpr size_t kLengths[] = {7, 1, 12};
    for (const auto& small : family_tests::small_models()) {
        INFO(small.family);
        const SmallFile file(small);
        CpuBackend backend(2);
        const Model model(file.path(), backend);
        const size_t n_vocab = size_t(model.hyperparameters().n_vocab);
        // Batches of 9 tokens cut through the sequences.
        for (const int64_t n_batch : {512, 9}) {
            ForwardPass together(model, 32, n_batch, CacheType::F32, 3);
            std::vector<std::vector<Token>> tokens;
            std::vector<Segment> segments;
            for (int64_t i = 0; i < 3; ++i) tokens.push_back(tokens_of(i, kLengths[i]));
            for (int64_t i = 0; i < 3; ++i) segments.push_back({i, tokens[size_t(i)], i == 2 ? 2 : 1});
            REQUIRE(together.run(segments));
            const std::vector<float> prompts(together.logits().begin(), together.logits().end());
            REQUIRE(prompts.size() == 4 * n_vocab);
            // Then one more token of each, in another order, and of the third a few.
            std::vector<std::vector<Token>> more;
            for (int64_t i = 0; i < 3; ++i) more.push_back(tokens_of(i + 7, i == 2 ? 3 : 1));
            const Segment next[] = {{2, more[2], 1}, {0, more[0], 1}, {1, more[1], 1}};
            REQUIRE(together.run(next));
            const std::vector<float> nexts(together.logits().begin(), together.logits().end());

            const size_t row_of[] = {1, 2, 0};  // of sequence i in nexts
            for (int64_t i = 0; i < 3; ++i) {
                ForwardPass alone(model, 32, 512, CacheType::F32);
                REQUIRE(alone.run(tokens[size_t(i)], 1));
                const auto row = std::span(prompts).subspan((i == 2 ? 3 : size_t(i)) * n_vocab, n_vocab);
                CHECK(difference(row, alone.logits()) < 1e-4);
                REQUIRE(alone.run(more[size_t(i)], 1));
                CHECK(difference(std::span(nexts).subspan(row_of[i] * n_vocab, n_vocab), alone.logits()) <
                      1e-4);
                CHECK(together.cache(i).n_used() == int64_t(kLengths[i] + more[size_t(i)].size()));
            }
        }
    }
}

TEST_CASE("a sequence that begins again does not disturb the others") {
    const SmallFile file(family_tests::small_model("llama"));
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    ForwardPass forward(model, 32, 512, CacheType::F32, 2);
    const std::vector<Token> a = tokens_of(1, 6), b = tokens_of(2, 9), c = tokens_of(3, 4), one = {3};
    const Segment first[] = {{0, a, 0}, {1, b, 0}};
    REQUIRE(forward.run(first));
    forward.cache(1).truncate(0);
    const Segment second[] = {{0, one, 1}, {1, c, 1}};
    REQUIRE(forward.run(second));
    const std::vector<float> both(forward.logits().begin(), forward.logits().end());

    ForwardPass alone(model, 32, 512, CacheType::F32);
    REQUIRE(alone.run(a, 0));
    REQUIRE(alone.run(one, 1));
    CHECK(difference(std::span(both).first(alone.logits().size()), alone.logits()) < 1e-4);
    alone.cache().truncate(0);
    REQUIRE(alone.run(c, 1));
    CHECK(difference(std::span(both).last(alone.logits().size()), alone.logits()) < 1e-4);
}

TEST_CASE("a cancelled run leaves every sequence as it was") {
    for (const char* family : {"llama", "qwen3next"}) {
        const SmallFile file(family_tests::small_model(family));
        CpuBackend backend(1);
        const Model model(file.path(), backend);
        ForwardPass forward(model, 32, 4, CacheType::F32, 2);
        const std::vector<Token> a = tokens_of(1, 6), b = tokens_of(2, 9);
        const Segment segments[] = {{0, a, 1}, {1, b, 1}};
        REQUIRE(forward.run(segments));
        const std::atomic<bool> cancel = true;
        CHECK_FALSE(forward.run(segments, &cancel));
        CHECK(forward.cache(0).n_used() == 6);
        CHECK(forward.cache(1).n_used() == 9);
        CHECK(forward.logits().empty());
    }
}

TEST_CASE("wrong segments are refused before anything runs") {
    const SmallFile file(family_tests::small_model("llama"));
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    ForwardPass forward(model, 8, 512, CacheType::F32, 2);
    const std::vector<Token> one = {3}, nine(9, 3), outside = {family_tests::kVocabulary};
    const auto run = [&](std::vector<Segment> segments) { forward.run(segments); };
    CHECK_THROWS_WITH(run({{0, one, 1}, {0, one, 1}}), ContainsSubstring("asked for twice"));
    CHECK_THROWS_WITH(run({{2, one, 1}}), ContainsSubstring("sequence 2 of 2"));
    CHECK_THROWS_WITH(run({{0, one, 1}, {1, nine, 1}}), ContainsSubstring("9 tokens do not fit"));
    CHECK_THROWS_WITH(run({{1, outside, 1}}), ContainsSubstring("outside the vocabulary"));
    CHECK_THROWS_WITH(run({{1, one, 2}}), ContainsSubstring("logits of 2 tokens"));
    CHECK(forward.cache(0).n_used() == 0);
    CHECK_THROWS_AS(ForwardPass(model, 8, 512, CacheType::F32, 0), Error);
}
