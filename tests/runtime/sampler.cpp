#include "runtime/sampler.h"

#include <cmath>
#include <map>

#include "format/error.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

// Everything that truncates or changes the distribution off.
SamplerOptions plain(uint64_t seed = 1) {
    SamplerOptions options;
    options.temperature = 1;
    options.top_k = 0;
    options.top_p = 1;
    options.min_p = 0;
    options.seed = seed;
    return options;
}

std::map<Token, int> histogram(const SamplerOptions& options, const std::vector<float>& logits, int n) {
    Sampler sampler(options);
    std::map<Token, int> counts;
    for (int i = 0; i < n; ++i) ++counts[sampler.sample(logits)];
    return counts;
}

const std::vector<float> kHalves = {std::log(0.5f), std::log(0.25f), std::log(0.125f), std::log(0.125f)};

}  // namespace

TEST_CASE("temperature 0 takes the likeliest token, the lower id among equals") {
    SamplerOptions options = plain();
    options.temperature = 0;
    Sampler sampler(options);
    CHECK(sampler.sample(std::vector<float>{1, 3, 2}) == 1);
    CHECK(sampler.sample(std::vector<float>{1, 3, 3}) == 1);
    CHECK(sampler.sample(std::vector<float>{-INFINITY, -1e30f}) == 1);
    CHECK(sampler.sample(std::vector<float>{NAN, -5, NAN}) == 1);
}

TEST_CASE("tokens come as often as their probabilities say") {
    const auto counts = histogram(plain(), kHalves, 20000);
    CHECK(counts.at(0) == Approx(10000).margin(300));  // four standard deviations
    CHECK(counts.at(1) == Approx(5000).margin(250));
    CHECK(counts.at(3) == Approx(2500).margin(190));
}

TEST_CASE("temperature sharpens: probabilities to the power of its inverse") {
    SamplerOptions options = plain();
    options.temperature = 0.5f;  // 1/4 : 1/16 : 1/64 : 1/64 = 16 : 4 : 1 : 1
    const auto counts = histogram(options, kHalves, 22000);
    CHECK(counts.at(0) == Approx(16000).margin(300));
    CHECK(counts.at(2) == Approx(1000).margin(130));
}

TEST_CASE("top-k, top-p and min-p keep what they say") {
    SamplerOptions options = plain();
    options.top_k = 2;
    CHECK(histogram(options, kHalves, 500).size() == 2);

    options = plain();
    options.top_p = 0.74f;
    CHECK(histogram(options, kHalves, 500).size() == 2);
    options.top_p = 0.76f;
    CHECK(histogram(options, kHalves, 500).size() == 3);
    options.top_p = 0.001f;
    CHECK(histogram(options, kHalves, 500).size() == 1);

    options = plain();
    options.min_p = 0.4f;
    CHECK(histogram(options, kHalves, 500).size() == 2);
    options.min_p = 0.6f;
    CHECK(histogram(options, kHalves, 500).size() == 1);
}

TEST_CASE("the repeat penalty lowers recent tokens, those of the prompt included, for 64 tokens") {
    SamplerOptions options = plain();
    options.temperature = 0;
    options.repeat_penalty = 2;
    Sampler sampler(options);
    sampler.accept(0);
    CHECK(sampler.sample(std::vector<float>{3, 2, 0}) == 1);     // 3/2 < 2
    CHECK(sampler.sample(std::vector<float>{-2, -3, -5}) == 0);  // -4, -6, -5
    CHECK(sampler.sample(std::vector<float>{-3, -3, -5}) == 2);  // -6, -6, -5
    for (int i = 0; i < 64; ++i) sampler.accept(7);
    CHECK(sampler.sample(std::vector<float>{3, 2, 0}) == 0);
}

TEST_CASE("the same seed gives the same tokens, another seed others") {
    const std::vector<float> even(1000, 0.0f);
    std::vector<Token> runs[3];
    const uint64_t seeds[] = {7, 7, 8};
    for (int run = 0; run < 3; ++run) {
        Sampler sampler(plain(seeds[run]));
        for (int i = 0; i < 20; ++i) runs[run].push_back(sampler.sample(even));
    }
    CHECK(runs[0] == runs[1]);
    CHECK(runs[0] != runs[2]);
}

TEST_CASE("enormous logits neither overflow nor divide by zero") {
    CHECK(histogram(plain(), {3e38f, -3e38f, 0}, 50).at(0) == 50);
    SamplerOptions cold = plain();
    cold.temperature = 1e-30f;
    CHECK(histogram(cold, {1, 2, 3}, 50).at(2) == 50);
    CHECK(histogram(plain(), {-INFINITY, 0, -INFINITY}, 50).at(1) == 50);
}

TEST_CASE("options out of range and logits without a number are refused") {
    const auto refuses = [](auto member, auto value, const char* message) {
        SamplerOptions options = plain();
        options.*member = value;
        CHECK_THROWS_WITH(Sampler(options), ContainsSubstring(message));
    };
    refuses(&SamplerOptions::temperature, -1.0f, "temperature");
    refuses(&SamplerOptions::temperature, NAN, "temperature");
    refuses(&SamplerOptions::top_k, -1, "top-k");
    refuses(&SamplerOptions::top_p, 0.0f, "top-p");
    refuses(&SamplerOptions::top_p, 1.5f, "top-p");
    refuses(&SamplerOptions::min_p, 2.0f, "min-p");
    refuses(&SamplerOptions::repeat_penalty, 0.0f, "repeat penalty");
    Sampler sampler(plain());
    CHECK_THROWS_WITH(sampler.sample(std::vector<float>{NAN, NAN}), ContainsSubstring("no finite number"));
    CHECK_THROWS_WITH(sampler.sample(std::vector<float>{-INFINITY}), ContainsSubstring("no finite number"));
    CHECK_THROWS_WITH(sampler.sample(std::vector<float>{}), ContainsSubstring("no finite number"));
}

TEST_CASE("sampler: the logits that decide give the same tokens as all of them") {
    std::mt19937 random(1);
    for (const SamplerOptions& options :
         {SamplerOptions{.temperature = 0}, SamplerOptions{.temperature = 0, .repeat_penalty = 1.5f},
          SamplerOptions{}, SamplerOptions{.top_k = 3, .repeat_penalty = 2, .repeat_window = 5}}) {
        Sampler of_all(options), of_some(options);
        const int64_t k = of_all.n_deciding();
        REQUIRE(k > 0);
        for (int i = 0; i < 200; ++i) {
            std::vector<float> logits(300);
            for (float& logit : logits) logit = float(int(random() % 60) - 40) / 8;  // many are equal
            logits[random() % 300] = NAN;
            std::vector<TokenLogit> largest;
            for (size_t t = 0; t < logits.size(); ++t)
                largest.push_back({Token(t), std::isnan(logits[t]) ? -INFINITY : logits[t]});
            std::ranges::sort(largest, is_better);
            largest.resize(size_t(k));
            REQUIRE(of_some.sample(Logits{{}, largest}) == of_all.sample(logits));
        }
    }
    CHECK(Sampler({.temperature = 0}).n_deciding() == 1);
    CHECK(Sampler({.top_k = 0}).n_deciding() == 0);
    CHECK(Sampler({.repeat_penalty = 0.9f}).n_deciding() == 0);
    CHECK(Sampler({.repeat_penalty = 1.1f, .repeat_window = 9}).n_deciding() == 49);
}
