#include "runtime/benchmark.h"

#include <algorithm>
#include <chrono>

namespace ingot::runtime {
namespace {

constexpr int64_t kWarmUpTokens = 4;  // of a generation

/// Runs tests over as many sequences as they ask for, all of the same tokens.
class Runner {
  public:
    Runner(const Model& model, std::span<const BenchmarkTest> tests, const BenchmarkOptions& options)
        : forward_(model, most(tests, [](const BenchmarkTest& test) { return test.depth + test.n_tokens; }),
                   ForwardPass::kDefaultBatch, options.cache_type,
                   most(tests, [](const BenchmarkTest& test) { return test.n_sequences; })),
          cancel_(options.cancel),
          tokens_(size_t(forward_.n_context())) {
        const uint64_t n_vocab = uint64_t(model.hyperparameters().n_vocab);
        forward_.keep_largest(options.n_largest);
        for (size_t i = 0; i < tokens_.size(); ++i) tokens_[i] = Token(i * 7919 % n_vocab);
    }

    /// Seconds of the test's first `n_tokens` tokens; nothing when cancelled.
    std::optional<double> run(const BenchmarkTest& test, int64_t n_tokens) {
        if (!go_to(test.depth)) return std::nullopt;
        const int64_t n_at_once = test.part == BenchmarkTest::Part::Prompt ? n_tokens : 1;
        const auto start = std::chrono::steady_clock::now();
        for (int64_t at = 0; at < n_tokens; at += n_at_once) {
            if (!append(test.depth + at, n_at_once, test.n_sequences, 1)) return std::nullopt;
        }
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }

  private:
    template <typename Number>
    static int64_t most(std::span<const BenchmarkTest> tests, Number number) {
        int64_t most = 1;
        for (const BenchmarkTest& test : tests) most = std::max(most, number(test));
        return most;
    }

    bool append(int64_t first, int64_t n, int64_t n_sequences, int64_t n_logits) {
        std::vector<Segment> segments;
        const auto tokens = std::span<const Token>(tokens_).subspan(size_t(first), size_t(n));
        for (int64_t i = 0; i < n_sequences; ++i) segments.push_back({i, tokens, n_logits});
        return forward_.run(segments, cancel_);
    }

    // Leaves the first `depth` tokens in all sequences. Those that are there from the test before stay.
    bool go_to(int64_t depth) {
        const bool is_new = depth != filled_;
        filled_ = -1;
        for (int64_t i = 0; i < forward_.n_sequences(); ++i) forward_.cache(i).truncate(is_new ? 0 : depth);
        if (is_new) {
            if (depth > 0 && !append(0, depth, forward_.n_sequences(), 0)) return false;
            for (int64_t i = 0; i < forward_.n_sequences(); ++i) forward_.cache(i).keep_states();
        }
        filled_ = depth;
        return true;
    }

    ForwardPass forward_;
    const std::atomic<bool>* cancel_;
    std::vector<Token> tokens_;
    int64_t filled_ = -1;  // positions that are the context of the current tests
};

double median_of(std::vector<double> values) {
    std::ranges::sort(values);
    return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

// Seconds that a machine needs at least. With matrix registers all products of a prompt are theirs.
struct LeastSeconds {
    double reading, int8, floats, matrix;
    double most() const { return std::max(reading, int8 + floats + matrix); }
    Limit limit() const {
        if (reading >= int8 + floats + matrix) return Limit::Reading;
        if (matrix > 0) return Limit::Matrix;
        return int8 >= floats ? Limit::Int8 : Limit::Float;
    }
};

LeastSeconds least_seconds(const BenchmarkResult& result, const cpu::LimitRates& rates) {
    const Cost cost = sum_of(result.profile);
    // A prompt's keys and values are looked at while they are near: only what a single token reads is
    // counted.
    const bool is_prompt = result.test.part == BenchmarkTest::Part::Prompt;
    const double n_bytes = double(cost.weight_bytes) + (is_prompt ? 0 : double(cost.cache_bytes));
    const double int8 = double(cost.int8_operations), floats = double(cost.float_operations);
    const auto at_least = [](double amount, double rate) { return rate > 0 ? amount / rate : 0; };
    const double reading = at_least(n_bytes, rates.read_bytes);
    if (is_prompt && rates.matrix_operations > 0)
        return {reading, 0, 0, at_least(int8 + floats, rates.matrix_operations)};
    return {reading, at_least(int8, rates.int8_operations), at_least(floats, rates.float_operations), 0};
}

// Between two measurements.
cpu::LimitRates mean_of(const cpu::LimitRates& a, const cpu::LimitRates& b) {
    return {(a.read_bytes + b.read_bytes) / 2, (a.int8_operations + b.int8_operations) / 2,
            (a.float_operations + b.float_operations) / 2, (a.matrix_operations + b.matrix_operations) / 2};
}

}  // namespace

double BenchmarkResult::median() const {
    return median_of(tokens_per_second);
}

double BenchmarkResult::least() const {
    return *std::ranges::min_element(tokens_per_second);
}

double BenchmarkResult::most() const {
    return *std::ranges::max_element(tokens_per_second);
}

std::optional<LimitShare> share_of_limit(const BenchmarkResult& result) {
    if (result.limits.empty()) return std::nullopt;
    std::vector<double> shares, of_vectors;
    for (size_t i = 0; i < result.limits.size(); ++i) {
        const double taken = double(result.test.n_all_tokens()) / result.tokens_per_second[i];
        cpu::LimitRates rates = result.limits[i];
        shares.push_back(least_seconds(result, rates).most() / taken);
        rates.matrix_operations = 0;
        of_vectors.push_back(least_seconds(result, rates).most() / taken);
    }
    const double share = median_of(shares);
    if (share <= 0) return std::nullopt;
    return LimitShare{least_seconds(result, cpu::median_of(result.limits)).limit(), share,
                      median_of(of_vectors)};
}

double streaming_rate(Backend& backend) {
    constexpr int64_t kFloats = int64_t(64) << 20;
    constexpr int kPasses = 8, kRepetitions = 5;
    const auto memory = backend.allocate(size_t(kFloats) * sizeof(float));
    float last = 0;  // what is downloaded says that the work is done
    double best = 0;
    for (int i = 0; i < kRepetitions; ++i) {
        const auto start = std::chrono::steady_clock::now();
        for (int pass = 0; pass < kPasses; ++pass) backend.map(Elementwise::Scale, 1, kFloats, *memory);
        backend.download(*memory, std::as_writable_bytes(std::span(&last, 1)));
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        best = std::max(best, 2.0 * kPasses * double(kFloats) * sizeof(float) / seconds);
    }
    return best;
}

std::optional<std::vector<BenchmarkResult>> run_benchmark(const Model& model, ProfiledBackend& backend,
                                                          std::span<const BenchmarkTest> tests,
                                                          const BenchmarkOptions& options) {
    std::vector<BenchmarkResult> results;
    for (const BenchmarkTest& test : tests) results.push_back({test, {}, {}, {}});
    Runner runner(model, tests, options);

    // Tests of the same depth share their context: it is computed once for all their repetitions.
    std::vector<int64_t> depths;
    for (const BenchmarkTest& test : tests) depths.push_back(test.depth);
    std::ranges::sort(depths);
    depths.erase(std::unique(depths.begin(), depths.end()), depths.end());
    for (const int64_t depth : depths) {
        const auto each = [&](auto&& work) {
            for (BenchmarkResult& result : results) {
                if (result.test.depth == depth && !work(result)) return false;
            }
            return true;
        };
        // Pages of the file, the caches and the clock settle before anything counts.
        const bool warmed = each([&](BenchmarkResult& result) {
            const bool whole = result.test.part == BenchmarkTest::Part::Prompt;
            const int64_t n = whole ? result.test.n_tokens : std::min(kWarmUpTokens, result.test.n_tokens);
            return runner.run(result.test, n).has_value();
        });
        if (!warmed) return std::nullopt;
        cpu::LimitRates before = options.limits ? options.limits() : cpu::LimitRates();
        for (int64_t i = 0; i < options.n_repetitions; ++i) {
            const bool done = each([&](BenchmarkResult& result) {
                const std::optional<double> seconds = runner.run(result.test, result.test.n_tokens);
                if (!seconds) return false;
                result.tokens_per_second.push_back(double(result.test.n_all_tokens()) / *seconds);
                if (!options.limits) return true;
                const cpu::LimitRates after = options.limits();
                result.limits.push_back(mean_of(before, after));
                before = after;
                return true;
            });
            if (!done) return std::nullopt;
        }
        const bool profiled = each([&](BenchmarkResult& result) {
            if (!runner.run(result.test, 0)) return false;  // the context is not the test's own
            backend.start(model);
            const bool done = runner.run(result.test, result.test.n_tokens).has_value();
            result.profile = backend.stop();
            return done;
        });
        if (!profiled) return std::nullopt;
    }
    return results;
}

}  // namespace ingot::runtime
