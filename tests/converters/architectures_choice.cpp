// Which family a checkpoint is of: by its class, by name, or by its tensors.
#include "tests/converters/mapped_checkpoint.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

TEST_CASE("A family is found by its name, a class, a type or an architecture") {
    CHECK(find_family_by_name("llama")->name == "Llama");
    CHECK(find_family_by_name("GPT-NeoX")->architecture == "gptneox");
    CHECK(find_family_by_name("Qwen3MoeForCausalLM")->architecture == "qwen3moe");
    CHECK(find_family_by_name("gpt_oss")->architecture == "gpt-oss");
    CHECK(find_family_by_name("command-r")->classes.front() == "CohereForCausalLM");
    CHECK(find_family_by_name("rwkv") == nullptr);
    const auto class_of = [](const std::string& text) {
        return find_family(Json::parse(text, "config.json"));
    };
    const std::string wrapped =
        R"({"architectures":["Mistral3ForConditionalGeneration"],"text_config":{"model_type":")";
    CHECK(class_of(wrapped + "mistral\"}}")->architecture == "llama");
    CHECK(class_of(wrapped + "ministral3\"}}")->architecture == "mistral3");
    CHECK(class_of(wrapped + "mistral4\"}}")->architecture == "mistral4");
    CHECK(class_of(wrapped + "unheard\"}}") == nullptr);
    CHECK(class_of(R"({"model_type":"qwen2"})")->name == "Qwen2");
    for (const Family* family : families()) {
        INFO(family->name);
        CHECK(find_family_by_name(family->name) == family);
        for (const std::string_view name : family->classes) CHECK(find_family(name) == family);
    }
}

TEST_CASE("An unknown class is offered the families that its tensors match") {
    const auto matching = [](const Shapes& shapes) {
        const TemporaryFolder folder;
        std::vector<Tensor> tensors;
        for (const auto& [name, shape] : shapes) tensors.push_back(random_tensor(name, shape));
        write_file(folder / "model.safetensors", safetensors_file(tensors));
        const auto checkpoint = open_checkpoint(folder.path().string());
        std::vector<std::string> names;
        for (const Family* family : find_matching_families(WeightSet(*checkpoint)))
            names.emplace_back(family->name);
        return names;
    };
    CHECK(matching(llama()).at(0) == "Llama");
    CHECK(matching(llama("language_model.model.")).at(0) == "Llama");
    const std::string layer = "model.layers.0.self_attn.";
    const Shapes norms{{layer + "q_norm.weight", {4}}, {layer + "k_norm.weight", {4}}};
    CHECK(matching(llama() + norms).at(0) == "Qwen3");
    const Shapes biases{
        {layer + "q_proj.bias", {16}}, {layer + "k_proj.bias", {8}}, {layer + "v_proj.bias", {8}}};
    const auto biased = matching(llama() + biases);
    CHECK(std::ranges::count(biased, "Qwen2") == 1);
    CHECK(matching(llama() + Shapes{{layer + "unheard.weight", {4}}}).empty());
    CHECK(matching({{"x", {1}}}).empty());
}

TEST_CASE("A family's name may be given instead of the class") {
    const std::string text = config_text("FineTunedForCausalLM", "");
    const Json json = Json::parse(text, "config.json");
    CHECK_THROWS_WITH(read_model_config(json), ContainsSubstring("FineTunedForCausalLM is not supported"));
    CHECK(read_model_config(json, find_family_by_name("llama")).family->architecture == "llama");
}
