// Names, shapes, row orders and numbers on their way from config.json and the checkpoint into GGUF.
#include "converters/architectures/family.h"

#include <algorithm>
#include <cmath>

#include "converters/architectures/mapping.h"
#include "converters/architectures/model_config.h"
#include "converters/rows/transforms.h"
#include "format/error.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

ModelConfig config_of(const TinyModel& model) {
    return read_model_config(Json::parse(model.config(), "config.json"));
}

Metadata metadata_of(const TinyModel& model) {
    const Json json = Json::parse(model.config(), "config.json");
    Metadata metadata;
    write_hyperparameters(read_model_config(json), json, metadata);
    return metadata;
}

template <typename T>
std::optional<T> get(const Metadata& metadata, const std::string& key) {
    const MetadataValue* value = metadata.find(key);
    if (!value) return {};
    return std::get<T>(*value);
}

/// What map_tensors() says of a tiny checkpoint whose tensors were tampered with.
std::string mapping_error(const TinyModel& model, const std::function<void(std::vector<Tensor>&)>& tamper) {
    const TemporaryFolder folder;
    std::vector<Tensor> tensors = model.tensors();
    tamper(tensors);
    write_file(folder / "model.safetensors", safetensors_file(tensors));
    const auto checkpoint = open_checkpoint(folder.path().string());
    try {
        map_tensors(config_of(model), WeightSet(*checkpoint));
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

void remove(std::vector<Tensor>& tensors, const std::string& name) {
    REQUIRE(std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name == name; }) == 1);
}

TinyModel qwen2() {
    TinyModel model;
    model.class_name = "Qwen2ForCausalLM";
    model.qkv_biases = true;
    return model;
}

}  // namespace

TEST_CASE("Every tensor of the demo checkpoint is mapped, none is left out") {
    const std::string folder = INGOT_SOURCE_DIR "/tests/data/tolstoy-5m";
    const auto checkpoint = open_checkpoint(folder);
    const Mapping mapping =
        map_tensors(read_model_config(Json::read_file(folder + "/config.json")), WeightSet(*checkpoint));
    CHECK(mapping.tensors.size() == 56);
    CHECK(mapping.tensors.size() == checkpoint->tensors().size());
    CHECK(mapping.left_out.empty());
    CHECK(mapping.tensors.front().name == "token_embd.weight");
    CHECK(mapping.tensors.back().name == "output_norm.weight");
    for (const MappedTensor& tensor : mapping.tensors) {
        const bool rotated = tensor.name.ends_with("attn_q.weight") || tensor.name.ends_with("attn_k.weight");
        // Row 1 of a rotated head comes from the middle of the head: 256 / 8 query heads of 32 rows.
        CHECK(tensor.rows->place(1, 0).row == (rotated ? 16u : 1u));
    }
}

TEST_CASE("Qwen2 has biases and no interleaving; Mistral is a llama with a window") {
    const TemporaryFolder folder;
    qwen2().write(folder);
    const auto checkpoint = open_checkpoint(folder.path().string());
    const Mapping mapping = map_tensors(config_of(qwen2()), WeightSet(*checkpoint));
    CHECK(mapping.tensors.size() == checkpoint->tensors().size());
    CHECK(std::ranges::all_of(mapping.tensors, [](const MappedTensor& tensor) {
        return tensor.rows->shape().size() == 1 || tensor.rows->place(1, 0).row == 1;
    }));
    CHECK(std::ranges::count(mapping.tensors, "blk.1.attn_k.bias", &MappedTensor::name) == 1);
    CHECK(get<uint32_t>(metadata_of(qwen2()), "qwen2.attention.head_count_kv") == 2u);

    TinyModel mistral;
    mistral.class_name = "MistralForCausalLM";
    mistral.more_config = "\"sliding_window\":4096,";
    CHECK(get<uint32_t>(metadata_of(mistral), "llama.attention.sliding_window") == 4096u);
    mistral.more_config = "\"sliding_window\":null,";
    CHECK_FALSE(metadata_of(mistral).find("llama.attention.sliding_window"));
}

TEST_CASE("Rows of rotated heads move so that the halves of a head interleave") {
    // The definition, by reshaping: (heads, 2, head_dim/2) -> (heads, head_dim/2, 2).
    for (const uint64_t head_dim : {2u, 4u, 16u, 128u}) {
        for (uint64_t head = 0; head < 3; ++head) {
            for (uint64_t half = 0; half < 2; ++half) {
                for (uint64_t pair = 0; pair < head_dim / 2; ++pair) {
                    const uint64_t source = (head * 2 + half) * (head_dim / 2) + pair;
                    const uint64_t target = (head * (head_dim / 2) + pair) * 2 + half;
                    REQUIRE(interleaved_source_row(target, head_dim) == source);
                }
            }
        }
    }
}

TEST_CASE("Missing, misshapen, unknown and unreadable tensors are all reported at once") {
    const std::string error = mapping_error(TinyModel(), [](std::vector<Tensor>& tensors) {
        remove(tensors, "model.layers.1.mlp.up_proj.weight");
        remove(tensors, "model.norm.weight");
        for (Tensor& tensor : tensors) {
            if (tensor.name == "model.layers.0.self_attn.v_proj.weight") tensor.shape = {64, 32};
            if (tensor.name == "model.layers.0.mlp.down_proj.weight") {
                tensor.dtype = "F8_E4M3";
                tensor.data.resize(tensor.data.size() / 2);
            }
        }
        tensors.push_back(random_tensor("model.layers.0.mlp.experts.0.weight", {2, 2}));
    });
    CHECK_THAT(error, ContainsSubstring("5 problems"));
    CHECK_THAT(error, ContainsSubstring("missing: model.layers.1.mlp.up_proj.weight"));
    CHECK_THAT(error, ContainsSubstring("missing: model.norm.weight"));
    CHECK_THAT(error,
               ContainsSubstring("v_proj.weight has shape [64, 32], but config.json implies [32, 64]"));
    CHECK_THAT(error, ContainsSubstring(
                          "down_proj.weight has elements of type F8_E4M3, expected floating-point weights"));
    CHECK_THAT(error, ContainsSubstring("unknown tensor: model.layers.0.mlp.experts.0.weight"));
}

TEST_CASE("Rotary frequencies stored in the checkpoint are left out without a complaint") {
    CHECK(mapping_error(TinyModel(), [](std::vector<Tensor>& tensors) {
              tensors.push_back(random_tensor("model.layers.0.self_attn.rotary_emb.inv_freq", {8}));
          }) == "accepted");
}

TEST_CASE("A tied output may be absent or present; an untied one must be present") {
    TinyModel tied;
    tied.tied = true;
    CHECK(mapping_error(tied, [](auto&) {}) == "accepted");
    CHECK(mapping_error(tied, [](std::vector<Tensor>& tensors) {
              tensors.push_back(random_tensor("lm_head.weight", {2048, 64}));
          }) == "accepted");
    CHECK_THAT(mapping_error(TinyModel(), [](auto& tensors) { remove(tensors, "lm_head.weight"); }),
               ContainsSubstring("tie_word_embeddings"));
}

TEST_CASE("Biases that config.json promises must be there") {
    TinyModel model;
    model.more_config = "\"attention_bias\":true,";
    CHECK_THAT(mapping_error(model, [](auto&) {}),
               ContainsSubstring("missing: model.layers.0.self_attn.q_proj.bias"));
    CHECK_THAT(mapping_error(qwen2(),
                             [](auto& tensors) { remove(tensors, "model.layers.1.self_attn.k_proj.bias"); }),
               ContainsSubstring("missing: model.layers.1.self_attn.k_proj.bias"));
}

TEST_CASE("An unsupported architecture is an error that lists the supported ones") {
    TinyModel model;
    model.class_name = "RwkvForCausalLM";
    CHECK_THROWS_WITH(config_of(model), ContainsSubstring("RwkvForCausalLM is not supported yet") &&
                                            ContainsSubstring("LlamaForCausalLM") &&
                                            ContainsSubstring("Qwen2ForCausalLM"));
    CHECK_THROWS_WITH(read_model_config(Json::parse("{}", "config.json")),
                      ContainsSubstring("no \"architectures\""));
}

TEST_CASE("Row 40: dimensions that make no sense are errors") {
    const auto error_of = [](const std::string& from, const std::string& to) {
        std::string text = TinyModel().config();
        const size_t at = text.find(from);
        REQUIRE(at != std::string::npos);
        text.replace(at, from.size(), to);
        try {
            const Json json = Json::parse(text, "config.json");
            const ModelConfig model = read_model_config(json);
            Metadata metadata;
            write_hyperparameters(model, json, metadata);
            const TemporaryFolder folder;
            write_file(folder / "model.safetensors", safetensors_file(TinyModel().tensors()));
            map_tensors(model, WeightSet(*open_checkpoint(folder.path().string())));
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string("accepted");
    };
    CHECK_THAT(error_of("\"num_attention_heads\":4", "\"num_attention_heads\":0"), ContainsSubstring("is 0"));
    CHECK_THAT(error_of("\"num_key_value_heads\":2", "\"num_key_value_heads\":8"),
               ContainsSubstring("cannot share"));
    CHECK_THAT(error_of("\"num_key_value_heads\":2", "\"num_key_value_heads\":3"),
               ContainsSubstring("cannot share"));
    CHECK_THAT(error_of("\"hidden_size\":64", "\"hidden_size\":66"), ContainsSubstring("no multiple"));
    CHECK_THAT(error_of("\"hidden_size\":64", "\"hidden_size\":12"), ContainsSubstring("cannot be rotated"));
    CHECK_THAT(error_of("\"num_hidden_layers\":2", "\"num_hidden_layers\":2147483648"),
               ContainsSubstring("2147483648"));
    CHECK_THAT(error_of("\"num_hidden_layers\":2", "\"num_hidden_layers\":2147483647"),
               ContainsSubstring("2147483647 layers"));
    CHECK_THAT(error_of("\"num_hidden_layers\":2", "\"num_hidden_layers\":3"),
               ContainsSubstring("missing: model.layers.2"));
    CHECK_THAT(error_of("\"num_hidden_layers\":2", "\"num_hidden_layers\":1"),
               ContainsSubstring("unknown tensor: model.layers.1"));
    CHECK_THAT(error_of("\"vocab_size\":2048", "\"vocab_size\":-1"), ContainsSubstring("vocab_size"));
    CHECK_THAT(error_of("\"vocab_size\":2048", "\"vocab_size\":2047"),
               ContainsSubstring("implies [2047, 64]"));
    CHECK_THAT(error_of("\"max_position_embeddings\":512", "\"max_position_embeddings\":4294967296"),
               ContainsSubstring("32 bits"));
    CHECK_THAT(error_of("\"max_position_embeddings\":512,", ""),
               ContainsSubstring("max_position_embeddings"));
}

TEST_CASE("Hyperparameters are written under the keys and in the types that other readers expect") {
    TinyModel model;
    model.more_config = "\"rope_theta\":500000.0,";
    const Metadata metadata = metadata_of(model);
    CHECK(get<uint32_t>(metadata, "llama.block_count") == 2u);
    CHECK(get<uint32_t>(metadata, "llama.context_length") == 512u);
    CHECK(get<uint32_t>(metadata, "llama.embedding_length") == 64u);
    CHECK(get<uint32_t>(metadata, "llama.feed_forward_length") == 96u);
    CHECK(get<uint32_t>(metadata, "llama.attention.head_count") == 4u);
    CHECK(get<uint32_t>(metadata, "llama.rope.dimension_count") == 16u);
    CHECK(get<uint32_t>(metadata, "llama.vocab_size") == 2048u);
    CHECK(get<float>(metadata, "llama.attention.layer_norm_rms_epsilon") == 1e-5f);
    CHECK(get<float>(metadata, "llama.rope.freq_base") == 500000.0f);
    CHECK_FALSE(metadata.find("llama.attention.key_length"));  // follows from the other numbers
    model.more_config = "\"head_dim\":32,";
    CHECK(get<uint32_t>(metadata_of(model), "llama.attention.key_length") == 32u);
    CHECK(get<uint32_t>(metadata_of(model), "llama.rope.dimension_count") == 32u);
}

TEST_CASE("Linear and YaRN scaling become metadata, in the older and the newer form of config.json") {
    TinyModel model;
    model.more_config = R"("rope_scaling":{"type":"linear","factor":4.0},)";
    CHECK(get<std::string>(metadata_of(model), "llama.rope.scaling.type") == "linear");
    CHECK(get<float>(metadata_of(model), "llama.rope.scaling.factor") == 4.0f);

    model.more_config =
        R"("rope_parameters":{"rope_type":"yarn","factor":2.0,"rope_theta":1e6,"beta_fast":32.0,
                           "original_max_position_embeddings":256},)";
    const Metadata yarn = metadata_of(model);
    CHECK(get<std::string>(yarn, "llama.rope.scaling.type") == "yarn");
    CHECK(get<uint32_t>(yarn, "llama.rope.scaling.original_context_length") == 256u);
    CHECK(get<float>(yarn, "llama.rope.scaling.yarn_beta_fast") == 32.0f);
    CHECK(get<float>(yarn, "llama.rope.freq_base") == 1e6f);

    model.more_config = R"("rope_scaling":{"type":"dynamic","factor":4.0},)";
    CHECK(config_of(model).warnings.size() == 1);
    model.more_config = R"("rope_scaling":{"rope_type":"spiral"},)";
    CHECK_THROWS_WITH(config_of(model), ContainsSubstring("spiral"));
    model.more_config = R"("rope_scaling":{"rope_type":"linear","factor":0},)";
    CHECK_THROWS_WITH(config_of(model), ContainsSubstring("factor"));
}

TEST_CASE("Llama 3's scaling becomes frequency divisors") {
    TinyModel model;
    model.more_config =
        R"("head_dim":128,"rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":32.0,
        "low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192},)";
    const std::vector<float> factors = llama3_rope_factors(config_of(model));
    REQUIRE(factors.size() == 64);
    for (size_t i = 0; i < factors.size(); ++i) {
        // The same in double precision and in terms of turns within the original context.
        const double turns = 8192 / (2 * M_PI * std::pow(500000.0, double(i) / 64));
        const double blend = std::clamp((turns - 1.0) / (4.0 - 1.0), 0.0, 1.0);
        CHECK(factors[i] == Approx(1 / ((1 - blend) / 32 + blend)).epsilon(1e-4));
    }
    CHECK(factors.front() == 1.0f);
    CHECK(factors.back() == 32.0f);
}

TEST_CASE("An activation other than SiLU is an error, because GGUF has no place to say so") {
    TinyModel model;
    model.more_config = "\"hidden_act\":\"gelu\",";
    CHECK_THROWS_WITH(config_of(model), ContainsSubstring("gelu"));
}
