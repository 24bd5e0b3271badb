// Collecting importance: the right sums for the right tensors, whatever the family and the number of threads.
#include "runtime/importance.h"

#include <cmath>

#include "format/decode.h"
#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "tests/catch.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace family_tests;

namespace {

constexpr int64_t kChunk = 20;

std::vector<Token> some_tokens(size_t n) {
    std::vector<Token> tokens(n);
    for (size_t i = 0; i < n; ++i) tokens[i] = Token(i * 37 % kVocabulary);
    return tokens;
}

MeasuredImportance measured(const SmallFile& file, size_t n_tokens, int n_threads = 1,
                            ImportanceOptions options = {}) {
    CpuBackend device(n_threads);
    ObservedBackend backend(device);
    const Model model(file.path(), backend);
    options.n_context = kChunk;
    return measure_importance(model, backend, some_tokens(n_tokens), options);
}

std::vector<float> floats(const GgufFile& file, const char* name) {
    const TensorInfo& tensor = *file.header().find_tensor(name);
    std::vector<float> values(tensor.n_elements);
    decode_row(tensor.type, file.tensor_bytes(tensor).data(), values.data(), values.size());
    return values;
}

}  // namespace

TEST_CASE("every family: each matrix has its columns and the tokens that met it, for any number of threads") {
    for (const SmallModel& small : small_models()) {
        INFO(small.family);
        const SmallFile file(small);
        const ImportanceMatrix one = measured(file, 2 * kChunk).matrix;
        const ImportanceMatrix three = measured(file, 2 * kChunk, 3).matrix;
        REQUIRE(one.entries().size() == three.entries().size());
        for (const auto& [name, entry] : one.entries()) CHECK(entry.sums == three.find(name)->sums);

        CHECK(one.n_chunks == 2);
        CHECK(one.chunk_size == uint64_t(kChunk));
        for (const SmallModel::Tensor& tensor : small.tensors) {
            // What is multiplied has two dimensions or more and is called a weight; tables and convolutions
            // are no matrices.
            const bool is_table = tensor.name.find("token_embd") != std::string::npos ||
                                  tensor.name.find("position_embd") != std::string::npos ||
                                  tensor.name.find("conv1d") != std::string::npos ||
                                  tensor.name.find("norm") != std::string::npos;
            if (tensor.shape.size() < 2 || !tensor.name.ends_with(".weight") || is_table) continue;
            INFO(tensor.name);
            const ImportanceEntry* entry = one.find(tensor.name);
            REQUIRE(entry);
            const uint64_t n_matrices = tensor.shape.size() > 2 ? tensor.shape[2] : 1;
            CHECK(entry->fits(tensor.shape[0], n_matrices));
            uint64_t n_inputs = 0;
            for (const uint64_t count : entry->counts) n_inputs += count;
            const bool has_experts = tensor.name.find("_exps.") != std::string::npos;
            const uint64_t n_each = has_experts ? 2 : n_matrices;  // experts of a token, or heads
            CHECK(n_inputs == 2 * kChunk * n_each);
        }
    }
}

TEST_CASE("the first layer's queries are multiplied by normed embeddings") {
    const SmallFile file(small_model("llama"));
    const ImportanceMatrix matrix = measured(file, kChunk).matrix;
    const GgufFile gguf(file.path());
    const std::vector<float> embedding = floats(gguf, "token_embd.weight");
    const std::vector<float> weight = floats(gguf, "blk.0.attn_norm.weight");
    std::vector<double> expected(kWidth);
    for (const Token token : some_tokens(kChunk)) {
        const float* x = embedding.data() + size_t(token) * kWidth;
        double squares = 0;
        for (size_t i = 0; i < kWidth; ++i) squares += double(x[i]) * double(x[i]);
        const double scale = 1 / (squares / kWidth + 1e-5);
        for (size_t i = 0; i < kWidth; ++i)
            expected[i] += double(x[i]) * double(x[i]) * scale * double(weight[i]) * double(weight[i]);
    }
    for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
        const ImportanceEntry* entry = matrix.find(name);
        REQUIRE(entry);
        CHECK(entry->counts == std::vector<uint64_t>{uint64_t(kChunk)});
        for (size_t i = 0; i < kWidth; ++i)
            CHECK(std::fabs(double(entry->sums[i]) - expected[i]) <= 1e-5 * expected[i]);
    }
}

TEST_CASE("two chunks are the sum of each, and BOS begins both") {
    const SmallFile file(small_model("llama"));
    ImportanceOptions options;
    options.bos = 1;
    const ImportanceMatrix both = measured(file, 2 * kChunk, 1, options).matrix;
    options.n_chunks = 1;
    const ImportanceMatrix first = measured(file, 2 * kChunk, 1, options).matrix;
    CHECK(first.n_chunks == 1);
    CHECK(first.find("output.weight")->counts[0] == uint64_t(kChunk));
    CHECK(both.find("output.weight")->counts[0] == 2 * uint64_t(kChunk));
    options.bos.reset();
    const ImportanceMatrix without = measured(file, 2 * kChunk, 1, options).matrix;
    CHECK(without.find("blk.0.attn_q.weight")->sums != first.find("blk.0.attn_q.weight")->sums);
}

TEST_CASE("where the embedding serves as the output, its columns are the output's") {
    SmallModel small = small_model("llama");
    std::erase_if(small.tensors, [](const auto& tensor) { return tensor.name == "output.weight"; });
    const ImportanceMatrix matrix = measured(SmallFile(small), kChunk).matrix;
    CHECK(matrix.find("output.weight") == nullptr);
    REQUIRE(matrix.find("token_embd.weight"));
    CHECK(matrix.find("token_embd.weight")->counts == std::vector<uint64_t>{uint64_t(kChunk)});
}

TEST_CASE("interrupted, the chunks until then are kept; nothing is seen without an observer") {
    const SmallFile file(small_model("llama"));
    const std::atomic<bool> cancel = true;
    ImportanceOptions options;
    options.cancel = &cancel;
    const MeasuredImportance result = measured(file, 3 * kChunk, 1, options);
    CHECK(result.cancelled);
    CHECK(result.matrix.n_chunks == 1);
    CHECK(result.perplexity > 1);
    CHECK_THROWS_WITH(measured(file, kChunk - 1), ContainsSubstring("the text has 19 tokens"));
}
