// Speculative decoding: the same tokens when greedy, the same distribution when not, whoever guesses.
#include "runtime/continuation.h"

#include <cmath>
#include <map>
#include <random>

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "tests/catch.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using family_tests::SmallFile;

namespace {

SamplerOptions plain(uint64_t seed, float temperature = 1) {
    SamplerOptions options;
    options.temperature = temperature;
    options.top_k = 0;
    options.top_p = 1;
    options.min_p = 0;
    options.seed = seed;
    return options;
}

std::vector<Token> some_tokens(size_t n) {
    std::vector<Token> tokens(n);
    for (size_t i = 0; i < n; ++i) tokens[i] = Token((i * 17 + 5) % family_tests::kVocabulary);
    return tokens;
}

/// Guesses at random, from distributions that have nothing to do with the model's; every other time certain.
class RandomDrafter final : public Drafter {
  public:
    explicit RandomDrafter(uint64_t seed) : sampler_(plain(seed)), random_(seed) {}
    std::vector<Guess> guess(std::span<const Token>, int64_t n_most) override {
        std::vector<Guess> guesses;
        for (int64_t i = 0; i < n_most; ++i) {
            if (random_() % 4 == 0) {
                guesses.push_back({Token(random_() % family_tests::kVocabulary), {}});
                continue;
            }
            std::vector<float> logits(family_tests::kVocabulary);
            for (float& logit : logits) logit = float(random_() % 1000) / 400.0f;
            const auto distribution = sampler_.distribution(logits);
            guesses.push_back({sampler_.draw(distribution), {distribution.begin(), distribution.end()}});
        }
        return guesses;
    }

  private:
    Sampler sampler_;
    std::mt19937_64 random_;
};

/// Guesses what it was told.
class ToldDrafter final : public Drafter {
  public:
    explicit ToldDrafter(std::vector<Token> text) : text_(std::move(text)) {}
    std::vector<Guess> guess(std::span<const Token> sequence, int64_t n_most) override {
        std::vector<Guess> guesses;
        for (size_t i = sequence.size(); i < text_.size() && int64_t(guesses.size()) < n_most; ++i)
            guesses.push_back({text_[i], {}});
        return guesses;
    }

  private:
    std::vector<Token> text_;
};

/// Prompt and n tokens after it.
std::vector<Token> text_of(const Model& model, const SamplerOptions& options, size_t n_prompt, int64_t n,
                           Drafter* drafter, int64_t* n_right = nullptr) {
    ForwardPass forward(model, 64, 512, CacheType::F32);
    Sampler sampler(options);
    std::vector<Token> tokens = some_tokens(n_prompt);
    for (const Token token : tokens) sampler.accept(token);
    REQUIRE(forward.run(tokens, 1));
    Continuation continuation(forward, sampler, tokens, drafter, 5);
    for (int64_t wanted = n; wanted > 0;) {
        const std::vector<Token> next = continuation.next(wanted);
        REQUIRE(!next.empty());
        REQUIRE(int64_t(next.size()) <= wanted);
        tokens.insert(tokens.end(), next.begin(), next.end());
        wanted -= int64_t(next.size());
        CHECK(forward.cache().n_used() == int64_t(tokens.size()) - 1);
    }
    if (n_right != nullptr) *n_right = continuation.n_right();
    return tokens;
}

// Pearson's statistic of counts against probabilities, and how many classes there were: tokens that are
// expected fewer than 5 times count as one.
std::pair<double, int> chi_square(const std::map<Token, int>& counts,
                                  std::span<const TokenProbability> expected, int n) {
    double sum = 0, rare_expected = 0;
    int n_classes = 0, rare_count = n;
    for (const auto& [token, probability] : expected) {
        const double wanted = probability * n;
        const auto found = counts.find(token);
        const int count = found == counts.end() ? 0 : found->second;
        if (wanted < 5) {
            rare_expected += wanted;
            continue;
        }
        rare_count -= count;
        sum += (count - wanted) * (count - wanted) / wanted;
        ++n_classes;
    }
    if (rare_expected >= 5) {
        sum += (rare_count - rare_expected) * (rare_count - rare_expected) / rare_expected;
        ++n_classes;
    }
    return {sum, n_classes};
}

// Above this a chi-square variable of so many degrees of freedom is once in 10,000 times (Wilson and Hilferty
// 1931).
double chi_square_bound(int degrees) {
    const double variance = 2.0 / (9 * degrees);
    return degrees * std::pow(1 - variance + 3.72 * std::sqrt(variance), 3);
}

}  // namespace

TEST_CASE("greedy text is the same with any drafter, in every family") {
    for (const auto& small : family_tests::small_models()) {
        INFO(small.family);
        const SmallFile file(small);
        CpuBackend backend(1);
        const Model model(file.path(), backend);
        const SamplerOptions greedy = plain(1, 0);
        const std::vector<Token> text = text_of(model, greedy, 9, 40, nullptr);
        RandomDrafter random(3);
        CHECK(text_of(model, greedy, 9, 40, &random) == text);
        LookupDrafter lookup;
        CHECK(text_of(model, greedy, 9, 40, &lookup) == text);
        // All right: five guesses and one more in each pass.
        ToldDrafter told(text);
        int64_t n_right = 0;
        CHECK(text_of(model, greedy, 9, 40, &told, &n_right) == text);
        CHECK(n_right >= 32);
        // Half right.
        std::vector<Token> wrong = text;
        for (size_t i = 10; i < wrong.size(); i += 3) wrong[i] = (wrong[i] + 1) % family_tests::kVocabulary;
        ToldDrafter half(wrong);
        CHECK(text_of(model, greedy, 9, 40, &half, &n_right) == text);
        CHECK(n_right > 0);
    }
}

TEST_CASE("a guess or what replaces it is distributed as the model says: one step, by chi-square") {
    Sampler of_p(plain(11)), of_q(plain(12)), sampler(plain(13));
    std::mt19937 random(5);
    for (int round = 0; round < 4; ++round) {
        INFO(round);
        // Few tokens and many; p with tokens that q lacks, and the other way round.
        const size_t n_vocab = round < 2 ? 6 : 40;
        std::vector<float> p_logits(n_vocab), q_logits(n_vocab);
        for (float& logit : p_logits) logit = float(random() % 1000) / 250.0f;
        for (float& logit : q_logits) logit = float(random() % 1000) / 250.0f;
        p_logits[1] = -INFINITY;
        q_logits[2] = -INFINITY;
        const auto view = of_p.distribution(p_logits);
        const std::vector<TokenProbability> p(view.begin(), view.end());
        constexpr int kDraws = 40000;
        for (const bool certain : {false, true}) {
            INFO(certain);
            std::map<Token, int> counts;
            int n_stood = 0;
            for (int i = 0; i < kDraws; ++i) {
                const auto q = of_q.distribution(q_logits);
                Guess guess{certain ? Token(3) : of_q.draw(q), {}};
                if (!certain) guess.distribution.assign(q.begin(), q.end());
                const std::optional<Token> other = replacement(guess, p, sampler);
                n_stood += !other;
                ++counts[other.value_or(guess.token)];
            }
            CHECK(counts.count(1) == 0);
            const auto [sum, n_classes] = chi_square(counts, p, kDraws);
            CHECK(sum < chi_square_bound(n_classes - 1));
            // Section 3.1 of the paper: a guess stands with probability Σ min(p, q).
            const auto q = of_q.distribution(q_logits);
            double alpha = 0;
            for (const auto& [token, probability] : p) {
                for (const auto& candidate : q) {
                    if (candidate.token == token)
                        alpha += std::min(probability, certain ? double(token == 3) : candidate.probability);
                }
            }
            CHECK(n_stood == Approx(alpha * kDraws).margin(4 * std::sqrt(kDraws / 4.0)));
        }
    }
}

TEST_CASE("the chi-square test would notice a sampler that takes every guess") {
    Sampler of_p(plain(11)), of_q(plain(12));
    const std::vector<float> p_logits = {1, 2, 3, 4}, q_logits = {4, 3, 2, 1};
    const auto view = of_p.distribution(p_logits);
    const std::vector<TokenProbability> p(view.begin(), view.end());
    std::map<Token, int> counts;
    for (int i = 0; i < 1000; ++i) ++counts[of_q.draw(of_q.distribution(q_logits))];
    const auto [sum, n_classes] = chi_square(counts, p, 1000);
    CHECK(sum > chi_square_bound(n_classes - 1));
}

TEST_CASE("sampled texts have the model's distribution with a drafter, token after token") {
    // Pairs of tokens after a prompt, 3000 seeds each, against the exact probabilities of the first, and of
    // the second after the likeliest first.
    const SmallFile file(family_tests::small_model("llama"));
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    SamplerOptions options = plain(0, 1.0f);
    options.top_k = 12;
    ForwardPass forward(model, 64, 512, CacheType::F32);
    const std::vector<Token> prompt = some_tokens(6);
    const auto distribution_after = [&](std::vector<Token> tokens) {
        forward.cache().truncate(0);
        REQUIRE(forward.run(tokens, 1));
        Sampler sampler(options);
        const auto view = sampler.distribution(forward.logits());
        return std::vector<TokenProbability>(view.begin(), view.end());
    };
    std::vector<Token> after_one = prompt;
    const Token first = 7;
    after_one.push_back(first);
    const auto second = distribution_after(after_one);
    std::vector<Token> after_two = after_one;
    after_two.push_back(second.front().token);
    const auto third = distribution_after(after_two);

    constexpr int kTexts = 3000;
    std::map<Token, int> seconds, thirds;
    int n_thirds = 0;
    for (int i = 0; i < kTexts; ++i) {
        forward.cache().truncate(0);
        REQUIRE(forward.run(prompt, 1));
        // The first token is forced, so that all texts begin alike.
        std::vector<float> forced(forward.logits().size(), -INFINITY);
        forced[size_t(first)] = 0;
        forward.restore_logits(forced);
        options.seed = uint64_t(i);
        Sampler sampler(options);
        RandomDrafter drafter{uint64_t(i)};
        Continuation continuation(forward, sampler, prompt, &drafter, 3);
        std::vector<Token> text;
        while (text.size() < 3) {
            for (const Token token : continuation.next(int64_t(3 - text.size()))) text.push_back(token);
        }
        REQUIRE(text[0] == first);
        ++seconds[text[1]];
        if (text[1] == second.front().token) {
            ++thirds[text[2]];
            ++n_thirds;
        }
    }
    const auto [sum, n_classes] = chi_square(seconds, second, kTexts);
    CHECK(sum < chi_square_bound(n_classes - 1));
    const auto [next_sum, n_next_classes] = chi_square(thirds, third, n_thirds);
    REQUIRE(n_next_classes > 2);
    CHECK(next_sum < chi_square_bound(n_next_classes - 1));
}

TEST_CASE("prompt lookup guesses what followed the same tokens last") {
    LookupDrafter drafter;
    const auto guess = [&](std::vector<Token> sequence, int64_t n_most) {
        std::vector<Token> tokens;
        for (const Guess& one : drafter.guess(sequence, n_most)) {
            CHECK(one.distribution.empty());
            tokens.push_back(one.token);
        }
        return tokens;
    };
    CHECK(guess({1, 2, 3, 4, 5, 9, 1, 2}, 3) == std::vector<Token>{3, 4, 5});
    CHECK(guess({1, 2, 3, 4, 5, 9, 1, 2}, 1) == std::vector<Token>{3});
    CHECK(guess({1, 2, 3, 8, 1, 2, 4, 8, 1, 2}, 2) == std::vector<Token>{4, 8});     // the latest
    CHECK(guess({7, 1, 2, 3, 6, 1, 2, 4, 8, 7, 1, 2}, 1) == std::vector<Token>{3});  // the longest
    CHECK(guess({5, 5, 5, 5}, 4) == std::vector<Token>{5});
    CHECK(guess({1, 2, 3, 4}, 4).empty());
    CHECK(guess({1}, 4).empty());
    CHECK(guess({}, 4).empty());
}
