#include "runtime/divergence.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "format/error.h"
#include "format/half.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/synthetic.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace ingot::test;

namespace {

/// A tiny Llama with F32 weights, a text for it, and its device.
struct Tiny {
    TemporaryFolder folder;
    std::filesystem::path path{folder / "tiny.gguf"};
    std::unique_ptr<Backend> backend = std::make_unique<CpuBackend>(1);
    std::vector<Token> tokens;

    Tiny() {
        std::vector<TensorPlan> tensors = synthetic_tensors(*find_synthetic_shape("llama-tiny"));
        for (TensorPlan& tensor : tensors) tensor.type = TensorType::F32;
        REQUIRE(write_synthetic(*find_synthetic_shape("llama-tiny"), tensors, 0, path, true, 1));
        for (int i = 0; i < 50; ++i) tokens.push_back(i * 7 % 30);
    }
    DivergenceMeter meter(DivergenceOptions options = {}) { return {path, *backend, tokens, options}; }
};

const char* const kMatrix = "blk.0.ffn_down.weight";

/// The matrix of the file, each value changed.
template <typename T, typename Change>
std::vector<std::byte> changed(const std::filesystem::path& path, const Change& change) {
    const GgufFile file(path);
    const TensorInfo* tensor = file.header().find_tensor(kMatrix);
    REQUIRE(tensor);
    std::vector<std::byte> bytes(tensor->n_elements * sizeof(T));
    for (uint64_t i = 0; i < tensor->n_elements; ++i) {
        float value;
        std::memcpy(&value, file.tensor_bytes(*tensor).data() + i * sizeof value, sizeof value);
        const T stored = change(value);
        std::memcpy(bytes.data() + i * sizeof(T), &stored, sizeof(T));
    }
    return bytes;
}

}  // namespace

TEST_CASE("the same tensor diverges by nothing, a rounded one by little, a zeroed one by more") {
    Tiny tiny;
    DivergenceMeter meter = tiny.meter();
    CHECK(meter.n_tokens() == 50);
    const auto same = changed<float>(tiny.path, [](float value) { return value; });
    const auto rounded = changed<uint16_t>(tiny.path, [](float value) { return float_to_half(value); });
    const auto halved = changed<float>(tiny.path, [](float value) { return value / 2; });
    const auto zeroed = changed<float>(tiny.path, [](float) { return 0.0f; });
    const double least = meter.measure({kMatrix, TensorType::F32, same}).value();
    const double little = meter.measure({kMatrix, TensorType::F16, rounded}).value();
    const double some = meter.measure({kMatrix, TensorType::F32, halved}).value();
    const double most = meter.measure({kMatrix, TensorType::F32, zeroed}).value();
    CHECK(std::abs(least) < 1e-7);  // logarithms are kept as floats
    CHECK(little > 0);
    CHECK(little < some / 100);
    CHECK(some < most);
    CHECK(meter.measure({kMatrix, TensorType::F32, halved}).value() == some);
}

TEST_CASE("chunks are as long as the model and the options allow, and the text as long as it may be") {
    Tiny tiny;
    DivergenceOptions options;
    options.n_tokens = 33;
    options.n_context = 16;
    options.bos = 1;
    DivergenceMeter meter = tiny.meter(options);
    CHECK(meter.n_tokens() == 33);
    const auto zeroed = changed<float>(tiny.path, [](float) { return 0.0f; });
    CHECK(meter.measure({kMatrix, TensorType::F32, zeroed}).value() > 0);
}

TEST_CASE("a replacement that does not fit is refused by name") {
    Tiny tiny;
    DivergenceMeter meter = tiny.meter();
    const std::vector<std::byte> few(12);
    CHECK_THROWS_WITH(meter.measure({kMatrix, TensorType::F32, few}),
                      ContainsSubstring(kMatrix) && ContainsSubstring("12 bytes"));
    CHECK_THROWS_WITH(meter.measure({"blk.0.none.weight", TensorType::F32, few}),
                      ContainsSubstring("missing"));
    tiny.tokens.resize(3);
    CHECK_THROWS_WITH(tiny.meter(), ContainsSubstring("3 tokens"));
}

TEST_CASE("a cancelled measurement has no result") {
    Tiny tiny;
    std::atomic<bool> cancel = false;
    DivergenceOptions options;
    options.cancel = &cancel;
    DivergenceMeter meter = tiny.meter(options);
    cancel = true;
    const auto zeroed = changed<float>(tiny.path, [](float) { return 0.0f; });
    CHECK_FALSE(meter.measure({kMatrix, TensorType::F32, zeroed}).has_value());
}
