// ingot verify's findings and ingot hash, as programs.
#include <simdjson.h>

#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot::test;

TEST_CASE("verify --deep: the demo model has nothing that is wrong") {
    const std::string text = run_ingot({"verify", "--deep", "--strict", demo_model("Q4_0"), "--json"}).out;
    simdjson::dom::parser parser;
    const simdjson::dom::element report = parser.parse(text);
    CHECK(bool(report["ok"]));
    CHECK(simdjson::dom::array(report["findings"]).size() == 0);
}

TEST_CASE("verify: an error makes the exit code 1, a warning only with --strict") {
    const TemporaryFolder folder;
    const std::string path = folder / "t.gguf";
    std::string bytes = read_file(demo_model("Q4_0"));
    write_file(path, bytes + "more");
    const Outcome warned = run_ingot({"verify", path});
    CHECK(warned.exit_code == 0);
    CHECK_THAT(warned.out, ContainsSubstring("trailing-bytes"));
    CHECK(run_ingot({"verify", path, "--strict"}).exit_code == 1);
    const std::string key = "llama.block_count";
    bytes.replace(bytes.find(key), key.size(), "llama.block_coumt");
    write_file(path, bytes);
    const Outcome failed = run_ingot({"verify", path, "--no-data"});
    CHECK(failed.exit_code == 1);
    CHECK_THAT(failed.out, ContainsSubstring("missing-key") && ContainsSubstring("hyperparameters"));
    CHECK_THAT(failed.err, ContainsSubstring("2 errors and 0 warnings"));
}

TEST_CASE("hash: what it prints, verify --manifest compares") {
    const TemporaryFolder folder;
    const std::string path = folder / "t.gguf", manifest = folder / "manifest";
    std::string bytes = read_file(demo_model("Q4_0"));
    write_file(path, bytes);
    const Outcome printed = run_ingot({"hash", "--all", "--uuid", path});
    REQUIRE(printed.exit_code == 0);
    CHECK_THAT(printed.out,
               ContainsSubstring("xxh64     ") && ContainsSubstring("  " + path + ":token_embd.weight\n"));
    write_file(manifest, printed.out);
    const Outcome same = run_ingot({"verify", path, "--manifest", manifest});
    CHECK(same.exit_code == 0);
    CHECK_THAT(same.out, ContainsSubstring("sha256 of 56 tensors, and of all data, as in"));
    bytes[bytes.size() - 100] ^= 1;
    write_file(path, bytes);
    CHECK(run_ingot({"verify", path, "--no-data", "--manifest", manifest}).exit_code == 1);
    simdjson::dom::parser parser;
    const std::string json = run_ingot({"verify", path, "--manifest", manifest, "--json"}).out;
    CHECK(simdjson::dom::array(parser.parse(json)["manifest"]["mismatches"]).size() == 2);
}
