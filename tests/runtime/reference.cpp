// References and divergences: what is written is read back, numbers agree with those of whole distributions,
// and files that lie are refused.
#include "runtime/reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "format/error.h"
#include "runtime/comparison.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace ingot::test;

namespace {

constexpr int64_t kVocabulary = 100, kContext = 8, kChunks = 3;
const int64_t kPositions = n_scored_positions(kChunks, kContext);  // 3 of each chunk

ReferenceInfo info_with(int64_t top_k) {
    return {.model = "m.gguf",
            .text = "t.txt",
            .n_vocab = kVocabulary,
            .n_context = kContext,
            .top_k = top_k,
            .bos = 1};
}

std::vector<Token> text() {
    std::vector<Token> tokens(static_cast<size_t>(kChunks * kContext));
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = Token(i * 7 % kVocabulary);
    return tokens;
}

using Logits = std::vector<std::vector<float>>;  // (positions, vocabulary)

Logits random_logits(uint32_t seed, float spread) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, spread);
    Logits logits(static_cast<size_t>(kPositions), std::vector<float>(static_cast<size_t>(kVocabulary)));
    for (auto& row : logits)
        for (float& value : row) value = normal(random);
    return logits;
}

Token next_of(size_t position) {
    return Token(position * 13 % kVocabulary);
}

std::vector<double> probabilities(const std::vector<float>& logits) {
    double sum = 0;
    std::vector<double> p;
    for (const float logit : logits) sum += std::exp(double(logit));
    for (const float logit : logits) p.push_back(std::exp(double(logit)) / sum);
    return p;
}

void write(const std::string& path, const Logits& logits, int64_t top_k) {
    ReferenceWriter writer(path, info_with(top_k), text(), true);
    for (size_t i = 0; i < logits.size(); ++i) writer.add(logits[i], next_of(i));
    writer.commit();
}

/// The file with its bytes changed, as an error.
std::string error_after(const TemporaryFolder& folder, const std::string& bytes) {
    write_file(folder / "changed.gguf", bytes);
    try {
        Reference reference(folder / "changed.gguf");
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("a reference holds the most likely tokens, the rest's share and what came") {
    const TemporaryFolder folder;
    const Logits logits = random_logits(1, 2);
    write(folder / "r.gguf", logits, 5);
    const Reference reference(folder / "r.gguf");
    CHECK(reference.info().model == "m.gguf");
    CHECK(reference.info().text == "t.txt");
    CHECK(reference.info().n_context == kContext);
    CHECK(reference.info().top_k == 5);
    CHECK(reference.info().bos == Token(1));
    CHECK(std::ranges::equal(reference.tokens(), text()));
    REQUIRE(reference.n_positions() == kPositions);
    for (size_t i = 0; i < logits.size(); ++i) {
        const std::vector<double> p = probabilities(logits[i]);
        const ReferencePosition position = reference[int64_t(i)];
        double rest = 1;
        for (size_t k = 0; k < 5; ++k) {
            const double expected = p[size_t(position.tokens[k])];
            CHECK(std::fabs(double(position.log_likelihoods[k]) - std::log(expected)) < 1e-5);
            CHECK(std::ranges::count_if(p, [&](double other) { return other > expected; }) == long(k));
            rest -= expected;
        }
        CHECK(std::fabs(std::exp(double(position.rest_log_likelihood)) - rest) < 1e-6);
        CHECK(std::fabs(double(position.negative_log_likelihood) + std::log(p[size_t(next_of(i))])) < 1e-5);
    }
}

TEST_CASE("a model does not diverge from itself; with all tokens kept, divergence is the sum over all") {
    const TemporaryFolder folder;
    const Logits p_logits = random_logits(1, 2), q_logits = random_logits(2, 2);
    write(folder / "r.gguf", p_logits, kVocabulary);
    const Reference reference(folder / "r.gguf");
    DivergenceStatistics same(reference), other(reference);
    std::vector<double> expected;
    double n_same = 0, log_ratio = 0;
    for (size_t i = 0; i < p_logits.size(); ++i) {
        const std::vector<double> p = probabilities(p_logits[i]), q = probabilities(q_logits[i]);
        const size_t next = size_t(next_of(i));
        same.add(p_logits[i], -std::log(p[next]));
        other.add(q_logits[i], -std::log(q[next]));
        double sum = 0;
        for (size_t t = 0; t < p.size(); ++t) sum += p[t] * std::log(p[t] / q[t]);
        expected.push_back(sum);
        n_same += std::ranges::max_element(p) - p.begin() == std::ranges::max_element(q) - q.begin();
        log_ratio += std::log(p[next] / q[next]) / double(kPositions);
    }
    CHECK(std::fabs(same.result().mean.value) < 1e-6);
    CHECK(same.result().top_1_agreement.value == 1);
    CHECK(std::fabs(same.result().perplexity_ratio.value - 1) < 1e-6);

    const Divergence result = other.result();
    const double n = double(expected.size());
    const double mean = std::accumulate(expected.begin(), expected.end(), 0.0) / n;
    double squares = 0;
    for (const double value : expected) squares += (value - mean) * (value - mean);
    std::ranges::sort(expected);
    CHECK(std::fabs(result.mean.value - mean) < 1e-5);
    CHECK(std::fabs(result.mean.standard_error - std::sqrt(squares / (n - 1) / n)) < 1e-5);
    CHECK(std::fabs(result.median - expected[4]) < 1e-5);  // of nine
    CHECK(std::fabs(result.percentile_99 - (0.08 * expected[7] + 0.92 * expected[8])) < 1e-5);
    CHECK(std::fabs(result.largest - expected[8]) < 1e-5);
    CHECK(result.top_1_agreement.value == n_same / n);
    CHECK(std::fabs(result.perplexity_ratio.value - std::exp(log_ratio)) < 1e-5);
    CHECK(result.mean_rest == 0);
}

TEST_CASE("with fewer tokens kept, divergence is less, and the more are kept the nearer") {
    const TemporaryFolder folder;
    const Logits p_logits = random_logits(1, 3), q_logits = random_logits(2, 3);
    double before = 0;
    for (const int64_t top_k : {1, 10, 50, 99, 100}) {
        INFO(top_k);
        write(folder / "r.gguf", p_logits, top_k);
        const Reference reference(folder / "r.gguf");
        double sum = 0;
        for (size_t i = 0; i < p_logits.size(); ++i) sum += divergence_at(reference[int64_t(i)], q_logits[i]);
        CHECK(sum > before - 1e-6);
        before = sum;
    }
    CHECK(before > 1);
}

TEST_CASE("a reference that is not finished does not appear, nor does one of too many positions") {
    const TemporaryFolder folder;
    const Logits logits = random_logits(1, 2);
    {
        ReferenceWriter writer(folder / "r.gguf", info_with(4), text(), false);
        writer.add(logits[0], 0);
        CHECK_THROWS_WITH(writer.commit(), ContainsSubstring("1 of 9 positions"));
    }
    CHECK(folder.names().empty());
    ReferenceWriter writer(folder / "r.gguf", info_with(4), text(), false);
    for (const auto& row : logits) writer.add(row, 0);
    CHECK_THROWS_WITH(writer.add(logits[0], 0), ContainsSubstring("more positions than the text has"));
    std::vector<float> broken = logits[0];
    broken[3] = NAN;
    CHECK_THROWS_WITH(divergence_at({{}, {}, 0, 0}, broken), ContainsSubstring("no numbers"));
}

TEST_CASE("a reference whose numbers lie is refused") {
    const TemporaryFolder folder;
    write(folder / "r.gguf", random_logits(1, 2), 5);
    const std::string whole = read_file(folder / "r.gguf");
    const GgufFile file(folder / "r.gguf");
    const auto changed = [&](const char* tensor, uint32_t value) {
        std::string bytes = whole;
        std::memcpy(bytes.data() + file.header().find_tensor(tensor)->offset, &value, sizeof value);
        return error_after(folder, bytes);
    };
    const auto renamed = [&](const std::string& from, const std::string& to) {
        std::string bytes = whole;
        bytes.replace(bytes.find(from), from.size(), to);
        return error_after(folder, bytes);
    };
    CHECK(error_after(folder, whole) == "no error");
    CHECK_THAT(changed("tokens", 100), ContainsSubstring("tensor tokens: token 100 is outside"));
    CHECK_THAT(changed("top_tokens", uint32_t(-1)), ContainsSubstring("token -1 is outside"));
    CHECK_THAT(changed("top_log_likelihoods", 0x7fc00000), ContainsSubstring("nan is no logarithm"));
    CHECK_THAT(changed("top_log_likelihoods", 0xff800000), ContainsSubstring("-inf is no logarithm"));
    CHECK_THAT(changed("rest_log_likelihood", 0x3f800000), ContainsSubstring("1 is no logarithm"));
    CHECK_THAT(changed("negative_log_likelihood", 0xbf800000), ContainsSubstring("-1 is no logarithm"));
    CHECK_THAT(renamed("rest_log_likelihood", "best_log_likelihood"), ContainsSubstring("is missing"));
    CHECK_THAT(renamed("ingot.reference.context", "ingot.reference.kontext"),
               ContainsSubstring("ingot.reference.context"));
    CHECK_THAT(error_after(folder, whole.substr(0, whole.size() - 64)), ContainsSubstring("changed.gguf"));
}
