#pragma once
// Measures how fast a model reads prompts and generates, beside what the machine could do at best.
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/cpu/machine_limits.h"
#include "runtime/forward.h"
#include "runtime/profiled_backend.h"

namespace ingot::runtime {

/// One thing that is measured.
struct BenchmarkTest {
    enum class Part : uint8_t { Prompt, Generate };  // all tokens in one run, or one after the other
    Part part = Part::Prompt;
    int64_t n_tokens = 0;
    int64_t depth = 0;        // tokens that are in the context before
    int64_t n_sequences = 1;  // that this is done with at once

    int64_t n_all_tokens() const { return n_tokens * n_sequences; }
};

/// Which limit of the machine a test comes up against first.
enum class Limit : uint8_t { Reading, Int8, Float, Matrix };

struct BenchmarkResult {
    BenchmarkTest test;
    std::vector<double> tokens_per_second;  // of each repetition
    std::vector<cpu::LimitRates> limits;    // of the machine around each; may be empty
    Profile profile;                        // of one more run

    double median() const;
    double least() const;
    double most() const;
};

/// How near a result is to a machine that only reads the bytes and only multiplies: the time that the slower
/// of the two takes at least, as a share of the time taken: the median of the repetitions, each beside the
/// limits of its own moment. Nothing when no limit is known.
struct LimitShare {
    Limit limit;
    double share;
    /// The same without matrix registers, by vectors: above 1 where they help.
    double of_vectors;
};
std::optional<LimitShare> share_of_limit(const BenchmarkResult& result);

struct BenchmarkOptions {
    int64_t n_repetitions = 5;
    CacheType cache_type = CacheType::F16;
    int64_t n_largest = 0;  // logits that come from the device after a token, as sampling wants them; 0: all
    const std::atomic<bool>* cancel = nullptr;
    /// Measures what the machine can do, before and after each repetition; may be empty.
    std::function<cpu::LimitRates()> limits;
};

/// Runs every test once to warm up, n_repetitions times in turn, so that a noisy moment meets all of them,
/// and once more for the profile. `model` was loaded on `backend`. Contexts are as long as the longest test.
/// Returns nothing when cancelled.
std::optional<std::vector<BenchmarkResult>> run_benchmark(const Model& model, ProfiledBackend& backend,
                                                          std::span<const BenchmarkTest> tests,
                                                          const BenchmarkOptions& options);

/// Bytes that a GPU reads and writes in a second when it does nothing else: the best of some passes over more
/// memory than its caches hold. Throws Error when it has not enough.
double streaming_rate(Backend& backend);

}  // namespace ingot::runtime
