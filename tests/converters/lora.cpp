// Adapters merged on the way, against the sum computed by hand.
#include "converters/sources/lora.h"

#include <cmath>

#include "format/error.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

const std::string kQ = "base_model.model.model.layers.0.self_attn.q_proj";
const std::string kWeight = "model.layers.0.self_attn.q_proj.weight";

/// q_proj (2, 3) of ones with a bias of zeros, and an embedding (4, 2) of zeros.
struct Base {
    Base() {
        write_file(folder / "model.safetensors",
                   safetensors_file(
                       {{kWeight, "F32", {2, 3}, f32_bytes(std::vector<float>(6, 1))},
                        {"model.layers.0.self_attn.q_proj.bias", "F32", {2}, f32_bytes({0, 0})},
                        {"model.embed_tokens.weight", "F32", {4, 2}, f32_bytes(std::vector<float>(8, 0))}}));
        checkpoint = open_checkpoint(folder.path().string());
        weights.emplace(*checkpoint);
    }
    MergedAdapter merge(const std::string& config, const std::vector<Tensor>& tensors, double scale = 1) {
        const TemporaryFolder adapter;
        write_file(adapter / "adapter_config.json", config);
        write_file(adapter / "adapter_model.safetensors", safetensors_file(tensors));
        return merge_adapter(*weights, adapter.path().string(), scale);
    }
    std::vector<float> values(const std::string& name = kWeight) const {
        return read_all(*weights->find(name)->rows);
    }
    TemporaryFolder folder;
    std::unique_ptr<Checkpoint> checkpoint;
    std::optional<WeightSet> weights;
};

std::string config(const std::string& more = "", double alpha = 4) {
    return fmt::format(R"({{"peft_type":"LORA","r":2,"lora_alpha":{}{}}})", alpha, more);
}

/// A (2, 3) and B (2, 2): B · A = {{9, 12, 15}, {19, 26, 33}}.
std::vector<Tensor> update(const std::string& module = kQ) {
    return {{module + ".lora_A.weight", "F32", {2, 3}, f32_bytes({1, 2, 3, 4, 5, 6})},
            {module + ".lora_B.weight", "F32", {2, 2}, f32_bytes({1, 2, 3, 4})}};
}

std::string error_of(const std::string& config, const std::vector<Tensor>& tensors) {
    try {
        Base().merge(config, tensors);
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_CASE("An update is added times alpha over rank, times what the user asks for") {
    Base base;
    const MergedAdapter merged = base.merge(config(), update(), 0.5);
    CHECK(base.values() == std::vector<float>{10, 13, 16, 20, 27, 34});
    CHECK(merged.description == "LoRA, rank 2, times 0.5: 1 weights adapted, 0 replaced");
    std::vector<float> some(2);
    base.weights->find(kWeight)->rows->read_columns(1, 1, 1, 2, some.data());
    CHECK(some == std::vector<float>{27, 34});
    base.merge(config(), update(), 0.5);  // a second one adds up
    CHECK(base.values() == std::vector<float>{19, 25, 31, 39, 53, 67});
}

TEST_CASE("Alpha may be stabilized by the rank's root, and differ by module") {
    Base stabilized;
    stabilized.merge(config(R"(,"use_rslora":true)", std::sqrt(2.0)), update());
    CHECK(std::fabs(stabilized.values()[0] - 10) < 1e-5);
    Base pattern;
    pattern.merge(config(R"(,"alpha_pattern":{"k_proj":100,"^model\\.layers\\.0\\.self_attn\\.q_proj$":2})"),
                  update());
    CHECK(pattern.values()[0] == 10);
    Base other;
    other.merge(config(R"(,"alpha_pattern":{"proj":100})", 2), update());
    CHECK(other.values()[0] == 10);
    CHECK_THAT(error_of(config(R"(,"alpha_pattern":{"layers.*q_proj":2})"), update()),
               ContainsSubstring("regular expression"));
}

TEST_CASE("Embeddings and weights stored the other way round take the transposed update") {
    Base base;
    base.merge(
        config("", 2),
        {{"base_model.model.model.embed_tokens.lora_embedding_A", "F32", {1, 4}, f32_bytes({1, 2, 3, 4})},
         {"base_model.model.model.embed_tokens.lora_embedding_B", "F32", {2, 1}, f32_bytes({10, 100})}});
    CHECK(base.values("model.embed_tokens.weight") == std::vector<float>{20, 200, 40, 400, 60, 600, 80, 800});
    Base conv;  // (in, out) = (2, 3)
    conv.merge(config(R"(,"fan_in_fan_out":true)", 1),
               {{kQ + ".lora_A.weight", "F32", {1, 2}, f32_bytes({1, 2})},
                {kQ + ".lora_B.weight", "F32", {3, 1}, f32_bytes({1, 10, 100})}});
    CHECK(conv.values() == std::vector<float>{2, 11, 101, 3, 21, 201});
}

TEST_CASE("Whole weights replace, biases of updates are added") {
    Base base;
    std::vector<Tensor> tensors = update();
    tensors.push_back({kQ + ".lora_B.bias", "F32", {2}, f32_bytes({1, 2})});
    tensors.push_back({"base_model.model.model.embed_tokens.modules_to_save.weight",
                       "F32",
                       {4, 2},
                       f32_bytes({1, 2, 3, 4, 5, 6, 7, 8})});
    CHECK(base.merge(config(), tensors).description ==
          "LoRA, rank 2, times 1: 1 weights adapted, 1 replaced");
    CHECK(base.values("model.embed_tokens.weight") == std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
    CHECK(base.values("model.layers.0.self_attn.q_proj.bias") == std::vector<float>{2, 4});
}

TEST_CASE("DoRA gives each row its own length") {
    Base base;
    std::vector<Tensor> tensors = update();
    tensors.push_back({kQ + ".lora_magnitude_vector", "F32", {2}, f32_bytes({3, 5})});
    CHECK(base.merge(config(R"(,"use_dora":true)", 2), tensors).description.starts_with("DoRA"));
    const std::vector<float> values = base.values();
    CHECK(std::fabs(std::hypot(values[0], values[1], values[2]) - 3) < 1e-5);
    CHECK(std::fabs(std::hypot(values[3], values[4], values[5]) - 5) < 1e-5);
    CHECK(std::fabs(values[1] / values[0] - 1.3f) < 1e-5);  // 13 to 10
}

TEST_CASE("What has no weight to go to is named; what cannot be carried over is refused") {
    std::vector<Tensor> tensors = update("base_model.model.model.layers.7.self_attn.q_proj");
    tensors.push_back({"base_model.model.lm_head.weight", "F32", {1}, f32_bytes({1})});
    CHECK_THAT(error_of(config(), tensors), ContainsSubstring("2 of the adapter's tensors") &&
                                                ContainsSubstring("model.layers.7") &&
                                                ContainsSubstring("lm_head.weight"));
    CHECK_THAT(error_of(R"({"peft_type":"IA3"})", update()), ContainsSubstring("IA3"));
    CHECK_THAT(error_of(R"({"peft_type":"LORA"})", update()), ContainsSubstring("lora_alpha"));
    CHECK_THAT(error_of(config(R"(,"init_lora_weights":"pissa_niter_4")"), update()),
               ContainsSubstring("init_lora_weights"));
    CHECK_THAT(error_of(config(R"(,"layer_replication":[[0,4]])"), update()),
               ContainsSubstring("layer_replication"));
    CHECK_THAT(error_of(config(), {update()[0]}), ContainsSubstring("one half"));
    std::vector<Tensor> wrong = update();
    wrong[0].shape = {3, 2};
    CHECK_THAT(error_of(config(), wrong), ContainsSubstring("can be multiplied"));
    wrong[0] = {kQ + ".lora_A.weight", "F32", {2, 4}, f32_bytes(std::vector<float>(8, 1))};
    CHECK_THAT(error_of(config(), wrong), ContainsSubstring("has the shape [2, 3]"));
    CHECK_THAT(error_of(config(), {}), ContainsSubstring("no tensors"));
    CHECK_THROWS_WITH(Base().merge("{", update()), ContainsSubstring("adapter_config.json"));
}

TEST_CASE("A choice is a folder, with a scale behind a colon") {
    const TemporaryFolder folder;
    const std::string path = folder.path().string();
    CHECK(parse_adapter_choice(path).scale == 1);
    CHECK(parse_adapter_choice(path + ":0.5").scale == 0.5);
    CHECK(parse_adapter_choice(path + ":-2").folder == path);
    CHECK_THROWS_WITH(parse_adapter_choice(path + ":half"), ContainsSubstring("no such folder"));
    fs::create_directory(folder / "a:2");
    CHECK(parse_adapter_choice(folder / "a:2").scale == 1);
    CHECK_THROWS_WITH(parse_adapter_choice(path + "/none"), ContainsSubstring("no such folder"));
}
