// Families beyond Llama: each from a synthetic checkpoint of one or two layers. Names and shapes of the file
// are written out here by hand; where rows move, each element's place in the checkpoint is compared with the
// definition.
#include <algorithm>
#include <cmath>

#include "tests/converters/mapped_checkpoint.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

TEST_CASE("GPT-2: other keys, matrices transposed, learned positions, names with and without a prefix") {
    for (const std::string prefix : {"transformer.", ""}) {
        const std::string layer = prefix + "h.0.";
        const Mapped mapped("GPT2LMHeadModel",
                            R"("hidden_size":null,"n_embd":16,"num_hidden_layers":null,"n_layer":1,
                               "num_attention_heads":null,"n_head":4,"num_key_value_heads":null,
                               "intermediate_size":null,"n_inner":null,"n_positions":32,)",
                            {{prefix + "wte.weight", {10, 16}},
                             {prefix + "wpe.weight", {64, 16}},
                             {layer + "ln_1.weight", {16}},
                             {layer + "ln_1.bias", {16}},
                             {layer + "attn.bias", {1, 1, 8, 8}},
                             {layer + "attn.c_attn.weight", {16, 48}},
                             {layer + "attn.c_attn.bias", {48}},
                             {layer + "attn.c_proj.weight", {16, 16}},
                             {layer + "attn.c_proj.bias", {16}},
                             {layer + "ln_2.weight", {16}},
                             {layer + "ln_2.bias", {16}},
                             {layer + "mlp.c_fc.weight", {16, 64}},
                             {layer + "mlp.c_fc.bias", {64}},
                             {layer + "mlp.c_proj.weight", {64, 16}},
                             {layer + "mlp.c_proj.bias", {16}},
                             {prefix + "ln_f.weight", {16}},
                             {prefix + "ln_f.bias", {16}}});
        mapped.expect({{"token_embd.weight", {16, 10}},
                       {"position_embd.weight", {16, 64}},
                       {"blk.0.attn_norm.weight", {16}},
                       {"blk.0.attn_norm.bias", {16}},
                       {"blk.0.attn_qkv.weight", {16, 48}},
                       {"blk.0.attn_qkv.bias", {48}},
                       {"blk.0.attn_output.weight", {16, 16}},
                       {"blk.0.attn_output.bias", {16}},
                       {"blk.0.ffn_norm.weight", {16}},
                       {"blk.0.ffn_norm.bias", {16}},
                       {"blk.0.ffn_up.weight", {16, 64}},
                       {"blk.0.ffn_up.bias", {64}},
                       {"blk.0.ffn_down.weight", {64, 16}},
                       {"blk.0.ffn_down.bias", {16}},
                       {"output_norm.weight", {16}},
                       {"output_norm.bias", {16}}});
        check_place(mapped["blk.0.attn_qkv.weight"], 47, 3, 3, 47);
        CHECK(mapped.key<uint32_t>("gpt2.feed_forward_length") == 64u);
        CHECK_FALSE(mapped.has_key("gpt2.rope.freq_base"));
        CHECK(mapped.mapping().left_out == std::vector<std::string>{layer + "attn.bias"});
    }
}

TEST_CASE("Queries, keys and values that go head by head, or KV head by KV head, come apart") {
    const auto neox = [](uint64_t rows) -> Shapes {
        const std::string layer = "gpt_neox.layers.0.";
        return {{"gpt_neox.embed_in.weight", {10, 16}},
                {layer + "attention.query_key_value.weight", {rows, 16}},
                {layer + "attention.query_key_value.bias", {rows}},
                {layer + "attention.dense.weight", {16, 16}},
                {layer + "attention.dense.bias", {16}},
                {layer + "attention.rotary_emb.inv_freq", {1}},
                {layer + "input_layernorm.weight", {16}},
                {layer + "input_layernorm.bias", {16}},
                {layer + "post_attention_layernorm.weight", {16}},
                {layer + "post_attention_layernorm.bias", {16}},
                {layer + "mlp.dense_h_to_4h.weight", {24, 16}},
                {layer + "mlp.dense_h_to_4h.bias", {24}},
                {layer + "mlp.dense_4h_to_h.weight", {16, 24}},
                {layer + "mlp.dense_4h_to_h.bias", {16}},
                {"gpt_neox.final_layer_norm.weight", {16}},
                {"gpt_neox.final_layer_norm.bias", {16}},
                {"embed_out.weight", {10, 16}}};
    };
    const std::string members = "\"num_key_value_heads\":null,\"rotary_pct\":0.5,";
    const Mapped mapped("GPTNeoXForCausalLM", members, neox(48));
    // The definition: (heads, 3, head_dim) -> (3, heads, head_dim).
    for (uint64_t part = 0; part < 3; ++part) {
        for (uint64_t head = 0; head < 4; ++head) {
            for (uint64_t i = 0; i < 4; ++i) {
                check_place(mapped["blk.0.attn_qkv.weight"], (part * 4 + head) * 4 + i, 5,
                            (head * 3 + part) * 4 + i, 5);
                const auto place = mapped["blk.0.attn_qkv.bias"].place(0, (part * 4 + head) * 4 + i);
                CHECK(place.column == (head * 3 + part) * 4 + i);
            }
        }
    }
    CHECK(mapped.key<uint32_t>("gptneox.rope.dimension_count") == 2u);
    CHECK(mapped.key<bool>("gptneox.use_parallel_residual"));
    CHECK_THAT(error_of("GPTNeoXForCausalLM", members, neox(44)), ContainsSubstring("implies 48 rows"));
    CHECK_THAT(error_of("GPTNeoXForCausalLM", "\"num_key_value_heads\":null,\"rotary_pct\":0.01,", neox(48)),
               ContainsSubstring("cannot be rotated in pairs, 0 of them"));

    // Falcon 40B: 2 groups of 2 queries, a key and a value.
    const std::string layer = "transformer.h.0.";
    const Mapped falcon("FalconForCausalLM",
                        "\"new_decoder_architecture\":true,\"num_kv_heads\":2,\"num_key_value_heads\":null,"
                        "\"intermediate_size\":null,",
                        {{"transformer.word_embeddings.weight", {10, 16}},
                         {layer + "ln_attn.weight", {16}},
                         {layer + "ln_attn.bias", {16}},
                         {layer + "ln_mlp.weight", {16}},
                         {layer + "ln_mlp.bias", {16}},
                         {layer + "self_attention.query_key_value.weight", {32, 16}},
                         {layer + "self_attention.dense.weight", {16, 16}},
                         {layer + "mlp.dense_h_to_4h.weight", {64, 16}},
                         {layer + "mlp.dense_4h_to_h.weight", {16, 64}},
                         {"transformer.ln_f.weight", {16}},
                         {"transformer.ln_f.bias", {16}}});
    const uint64_t order[] = {0, 1, 4, 5, 2, 6, 3, 7};  // heads of the source: q q k v, q q k v
    for (uint64_t head = 0; head < 8; ++head)
        check_place(falcon["blk.0.attn_qkv.weight"], head * 4 + 1, 0, order[head] * 4 + 1, 0);
    CHECK(falcon["blk.0.attn_norm.weight"].name() == layer + "ln_mlp.weight");
    CHECK(falcon["blk.0.attn_norm_2.weight"].name() == layer + "ln_attn.weight");
    CHECK(falcon.key<uint32_t>("falcon.attention.head_count_kv") == 2u);
}

TEST_CASE("Experts: one tensor for each are stacked; a missing one is named") {
    const auto mixtral = [](uint64_t n) {
        Shapes tensors = llama();
        std::erase_if(tensors,
                      [](const auto& tensor) { return tensor.first.find("mlp") != std::string::npos; });
        tensors.push_back({"lm_head.weight", {10, 16}});
        tensors.push_back({"model.layers.0.block_sparse_moe.gate.weight", {3, 16}});
        for (uint64_t i = 0; i < n; ++i) {
            const std::string expert = fmt::format("model.layers.0.block_sparse_moe.experts.{}.", i);
            tensors.push_back({expert + "w1.weight", {24, 16}});
            tensors.push_back({expert + "w2.weight", {16, 24}});
            tensors.push_back({expert + "w3.weight", {24, 16}});
        }
        return tensors;
    };
    const std::string members = "\"num_local_experts\":3,\"num_experts_per_tok\":2,";
    const Mapped mapped("MixtralForCausalLM", members, mixtral(3));
    const TensorRows& ups = mapped["blk.0.ffn_up_exps.weight"];
    CHECK(ups.shape() == std::vector<uint64_t>{16, 24, 3});
    CHECK(ups.place(24 * 2 + 5, 7).tensor == "model.layers.0.block_sparse_moe.experts.2.w3.weight");
    check_place(ups, 24 * 2 + 5, 7, 5, 7);
    CHECK(mapped["blk.0.ffn_down_exps.weight"].shape() == std::vector<uint64_t>{24, 16, 3});
    CHECK(mapped.key<uint32_t>("llama.expert_count") == 3u);
    CHECK(mapped.key<uint32_t>("llama.expert_used_count") == 2u);

    CHECK_THAT(error_of("MixtralForCausalLM", members, mixtral(2)),
               ContainsSubstring("missing: model.layers.0.block_sparse_moe.experts.2.w1.weight"));
    // As many as config.json says, however many that is: each look-up is one too many only once.
    CHECK_THAT(error_of("MixtralForCausalLM", "\"num_local_experts\":2147483647,\"num_experts_per_tok\":2,",
                        mixtral(3)),
               ContainsSubstring("experts.3.w1.weight"));
    CHECK_THAT(
        error_of("MixtralForCausalLM", "\"num_local_experts\":3,\"num_experts_per_tok\":4,", mixtral(3)),
        ContainsSubstring("there are only 3"));
}

TEST_CASE("GPT-OSS: gate and up by turns, matrices (in, out), sinks") {
    const std::string layer = "model.layers.0.", experts = layer + "mlp.experts.";
    Shapes tensors = llama();
    std::erase_if(tensors, [](const auto& tensor) { return tensor.first.find("mlp") != std::string::npos; });
    const Mapped mapped("GptOssForCausalLM",
                        "\"num_local_experts\":2,\"num_experts_per_tok\":1,\"sliding_window\":8,",
                        tensors + Shapes{{layer + "self_attn.q_proj.bias", {16}},
                                         {layer + "self_attn.k_proj.bias", {8}},
                                         {layer + "self_attn.v_proj.bias", {8}},
                                         {layer + "self_attn.o_proj.bias", {16}},
                                         {layer + "self_attn.sinks", {4}},
                                         {layer + "mlp.router.weight", {2, 16}},
                                         {layer + "mlp.router.bias", {2}},
                                         {experts + "gate_up_proj", {2, 16, 48}},
                                         {experts + "gate_up_proj_bias", {2, 48}},
                                         {experts + "down_proj", {2, 24, 16}},
                                         {experts + "down_proj_bias", {2, 16}},
                                         {"lm_head.weight", {10, 16}}});
    // Expert 1, gate 5, input 3 is element (1, 3, 10) of the source: row 16 + 3 of all, column 10.
    CHECK(mapped["blk.0.ffn_gate_exps.weight"].shape() == std::vector<uint64_t>{16, 24, 2});
    check_place(mapped["blk.0.ffn_gate_exps.weight"], 24 + 5, 3, 16 + 3, 10);
    check_place(mapped["blk.0.ffn_up_exps.weight"], 24 + 5, 3, 16 + 3, 11);
    check_place(mapped["blk.0.ffn_up_exps.bias"], 1, 5, 1, 11);
    CHECK(mapped["blk.0.ffn_down_exps.weight"].shape() == std::vector<uint64_t>{24, 16, 2});
    check_place(mapped["blk.0.ffn_down_exps.weight"], 16 + 9, 2, 24 + 2, 9);
    CHECK(mapped["blk.0.attn_sinks.weight"].shape() == std::vector<uint64_t>{4});
    CHECK(mapped.key<float>("gpt-oss.rope.freq_base") == 150000.0f);
}

TEST_CASE("Gemma: norms plus one, an output that is the embedding though config.json is silent") {
    const Mapped mapped("GemmaForCausalLM", "\"hidden_activation\":\"gelu_pytorch_tanh\",",
                        llama() + Shapes{{"lm_head.weight", {10, 16}}});
    CHECK(std::ranges::none_of(mapped.mapping().tensors,
                               [](const MappedTensor& tensor) { return tensor.name == "output.weight"; }));
    std::vector<float> norm(16), plain(16);
    mapped["blk.0.ffn_norm.weight"].read(0, 1, norm.data());
    const Mapped llama_model("LlamaForCausalLM", "\"tie_word_embeddings\":true,", llama());
    llama_model["blk.0.ffn_norm.weight"].read(0, 1, plain.data());
    for (size_t i = 0; i < 16; ++i) CHECK(norm[i] == plain[i] + 1);
    CHECK(mapped.key<uint32_t>("gemma.attention.key_length") == 4u);
    CHECK(mapped.key<std::string>("gemma.hidden_activation") == "gelu_pytorch_tanh");
    CHECK_THAT(error_of("GemmaForCausalLM", "\"hidden_act\":\"relu\",", llama()), ContainsSubstring("relu"));
}

TEST_CASE(
    "Gemma 3 inside a model with a vision tower: nested numbers, longer names, towers left out and said so") {
    const std::string layer = "language_model.model.layers.0.";
    Shapes tensors = llama("language_model.model.");
    tensors = tensors + Shapes{{layer + "pre_feedforward_layernorm.weight", {16}},
                               {layer + "post_feedforward_layernorm.weight", {16}},
                               {layer + "self_attn.q_norm.weight", {4}},
                               {layer + "self_attn.k_norm.weight", {4}},
                               {"vision_tower.vision_model.post_layernorm.weight", {8}},
                               {"multi_modal_projector.mm_input_projection_weight", {8, 16}}};
    const std::string text =
        R"("text_config":{"model_type":"gemma3_text","hidden_size":16,"intermediate_size":24,
        "num_hidden_layers":1,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":4,"vocab_size":10,
        "sliding_window":8,"rope_scaling":{"rope_type":"linear","factor":8.0}},)";
    const Mapped mapped("Gemma3ForConditionalGeneration", text, tensors);
    CHECK(mapped["blk.0.attn_q_norm.weight"].shape() == std::vector<uint64_t>{4});
    CHECK(mapped.mapping().left_out.size() == 2);
    REQUIRE(mapped.mapping().notes.size() == 1);
    CHECK_THAT(mapped.mapping().notes[0], ContainsSubstring("2 tensors of the vision tower"));
    CHECK(mapped.key<uint32_t>("gemma3.context_length") == 131072u);  // the class's default
    CHECK(mapped.key<float>("gemma3.rope.freq_base") == 1e6f);
    CHECK(mapped.key<float>("gemma3.rope.freq_base_swa") == 1e4f);
    CHECK(mapped.key<std::string>("gemma3.rope.scaling.type") == "linear");
    CHECK(mapped.model().layers[0].sliding);
}

TEST_CASE("Phi-3 stays fused; LongRoPE becomes two tensors of divisors and a factor for attention") {
    const std::string layer = "model.layers.0.";
    const Shapes tensors{{"model.embed_tokens.weight", {10, 16}},
                         {layer + "input_layernorm.weight", {16}},
                         {layer + "self_attn.qkv_proj.weight", {32, 16}},
                         {layer + "self_attn.o_proj.weight", {16, 16}},
                         {layer + "post_attention_layernorm.weight", {16}},
                         {layer + "mlp.gate_up_proj.weight", {48, 16}},
                         {layer + "mlp.down_proj.weight", {16, 24}},
                         {"model.norm.weight", {16}},
                         {"lm_head.weight", {10, 16}}};
    const auto members = [](const char* long_factors) {
        return fmt::format(
            "\"original_max_position_embeddings\":16,\"rope_scaling\":{{\"type\":\"longrope\","
            "\"long_factor\":{},\"short_factor\":[1.0,1.5]}},",
            long_factors);
    };
    const Mapped mapped("Phi3ForCausalLM", members("[2.0,8]"), tensors);
    mapped.expect({{"rope_factors_long.weight", {2}},
                   {"rope_factors_short.weight", {2}},
                   {"token_embd.weight", {16, 10}},
                   {"blk.0.attn_norm.weight", {16}},
                   {"blk.0.attn_qkv.weight", {16, 32}},
                   {"blk.0.attn_output.weight", {16, 16}},
                   {"blk.0.ffn_norm.weight", {16}},
                   {"blk.0.ffn_up.weight", {16, 48}},
                   {"blk.0.ffn_down.weight", {24, 16}},
                   {"output_norm.weight", {16}},
                   {"output.weight", {16, 10}}});
    CHECK(read_all(mapped["rope_factors_long.weight"]) == std::vector<float>{2, 8});
    // √(1 + ln(64/16) / ln 16)
    CHECK(mapped.key<float>("phi3.rope.scaling.attn_factor") == Approx(std::sqrt(1.5)));
    CHECK(mapped.key<uint32_t>("phi3.rope.scaling.original_context_length") == 16u);
    CHECK_THAT(error_of("Phi3ForCausalLM", members("[2.0]"), tensors),
               ContainsSubstring("has 1 numbers; expected 2"));
    CHECK_THAT(error_of("Phi3ForCausalLM", members("[2.0,0]"), tensors),
               ContainsSubstring("no positive number"));
    CHECK_THAT(error_of("Phi3ForCausalLM", members("[2.0,\"8\"]"), tensors),
               ContainsSubstring("no positive number"));
}

TEST_CASE(
    "DeepSeek-V2: the projection from the compressed vector in two parts, keys transposed; dense layers "
    "first") {
    // 4 heads of 6 unrotated and 2 rotated elements, values of 3, rank 5.
    const std::string first = "model.layers.0.", second = "model.layers.1.";
    Shapes tensors{
        {"model.embed_tokens.weight", {10, 16}}, {"model.norm.weight", {16}}, {"lm_head.weight", {10, 16}}};
    for (const std::string& layer : {first, second}) {
        tensors = tensors + Shapes{{layer + "input_layernorm.weight", {16}},
                                   {layer + "self_attn.q_proj.weight", {32, 16}},
                                   {layer + "self_attn.kv_a_proj_with_mqa.weight", {7, 16}},
                                   {layer + "self_attn.kv_a_layernorm.weight", {5}},
                                   {layer + "self_attn.kv_b_proj.weight", {36, 5}},
                                   {layer + "self_attn.o_proj.weight", {16, 12}},
                                   {layer + "post_attention_layernorm.weight", {16}}};
    }
    for (const char* part : {"gate", "up"}) {
        tensors.push_back({fmt::format("{}mlp.{}_proj.weight", first, part), {24, 16}});
        tensors.push_back({fmt::format("{}mlp.shared_experts.{}_proj.weight", second, part), {20, 16}});
        for (int i = 0; i < 2; ++i)
            tensors.push_back({fmt::format("{}mlp.experts.{}.{}_proj.weight", second, i, part), {10, 16}});
    }
    tensors = tensors + Shapes{{first + "mlp.down_proj.weight", {16, 24}},
                               {second + "mlp.shared_experts.down_proj.weight", {16, 20}},
                               {second + "mlp.experts.0.down_proj.weight", {16, 10}},
                               {second + "mlp.experts.1.down_proj.weight", {16, 10}},
                               {second + "mlp.gate.weight", {2, 16}},
                               {"model.layers.2.eh_proj.weight", {16, 32}}};
    const std::string members =
        R"("num_hidden_layers":2,"q_lora_rank":null,"kv_lora_rank":5,"qk_nope_head_dim":6,
        "qk_rope_head_dim":2,"v_head_dim":3,"n_routed_experts":2,"num_experts_per_tok":1,"n_shared_experts":2,
        "moe_intermediate_size":10,"first_k_dense_replace":1,"num_nextn_predict_layers":1,)";
    const Mapped mapped("DeepseekV2ForCausalLM", members, tensors);
    CHECK(mapped["blk.1.attn_k_b.weight"].shape() == std::vector<uint64_t>{6, 5, 4});
    CHECK(mapped["blk.1.attn_v_b.weight"].shape() == std::vector<uint64_t>{5, 3, 4});
    for (uint64_t head = 0; head < 4; ++head) {
        check_place(mapped["blk.1.attn_k_b.weight"], head * 5 + 4, 2, head * 9 + 2, 4);
        check_place(mapped["blk.1.attn_v_b.weight"], head * 3 + 1, 4, head * 9 + 6 + 1, 4);
    }
    CHECK(mapped["blk.0.ffn_up.weight"].shape() == std::vector<uint64_t>{16, 24});
    CHECK(mapped["blk.1.ffn_up_shexp.weight"].shape() == std::vector<uint64_t>{16, 20});
    CHECK(mapped.mapping().left_out == std::vector<std::string>{"model.layers.2.eh_proj.weight"});
    CHECK(mapped.key<uint32_t>("deepseek2.attention.key_length") == 7u);
    CHECK(mapped.key<uint32_t>("deepseek2.attention.key_length_mla") == 8u);
    CHECK(mapped.key<uint32_t>("deepseek2.attention.head_count_kv") == 1u);
    CHECK(mapped.key<uint32_t>("deepseek2.leading_dense_block_count") == 1u);

    const std::string groups = R"("n_group":2,"topk_group":1,)";
    CHECK_FALSE(
        Mapped("DeepseekV2ForCausalLM", members + groups, tensors).has_key("deepseek2.expert_group_count"));
    const Mapped grouped("DeepseekV2ForCausalLM",
                         members + groups + R"("topk_method":"group_limited_greedy",)", tensors);
    CHECK(grouped.key<uint32_t>("deepseek2.expert_group_count") == 2u);
    CHECK(grouped.key<uint32_t>("deepseek2.expert_group_used_count") == 1u);
    CHECK(grouped.key<uint32_t>("deepseek2.expert_gating_func") == 1u);
    CHECK_THAT(error_of("DeepseekV2ForCausalLM", members + groups + R"("topk_method":"noaux_tc",)", tensors),
               ContainsSubstring("noaux_tc with sigmoid"));
    std::erase_if(tensors, [](const auto& tensor) {
        return tensor.first.find("layers.1.mlp.gate") != std::string::npos;
    });
    CHECK_THAT(error_of("DeepseekV2ForCausalLM", members, tensors),
               ContainsSubstring("missing: model.layers.1.mlp.gate"));
}

TEST_CASE(
    "Delta nets: groups come apart, value heads go round, the decay is −exp, the convolution loses its one") {
    // 2 key heads of 4, 4 value heads of 4, kernel 3; one layer, recurrent.
    const std::string layer = "model.layers.0.", delta = layer + "linear_attn.";
    const std::string members = R"("layer_types":["linear_attention"],"linear_num_key_heads":2,
        "linear_num_value_heads":4,"linear_key_head_dim":4,"linear_value_head_dim":4,"linear_conv_kernel_dim":3,
        "partial_rotary_factor":0.5,
        "tie_word_embeddings":true,)";
    const Shapes common{{"model.embed_tokens.weight", {10, 16}},
                        {layer + "input_layernorm.weight", {16}},
                        {layer + "post_attention_layernorm.weight", {16}},
                        {delta + "A_log", {4}},
                        {delta + "dt_bias", {4}},
                        {delta + "conv1d.weight", {32, 1, 3}},
                        {delta + "norm.weight", {4}},
                        {delta + "out_proj.weight", {16, 16}},
                        {"model.norm.weight", {16}}};
    const Mapped mapped("Qwen3_5ForCausalLM", members,
                        common + Shapes{{delta + "in_proj_qkv.weight", {32, 16}},
                                        {delta + "in_proj_z.weight", {16, 16}},
                                        {delta + "in_proj_a.weight", {4, 16}},
                                        {delta + "in_proj_b.weight", {4, 16}},
                                        {layer + "mlp.gate_proj.weight", {24, 16}},
                                        {layer + "mlp.up_proj.weight", {24, 16}},
                                        {layer + "mlp.down_proj.weight", {16, 24}}});
    const uint64_t source_head[] = {0, 2, 1, 3};  // of (key head, 2) the first ones, then the second ones
    for (uint64_t head = 0; head < 4; ++head) {
        check_place(mapped["blk.0.attn_gate.weight"], head * 4 + 1, 3, source_head[head] * 4 + 1, 3);
        check_place(mapped["blk.0.attn_qkv.weight"], 16 + head * 4 + 1, 3, 16 + source_head[head] * 4 + 1, 3);
        check_place(mapped["blk.0.ssm_out.weight"], 2, head * 4 + 1, 2, source_head[head] * 4 + 1);
        check_place(mapped["blk.0.ssm_alpha.weight"], head, 3, source_head[head], 3);
        CHECK(mapped["blk.0.ssm_dt.bias"].place(0, head).column == source_head[head]);
    }
    check_place(mapped["blk.0.attn_qkv.weight"], 9, 3, 9, 3);  // keys stay
    CHECK(mapped["blk.0.ssm_conv1d.weight"].shape() == std::vector<uint64_t>{3, 32});
    const std::vector<float> decay = read_all(mapped["blk.0.ssm_a"]);
    for (const float value : decay) CHECK(value < 0);
    CHECK(std::get<std::vector<uint32_t>>(
              mapped.key<MetadataArray>("qwen35.rope.dimension_sections").elements) ==
          std::vector<uint32_t>{11, 11, 10, 0});

    Shapes tensors =
        common + Shapes{{delta + "in_proj_qkvz.weight", {48, 16}}, {delta + "in_proj_ba.weight", {8, 16}}};
    tensors = tensors + Shapes{{layer + "mlp.gate.weight", {1, 16}},
                               {layer + "mlp.experts.gate_up_proj", {1, 20, 16}},
                               {layer + "mlp.experts.down_proj", {1, 16, 10}},
                               {layer + "mlp.shared_expert_gate.weight", {1, 16}},
                               {layer + "mlp.shared_expert.gate_proj.weight", {6, 16}},
                               {layer + "mlp.shared_expert.up_proj.weight", {6, 16}},
                               {layer + "mlp.shared_expert.down_proj.weight", {16, 6}}};
    const Mapped next("Qwen3NextForCausalLM",
                      members + R"("num_experts":1,"num_experts_per_tok":1,"moe_intermediate_size":10,
                                   "shared_expert_intermediate_size":6,)",
                      tensors);
    // A group of 24 rows: 4 of queries, 4 of keys, 8 of values, 8 of gates.
    check_place(next["blk.0.attn_qkv.weight"], 5, 0, 24 + 1, 0);           // query head 1
    check_place(next["blk.0.attn_qkv.weight"], 8 + 5, 0, 24 + 4 + 1, 0);   // key head 1
    check_place(next["blk.0.attn_qkv.weight"], 16 + 9, 0, 24 + 8 + 1, 0);  // value head 2
    check_place(next["blk.0.attn_gate.weight"], 9, 0, 24 + 16 + 1, 0);
    // Fused experts: gates above, ups below.
    check_place(next["blk.0.ffn_gate_exps.weight"], 3, 2, 3, 2);
    check_place(next["blk.0.ffn_up_exps.weight"], 3, 2, 13, 2);
    CHECK(next["blk.0.ffn_gate_inp_shexp.weight"].shape() == std::vector<uint64_t>{16});
}

TEST_CASE("Layers that differ have arrays for keys") {
    const std::string members = R"("num_hidden_layers":2,"layer_types":["sliding_attention","full_attention"],
        "head_dim":4,"global_head_dim":8,"num_global_key_value_heads":1,"sliding_window":8,
        "hidden_size_per_layer_input":0,"rope_parameters":{"full_attention":{"rope_type":"proportional",
        "rope_theta":1e6,"partial_rotary_factor":0.25},"sliding_attention":{"rope_type":"default","rope_theta":1e4}},)";
    const Json json = Json::parse(config_text("Gemma4ForCausalLM", members), "config.json");
    const ModelConfig model = read_model_config(json);
    Metadata metadata;
    write_hyperparameters(model, json, metadata);
    const auto array = [&](const char* key) {
        const MetadataValue* value = metadata.find(key);
        REQUIRE(value);
        return std::get<MetadataArray>(*value).elements;
    };
    CHECK(std::get<std::vector<uint32_t>>(array("gemma4.attention.head_count_kv")) ==
          std::vector<uint32_t>{2, 1});
    CHECK(std::get<std::vector<bool>>(array("gemma4.attention.sliding_window_pattern")) ==
          std::vector<bool>{true, false});
    CHECK(std::get<uint32_t>(*metadata.find("gemma4.attention.key_length")) == 8u);
    CHECK(std::get<uint32_t>(*metadata.find("gemma4.attention.key_length_swa")) == 4u);
    const auto factors = rope_factor_tensors(model);
    REQUIRE(factors.size() == 1);
    CHECK(factors[0].second == std::vector<float>{1, 1e30f, 1e30f, 1e30f});
}
