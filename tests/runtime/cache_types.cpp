// How keys and values are kept: what each type loses, and that nothing else depends on it.
#include "runtime/cache_type.h"

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/forward.h"
#include "tests/runtime/small_model.h"
#include "tests/runtime/tiny_file.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

// Logits of 100 tokens, so many at once.
std::vector<float> logits(const TinyFile& file, const cpu::Kernels& kernels, CacheType type,
                          int64_t n_at_once, int n_threads = 1) {
    CpuBackend backend(n_threads, kernels);
    const Model model(file.path(), backend);
    ForwardPass forward(model, 128, n_at_once, type);
    REQUIRE(forward.run(some_tokens(100), 100));
    return {forward.logits().begin(), forward.logits().end()};
}

}  // namespace

TEST_CASE("keys and values in fewer bits change the logits a little, by every instruction set alike") {
    const TinyFile file(TensorType::F32);
    const auto exact = logits(file, cpu::scalar_kernels(), CacheType::F32, 100);
    const struct {
        CacheType type;
        double least, most;  // difference to no rounding at all
    } cases[] = {
        {CacheType::F16, 1e-6, 5e-4}, {CacheType::BF16, 1e-4, 4e-3}, {CacheType::Q8_0, 1e-4, 1.3e-2}};
    for (const auto& [type, least, most] : cases) {
        INFO(name(tensor_type(type)));
        const auto reference = logits(file, cpu::scalar_kernels(), type, 100);
        CHECK(difference(reference, exact) > least);
        CHECK(difference(reference, exact) < most);
        for (const cpu::Kernels* kernels : cpu::all_kernels()) {
            if (!kernels->supported()) continue;
            INFO(kernels->name);
            // A key or value that lies between two steps may fall to either side: after matrix registers,
            // whose floats are sums of two BF16, some more of them do.
            const bool by_matrix =
                kernels->way_of(*cpu::find_matmul(*kernels, TensorType::F32), 100) == cpu::Way::Matrix;
            const double allowed = by_matrix ? most / 3 : most / 10;
            const auto found = logits(file, *kernels, type, 100);
            CHECK(difference(found, reference) < allowed);
            CHECK(difference(logits(file, *kernels, type, 1), found) < allowed);
            CHECK(logits(file, *kernels, type, 100, 3) == found);
        }
    }
}

TEST_CASE("a cache takes the bytes that its type has") {
    const TinyFile file(TensorType::F32);
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    const auto& shape = model.hyperparameters();
    const uint64_t halves = KvCache::size_bytes(shape, 100, CacheType::F16);
    CHECK(halves == 100 * 2 * uint64_t(shape.n_layers) * 128 * 2);  // 2 KV heads of 64, keys and values
    CHECK(KvCache::size_bytes(shape, 100, CacheType::F32) == 2 * halves);
    CHECK(KvCache::size_bytes(shape, 100, CacheType::BF16) == halves);
    CHECK(KvCache::size_bytes(shape, 100, CacheType::Q8_0) == halves * 17 / 32);
}

TEST_CASE("heads that are no whole blocks are not kept as Q8_0") {
    const family_tests::SmallFile file(family_tests::small_model("llama"));
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    CHECK_NOTHROW(ForwardPass(model, 16, 16, CacheType::BF16));
    CHECK_THROWS_WITH(
        ForwardPass(model, 16, 16, CacheType::Q8_0),
        ContainsSubstring("need heads of 32, 64, 96 … elements") && ContainsSubstring("keep them as F16"));
}
