// How keys and values are kept: what each type loses, and that nothing else depends on it.
#include "runtime/cache_type.h"

#include <cmath>
#include <filesystem>

#include <unistd.h>

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/forward.h"
#include "runtime/synthetic.h"
#include "tests/catch.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

/// A file of the tiny shape (heads of 64 elements) in the temporary folder, removed at the end.
class TinyFile {
  public:
    TinyFile()
        : path_(std::filesystem::temp_directory_path() / fmt::format("ingot-cache-{}.gguf", ::getpid())) {
        const auto& shape = *find_synthetic_shape("llama-tiny");
        REQUIRE(write_synthetic(shape, synthetic_tensors(shape), 0, path_, true, 1));
    }
    ~TinyFile() { std::filesystem::remove(path_); }
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

// Logits of 100 tokens, so many at once.
std::vector<float> logits(const TinyFile& file, const cpu::Kernels& kernels, CacheType type,
                          int64_t n_at_once, int n_threads = 1) {
    CpuBackend backend(n_threads, kernels);
    const Model model(file.path(), backend);
    ForwardPass forward(model, 128, n_at_once, type);
    std::vector<Token> tokens;
    for (Token i = 0; i < 100; ++i) tokens.push_back(3 + i * 37 % 1000);
    REQUIRE(forward.run(tokens, 100));
    return {forward.logits().begin(), forward.logits().end()};
}

// Root mean square of the difference, in units of the logits' own.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
    double differences = 0, squares = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        differences += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
        squares += double(b[i]) * double(b[i]);
    }
    return std::sqrt(differences / squares);
}

}  // namespace

TEST_CASE("keys and values in fewer bits change the logits a little, by every instruction set alike") {
    const TinyFile file;
    const auto exact = logits(file, cpu::scalar_kernels(), CacheType::F32, 100);
    const struct {
        CacheType type;
        double least, most;  // difference to no rounding at all
    } cases[] = {{CacheType::F16, 1e-6, 5e-4}, {CacheType::BF16, 1e-4, 4e-3}, {CacheType::Q8_0, 1e-4, 2e-2}};
    for (const auto& [type, least, most] : cases) {
        INFO(name(tensor_type(type)));
        const auto reference = logits(file, cpu::scalar_kernels(), type, 100);
        CHECK(difference(reference, exact) > least);
        CHECK(difference(reference, exact) < most);
        for (const cpu::Kernels* kernels : cpu::all_kernels()) {
            if (!kernels->supported()) continue;
            INFO(kernels->name);
            // A key or value that lies between two steps may fall to either side.
            const auto found = logits(file, *kernels, type, 100);
            CHECK(difference(found, reference) < most / 10);
            CHECK(difference(logits(file, *kernels, type, 1), found) < most / 10);
            CHECK(logits(file, *kernels, type, 100, 3) == found);
        }
    }
}

TEST_CASE("a cache takes the bytes that its type has") {
    const TinyFile file;
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
