// ingot inspect's views beyond the summary: filters, blocks, tokens, one tensor.
#include <simdjson.h>

#include <algorithm>

#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot::test;

TEST_CASE("inspect --match, --type and --sort: only those tensors, and what they come to") {
    const std::string& model = demo_model("Q4_0");
    const Outcome outcome = run_ingot(
        {"inspect", model, "--tensors", "--match", "blk.[01].ffn", "--type", "q4_0", "--sort", "name"});
    REQUIRE(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("6 tensors of 56"));
    CHECK_THAT(outcome.out, !ContainsSubstring("blk.2") && !ContainsSubstring("norm"));
    CHECK(outcome.out.find("blk.0.ffn_down") < outcome.out.find("blk.0.ffn_gate"));
    const Outcome none = run_ingot({"inspect", model, "--tensors", "--match", "absent"});
    CHECK_THAT(none.out, ContainsSubstring("0 tensors of 56"));

    simdjson::dom::parser parser;
    const std::string json = run_ingot({"inspect", model, "--tensors", "--match", "attn_q", "--json"}).out;
    CHECK(simdjson::dom::array(parser.parse(json)["tensors"]).size() == 6);
}

TEST_CASE("inspect: a pattern or a type that is none is one error") {
    CHECK_THAT(run_ingot({"inspect", demo_model("Q4_0"), "--match", "a(b"}).err,
               ContainsSubstring("no regular expression"));
    const Outcome type = run_ingot({"inspect", demo_model("Q4_0"), "--type", "Q9_X"});
    CHECK(type.exit_code == 1);
    CHECK_THAT(type.err, ContainsSubstring("Q9_X"));
}

TEST_CASE("inspect --blocks: bytes of all blocks are those of all tensors") {
    simdjson::dom::parser parser;
    const std::string text = run_ingot({"inspect", demo_model("Q4_0"), "--blocks", "--json"}).out;
    const simdjson::dom::array blocks = parser.parse(text)["blocks"];
    CHECK(blocks.size() == 7);
    uint64_t size_bytes = 0, tensors = 0;
    for (const simdjson::dom::element block : blocks) {
        size_bytes += uint64_t(block["size_bytes"]);
        tensors += uint64_t(block["tensors"]);
    }
    CHECK(tensors == 56);
    CHECK(blocks.at(6)["block"].is_null());
    simdjson::dom::parser whole;
    const std::string all = run_ingot({"inspect", demo_model("Q4_0"), "--json"}).out;
    CHECK(uint64_t(whole.parse(all)["summary"]["tensor_bytes"]) == size_bytes);
}

TEST_CASE("inspect --tokens: one line each, those that --match finds") {
    const Outcome outcome = run_ingot({"inspect", demo_model("Q4_0"), "--tokens"});
    CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') == 2049);
    CHECK_THAT(outcome.out, ContainsSubstring("control") && ContainsSubstring("▁the"));
    const Outcome some = run_ingot({"inspect", demo_model("Q4_0"), "--tokens", "--match", "^<0x4"});
    CHECK(std::count(some.out.begin(), some.out.end(), '\n') == 17);
}

TEST_CASE("inspect --tensor: statistics, histogram, values; --npy; a name that is none") {
    const TemporaryFolder folder;
    const std::string npy = folder / "q.npy";
    const std::vector<std::string> arguments = {
        "inspect", demo_model("Q4_0"), "--tensor", "blk.0.attn_q.weight", "--npy", npy};
    const Outcome outcome = run_ingot(arguments);
    REQUIRE(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("256 × 256") && ContainsSubstring("standard deviation") &&
                                ContainsSubstring("█") && ContainsSubstring("row 2"));
    CHECK(std::filesystem::file_size(npy) == 128 + 256 * 256 * 4);
    CHECK(run_ingot(arguments).exit_code == 1);  // it is there already
    simdjson::dom::parser parser;
    const std::string text =
        run_ingot({"inspect", demo_model("Q4_0"), "--tensor", "blk.0.attn_q.weight", "--json"}).out;
    const simdjson::dom::element report = parser.parse(text);
    CHECK(uint64_t(report["ingot_tensor"]) == 1);
    uint64_t counted = uint64_t(report["histogram"]["below"]) + uint64_t(report["histogram"]["above"]);
    for (const simdjson::dom::element count : simdjson::dom::array(report["histogram"]["counts"]))
        counted += uint64_t(count);
    CHECK(counted == 65536);
    CHECK(simdjson::dom::array(report["first_values"]).size() == 16);

    const Outcome wrong = run_ingot({"inspect", demo_model("Q4_0"), "--tensor", "blk.0.atn_q.weight"});
    CHECK(wrong.exit_code == 1);
    CHECK_THAT(wrong.err, ContainsSubstring("nearest") && ContainsSubstring("attn_q.weight"));
}

TEST_CASE("inspect: colours by type with --color always, none where NO_COLOR is set") {
    const Outcome colored = run_ingot({"inspect", demo_model("Q4_0"), "--tensors", "--color", "always"});
    CHECK_THAT(colored.out, ContainsSubstring("\x1b[33mQ4_0") && ContainsSubstring("\x1b[34mF32"));
    const Outcome plain =
        run_ingot({"inspect", demo_model("Q4_0"), "--tensors"}, {.variables = {"NO_COLOR=1", "TERM=xterm"}});
    CHECK_THAT(plain.out, !ContainsSubstring("\x1b"));
}
