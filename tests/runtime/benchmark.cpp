// What a pass costs, counted by hand and by the profile; and what is said of the machine's limits.
#include "runtime/benchmark.h"

#include "runtime/cpu/cpu_backend.h"
#include "tests/catch.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using family_tests::SmallFile;

namespace {

BenchmarkTest prompt_of(int64_t n, int64_t depth = 0) {
    return {BenchmarkTest::Part::Prompt, n, depth};
}
BenchmarkTest generation_of(int64_t n, int64_t depth = 0) {
    return {BenchmarkTest::Part::Generate, n, depth};
}

}  // namespace

TEST_CASE("the profile counts every matrix's bytes and products as one does by hand") {
    // 4 layers of F32: q (64, 64), k and v (32, 64), output (64, 64), gate and up (96, 64), down (64, 96).
    const SmallFile file(family_tests::small_model("llama"));
    CpuBackend cpu(1);
    ProfiledBackend backend(cpu);
    const Model model(file.path(), backend);
    ForwardPass forward(model, 64);
    const std::vector<Token> tokens = {1, 2, 3, 4, 5};

    REQUIRE(forward.run(tokens, 1));  // is not counted
    backend.start(model);
    REQUIRE(forward.run(tokens, 1));
    const Profile profile = backend.stop();
    REQUIRE(forward.run(tokens, 1));  // nor is this

    CHECK(profile.at("attn_q + attn_k + attn_v").n_calls == 4);
    CHECK(profile.at("attn_q + attn_k + attn_v").weight_bytes == 4 * (64 + 32 + 32) * 64 * 4);
    CHECK(profile.at("attn_q + attn_k + attn_v").float_operations == 2 * 5 * 4 * (64 + 32 + 32) * 64);
    // After the last layer's attention only the row goes on whose logits are wanted.
    CHECK(profile.at("ffn_down").float_operations == 2 * (3 * 5 + 1) * 64 * 96);
    CHECK(profile.at("output").float_operations == 2 * 128 * 64);
    CHECK(profile.at("norm").n_calls == 2 * 4 + 1);
    // Positions 5 … 9 see 6 … 10 positions of 32 keys and 32 values in half precision.
    CHECK(profile.at("attention").cache_bytes == 4 * (6 + 7 + 8 + 9 + 10) * (32 + 32) * 2);
    CHECK(sum_of(profile).int8_operations == 0);
    for (const auto& [kind, cost] : profile) {
        INFO(kind);
        CHECK(cost.seconds >= 0);
        CHECK(cost.n_calls > 0);
    }
    CHECK(by_seconds(profile).front().second.seconds >= by_seconds(profile).back().second.seconds);
}

TEST_CASE("experts that no token was sent to are not read") {
    const SmallFile file(family_tests::small_model("qwen3moe"));
    CpuBackend cpu(1);
    ProfiledBackend backend(cpu);
    const Model model(file.path(), backend);
    const int64_t n_used = model.hyperparameters().routing.n_used;
    ForwardPass forward(model, 64);
    const std::vector<Token> token = {1};
    backend.start(model);
    REQUIRE(forward.run(token, 1));
    const Profile profile = backend.stop();
    CHECK(profile.at("ffn_down_exps").weight_bytes == uint64_t(4 * n_used * 64 * 32 * 4));
    CHECK(profile.at("ffn_down_exps").float_operations == uint64_t(2 * 4 * n_used * 64 * 32));
}

TEST_CASE("every test is run as often as it was asked to, at its depth") {
    const SmallFile file(family_tests::small_model("llama"));
    CpuBackend cpu(1);
    ProfiledBackend backend(cpu);
    const Model model(file.path(), backend);
    const std::vector<BenchmarkTest> tests = {prompt_of(8), generation_of(3), prompt_of(8, 20),
                                              generation_of(3, 20)};
    int n_measured = 0;
    BenchmarkOptions options;
    options.n_repetitions = 4;
    options.limits = [&] { return cpu::LimitRates{.read_bytes = double(++n_measured)}; };
    const auto results = run_benchmark(model, backend, tests, options);
    REQUIRE(results.has_value());
    REQUIRE(results->size() == 4);
    CHECK(n_measured == 2 + 16);  // at each of two depths before the first run, and after every one
    CHECK((*results)[0].limits[0].read_bytes == 1.5);
    CHECK((*results)[1].limits[0].read_bytes == 2.5);
    CHECK((*results)[0].limits[1].read_bytes == 3.5);
    for (const BenchmarkResult& result : *results) {
        CHECK(result.tokens_per_second.size() == 4);
        CHECK(result.limits.size() == 4);
        CHECK(result.least() > 0);
        CHECK(result.least() <= result.median());
        CHECK(result.median() <= result.most());
    }
    // Four layers; each token sees what is before it, and itself.
    CHECK((*results)[1].profile.at("attention").cache_bytes == 4 * (1 + 2 + 3) * 64 * 2);
    CHECK((*results)[3].profile.at("attention").cache_bytes == 4 * (21 + 22 + 23) * 64 * 2);
    CHECK((*results)[3].profile.at("output").n_calls == 3);

    const std::atomic<bool> cancel = true;
    options.cancel = &cancel;
    CHECK_FALSE(run_benchmark(model, backend, tests, options).has_value());
}

TEST_CASE("a recurrent model is measured at a depth, too") {
    const SmallFile file(family_tests::small_model("qwen3next"));
    CpuBackend cpu(1);
    ProfiledBackend backend(cpu);
    const Model model(file.path(), backend);
    const std::vector<BenchmarkTest> tests = {prompt_of(8, 20), generation_of(3, 20)};
    BenchmarkOptions options;
    options.n_repetitions = 2;
    const auto results = run_benchmark(model, backend, tests, options);
    REQUIRE(results.has_value());
    CHECK((*results)[1].profile.at("delta net").n_calls == 2 * 3);
}

TEST_CASE("the share of the limit is that of the slower of reading and multiplying") {
    BenchmarkResult result;
    result.test = generation_of(10);
    result.tokens_per_second = {5};  // 2 s for 10 tokens
    Cost cost;
    cost.weight_bytes = 700;
    cost.cache_bytes = 300;
    cost.int8_operations = 4000;
    cost.float_operations = 100;
    result.profile["all"] = cost;
    const auto share = [&](const cpu::LimitRates& rates) {
        result.limits = {rates};
        return share_of_limit(result);
    };
    // 1 s of reading, 0.4 s of integers, 0.1 s of floats
    const auto reading = share({1000, 10000, 1000});
    REQUIRE(reading.has_value());
    CHECK(reading->limit == Limit::Reading);
    CHECK(reading->share == Approx(0.5));
    // 1 s, 1.6 s, 0.2 s
    const auto integers = share({1000, 2500, 500});
    CHECK(integers->limit == Limit::Int8);
    CHECK(integers->share == Approx(0.9));
    // A prompt looks at keys and values while they are near: 0.7 s.
    result.test = prompt_of(10);
    CHECK(share({1000, 1e9, 1e9})->share == Approx(0.35));
    // All products of it by matrix registers: 0.82 s; by vectors 1.8 s.
    const auto matrix = share({1000, 2500, 500, 5000});
    CHECK(matrix->limit == Limit::Matrix);
    CHECK(matrix->share == Approx(0.41));
    CHECK(matrix->of_vectors == Approx(0.9));
    CHECK_FALSE(share({}).has_value());
    result.limits.clear();
    CHECK_FALSE(share_of_limit(result).has_value());
}

TEST_CASE("every repetition is compared with the limits of its own moment") {
    BenchmarkResult result;
    result.test = prompt_of(10);
    Cost cost;
    cost.weight_bytes = 700;
    result.profile["all"] = cost;
    result.tokens_per_second = {10, 5, 2};  // the machine became half as fast, and then the program, too
    result.limits = {{.read_bytes = 1400}, {.read_bytes = 700}, {.read_bytes = 700}};
    CHECK(share_of_limit(result)->share == Approx(0.5));
}

TEST_CASE("the machine's limits are positive, and every table of kernels has its loops") {
    const std::vector<std::byte> bytes(size_t(1) << 20);
    const cpu::LimitRates rates = cpu::MachineLimits(1, bytes).measure();
    CHECK(rates.read_bytes > 1e6);
    CHECK(rates.int8_operations > 1e6);
    CHECK(rates.float_operations > 1e6);
    CHECK(cpu::limit_loops().name == cpu::kernels().name);
    CHECK(cpu::MachineLimits(1, std::span(bytes).first(100)).measure().read_bytes == 0);
}

TEST_CASE("the middle of limits is taken of each rate alone") {
    const std::vector<cpu::LimitRates> all = {{1, 60, 7, 5}, {3, 20, 8, 0}, {2, 40, 9, 3}, {9, 30, 6, 9}};
    const cpu::LimitRates middle = cpu::median_of(all);
    CHECK(middle.read_bytes == 2.5);
    CHECK(middle.int8_operations == 35);
    CHECK(middle.float_operations == 7.5);
    CHECK(middle.matrix_operations == 4);
    CHECK(cpu::median_of({}).read_bytes == 0);
}

TEST_CASE("the reading loop looks at every byte") {
    std::vector<uint8_t> bytes(4096);
    const auto read = [&] { return cpu::limit_loops().read(bytes.data(), bytes.size()); };
    const uint64_t before = read();
    for (const size_t at : {0, 63, 64, 1023, 1024, 2048, 4095}) {
        bytes[at] ^= 1;
        CHECK(read() != before);
        bytes[at] ^= 1;
    }
    CHECK(read() == before);
}
