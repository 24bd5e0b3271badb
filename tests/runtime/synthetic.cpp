// Random models in every type: the size of their weights is that of trained ones, and they run.
#include "runtime/synthetic.h"

#include <algorithm>
#include <cmath>

#include "format/decode.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/cpu/kernels.h"
#include "runtime/forward.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace ingot::test;

TEST_CASE(
    "Random weights of every type that kernels know are of the size that keeps activations of order 1") {
    const TemporaryFolder folder;
    const std::filesystem::path path = folder / "model.gguf";
    const SyntheticShape& shape = *find_synthetic_shape("llama-tiny");
    CpuBackend backend(1);
    for (const auto& matmul : cpu::scalar_kernels().matmuls) {
        CAPTURE(std::string(name(matmul.type)));
        REQUIRE(is_synthesizable(matmul.type));
        std::vector<TensorPlan> tensors = synthetic_tensors(shape);
        for (TensorPlan& tensor : tensors) {
            if (tensor.shape.size() > 1) tensor.type = matmul.type;
        }
        REQUIRE(write_synthetic(shape, tensors, 0, path, true, 1));
        const Model model(path, backend);
        const TensorInfo& tensor = *model.file().header().find_tensor("blk.0.ffn_down.weight");
        std::vector<float> values(tensor.n_elements);
        decode_row(tensor.type, model.tensor_bytes(tensor).data(), values.data(), tensor.n_elements);
        double squares = 0;
        for (const float value : values) squares += double(value) * value;
        const double root_mean_square = std::sqrt(squares / double(values.size()));
        CHECK(root_mean_square == Approx(1 / std::sqrt(double(shape.n_ff))).epsilon(0.1));

        ForwardPass forward(model, 16);
        REQUIRE(forward.run(std::vector<Token>{1, 300, 400}, 1));
        const std::span<const float> logits = forward.logits();
        CHECK(std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); }));
    }
}
