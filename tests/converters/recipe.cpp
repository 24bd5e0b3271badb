// The mixes as users know them, told as facts: which tensors of which layers get which type.
#include "converters/quantize/recipe.h"

#include <deque>
#include <map>

#include "tests/catch.h"

using namespace ingot;
using namespace ingot::converters;
using enum TensorType;

namespace {

struct Model {
    ModelShape shape;
    std::deque<std::string> names;  // does not move its elements
    std::vector<TensorShape> tensors;

    void add(std::string name, uint32_t n_dims, uint64_t row_elements, uint64_t n_rows) {
        names.push_back(std::move(name));
        tensors.push_back({names.back(), n_dims, row_elements, n_rows});
    }

    /// name -> choice under a recipe
    std::map<std::string, TypeChoice> choose(std::string_view recipe) const {
        const Recipe* found = find_recipe(recipe);
        REQUIRE(found);
        const auto choices = choose_types(*found, shape, tensors);
        REQUIRE(choices.size() == tensors.size());
        std::map<std::string, TypeChoice> result;
        for (size_t i = 0; i < choices.size(); ++i) result[names[i]] = choices[i];
        return result;
    }
};

/// A Llama: tolstoy-5m by default (6 layers, 8 heads over 4, tied output).
Model llama(uint32_t n_layers = 6, uint64_t n_embd = 256, uint64_t n_ff = 768, uint32_t n_heads = 8,
            uint32_t n_kv_heads = 4, bool tied = true) {
    Model model;
    model.shape = {"llama", n_layers, 0, n_heads, n_kv_heads, tied};
    const uint64_t n_kv = n_embd / n_heads * n_kv_heads;
    model.add("token_embd.weight", 2, n_embd, 2048);
    if (!tied) model.add("output.weight", 2, n_embd, 2048);
    model.add("output_norm.weight", 1, n_embd, 1);
    for (uint32_t i = 0; i < n_layers; ++i) {
        const std::string layer = "blk." + std::to_string(i) + ".";
        model.add(layer + "attn_norm.weight", 1, n_embd, 1);
        model.add(layer + "attn_q.weight", 2, n_embd, n_embd);
        model.add(layer + "attn_k.weight", 2, n_embd, n_kv);
        model.add(layer + "attn_v.weight", 2, n_embd, n_kv);
        model.add(layer + "attn_output.weight", 2, n_embd, n_embd);
        model.add(layer + "ffn_norm.weight", 1, n_embd, 1);
        model.add(layer + "ffn_gate.weight", 2, n_embd, n_ff);
        model.add(layer + "ffn_up.weight", 2, n_embd, n_ff);
        model.add(layer + "ffn_down.weight", 2, n_ff, n_embd);
    }
    return model;
}

/// The types of one part in all layers, as a word: "656566".
std::string by_layer(const std::map<std::string, TypeChoice>& types, uint32_t n_layers,
                     const std::string& part) {
    std::string word;
    for (uint32_t i = 0; i < n_layers; ++i) {
        const TensorType type = types.at("blk." + std::to_string(i) + "." + part + ".weight").type;
        word += name(type)[1];  // Q4_K -> 4
    }
    return word;
}

}  // namespace

TEST_CASE("a recipe is found by its name in any case") {
    CHECK(find_recipe("q4_k_m")->name == "Q4_K_M");
    CHECK(find_recipe("Q4_K")->name == "Q4_K_M");
    CHECK(find_recipe("q5_k")->name == "Q5_K_M");
    CHECK(find_recipe("q3_K")->name == "Q3_K_M");
    CHECK(find_recipe("Q2_K")->name == "Q2_K");
    CHECK(find_recipe("bf16")->base == BF16);
    CHECK(find_recipe("mxfp4_moe")->name == kKeptMxfp4);
    CHECK(find_recipe("Q4_K_X") == nullptr);
    CHECK(find_recipe("") == nullptr);
}

TEST_CASE("file types are the numbers that readers know") {
    const std::map<std::string_view, uint32_t> expected = {
        {"F32", 0},     {"F16", 1},     {"Q4_0", 2},    {"Q4_1", 3},    {"Q8_0", 7},    {"Q5_0", 8},
        {"Q5_1", 9},    {"Q2_K", 10},   {"Q3_K_S", 11}, {"Q3_K_M", 12}, {"Q3_K_L", 13}, {"Q4_K_S", 14},
        {"Q4_K_M", 15}, {"Q5_K_S", 16}, {"Q5_K_M", 17}, {"Q6_K", 18},   {"Q2_K_S", 21}, {"IQ4_NL", 25},
        {"IQ4_XS", 30}, {"BF16", 32},   {"TQ1_0", 36},  {"TQ2_0", 37},  {"MXFP4", 38}};
    CHECK(recipes().size() == expected.size());
    for (const Recipe& recipe : recipes()) {
        INFO(recipe.name);
        REQUIRE(expected.count(recipe.name));
        CHECK(recipe.file_type == expected.at(recipe.name));
    }
}

TEST_CASE("vectors stay F32 in every recipe") {
    for (const Recipe& recipe : recipes()) {
        const auto types = llama().choose(recipe.name);
        CHECK(types.at("output_norm.weight").type == F32);
        CHECK(types.at("blk.3.attn_norm.weight").type == F32);
    }
}

TEST_CASE("plain float recipes give every matrix that type") {
    CHECK(llama().choose("F16").at("token_embd.weight").type == F16);
    CHECK(llama().choose("BF16").at("blk.0.ffn_down.weight").type == BF16);
    CHECK(llama().choose("F32").at("blk.0.ffn_down.weight").type == F32);
}

TEST_CASE("the output matrix gets Q6_K, and so does a tied embedding") {
    for (const char* recipe : {"Q4_0", "Q5_1", "Q2_K", "Q3_K_S", "Q4_K_M", "Q5_K_S", "Q6_K", "IQ4_XS"}) {
        INFO(recipe);
        CHECK(llama().choose(recipe).at("token_embd.weight").type == Q6_K);
        const auto untied = llama(6, 256, 768, 8, 4, false).choose(recipe);
        CHECK(untied.at("output.weight").type == Q6_K);
        CHECK(untied.at("token_embd.weight").type == find_recipe(recipe)->base);
    }
    CHECK(llama().choose("Q8_0").at("token_embd.weight").type == Q8_0);
}

TEST_CASE("MXFP4 is for experts, and for all layers of a model without any") {
    Model model = llama();
    CHECK(model.choose("MXFP4").at("blk.3.ffn_up.weight").type == MXFP4);
    CHECK(model.choose("MXFP4").at("token_embd.weight").type == Q8_0);
    CHECK(model.choose("MXFP4").at("blk.3.attn_norm.weight").type == F32);
    model.add("blk.3.ffn_up_exps.weight", 3, 256, 768 * 4);
    CHECK(model.choose("MXFP4").at("blk.3.ffn_up_exps.weight").type == MXFP4);
    CHECK(model.choose("MXFP4").at("blk.3.attn_q.weight").type == Q8_0);
}

TEST_CASE("ternary recipes keep more of the embedding, and fall back where their blocks do not fit") {
    for (const auto& [recipe, type] : {std::pair("TQ1_0", TQ1_0), std::pair("TQ2_0", TQ2_0)}) {
        const auto types = llama(6, 256, 768, 8, 4, false).choose(recipe);
        CHECK(types.at("blk.0.ffn_down.weight").type == type);
        CHECK(types.at("token_embd.weight").type == Q4_K);
        CHECK(types.at("output.weight").type == Q6_K);
        CHECK(llama(2, 320, 640, 5, 5).choose(recipe).at("blk.0.attn_q.weight").type == Q4_0);
    }
}

TEST_CASE("in the medium mixes the sensitive layers get Q6_K") {
    const auto q4 = llama().choose("Q4_K_M");
    CHECK(by_layer(q4, 6, "attn_v") == "446446");  // i % 3 == 2 and the last eighth
    CHECK(by_layer(q4, 6, "ffn_down") == "446446");
    CHECK(by_layer(q4, 6, "ffn_up") == "444444");
    CHECK(by_layer(q4, 6, "attn_q") == "444444");
    CHECK(by_layer(q4, 6, "attn_output") == "444444");
    CHECK(by_layer(llama().choose("Q5_K_M"), 6, "attn_v") == "556556");

    const auto deep = llama(32).choose("Q4_K_M");
    CHECK(by_layer(deep, 32, "ffn_down") ==
          "6666"
          "446446446446446446446446"
          "6666");
}

TEST_CASE("the small mixes raise only the first layers") {
    CHECK(by_layer(llama().choose("Q4_K_S"), 6, "attn_v") == "555544");
    CHECK(by_layer(llama().choose("Q4_K_S"), 6, "ffn_down") == "444444");
    CHECK(by_layer(llama(16).choose("Q4_K_S"), 16, "ffn_down") == "5544444444444444");
    CHECK(by_layer(llama().choose("Q5_K_S"), 6, "attn_v") == "555555");
    CHECK(by_layer(llama().choose("Q3_K_S"), 6, "ffn_down") == "333333");
}

TEST_CASE("the three-bit mixes raise values, outputs and the down projection") {
    const auto medium = llama(16).choose("Q3_K_M");
    CHECK(by_layer(medium, 16, "attn_v") == "5544444444444444");
    CHECK(by_layer(medium, 16, "attn_output") == "4444444444444444");
    CHECK(by_layer(medium, 16, "ffn_down") == "5444444444444444");
    CHECK(by_layer(medium, 16, "ffn_gate") == "3333333333333333");
    const auto large = llama().choose("Q3_K_L");
    CHECK(by_layer(large, 6, "attn_v") == "555555");
    CHECK(by_layer(large, 6, "attn_output") == "555555");
    CHECK(by_layer(large, 6, "ffn_down") == "555555");
}

TEST_CASE("two bits spare values more where many heads share them") {
    const auto narrow = llama().choose("Q2_K");  // two heads share one
    CHECK(by_layer(narrow, 6, "attn_v") == "333333");
    CHECK(by_layer(narrow, 6, "attn_output") == "333333");
    CHECK(by_layer(narrow, 6, "ffn_down") == "333333");
    CHECK(by_layer(narrow, 6, "ffn_up") == "222222");
    CHECK(by_layer(llama(6, 256, 768, 8, 2).choose("Q2_K"), 6, "attn_v") == "444444");
}

TEST_CASE("the order of the tensors does not change the mix") {
    Model model = llama(16);
    const auto expected = model.choose("Q4_K_M");
    std::reverse(model.tensors.begin(), model.tensors.end());
    std::reverse(model.names.begin(), model.names.end());
    for (size_t i = 0; i < model.tensors.size(); ++i) model.tensors[i].name = model.names[i];
    // Row lengths follow their names: all of them fit 256 here.
    for (const auto& [tensor, choice] : model.choose("Q4_K_M"))
        CHECK(choice.type == expected.at(tensor).type);
}

TEST_CASE("rows that are no multiple of 256 fall back, with the reason") {
    const Model model = llama(6, 320, 480, 5, 1, false);
    const auto q4 = model.choose("Q4_K_M");
    CHECK(q4.at("blk.0.attn_q.weight").type == Q5_0);
    CHECK(q4.at("blk.0.attn_q.weight").fallback_reason ==
          "rows of 320 are no multiple of 256: Q5_0 instead of Q4_K");
    CHECK(q4.at("blk.2.ffn_down.weight").type == Q8_0);  // wanted Q6_K
    CHECK(q4.at("output.weight").type == Q8_0);
    CHECK(q4.at("blk.0.attn_norm.weight").fallback_reason.empty());
    CHECK(model.choose("Q5_K_S").at("blk.0.ffn_up.weight").type == Q5_1);
    CHECK(model.choose("Q2_K").at("blk.0.ffn_up.weight").type == Q4_0);
    CHECK(model.choose("Q3_K_S").at("blk.0.ffn_up.weight").type == Q4_0);
    CHECK(model.choose("IQ4_XS").at("blk.0.ffn_up.weight").type == IQ4_NL);
    CHECK(model.choose("Q4_0").at("blk.0.ffn_up.weight").fallback_reason.empty());
    CHECK(model.choose("Q4_0").at("output.weight").type == Q8_0);  // Q6_K does not fit
}

TEST_CASE("rows that no block divides stay in half precision") {
    const auto types = llama(2, 40, 72, 5, 5).choose("Q4_K_M");
    CHECK(types.at("blk.0.attn_q.weight").type == F16);
    CHECK(types.at("token_embd.weight").type == F16);
    CHECK(types.at("blk.0.attn_q.weight").fallback_reason ==
          "rows of 40 are no multiple of 256: F16 instead of Q4_K");
    CHECK(llama(2, 40, 72, 5, 5).choose("Q8_0").at("blk.0.attn_q.weight").fallback_reason ==
          "rows of 40 are no multiple of 32: F16 instead of Q8_0");
}

TEST_CASE("eight experts keep their attention precise") {
    Model model = llama(16);
    model.shape.n_experts = 8;
    const auto types = model.choose("Q4_K_M");
    CHECK(types.at("blk.1.attn_v.weight").type == Q8_0);
    CHECK(types.at("blk.1.attn_k.weight").type == Q8_0);
    CHECK(types.at("blk.1.attn_output.weight").type == Q5_K);
}

TEST_CASE("the router of experts is not quantized") {
    Model model = llama();
    model.add("blk.0.ffn_gate_inp.weight", 2, 256, 8);
    CHECK(model.choose("Q4_K_M").at("blk.0.ffn_gate_inp.weight").type == F32);
}

TEST_CASE("eighty layers with shared heads spare the values") {
    const auto types = llama(80, 256, 256, 8, 1, false).choose("Q4_K_S");
    CHECK(types.at("blk.40.attn_v.weight").type == Q5_K);
    CHECK(types.at("blk.40.attn_k.weight").type == Q4_K);
}

TEST_CASE("an importance matrix lets the first layers of simple mixes rise") {
    Model model = llama(16);
    CHECK(model.choose("Q4_0").at("blk.0.ffn_down.weight").type == Q4_0);
    CHECK(model.choose("IQ4_XS").at("blk.0.ffn_down.weight").type == Q5_K);
    model.shape.has_importance = true;
    CHECK(model.choose("Q4_0").at("blk.0.ffn_down.weight").type == Q4_1);
    CHECK(model.choose("Q4_0").at("blk.2.ffn_down.weight").type == Q4_0);
    CHECK(model.choose("IQ4_XS").at("blk.0.ffn_down.weight").type == IQ4_XS);
}
