// A token that sees many positions attends to them in pieces: against the oracle, which takes all at once.
#include <cmath>
#include <string>

#include "format/half.h"
#include "runtime/cpu/cpu_backend.h"
#include "tests/catch.h"
#include "tests/runtime/kernels.h"

using namespace ingot;
using namespace ingot::runtime;
using kernel_tests::random_floats;
using kernel_tests::relative_error;

namespace {

struct Case {
    int64_t n_heads, n_kv_heads, dim;
    std::vector<int32_t> positions;
    int64_t window = 0;
    bool adjusted = false;  // by a soft cap, slopes and sinks
};

class Problem {
  public:
    explicit Problem(const Case& of)
        : c(of),
          stride(c.n_kv_heads * c.dim),
          queries(random_floats(c.positions.size() * size_t(c.n_heads * c.dim), 1)),
          keys(random_floats(size_t((c.positions.back() + 1) * stride), 2)),
          values(random_floats(keys.size(), 3)),
          sinks(random_floats(size_t(c.n_heads), 4)) {
        for (int64_t h = 0; h < c.n_heads; ++h) slopes.push_back(std::exp2(-float(h + 4)));
    }

    // (tokens, n_heads, dim)
    std::vector<float> expected() const {
        std::vector<float> output(queries.size()), scores(size_t(c.positions.back() + 1));
        for (size_t t = 0; t < c.positions.size(); ++t) {
            const int64_t end = c.positions[t] + 1;
            const int64_t begin = c.window == 0 ? 0 : std::max<int64_t>(0, end - c.window);
            for (int64_t h = 0; h < c.n_heads; ++h) {
                const int64_t row = int64_t(t) * c.n_heads + h;
                const int64_t from = begin * stride + h / (c.n_heads / c.n_kv_heads) * c.dim;
                cpu::scalar_kernels().attention({.queries = queries.data() + row * c.dim,
                                                 .n_queries = 1,
                                                 .keys = keys.data() + from,
                                                 .values = values.data() + from,
                                                 .float_cache = true,
                                                 .key_stride = stride,
                                                 .value_stride = stride,
                                                 .n_positions = end - begin,
                                                 .key_dim = c.dim,
                                                 .value_dim = c.dim,
                                                 .scale = 1 / std::sqrt(float(c.dim)),
                                                 .soft_cap = c.adjusted ? 2.0f : 0.0f,
                                                 .slopes = c.adjusted ? &slopes[size_t(h)] : nullptr,
                                                 .sinks = c.adjusted ? &sinks[size_t(h)] : nullptr,
                                                 .scores = scores.data(),
                                                 .output = output.data() + row * c.dim});
            }
        }
        return output;
    }

    std::vector<float> found(const cpu::Kernels& kernels, int n_threads) const {
        CpuBackend backend(n_threads, kernels);
        const auto on_device = [&](const std::vector<float>& x) {
            auto buffer = backend.allocate(x.size() * sizeof(float));
            backend.upload(std::as_bytes(std::span(x)), *buffer);
            return buffer;
        };
        const auto q = on_device(queries), k = on_device(keys), v = on_device(values), y = on_device(queries),
                   slope = on_device(slopes), sink = on_device(sinks);
        HeadGeometry heads{c.n_heads, c.n_kv_heads, c.dim, c.dim, 1 / std::sqrt(float(c.dim))};
        heads.window = c.window;
        if (c.adjusted) heads.soft_cap = 2, heads.slopes = slope.get(), heads.sinks = sink.get();
        backend.attention(*q, {k.get(), v.get(), stride, stride, CacheType::F32}, c.positions, heads, *y);
        std::vector<float> output(queries.size());
        backend.download(*y, std::as_writable_bytes(std::span(output)));
        return output;
    }

  private:
    Case c;
    int64_t stride;
    std::vector<float> queries, keys, values, sinks, slopes;
};

}  // namespace

TEST_CASE("attention in pieces is that of all positions at once, whatever the number of threads") {
    const Case cases[] = {{2, 2, 64, {2500}},
                          {4, 1, 32, {1024}},
                          {4, 1, 32, {1023}},
                          {3, 3, 16, {5000}, 1500},
                          {3, 3, 16, {4000}, 100},
                          {4, 2, 24, {1022, 1023, 1024, 1025, 3071}},
                          {2, 1, 16, {1100, 3000}, 1050}};
    for (const cpu::Kernels* table : cpu::all_kernels()) {
        if (!table->supported()) continue;
        for (Case c : cases) {
            for (const bool adjusted : {false, true}) {
                c.adjusted = adjusted;
                CAPTURE(std::string(table->name), c.positions, c.window, adjusted);
                const Problem problem(c);
                const auto one = problem.found(*table, 1);
                // The oracle adds thousands of floats in order.
                CHECK(relative_error(one, problem.expected()) < 1e-5);
                CHECK(problem.found(*table, 3) == one);
            }
        }
    }
}
