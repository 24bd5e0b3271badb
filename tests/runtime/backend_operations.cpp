// Operations of the CPU backend that have no kernel of their own, against their formulas written out.
#include <cmath>
#include <random>

#include "runtime/cpu/cpu_backend.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

std::vector<float> random_values(size_t n, uint32_t seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> distribution;
    std::vector<float> values(n);
    for (float& value : values) value = distribution(generator);
    return values;
}

template <typename T>
std::unique_ptr<Buffer> on_device(Backend& backend, const std::vector<T>& values) {
    auto buffer = backend.allocate(values.size() * sizeof(T));
    backend.upload(std::as_bytes(std::span(values)), *buffer);
    return buffer;
}
template <typename T = float>
std::vector<T> from_device(Backend& backend, const Buffer& buffer) {
    std::vector<T> values(buffer.size_bytes() / sizeof(T));
    backend.download(buffer, std::as_writable_bytes(std::span(values)));
    return values;
}

void check_close(const std::vector<float>& a, const std::vector<float>& b, double tolerance) {
    REQUIRE(a.size() == b.size());
    double largest = 0, size = 1e-30;
    for (size_t i = 0; i < a.size(); ++i) {
        REQUIRE(std::isfinite(a[i]));
        largest = std::max(largest, std::fabs(double(a[i]) - double(b[i])));
        size = std::max(size, std::fabs(double(b[i])));
    }
    CHECK(largest / size < tolerance);
}

struct Routed {
    std::vector<int32_t> experts;
    std::vector<float> weights;
};
Routed route(const RoutingRule& rule, const std::vector<float>& logits) {
    CpuBackend backend(1);
    const int64_t n_tokens = int64_t(logits.size()) / rule.n_experts;
    const auto device_logits = on_device(backend, logits);
    const auto experts = backend.allocate(size_t(n_tokens * rule.n_used) * sizeof(int32_t));
    const auto weights = backend.allocate(size_t(n_tokens * rule.n_used) * sizeof(float));
    backend.route(rule, *device_logits, n_tokens, *experts, *weights);
    return {from_device<int32_t>(backend, *experts), from_device(backend, *weights)};
}

}  // namespace

TEST_CASE("a token goes to the experts with the largest logits, with the weights of each kind of gate") {
    const std::vector<float> logits = {0, 2, 1, -1};
    const double sum = 1 + std::exp(2.0) + std::exp(1.0) + std::exp(-1.0);
    RoutingRule rule{.n_experts = 4, .n_used = 2};

    Routed routed = route(rule, logits);
    CHECK(routed.experts == std::vector<int32_t>{1, 2});
    CHECK(routed.weights[0] == Approx(std::exp(2.0) / sum));
    CHECK(routed.weights[1] == Approx(std::exp(1.0) / sum));

    rule.normalize = true;
    rule.scale = 3;
    routed = route(rule, logits);
    CHECK(routed.weights[0] == Approx(3 * std::exp(2.0) / (std::exp(2.0) + std::exp(1.0))));
    CHECK(routed.weights[0] + routed.weights[1] == Approx(3));

    rule = {.gating = Gating::SoftmaxOfChosen, .n_experts = 4, .n_used = 2};
    routed = route(rule, logits);
    CHECK(routed.weights[0] == Approx(std::exp(2.0) / (std::exp(2.0) + std::exp(1.0))));

    rule.gating = Gating::Sigmoid;
    routed = route(rule, logits);
    CHECK(routed.weights[1] == Approx(1 / (1 + std::exp(-1.0))));
}

TEST_CASE("a selection bias changes who is chosen and not the weight; scales are the experts' own") {
    CpuBackend backend(1);
    const auto bias = on_device<float>(backend, {0, 0, 0, 5});
    const auto scales = on_device<float>(backend, {1, 10, 100, 1000});
    RoutingRule rule{.gating = Gating::Sigmoid, .n_experts = 4, .n_used = 2};
    rule.selection_bias = bias.get();
    rule.expert_scales = scales.get();
    const Routed routed = route(rule, {0, 2, 1, -1});
    CHECK(routed.experts == std::vector<int32_t>{3, 1});
    CHECK(routed.weights[0] == Approx(1000 / (1 + std::exp(1.0))));
    CHECK(routed.weights[1] == Approx(10 / (1 + std::exp(-2.0))));
}

TEST_CASE("only experts of the best groups are chosen from") {
    // Groups (0, 1), (2, 3), (4, 5). By the largest: the second; by the sum of two: the third.
    const std::vector<float> logits = {-9, -9, 3, -9, 2, 2};
    RoutingRule rule{.n_experts = 6, .n_used = 2, .n_groups = 3, .n_groups_used = 1};
    rule.group_score = GroupScore::Largest;
    CHECK(route(rule, logits).experts == std::vector<int32_t>{2, 3});
    rule.gating = Gating::SoftmaxOfChosen;  // scores stay logits
    rule.group_score = GroupScore::SumOfTwoLargest;
    CHECK(route(rule, logits).experts == std::vector<int32_t>{4, 5});
}

TEST_CASE("router logits that are no numbers choose some experts, each at most once") {
    const RoutingRule rule{.n_experts = 4, .n_used = 3};
    const Routed routed = route(rule, {NAN, NAN, 1, NAN, NAN, NAN, NAN, NAN});
    for (size_t i = 0; i < routed.experts.size(); ++i) {
        CHECK(routed.experts[i] >= 0);
        CHECK(routed.experts[i] < 4);
        if (i % 3 != 0) CHECK(routed.experts[i] != routed.experts[i - 1]);
    }
}

TEST_CASE("products by experts are those by each expert's matrix, whatever the number of threads") {
    constexpr int64_t kExperts = 5, kUsed = 2, kIn = 96, kOut = 80;
    const auto matrices = random_values(size_t(kExperts * kOut * kIn), 1);
    const auto biases = random_values(size_t(kExperts * kOut), 2);
    const int64_t n_tokens = GENERATE(23, 300);
    std::vector<int32_t> experts;  // 4 is idle. Of many tokens 0 and 1 have most, 2 some, and 3 one
    for (int64_t slot = 0; slot < n_tokens * kUsed; ++slot) {
        const int64_t uneven = slot == 1 ? 3 : slot % 20 == 0 ? 2 : slot % 2;
        experts.push_back(int32_t(n_tokens < 100 ? slot * 7 % 4 : uneven));
    }
    for (const bool x_has_slots : {false, true}) {
        const auto x = random_values(size_t((x_has_slots ? n_tokens * kUsed : n_tokens) * kIn), 3);
        std::vector<float> expected;
        for (int64_t slot = 0; slot < n_tokens * kUsed; ++slot) {
            const int64_t row = x_has_slots ? slot : slot / kUsed;
            const int64_t expert = experts[size_t(slot)];
            for (int64_t out = 0; out < kOut; ++out) {
                double sum = double(biases[size_t(expert * kOut + out)]);
                for (int64_t i = 0; i < kIn; ++i) {
                    sum += double(matrices[size_t((expert * kOut + out) * kIn + i)]) *
                           double(x[size_t(row * kIn + i)]);
                }
                expected.push_back(float(sum));
            }
        }
        std::vector<float> first;
        for (const int n_threads : {1, 3}) {
            CpuBackend backend(n_threads);
            const auto weight = backend.load_weight(TensorType::F32, kIn, kExperts * kOut,
                                                    std::as_bytes(std::span(matrices)));
            const auto bias = on_device(backend, biases);
            const auto device_x = on_device(backend, x);
            const auto chosen = on_device(backend, experts);
            const auto y = backend.allocate(size_t(n_tokens * kUsed * kOut) * sizeof(float));
            const Projection projections[] = {{weight.get(), bias.get(), y.get()}};
            backend.matmul_experts(*device_x, x_has_slots, n_tokens, {chosen.get(), kExperts, kUsed},
                                   projections);
            check_close(from_device(backend, *y), expected, 1e-5);
            if (first.empty()) first = from_device(backend, *y);
            CHECK(from_device(backend, *y) == first);
        }
    }
}

TEST_CASE("combining, scaling, and copying parts of rows") {
    CpuBackend backend(1);
    const auto x = on_device<float>(backend, {1, 2, 3, 4, 5, 6, 7, 8});  // 2 tokens, 2 slots, 2 wide
    const auto weights = on_device<float>(backend, {1, 10, 0.5f, 0});
    const auto y = backend.allocate(4 * sizeof(float));
    backend.combine(*x, *weights, 2, 2, 2, *y);
    CHECK(from_device(backend, *y) == std::vector<float>{31, 42, 2.5f, 3});
    const auto repeated = backend.allocate(8 * sizeof(float));
    backend.scale_rows(*y, *weights, 4, 2, 2, *repeated);
    CHECK(from_device(backend, *repeated) == std::vector<float>{31, 42, 310, 420, 1.25f, 1.5f, 0, 0});
    backend.copy_columns(*x, {4, 1}, 2, 2, *repeated, {3, 1});
    CHECK(from_device(backend, *repeated) == std::vector<float>{31, 2, 3, 420, 6, 7, 0, 0});
    backend.map(Elementwise::Scale, -2, 3, *repeated);
    backend.map(Elementwise::Clamp, 5, 8, *repeated);
    CHECK(from_device(backend, *repeated) == std::vector<float>{-5, -4, -5, 5, 5, 5, 0, 0});
}

TEST_CASE("a norm may have weights for each of several groups, and rows that are parts of wider ones") {
    CpuBackend backend(1);
    const auto x = on_device<float>(backend, {3, 4, 100, 6, 8, 200});
    const auto weight = on_device<float>(backend, {1, 1, 2, 2});
    const auto y = on_device<float>(backend, std::vector<float>(6, -1));
    Norm norm{NormKind::Rms, 0, 2, weight.get()};
    norm.n_groups = 2;
    norm.stride = 3;
    backend.norm(norm, *x, 2, *y);
    const float unit = std::sqrt(12.5f);
    const std::vector<float> expected = {3 / unit, 4 / unit, -1, 3 / unit * 2, 4 / unit * 2, -1};
    check_close(from_device(backend, *y), expected, 1e-6);
}

TEST_CASE("a convolution and a delta net give the same at once and token by token") {
    constexpr int64_t kTokens = 9, kTaps = 4;
    const DeltaHeads heads{
        .n_key_heads = 2, .n_value_heads = 4, .tiled = false, .key_dim = 8, .value_dim = 6};
    const int64_t n = heads.n_key_heads * heads.key_dim;
    CpuBackend backend(2);
    const auto x = random_values(size_t(kTokens * n), 1), taps = random_values(size_t(n * kTaps), 2);
    const auto values = random_values(size_t(kTokens * heads.n_value_heads * heads.value_dim), 3);
    const auto gates = random_values(size_t(kTokens * heads.n_value_heads), 4);
    const auto device_taps = on_device(backend, taps);
    const auto decay = on_device<float>(backend, {-0.5f, -1, -2, -0.1f});
    const auto bias = on_device<float>(backend, {0.1f, -0.2f, 0.3f, 0});

    const auto run = [&](int64_t n_at_once, bool tiled) {
        DeltaHeads geometry = heads;
        geometry.tiled = tiled;
        const auto rows = [&](const std::vector<float>& all, int64_t token, int64_t width) {
            const auto begin = all.begin() + token * width;
            return on_device(backend, std::vector<float>(begin, begin + n_at_once * width));
        };
        // States begin as garbage: a fresh one counts as zero.
        const auto state = on_device(backend, std::vector<float>(size_t((kTaps - 1) * n), NAN));
        const auto matrix = on_device(backend, std::vector<float>(4 * 8 * 6, NAN));
        std::vector<float> convolved, answers;
        for (int64_t token = 0; token < kTokens; token += n_at_once) {
            const auto q = backend.allocate(size_t(n_at_once * n) * sizeof(float));
            backend.convolve(*rows(x, token, n), *device_taps, n_at_once, n, kTaps, token == 0, *state, *q);
            const auto k = rows(x, token, n);
            const auto v = rows(values, token, 24), alpha = rows(gates, token, 4),
                       beta = rows(gates, token, 4);
            const auto y = backend.allocate(size_t(n_at_once * 24) * sizeof(float));
            const DeltaInputs inputs{q.get(),    k.get(),     v.get(),   alpha.get(),
                                     beta.get(), decay.get(), bias.get()};
            backend.delta_net(geometry, inputs, n_at_once, token == 0, *matrix, *y);
            for (const float value : from_device(backend, *q)) convolved.push_back(value);
            for (const float value : from_device(backend, *y)) answers.push_back(value);
        }
        return std::pair(convolved, answers);
    };
    const auto [convolved, answers] = run(kTokens, false);
    CHECK(run(1, false) == std::pair(convolved, answers));
    CHECK(run(3, false) == std::pair(convolved, answers));
    CHECK(run(kTokens, true).second != answers);

    // Both by their formulas, in double.
    std::vector<float> expected_rows, expected_answers(answers.size());
    for (int64_t token = 0; token < kTokens; ++token) {
        for (int64_t i = 0; i < n; ++i) {
            double sum = 0;
            for (int64_t tap = 0; tap < kTaps; ++tap) {
                const int64_t from = token - kTaps + 1 + tap;
                if (from >= 0) sum += double(taps[size_t(i * kTaps + tap)]) * double(x[size_t(from * n + i)]);
            }
            expected_rows.push_back(float(sum));
        }
    }
    check_close(convolved, expected_rows, 1e-6);
    const std::vector<double> decays = {-0.5, -1, -2, -0.1}, biases = {0.1, -0.2, 0.3, 0};
    for (int64_t head = 0; head < 4; ++head) {
        double matrix[8][6] = {};
        for (int64_t token = 0; token < kTokens; ++token) {
            const double gate = double(gates[size_t(token * 4 + head)]);
            const double kept =
                std::exp(decays[size_t(head)] * std::log1p(std::exp(gate + biases[size_t(head)])));
            const double learned = 1 / (1 + std::exp(-gate));
            const float* k = x.data() + token * n + head / 2 * 8;
            const float* q = expected_rows.data() + token * n + head / 2 * 8;
            for (int j = 0; j < 6; ++j) {
                double known = 0, answer = 0;
                for (int i = 0; i < 8; ++i) known += (matrix[i][j] *= kept) * double(k[i]);
                const double v = double(values[size_t((token * 4 + head) * 6 + j)]);
                for (int i = 0; i < 8; ++i) {
                    matrix[i][j] += double(k[i]) * (v - known) * learned;
                    answer += matrix[i][j] * double(q[i]) / std::sqrt(8.0);
                }
                expected_answers[size_t((token * 4 + head) * 6 + j)] = float(answer);
            }
        }
    }
    check_close(answers, expected_answers, 1e-4);
}
