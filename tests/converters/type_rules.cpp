#include "converters/quantize/type_rules.h"

#include <algorithm>
#include <map>

#include "converters/quantize/recipe_file.h"
#include "format/error.h"
#include "format/name_pattern.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;
using enum ingot::TensorType;

namespace {

/// Two layers with rows of 256, a down projection with rows of 288, an embedding that is the output too.
const std::vector<TensorShape> kTensors = {
    {"token_embd.weight", 2, 256, 2048},    {"output_norm.weight", 1, 256, 1},
    {"blk.0.attn_q.weight", 2, 256, 256},   {"blk.0.attn_v.weight", 2, 256, 128},
    {"blk.0.ffn_down.weight", 2, 288, 256}, {"blk.0.attn_norm.weight", 1, 256, 1},
    {"blk.1.attn_q.weight", 2, 256, 256},   {"blk.1.attn_v.weight", 2, 256, 128},
    {"blk.1.ffn_down.weight", 2, 288, 256}, {"blk.1.attn_norm.weight", 1, 256, 1},
};
const ModelShape kTied{"llama", 2, 0, 8, 4, true};

struct Chosen {
    std::map<std::string_view, TypeChoice> choices;
    Findings findings;
    TensorType operator[](std::string_view name) const { return choices.at(name).type; }
    std::string problem() const {
        const auto problems = findings.messages(Severity::Problem);
        return problems.empty() ? "" : problems.front();
    }
};

Chosen choose(const TypeRules& rules, const char* recipe = "Q4_K_M", const ModelShape& shape = kTied) {
    Chosen chosen;
    const auto choices = choose_types(*find_recipe(recipe), rules, shape, kTensors, chosen.findings);
    for (size_t i = 0; i < kTensors.size(); ++i) chosen.choices[kTensors[i].name] = choices[i];
    return chosen;
}

Chosen with_rules(std::initializer_list<const char*> texts) {
    TypeRules rules;
    for (const char* text : texts) rules.rules.push_back(parse_type_rule(text));
    return choose(rules);
}

std::string error_of(const auto& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("without rules the mix decides alone") {
    const Chosen chosen = choose({});
    const auto plain = choose_types(*find_recipe("Q4_K_M"), kTied, kTensors);
    for (size_t i = 0; i < kTensors.size(); ++i) {
        CHECK(chosen[kTensors[i].name] == plain[i].type);
        CHECK_FALSE(chosen.choices.at(kTensors[i].name).by_rule);
    }
    CHECK_FALSE(chosen.findings.has_problems());
}

TEST_CASE("a rule is for every matrix in whose name its expression is found") {
    const Chosen chosen = with_rules({"attn_v=q8_0", "^blk\\.1\\.attn_q=F16"});
    CHECK(chosen.problem() == "");
    CHECK(chosen["blk.0.attn_v.weight"] == Q8_0);
    CHECK(chosen["blk.1.attn_v.weight"] == Q8_0);
    CHECK(chosen.choices.at("blk.1.attn_v.weight").by_rule);
    CHECK(chosen["blk.0.attn_q.weight"] == Q4_K);
    CHECK(chosen["blk.1.attn_q.weight"] == F16);
}

TEST_CASE("of several rules the first that matches decides") {
    const Chosen chosen = with_rules({"blk\\.0\\.attn_v=Q6_K", "attn_v=Q8_0"});
    CHECK(chosen["blk.0.attn_v.weight"] == Q6_K);
    CHECK(chosen["blk.1.attn_v.weight"] == Q8_0);
    const Chosen shadowed = with_rules({"attn_v=Q8_0", "blk\\.0\\.attn_v=Q6_K"});
    CHECK_THAT(shadowed.problem(), ContainsSubstring("all its tensors are taken by rule attn_v=Q8_0") &&
                                       ContainsSubstring("first rule"));
}

TEST_CASE("a wide rule leaves vectors as they are, and reasons of fallbacks go with what it replaces") {
    TypeRules rules;
    rules.rules.push_back(parse_type_rule(".*=Q8_0"));
    const Chosen chosen = choose(rules, "Q6_K");
    for (const TensorShape& tensor : kTensors) {
        CHECK(chosen[tensor.name] == (tensor.n_dims == 1 ? F32 : Q8_0));
        CHECK(chosen.choices.at(tensor.name).fallback_reason.empty());
    }
}

TEST_CASE("a rule that no tensor follows is a problem, with the nearest names") {
    CHECK_THAT(with_rules({"atn_v=Q8_0"}).problem(),
               ContainsSubstring("matches no tensor") && ContainsSubstring("blk.*.attn_v.weight"));
    CHECK_THAT(with_rules({"^blk\\.[0-9]+\\.ffn_dwn\\.weight$=Q8_0"}).problem(),
               ContainsSubstring("the nearest names are blk.*.ffn_down.weight"));
    CHECK_THAT(with_rules({"norm=Q8_0"}).problem(),
               ContainsSubstring("never quantized, such as output_norm"));
    TypeRules rules;
    rules.output = Q8_0;
    ModelShape untied = kTied;
    untied.tied_output = false;
    CHECK_THAT(choose(rules, "Q4_0", untied).problem(),
               ContainsSubstring("--output-type: matches no tensor"));
}

TEST_CASE("a type whose blocks do not divide the rows is a problem, with those that do") {
    const Chosen chosen = with_rules({"ffn_down=Q4_K"});
    CHECK_THAT(chosen.problem(), ContainsSubstring("blk.0.ffn_down.weight (like 1 more) has rows of 288") &&
                                     ContainsSubstring("256") && ContainsSubstring("Q5_1"));
    CHECK(chosen.problem().find("Q5_K") == std::string::npos);
}

TEST_CASE("every wrong rule is named in one run") {
    CHECK(with_rules({"ffn_down=Q4_K", "nothing=Q8_0", "attn_v=Q8_0"}).findings.count(Severity::Problem) ==
          2);
}

TEST_CASE("the output type is the embedding's where that serves as the output") {
    TypeRules rules;
    rules.output = Q8_0;
    CHECK(choose(rules)["token_embd.weight"] == Q8_0);
    rules.embedding = Q5_0;
    CHECK_THAT(choose(rules).problem(), ContainsSubstring("taken by --output-type"));
    rules.output.reset();
    CHECK(choose(rules)["token_embd.weight"] == Q5_0);
    rules.rules.push_back(parse_type_rule("token_embd|attn_q=Q4_0"));
    CHECK(choose(rules)["token_embd.weight"] == Q5_0);
    CHECK(choose(rules)["blk.1.attn_q.weight"] == Q4_0);
}

TEST_CASE("pure means the base type without exceptions, where rows allow it") {
    TypeRules rules;
    rules.pure = true;
    const Chosen chosen = choose(rules, "Q4_K_M");
    CHECK(chosen["token_embd.weight"] == Q4_K);
    CHECK(chosen["blk.1.attn_v.weight"] == Q4_K);
    CHECK(chosen["blk.1.ffn_down.weight"] == Q5_0);
    CHECK_THAT(chosen.choices.at("blk.1.ffn_down.weight").fallback_reason, ContainsSubstring("rows of 288"));
    CHECK(chosen["output_norm.weight"] == F32);
}

TEST_CASE("malformed rules say what is wrong with them") {
    CHECK_THAT(error_of([] { parse_type_rule("attn_v"); }), ContainsSubstring("REGEX=TYPE"));
    CHECK_THAT(error_of([] { parse_type_rule("=Q4_K"); }), ContainsSubstring("REGEX=TYPE"));
    CHECK_THAT(error_of([] { parse_type_rule("attn_v=Q4_X"); }),
               ContainsSubstring("Q4_X is no type") && ContainsSubstring("Q4_K"));
    CHECK_THAT(error_of([] { parse_type_rule("attn_v=Q4_K_M"); }), ContainsSubstring("no type of a tensor"));
    CHECK_THAT(error_of([] { parse_type_rule("attn_v=IQ1_S"); }), ContainsSubstring("cannot be written yet"));
    CHECK_THAT(error_of([] { parse_type_rule("attn_(v=Q4_K"); }),
               ContainsSubstring("no regular expression") && ContainsSubstring("at byte"));
    CHECK(parse_type_rule("a=b=Q4_K").pattern == "a=b");
}

TEST_CASE("an expression that would never end is an error, not a standstill") {
    const NamePattern pattern("^(\\w+\\w+)+[.!]$");
    CHECK_THROWS_AS(pattern.matches(std::string(60, 'a')), Error);
    CHECK(NamePattern("a.c").matches("xabcx"));
    CHECK_FALSE(NamePattern("A.c").matches("abc"));
}

TEST_CASE("a recipe survives the way through its file") {
    RecipeText recipe;
    recipe.base = find_recipe("Q5_K_M");
    recipe.note = "two \"words\"\nand a line";
    recipe.rules.pure = true;
    recipe.rules.output = Q8_0;
    recipe.rules.embedding = Q6_K;
    recipe.rules.rules = {parse_type_rule("attn_(q|k)\\.weight=Q4_0"), parse_type_rule("ffn=IQ4_NL")};
    recipe.rules.tensors = {{"blk.0.attn_v.weight", Q6_K}, {"blk.1.attn_v.weight", BF16}};
    const std::string text = recipe_json(recipe);
    const RecipeText read = parse_recipe(text, "r.json");
    CHECK(recipe_json(read) == text);
    CHECK(read.base == recipe.base);
    CHECK(read.note == recipe.note);
    CHECK(read.rules.pure);
    CHECK(read.rules.output == Q8_0);
    CHECK(read.rules.embedding == Q6_K);
    CHECK(read.rules.tensors == recipe.rules.tensors);
    REQUIRE(read.rules.rules.size() == 2);
    CHECK(read.rules.rules[0].pattern == "attn_(q|k)\\.weight");
    CHECK(read.rules.rules[0].type == Q4_0);
    CHECK(read.rules.rules[0].from_file);
    const RecipeText least = parse_recipe("{\"ingot_recipe\": 1}", "r.json");
    CHECK(least.base == nullptr);
    CHECK(least.rules.empty());
}

TEST_CASE("a recipe's errors name the file and the place") {
    const auto error = [](const char* text) { return error_of([&] { parse_recipe(text, "r.json"); }); };
    CHECK_THAT(error("{}"), ContainsSubstring("r.json") && ContainsSubstring("ingot_recipe"));
    CHECK_THAT(error("{\"ingot_recipe\": 2}"), ContainsSubstring("form 2"));
    CHECK_THAT(error("{\"ingot_recipe\": 1, \"outptu\": \"Q8_0\"}"),
               ContainsSubstring("outptu is no member") && ContainsSubstring("output"));
    CHECK_THAT(error("{\"ingot_recipe\": 1, \"type\": \"Q4_Z\"}"), ContainsSubstring("Q4_Z is no mix"));
    CHECK_THAT(error("{\"ingot_recipe\": 1, \"output\": \"Q4_K_M\"}"),
               ContainsSubstring("r.json: output: Q4_K_M"));
    CHECK_THAT(error("{\"ingot_recipe\": 1, \"rules\": [{\"match\": \"a\"}]}"),
               ContainsSubstring("rules[0]"));
    CHECK_THAT(error("{\"ingot_recipe\": 1, \"rules\": {\"a\": \"Q4_0\"}}"),
               ContainsSubstring("expected an array"));
    CHECK_THAT(error("{\"ingot_recipe\": 1, \"rules\": [{\"match\": \"(\", \"type\": \"Q4_0\"}]}"),
               ContainsSubstring("rules[0]") && ContainsSubstring("no regular expression"));
    CHECK_THAT(error("{\"ingot_recipe\": 1, \"tensors\": {\"x\": 4}}"), ContainsSubstring("tensors: x"));
}

TEST_CASE("tensors that a recipe names and the model has not are problems too") {
    TypeRules rules;
    rules.tensors = {{"blk.7.attn_v.weight", Q6_K}};
    CHECK_THAT(choose(rules).problem(), ContainsSubstring("tensor blk.7.attn_v.weight of the recipe") &&
                                            ContainsSubstring("blk.*.attn_v.weight"));
}
