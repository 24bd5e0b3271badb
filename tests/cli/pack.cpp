// ingot pack and unpack, as programs; packed files and standard input as files of other commands.
#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot::test;

TEST_CASE("pack: unpacked, it is the same file; packed, every command reads it") {
    const TemporaryFolder folder;
    const std::string &model = demo_model("Q4_0"), packed = folder / "t.gguf.zst",
                      back = folder / "back.gguf";
    const Outcome outcome = run_ingot({"pack", model, "-o", packed, "--level", "1"});
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK(std::filesystem::file_size(packed) < std::filesystem::file_size(model));
    CHECK(run_ingot({"unpack", packed, "-o", back}).exit_code == 0);
    CHECK(read_file(back) == read_file(model));
    CHECK(run_ingot({"verify", packed}).exit_code == 0);
    CHECK(run_ingot({"diff", packed, model}).exit_code == 0);
    CHECK_THAT(run_ingot({"inspect", packed}).out, ContainsSubstring("5,246,208 in 56 tensors"));
    const std::vector<std::string> run = {"run", model, "-p", "The prince", "-n", "8", "--temperature", "0"};
    std::vector<std::string> run_packed = run;
    run_packed[1] = packed;
    CHECK(run_ingot(run_packed).out == run_ingot(run).out);
    const Outcome edit = run_ingot({"edit", packed, "--set", "general.name=x"});
    CHECK(edit.exit_code == 1);
    CHECK_THAT(edit.err, ContainsSubstring("unpack"));
    CHECK(run_ingot({"quantize", packed, "-t", "F16", "--allow-requantize", "-o", folder / "q.gguf"})
              .exit_code == 0);
}

TEST_CASE("inspect: from standard input, a file and a pipe") {
    const std::string bytes = read_file(demo_model("Q4_0"));
    const Outcome file = run_ingot({"inspect", "-", "--json"}, {.input = bytes});
    INFO(file.err);
    CHECK(file.exit_code == 0);
    CHECK_THAT(file.out, ContainsSubstring("\"tensor_count\": 56"));
    const TemporaryFolder folder;
    const std::string out = folder / "out";
    const std::string command =
        "cat '" + demo_model("Q4_0") + "' | '" INGOT_BINARY "' inspect - > '" + out + "'";
    CHECK(std::system(command.c_str()) == 0);
    CHECK_THAT(read_file(out), ContainsSubstring("5,246,208 in 56 tensors"));
    const Outcome cut = run_ingot({"inspect", "-"}, {.input = bytes.substr(0, 1000)});
    CHECK(cut.exit_code == 1);
}
