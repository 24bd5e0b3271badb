#include "converters/quantize/target/target.h"

#include <map>

#include "converters/convert.h"
#include "converters/quantize/recipe_file.h"
#include "format/error.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;
using enum ingot::TensorType;

namespace {

const std::string kDemo = INGOT_SOURCE_DIR "/tests/data/tolstoy-5m";

ConvertRequest demo_request(TypeRules rules = {}) {
    ConvertRequest request;
    request.source = kDemo;
    request.recipe = find_recipe("Q8_0");
    request.rules = std::move(rules);
    return request;
}

/// Few rows of few types: quick.
SensitivityOptions quick(std::vector<TensorType> types = {Q3_K, Q4_K, Q6_K}) {
    SensitivityOptions options;
    options.types = std::move(types);
    options.n_sampled_elements = 4096;
    options.n_threads = 1;
    return options;
}

struct Made {
    ConversionPlan plan;
    TargetChoice choice;
    std::map<std::string, TensorType> types() const {
        std::map<std::string, TensorType> result;
        for (size_t i = 0; i < plan.tensors.size(); ++i) result[plan.target(i).name] = plan.target(i).type;
        return result;
    }
};

Made make(const Target& target, const SensitivityOptions& options,
          const ConvertRequest& request = demo_request()) {
    Made made{plan_conversion(request), {}};
    made.choice = choose_for_target(made.plan, target, options, plan_conversion);
    return made;
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

TEST_CASE("a target size is a limit of the whole file, and nearly reached") {
    for (const uint64_t bytes : {2'700'000u, 3'100'000u, 3'900'000u}) {
        const Made made = make({bytes, 0}, quick());
        CHECK(made.plan.output_bytes() <= bytes);
        CHECK(made.plan.output_bytes() > bytes - 60'000);  // the smallest step of a matrix is 16 KiB
        CHECK(made.choice.solution.gap() == 0);
        CHECK_FALSE(made.plan.findings.has_problems());
    }
}

TEST_CASE("a target in bits per weight counts all tensors") {
    const Made made = make({0, 4.25}, quick());
    CHECK(made.plan.bits_per_weight() <= 4.25);
    CHECK(made.plan.bits_per_weight() > 4.2);
    CHECK(default_output_name(made.plan) ==
          fmt::format("Tolstoy-5M-{:.2f}bpw.gguf", made.plan.bits_per_weight()));
}

TEST_CASE("a target below the smallest types is an error that says what they take") {
    CHECK_THAT(error_of([] {
                   make({0, 2}, quick());
               }),
               ContainsSubstring("2.000 bits per weight are too few") && ContainsSubstring("3.456"));
    CHECK_THAT(error_of([] {
                   make({1'000'000, 0}, quick());
               }),
               ContainsSubstring("1,000,000 bytes are too few"));
}

TEST_CASE("what the user fixed stays fixed, and the rest is chosen around it") {
    TypeRules rules;
    rules.rules.push_back(parse_type_rule("attn_v=F16"));
    rules.output = Q5_0;
    const Made made = make({0, 4.5}, quick(), demo_request(rules));
    const auto types = made.types();
    CHECK(types.at("token_embd.weight") == Q5_0);
    for (int layer = 0; layer < 6; ++layer)
        CHECK(types.at(fmt::format("blk.{}.attn_v.weight", layer)) == F16);
    for (const TensorCosts& costs : made.choice.costs) {
        const TensorType type = types.at(made.plan.target(costs.tensor).name);
        CHECK((type == Q3_K || type == Q4_K || type == Q6_K));
    }
    CHECK(made.choice.costs.size() == 43 - 7);
    CHECK(made.plan.bits_per_weight() <= 4.5);
}

TEST_CASE("the choice depends neither on threads nor on the run, and its recipe makes it again") {
    SensitivityOptions options = quick();
    const Made once = make({3'100'000, 0}, options);
    options.n_threads = 3;
    const Made again = make({3'100'000, 0}, options);
    CHECK(once.types() == again.types());
    for (size_t i = 0; i < once.choice.costs.size(); ++i)
        CHECK(once.choice.costs[i].errors == again.choice.costs[i].errors);

    const RecipeText recipe =
        parse_recipe(recipe_json({once.plan.request.recipe, once.plan.request.rules, "note"}), "recipe");
    ConvertRequest request = demo_request(recipe.rules);
    request.recipe = recipe.base;
    const Made replayed{plan_conversion(request), {}};
    CHECK(replayed.types() == once.types());
}

TEST_CASE("more bits lose less, in every tensor and along the curve") {
    const Made made = make({0, 4.5}, quick({Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_0, F16}));
    for (const TensorCosts& costs : made.choice.costs) {
        REQUIRE(costs.types.size() == 7);
        for (size_t i = 1; i < costs.types.size(); ++i) CHECK(costs.errors[i] < costs.errors[i - 1]);
    }
    const auto& curve = made.choice.curve;
    REQUIRE(curve.size() > 8);
    for (size_t i = 1; i < curve.size(); ++i) {
        CHECK(curve[i].tensor_bytes > curve[i - 1].tensor_bytes);
        CHECK(curve[i].loss < curve[i - 1].loss);
    }
}

TEST_CASE("measured divergences decide where the bits go") {
    // As if only the first layer mattered. Each tensor is measured once, whole, in a type near three bits.
    SensitivityOptions options = quick();
    std::map<std::string, size_t> measured;
    options.divergence = [&](const std::string& tensor, TensorType type, std::span<const std::byte> encoded) {
        CHECK(type == Q3_K);
        measured[tensor] = encoded.size();
        return tensor.starts_with("blk.0.") ? 1.0 : 1e-9;
    };
    // 3.456 bits for Q3_K everywhere, and 3.125 more for the 15 % of the weights that are in that layer.
    const Made made = make({0, 3.928}, options);
    CHECK(measured.size() == 43);
    CHECK(measured.at("token_embd.weight") == 2048 * 110);
    CHECK(made.choice.is_divergence);
    for (const auto& [name, type] : made.types())
        if (measured.count(name)) CHECK(type == (name.starts_with("blk.0.") ? Q6_K : Q3_K));
}

TEST_CASE("importance weighs the error of the columns it names") {
    SensitivityOptions options = quick({Q4_K});
    const double plain = make({0, 8}, options).choice.costs[0].errors[0];
    std::vector<float> importance(256, 1e-3f);
    importance[7] = 1;
    options.importance = [&](size_t tensor, uint64_t) {
        return tensor == 0 ? std::span<const float>(importance) : std::span<const float>{};
    };
    const Made made = make({0, 8}, options);
    CHECK(made.choice.costs[0].errors[0] < plain);
}

TEST_CASE("rows that none of the types divides are an error that names the tensor") {
    const TemporaryFolder folder;
    ConvertRequest request = demo_request();
    const Made made = make({0, 4.6}, quick({Q4_0, Q4_K}));
    CHECK(made.choice.costs[0].types.size() == 2);
    SensitivityOptions none = quick({});
    CHECK_THAT(error_of([&] { make({0, 4.6}, none); }), ContainsSubstring("token_embd.weight: rows of 256"));
}
