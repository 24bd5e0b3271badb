// What holds for every family, whatever its weights: results that don't depend on how the work is cut, and
// errors that name what is wrong.
#include <cmath>

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/forward.h"
#include "tests/catch.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace family_tests;

namespace {

std::vector<Token> some_tokens(size_t n) {
    std::vector<Token> tokens(n);
    for (size_t i = 0; i < n; ++i) tokens[i] = Token(i * 37 % kVocabulary);
    return tokens;
}

std::vector<float> logits(ForwardPass& forward, std::span<const Token> tokens, size_t n_at_once) {
    std::vector<float> all;
    forward.cache().truncate(0);
    for (size_t at = 0; at < tokens.size(); at += n_at_once) {
        const auto piece = tokens.subspan(at, std::min(n_at_once, tokens.size() - at));
        REQUIRE(forward.run(piece, int64_t(piece.size())));
        all.insert(all.end(), forward.logits().begin(), forward.logits().end());
    }
    return all;
}

// In units of the logits' own standard deviation, as good as.
double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    REQUIRE(a.size() == b.size());
    double most = 0, squares = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        REQUIRE(std::isfinite(a[i]));
        most = std::max(most, std::fabs(double(a[i]) - double(b[i])));
        squares += double(a[i]) * double(a[i]);
    }
    return most / std::sqrt(squares / double(a.size()));
}

std::vector<float> all_logits(const SmallFile& file, const cpu::Kernels& kernels, int n_threads = 1) {
    CpuBackend backend(n_threads, kernels);
    const Model model(file.path(), backend);
    ForwardPass forward(model, kContext, ForwardPass::kDefaultBatch, CacheType::F32);
    return logits(forward, some_tokens(40), 40);
}

std::string error_of(const SmallModel& changed) {
    const SmallFile file(changed);
    CpuBackend backend(1);
    try {
        const Model model(file.path(), backend);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("every family: at once, in batches, token by token and only at the end give the same logits") {
    for (const SmallModel& small : small_models()) {
        INFO(small.family);
        const SmallFile file(small);
        CpuBackend backend(2);
        const Model model(file.path(), backend);
        ForwardPass forward(model, kContext, ForwardPass::kDefaultBatch, CacheType::F32);
        ForwardPass in_batches(model, kContext, 7, CacheType::F32);
        const std::vector<Token> tokens = some_tokens(40);
        const std::vector<float> at_once = logits(forward, tokens, 40);
        CHECK(largest_difference(at_once, logits(forward, tokens, 1)) < 1e-4);
        CHECK(largest_difference(at_once, logits(in_batches, tokens, 40)) < 1e-4);
        for (const int64_t n : {1, 5}) {
            forward.cache().truncate(0);
            REQUIRE(forward.run(tokens, n));
            const std::vector<float> last(at_once.end() - n * kVocabulary, at_once.end());
            CHECK(largest_difference(last, {forward.logits().begin(), forward.logits().end()}) < 1e-4);
        }
        // Halves instead of floats: a little off, not more.
        ForwardPass rounded(model, kContext);
        CHECK(largest_difference(at_once, logits(rounded, tokens, 40)) < 0.02);
    }
}

TEST_CASE("every family: results don't depend on the number of threads, nor much on the instruction set") {
    for (const SmallModel& small : small_models()) {
        INFO(small.family);
        const SmallFile file(small);
        const std::vector<float> reference = all_logits(file, cpu::scalar_kernels());
        for (const cpu::Kernels* kernels : cpu::all_kernels()) {
            if (!kernels->supported()) continue;
            INFO(kernels->name);
            const std::vector<float> found = all_logits(file, *kernels);
            CHECK(largest_difference(reference, found) < 1e-4);
            CHECK(all_logits(file, *kernels, 3) == found);
        }
    }
}

TEST_CASE("a layer sees its window and no further, a token of a chunk its chunk") {
    for (const char* family : {"llama", "llama4"}) {
        INFO(family);
        SmallModel small = small_model(family);
        // One layer, so that nothing older comes in through the layers below.
        small.set("block_count", uint32_t(1));
        small.set("attention.sliding_window", uint32_t(8));
        const SmallFile file(small);
        CpuBackend backend(1);
        const Model model(file.path(), backend);
        ForwardPass forward(model, kContext);
        std::vector<Token> tokens = some_tokens(20);
        const std::vector<float> before = logits(forward, tokens, 20);
        tokens[11] = 5;
        const std::vector<float> after = logits(forward, tokens, 20);
        const auto same = [&](size_t token) {
            return std::equal(before.begin() + long(token * kVocabulary),
                              before.begin() + long((token + 1) * kVocabulary),
                              after.begin() + long(token * kVocabulary));
        };
        const bool chunked = family == std::string("llama4");
        for (size_t token = 0; token < 20; ++token) {
            const bool sees = token >= 11 && (chunked ? token < 16 : token < 19);
            CHECK(same(token) == !sees);
        }
    }
}

TEST_CASE("a recurrent model begins again, comes back to where its states were kept, and goes nowhere else") {
    const SmallFile file(small_model("qwen3next"));
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    ForwardPass forward(model, kContext, 4);
    const std::vector<Token> tokens = some_tokens(12);
    const std::span<const Token> all = tokens;
    REQUIRE(forward.run(all.first(6), 0));
    forward.cache().keep_states();
    REQUIRE(forward.run(all.subspan(6), 6));
    const std::vector<float> first(forward.logits().begin(), forward.logits().end());
    CHECK_THROWS_WITH(forward.cache().truncate(9), ContainsSubstring("cannot go back to position 9 of 12"));
    forward.cache().truncate(6);
    REQUIRE(forward.run(all.subspan(6), 6));
    CHECK(first == std::vector<float>(forward.logits().begin(), forward.logits().end()));
}

TEST_CASE("learned positions end where the file's table ends") {
    const SmallFile file(small_model("gpt2"));
    CpuBackend backend(1);
    const Model model(file.path(), backend);
    CHECK_NOTHROW(ForwardPass(model, kContext));
    CHECK_THROWS_WITH(ForwardPass(model, kContext + 1), ContainsSubstring("learned 64 positions"));
}

TEST_CASE("hyperparameters of families that contradict each other or the tensors are named") {
    const auto with = [](const char* family, const char* key, MetadataValue value) {
        SmallModel small = small_model(family);
        small.set(key, std::move(value));
        return error_of(small);
    };
    struct Case {
        const char* family;
        const char* key;
        MetadataValue value;
        const char* message;
    };
    const Case cases[] = {
        {"gemma2", "attention.sliding_window_pattern", MetadataArray{std::vector<int32_t>{1}},
         "has 1 values"},
        {"gemma2", "attn_logit_softcapping", NAN, "attn_logit_softcapping"},
        {"gemma2", "final_logit_softcapping", -1.0f, "final_logit_softcapping"},
        {"gemma3", "rope.freq_base_swa", 0.0f, "rope.freq_base_swa"},
        {"granite", "residual_scale", INFINITY, "residual_scale"},
        {"granite", "logit_scale", 0.0f, "logit_scale"},
        {"bloom", "attention.max_alibi_bias", -8.0f, "max_alibi_bias"},
        {"gpt2", "context_length", uint32_t(65),
         "position_embd.weight: shape is [64, 64]; expected [64, 65]"},
        {"falcon", "attention.head_count_kv", uint32_t(4), "attn_qkv.weight: shape is [64, 128]"},
        {"qwen3moe", "expert_count", uint32_t(5), "ffn_gate_inp.weight: shape is [64, 4]; expected [64, 5]"},
        {"qwen3moe", "expert_used_count", uint32_t(5), "expert_used_count is 5, more than"},
        {"qwen3moe", "expert_gating_func", uint32_t(9), "expert_gating_func is 9"},
        {"qwen3moe", "expert_feed_forward_length", uint32_t(33),
         "ffn_gate_exps.weight: shape is [64, 32, 4]"},
        {"deepseek2", "attention.key_length_mla", uint32_t(8), "key_length_mla is 8, of which 8 are rotated"},
        {"deepseek2", "attention.kv_lora_rank", uint32_t(0), "kv_lora_rank is 0"},
        {"deepseek2", "rope.dimension_count", uint32_t(0x80000000), "rope.dimension_count"},
        {"deepseek2", "attention.q_lora_rank", uint32_t(8), "attn_q_a.weight is missing"},
        {"qwen3next", "ssm.conv_kernel", uint32_t(0), "ssm.conv_kernel is 0"},
        {"qwen3next", "ssm.conv_kernel", uint32_t(0xffffffff), "ssm.conv_kernel"},
        {"qwen3next", "ssm.group_count", uint32_t(3), "ssm.time_step_rank is 4, no multiple"},
        {"qwen3next", "ssm.inner_size", uint32_t(33), "ssm.inner_size is 33, no multiple"},
        {"qwen3next", "ssm.state_size", uint32_t(1 << 20), "ssm.state_size"},
        {"qwen3next", "full_attention_interval", uint32_t(100), "no layer has attention"},
        {"gemma4", "attention.shared_kv_layers", uint32_t(4), "leaves 0 layers"},
        {"gemma4", "attention.shared_kv_layers", uint32_t(5), "shared_kv_layers is 5"},
        {"gemma4", "embedding_length_per_layer_input", uint32_t(1 << 23), "too wide"},
        {"gemma4", "attention.key_length_swa", uint32_t(7), "rope.dimension_count_swa"},
        {"llama4", "attention.temperature_length", uint32_t(0), "temperature_length is 0"},
    };
    for (const Case& c : cases) {
        CAPTURE(c.family, c.key);
        CHECK_THAT(with(c.family, c.key, c.value), ContainsSubstring(c.message));
    }
}

TEST_CASE("every tensor of every family that is missing is named, or is not needed") {
    for (const SmallModel& small : small_models()) {
        INFO(small.family);
        for (size_t i = 0; i < small.tensors.size(); ++i) {
            SmallModel changed = small;
            const std::string name = changed.tensors[i].name;
            changed.tensors.erase(changed.tensors.begin() + long(i));
            CAPTURE(name);
            // Without it the embedding serves as the output matrix, a scale is 1, a norm of a parallel family
            // is the mixer's, and biases that the row does not ask for are none.
            const bool may_miss = name == "output.weight" || name.ends_with(".bias") ||
                                  name.ends_with("layer_output_scale.weight") ||
                                  name.ends_with("attn_v.weight");
            const std::string error = error_of(changed);
            if (error == "no error") {
                CHECK(may_miss);
            } else {
                // Where a family may do without a part, what it would then need is missing.
                CHECK_THAT(error, ContainsSubstring("is missing"));
            }
        }
    }
}
