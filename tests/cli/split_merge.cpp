// ingot split and ingot merge, as programs.
#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot::test;

TEST_CASE("split and merge: what they make is verified, and runs as the one file does") {
    const TemporaryFolder folder;
    const Outcome split = run_ingot({"split", demo_model("Q8_0"), folder / "part", "--max-size", "2MB"});
    INFO(split.err);
    REQUIRE(split.exit_code == 0);
    CHECK_THAT(split.out, ContainsSubstring("part-00003-of-00003.gguf"));
    const std::string shard = folder / "part-00002-of-00003.gguf", merged = folder / "merged.gguf";
    for (size_t i = 1; i <= 3; ++i)
        CHECK(std::filesystem::file_size(folder / ("part-0000" + std::to_string(i) + "-of-00003.gguf")) <=
              2000000);
    CHECK(run_ingot({"verify", shard}).exit_code == 0);
    CHECK(run_ingot({"merge", shard, merged}).exit_code == 0);
    CHECK(read_file(merged) == read_file(demo_model("Q8_0")));
    CHECK(run_ingot({"merge", shard, merged}).exit_code == 1);  // it is there
    const Outcome deleted = run_ingot({"merge", shard, folder / "other.gguf", "--delete-shards"});
    INFO(deleted.err);
    CHECK(deleted.exit_code == 0);
    CHECK(read_file(folder / "other.gguf") == read_file(merged));
    CHECK(folder.names().size() == 2);
}

TEST_CASE("split: --dry-run writes nothing; a limit is needed; the source is not overwritten") {
    const TemporaryFolder folder;
    const Outcome dry =
        run_ingot({"split", demo_model("Q8_0"), folder / "x", "--max-tensors", "20", "--dry-run"});
    CHECK(dry.exit_code == 0);
    CHECK_THAT(dry.out, ContainsSubstring("x-00001-of-00003.gguf") && ContainsSubstring("20"));
    CHECK(folder.names().empty());
    CHECK(run_ingot({"split", demo_model("Q8_0"), folder / "x"}).exit_code == 2);
    REQUIRE(run_ingot({"split", demo_model("Q8_0"), folder / "x", "--max-tensors", "20"}).exit_code == 0);
    const Outcome self = run_ingot(
        {"split", folder / "x-00001-of-00003.gguf", folder / "x", "--max-tensors", "20", "--force"});
    CHECK(self.exit_code == 1);
    CHECK_THAT(self.err, ContainsSubstring("is read from"));
}

TEST_CASE("split wants to know where to cut") {
    const Outcome result = run_ingot({"split", demo_model("Q8_0")});
    CHECK(result.exit_code == 2);
    CHECK_THAT(result.err, ContainsSubstring("give --max-size, --max-tensors or both"));
    CHECK_THAT(run_ingot({"split", "--help"}).out, !ContainsSubstring("Option Group"));
}
