// A text, layer by layer: the same inputs as in one pass, and what replaced matrices make of them.
#include "runtime/layer_stream.h"

#include <map>
#include <string>

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/importance.h"
#include "tests/catch.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace family_tests;

namespace {

constexpr int64_t kChunk = 20, kChunks = 2;

std::vector<Token> some_tokens() {
    std::vector<Token> tokens(size_t(kChunk * kChunks + 3));
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = Token(i * 37 % kVocabulary);
    return tokens;
}

/// Sums of squares of all inputs, by tensor and matrix.
class Squares : public ProductObserver {
  public:
    bool on_product(const ProductInput& input) override {
        auto& sums = by_tensor[std::string(input.tensor)];
        sums.resize(size_t(input.n_matrices));
        const size_t n_in = size_t(input.n_in);
        for (size_t i = 0; i < input.x.size(); ++i) {
            const size_t matrix = input.matrices.empty() ? 0 : size_t(input.matrices[i / n_in]);
            sums[matrix] += double(input.x[i]) * double(input.x[i]);
        }
        return input.tensor != last;
    }
    std::string last;  // enough was seen with this one
    std::map<std::string, std::vector<double>> by_tensor;
};

class Nobody : public ProductObserver {
  public:
    bool on_product(const ProductInput&) override { return true; }
};

}  // namespace

TEST_CASE("every family: layer by layer, matrices are multiplied by what they are in one pass") {
    for (const SmallModel& small : small_models()) {
        INFO(small.family);
        const SmallFile file(small);
        CpuBackend device(1);
        ObservedBackend backend(device);
        const Model model(file.path(), backend);
        ImportanceOptions options;
        options.n_context = kChunk;
        const ImportanceMatrix expected = measure_importance(model, backend, some_tokens(), options).matrix;

        LayerStream stream(model, backend, some_tokens(), kChunk, {});
        CHECK(stream.n_chunks() == kChunks);
        std::map<std::string, std::vector<double>> seen;
        for (int64_t step = 0; step < stream.n_steps(); ++step) {
            Squares original, current;
            REQUIRE(stream.show(original, current, nullptr));
            CHECK(original.by_tensor == current.by_tensor);  // nothing was replaced
            for (const auto& [tensor, sums] : current.by_tensor) seen[tensor] = sums;
            REQUIRE(stream.advance(nullptr));
        }
        for (const auto& [tensor, entry] : expected.entries()) {
            INFO(tensor);
            REQUIRE(seen.contains(tensor));
            REQUIRE(seen[tensor].size() == entry.counts.size());
            double expected_sum = 0, sum = 0;
            for (const float value : entry.sums) expected_sum += double(value);
            for (const double value : seen[tensor]) sum += value;
            // One pass keeps keys as halves.
            CHECK(sum == Approx(expected_sum).epsilon(0.01));
        }
    }
}

TEST_CASE("behind a replaced matrix inputs change, but not the original ones") {
    const SmallFile file(small_model("llama"));
    CpuBackend device(1);
    ObservedBackend backend(device);
    const Model model(file.path(), backend);
    const TensorInfo& down = *model.file().header().find_tensor("blk.0.ffn_down.weight");
    const std::vector<std::byte> zeros(row_bytes(TensorType::F32, down.n_elements));
    const std::string next = "blk.1.attn_q.weight";

    LayerStream stream(model, backend, some_tokens(), kChunk, {});
    LayerStream untouched(model, backend, some_tokens(), kChunk, {});
    Nobody nobody;
    REQUIRE(untouched.advance(nullptr));
    Squares before;
    REQUIRE(untouched.show(nobody, before, nullptr));

    backend.replace(model, "blk.0.ffn_down.weight", TensorType::F32, zeros);
    REQUIRE(stream.advance(nullptr));
    Squares original, current;
    REQUIRE(stream.show(original, current, nullptr));
    CHECK(original.by_tensor[next] == before.by_tensor[next]);
    CHECK(current.by_tensor[next] != before.by_tensor[next]);
    CHECK_THROWS_AS(backend.replace(model, "no such tensor", TensorType::F32, zeros), Error);
}

TEST_CASE("who has seen enough is shown no more of a chunk, and the next step misses nothing") {
    for (const char* family : {"llama", "qwen3moe"}) {
        const SmallFile file(small_model(family));
        CpuBackend device(1);
        ObservedBackend backend(device);
        const Model model(file.path(), backend);
        LayerStream stream(model, backend, some_tokens(), kChunk, {});
        LayerStream whole(model, backend, some_tokens(), kChunk, {});
        Squares all, first, second, one, other;
        first.last = second.last = "blk.0.attn_output.weight";
        REQUIRE(whole.show(all, all, nullptr));
        REQUIRE(stream.show(first, second, nullptr));
        CHECK(first.by_tensor.size() == 4);  // q, k, v and this one
        CHECK(first.by_tensor == second.by_tensor);
        CHECK(all.by_tensor.size() > 4);
        REQUIRE(whole.advance(nullptr));
        REQUIRE(stream.advance(nullptr));
        REQUIRE(whole.show(one, one, nullptr));
        REQUIRE(stream.show(other, other, nullptr));
        CHECK(one.by_tensor == other.by_tensor);
    }
}

TEST_CASE("a text shorter than a chunk cannot be streamed, and a cancelled stream stops") {
    const SmallFile file(small_model("llama"));
    CpuBackend device(1);
    ObservedBackend backend(device);
    const Model model(file.path(), backend);
    const std::vector<Token> tokens = some_tokens();
    CHECK_THROWS_AS(LayerStream(model, backend, std::span(tokens).first(kChunk - 1), kChunk, {}), Error);
    LayerStream stream(model, backend, tokens, kChunk, {});
    const std::atomic<bool> cancel{true};
    Nobody nobody;
    CHECK_FALSE(stream.show(nobody, nobody, &cancel));
    CHECK_FALSE(stream.advance(&cancel));
}
