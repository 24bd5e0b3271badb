// ingot diff, as a program.
#include <simdjson.h>

#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot::test;

TEST_CASE("diff: exit codes are those of diff(1)") {
    const std::string &a = demo_model("F32"), &b = demo_model("Q8_0");
    const Outcome same = run_ingot({"diff", a, a});
    CHECK(same.exit_code == 0);
    CHECK_THAT(same.out, ContainsSubstring("56 the same, 0 changed"));
    CHECK(run_ingot({"diff", a, b}).exit_code == 1);
    const Outcome quiet = run_ingot({"diff", "-q", a, b});
    CHECK(quiet.exit_code == 1);
    CHECK(quiet.out.empty());
    const Outcome trouble = run_ingot({"diff", a, a + ".absent"});
    CHECK(trouble.exit_code == 2);
    CHECK_THAT(trouble.err, ContainsSubstring("ingot: error: ") && ContainsSubstring("cannot be opened"));
}

TEST_CASE("diff: across types, with ingot measure's numbers") {
    const std::string &a = demo_model("F32"), &b = demo_model("Q8_0");
    simdjson::dom::parser one, other;
    const std::string text = run_ingot({"diff", a, b, "--json"}).out;
    const std::string expected = run_ingot({"measure", a, b, "--json"}).out;
    const simdjson::dom::element report = one.parse(text), measured = other.parse(expected);
    CHECK_FALSE(bool(report["same"]));
    CHECK(uint64_t(report["same_tensors"]) == 13);  // vectors are F32 in both
    const simdjson::dom::element first = simdjson::dom::array(report["tensors"]).at(0);
    CHECK(std::string_view(first["name"]) == "token_embd.weight");
    CHECK(std::string_view(first["second"]["type"]) == "Q8_0");
    CHECK(double(first["rmse"]) == double(simdjson::dom::array(measured["tensors"]).at(0)["rmse"]));
    bool found = false;
    for (const simdjson::dom::element key : simdjson::dom::array(report["metadata"])) {
        if (std::string_view(key["key"]) != "general.file_type") continue;
        found = true;
        CHECK(std::string_view(key["change"]) == "changed");
        CHECK(uint64_t(key["second"]) == 7);
    }
    CHECK(found);
}

TEST_CASE("diff: a split model is the same as its one file but for the keys of the split") {
    const TemporaryFolder folder;
    REQUIRE(run_ingot({"convert", INGOT_SOURCE_DIR "/tests/data/tolstoy-5m", "-t", "Q8_0", "-o",
                       folder / "t.gguf", "--split-max-size", "2MB"})
                .exit_code == 0);
    const std::string shard = folder / "t-00002-of-00003.gguf";
    const Outcome outcome = run_ingot({"diff", demo_model("Q8_0"), shard});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.out,
               ContainsSubstring("split.count") && ContainsSubstring("tensors: 56 the same, 0 changed"));
    CHECK(run_ingot({"diff", "--tensors", demo_model("Q8_0"), shard}).exit_code == 0);
    CHECK(run_ingot({"diff", "--ignore", "^(split|ingot)\\.", demo_model("Q8_0"), shard}).exit_code == 0);
}
