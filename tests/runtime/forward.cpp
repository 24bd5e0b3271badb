// The forward pass on a small model with random weights: what must not depend on how the work is cut.
#include "runtime/forward.h"

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/generate.h"
#include "runtime/perplexity.h"
#include "tests/runtime/tiny_file.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

std::vector<float> all_logits(ForwardPass& forward, std::span<const Token> tokens, size_t n_at_once) {
    std::vector<float> logits;
    forward.cache().truncate(0);
    for (size_t at = 0; at < tokens.size(); at += n_at_once) {
        const auto piece = tokens.subspan(at, std::min(n_at_once, tokens.size() - at));
        REQUIRE(forward.run(piece, int64_t(piece.size())));
        logits.insert(logits.end(), forward.logits().begin(), forward.logits().end());
    }
    return logits;
}

// Rounding of float sums is all that may differ; where activations are rounded to 8 bits, one that falls to
// the other side now and then magnifies it.
double tolerance(TensorType type) {
    return type == TensorType::F32 || type == TensorType::F16 ? 1e-4 : 0.03;
}

}  // namespace

TEST_CASE("a prompt at once, in batches and token by token give the same logits") {
    for (const TensorType type : {TensorType::F32, TensorType::F16, TensorType::Q8_0, TensorType::Q4_0,
                                  TensorType::Q4_K, TensorType::Q6_K}) {
        INFO(name(type));
        const TinyFile file(type);
        CpuBackend backend(2);
        const Model model(file.path(), backend);
        ForwardPass forward(model, 64);
        ForwardPass in_batches(model, 64, 7);
        const std::vector<Token> tokens = some_tokens(40);
        const std::vector<float> at_once = all_logits(forward, tokens, 40);
        REQUIRE(at_once.size() == 40 * 1024);
        CHECK(difference(at_once, all_logits(forward, tokens, 1)) < tolerance(type));
        CHECK(difference(at_once, all_logits(in_batches, tokens, 40)) < tolerance(type));
    }
}

TEST_CASE("few tokens at once have the logits of single ones, bit by bit, with every kernel table") {
    const std::vector<Token> tokens = some_tokens(16);
    for (const TensorType type : {TensorType::F32, TensorType::F16, TensorType::Q8_0, TensorType::Q4_0,
                                  TensorType::Q4_K, TensorType::Q6_K}) {
        INFO(name(type));
        const TinyFile file(type);
        for (const cpu::Kernels* kernels : cpu::all_kernels()) {
            if (!kernels->supported()) continue;
            INFO(kernels->name);
            CpuBackend backend(1, *kernels);
            const Model model(file.path(), backend);
            ForwardPass forward(model, 64);
            const std::vector<float> singly = all_logits(forward, tokens, 1);
            CHECK(all_logits(forward, tokens, size_t(kExactTokens)) == singly);
            CHECK(all_logits(forward, tokens, 3) == singly);
        }
    }
}

TEST_CASE("results do not depend on the number of threads") {
    const TinyFile file(TensorType::Q4_K);
    const std::vector<Token> tokens = some_tokens(33);
    std::vector<float> reference;
    for (const int n_threads : {1, 2, 3, 7}) {
        CpuBackend backend(n_threads);
        const Model model(file.path(), backend);
        ForwardPass forward(model, 64);
        const std::vector<float> logits = all_logits(forward, tokens, 33);
        if (reference.empty()) reference = logits;
        CHECK(logits == reference);
    }
}

TEST_CASE("every kernel table agrees with the scalar one on a whole model") {
    const std::vector<Token> tokens = some_tokens(12);
    for (const TensorType type : {TensorType::F16, TensorType::Q5_0, TensorType::Q5_K, TensorType::Q3_K}) {
        INFO(name(type));
        const TinyFile file(type);
        std::vector<float> reference;
        {
            CpuBackend backend(1, cpu::scalar_kernels());
            const Model model(file.path(), backend);
            ForwardPass forward(model, 64);
            reference = all_logits(forward, tokens, 12);
        }
        for (const cpu::Kernels* kernels : cpu::all_kernels()) {
            if (!kernels->supported()) continue;
            INFO(kernels->name);
            CpuBackend backend(1, *kernels);
            const Model model(file.path(), backend);
            ForwardPass forward(model, 64);
            CHECK(difference(reference, all_logits(forward, tokens, 12)) < tolerance(type));
        }
    }
}

TEST_CASE("logits only of the last token are those of the last token") {
    const TinyFile file(TensorType::F32);
    CpuBackend backend(2);
    const Model model(file.path(), backend);
    ForwardPass forward(model, 64, 16);
    const std::vector<Token> tokens = some_tokens(40);
    const std::vector<float> all = all_logits(forward, tokens, 40);
    for (const int64_t n : {1, 3, 8, 20}) {
        forward.cache().truncate(0);
        REQUIRE(forward.run(tokens, n));
        const std::vector<float> last(all.end() - n * 1024, all.end());
        CHECK(difference(last, {forward.logits().begin(), forward.logits().end()}) <
              tolerance(TensorType::F32));
    }
    forward.cache().truncate(0);
    REQUIRE(forward.run(tokens, 0));
    CHECK(forward.logits().empty());
    CHECK(forward.cache().n_used() == 40);
}

TEST_CASE("a token outside the vocabulary, or one too many for the context, is refused") {
    const TinyFile file(TensorType::F32);
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    ForwardPass forward(model, 8);
    CHECK_THROWS_WITH(forward.run(std::vector<Token>{1024}, 1), ContainsSubstring("token 1024 is outside"));
    CHECK_THROWS_WITH(forward.run(std::vector<Token>{-1}, 1), ContainsSubstring("token -1 is outside"));
    REQUIRE(forward.run(some_tokens(8), 1));
    CHECK_THROWS_WITH(forward.run(some_tokens(1), 1), ContainsSubstring("8 of 8 positions"));
    CHECK_THROWS_WITH(ForwardPass(model, int64_t(1) << 40), ContainsSubstring("context"));
}

TEST_CASE("a cancelled run leaves the sequence as it was") {
    const TinyFile file(TensorType::F32);
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    ForwardPass forward(model, 64);
    REQUIRE(forward.run(some_tokens(5), 1));
    const std::atomic<bool> cancel{true};
    CHECK_FALSE(forward.run(some_tokens(5), 1, &cancel));
    CHECK(forward.cache().n_used() == 5);
}

TEST_CASE("missing or misshaped tensors are named with what was found and expected") {
    const auto load = [](const std::function<void(Tensors&)>& edit) {
        const TinyFile file(TensorType::F32, edit);
        CpuBackend backend(1);
        const Model model(file.path(), backend);
    };
    const auto find = [](Tensors& tensors, std::string_view name) {
        return std::ranges::find(tensors, name, &TensorPlan::name);
    };
    for (const char* name : {"blk.1.attn_k.weight", "blk.0.ffn_norm.weight", "output_norm.weight"}) {
        CHECK_THROWS_WITH(load([&](Tensors& tensors) { tensors.erase(find(tensors, name)); }),
                          ContainsSubstring(fmt::format("tensor {} is missing", name)));
    }
    CHECK_THROWS_WITH(load([&](Tensors& t) {
                          find(t, "blk.0.attn_q.weight")->shape = {256, 255};
                      }),
                      ContainsSubstring("blk.0.attn_q.weight: shape is [256, 255]; expected [256, 256]"));
    CHECK_THROWS_WITH(load([&](Tensors& t) {
                          find(t, "blk.1.ffn_down.weight")->shape = {256, 512};
                      }),
                      ContainsSubstring("blk.1.ffn_down.weight: shape is [256, 512]; expected [512, 256]"));
    CHECK_THROWS_WITH(load([&](Tensors& t) { find(t, "output_norm.weight")->shape = {255}; }),
                      ContainsSubstring("output_norm.weight: shape is [255]; expected [256]"));
    CHECK_THROWS_WITH(load([&](Tensors& t) {
                          find(t, "output.weight")->shape = {256, 1024, 2};
                      }),
                      ContainsSubstring("output.weight: shape is [256, 1024, 2]"));
}

TEST_CASE("without output.weight the embedding is the output matrix") {
    const TinyFile file(TensorType::F32, [](Tensors& tensors) { tensors.pop_back(); });
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    CHECK(&model.weights().output_matrix() == model.weights().token_embedding.get());
    ForwardPass forward(model, 8);
    CHECK(forward.run(some_tokens(3), 1));
}

TEST_CASE("UTF-8 is handed on between characters only") {
    Utf8Stream stream;
    CHECK(stream.append("a\xe2\x82") == "a");
    CHECK(stream.append("\xac"
                        "b") ==
          "\xe2\x82\xac"
          "b");
    CHECK(stream.append("\xf0\x9f") == "");
    CHECK(stream.append("\x98") == "");
    CHECK(stream.append("\x80") == "\xf0\x9f\x98\x80");
    CHECK(stream.append("\xff\x80\x80") == "\xff\x80\x80");  // no character begins with ff
    CHECK(stream.append("\xc3") == "");
    CHECK(stream.append("x") == "\xc3x");  // it will not be finished
    CHECK(stream.append("\xe2\x82") == "");
    CHECK(stream.flush() == "\xe2\x82");
    CHECK(stream.flush() == "");
}

TEST_CASE(
    "perplexity of a model that knows nothing is about its vocabulary, and its chunks are llama.cpp's") {
    const std::vector<float> even(1000, 5.0f);
    CHECK(negative_log_likelihood(even, 3) == Approx(std::log(1000.0)));
    CHECK(negative_log_likelihood(std::vector<float>{1000, 0}, 1) == Approx(1000));
    CHECK(negative_log_likelihood(std::vector<float>{3e38f, -3e38f}, 0) == Approx(0).margin(1e-12));

    const TinyFile file(TensorType::F32);
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    PerplexityOptions options;
    options.n_context = 16;
    options.bos = 1;
    const std::vector<Token> tokens = some_tokens(40);  // two chunks, eight tokens left over
    const Perplexity result = measure_perplexity(model, tokens, options);
    CHECK(result.n_chunks == 2);
    REQUIRE(result.scores.size() == 14);  // positions 9 … 15 of each
    CHECK(result.scores.front().index == 9);
    CHECK(result.scores.back().index == 31);
    CHECK(result.scores.front().token == tokens[9]);

    // The same by hand: BOS in the place of the chunk's first token, log softmax of the logits before each.
    ForwardPass forward(model, 16);
    std::vector<Token> chunk(tokens.begin() + 16, tokens.begin() + 32);
    const Token last = chunk[15];
    chunk[0] = 1;
    chunk.pop_back();
    REQUIRE(forward.run(chunk, 1));
    CHECK(result.scores.back().negative_log_likelihood ==
          Approx(negative_log_likelihood(forward.logits(), last)).epsilon(1e-4));
    double sum = 0;
    for (const TokenScore& score : result.scores) sum += score.negative_log_likelihood;
    CHECK(result.perplexity == Approx(std::exp(sum / 14)));

    CHECK_THROWS_WITH(measure_perplexity(model, some_tokens(15), options),
                      ContainsSubstring("has 15 tokens"));
}
