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
    CHECK_THAT(run_ingot({"inspect", packed}).out,
               ContainsSubstring("5,246,208 in 56 tensors") && ContainsSubstring("zstd frames\n"));
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

TEST_CASE("pack --planes: smaller; Ingot reads it as it is, and zstd refuses it") {
    const TemporaryFolder folder;
    const std::string &model = demo_model("BF16"), plain = folder / "t.gguf.zst",
                      planes = folder / "t.gguf.ingot";
    REQUIRE(run_ingot({"pack", model, "-o", plain}).exit_code == 0);
    const Outcome outcome = run_ingot({"pack", model, "-o", planes, "--planes", "--frame-size", "100001"});
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("only Ingot unpacks it"));
    CHECK(read_file(planes).substr(0, 8) == "INGOTPAK");
    CHECK(std::filesystem::file_size(planes) < std::filesystem::file_size(plain) * 97 / 100);
    CHECK(run_ingot({"unpack", planes}).exit_code == 0);
    CHECK(read_file(folder / "t.gguf") == read_file(model));
    CHECK(run_ingot({"verify", planes}).exit_code == 0);
    CHECK_THAT(run_ingot({"inspect", planes}).out,
               ContainsSubstring("only `ingot unpack` restores the file"));
    CHECK(run_ingot({"diff", planes, model}).exit_code == 0);
    const auto run = [](const std::string& file) {
        return run_ingot({"run", file, "-p", "The prince", "-n", "8", "--temperature", "0"}).out;
    };
    CHECK(run(planes) == run(model));
    const Outcome too_large = run_ingot({"pack", model, "-o", folder / "x", "--frame-size", "65MiB"});
    CHECK(too_large.exit_code != 0);
    CHECK_THAT(too_large.err, ContainsSubstring("67,108,864"));
}

TEST_CASE("pack --from: what differs from a base, which gives the file again; no other file does") {
    const TemporaryFolder folder;
    const std::string &base = demo_model("BF16"), tuned = folder / "tuned.gguf",
                      patch = folder / "tuned.gguf.patch";
    // The values of one tensor and a key are others.
    std::string bytes = read_file(base);
    for (size_t i = 1; i < 60000; i += 2) bytes[bytes.size() - 600000 + i] ^= 1;
    write_file(tuned, bytes);
    REQUIRE(run_ingot({"edit", tuned, "--set", "general.name=Tuned"}).exit_code == 0);
    const std::string expected = read_file(tuned);
    const Outcome outcome = run_ingot({"pack", tuned, "--from", base});
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("unpack --from"));
    CHECK(std::filesystem::file_size(patch) < expected.size() / 50);

    std::filesystem::remove(tuned);
    const Outcome alone = run_ingot({"inspect", patch});
    CHECK(alone.exit_code == 1);
    CHECK_THAT(alone.err, ContainsSubstring("is a patch"));
    const Outcome wrong = run_ingot({"unpack", patch, "--from", demo_model("Q4_0")});
    CHECK(wrong.exit_code == 1);
    CHECK_THAT(wrong.err, ContainsSubstring("XXH3-128") && ContainsSubstring("is another file"));
    std::string changed = read_file(base);
    changed[changed.size() / 2] ^= 1;
    write_file(folder / "changed.gguf", changed);
    CHECK_THAT(run_ingot({"unpack", patch, "--from", folder / "changed.gguf"}).err,
               ContainsSubstring("is another file"));
    write_file(folder / "cut.patch", read_file(patch).substr(0, 2000));
    CHECK(run_ingot({"unpack", folder / "cut.patch", "-o", tuned, "--from", base}).exit_code == 1);
    CHECK_FALSE(std::filesystem::exists(tuned));

    REQUIRE(run_ingot({"unpack", patch, "--from", base}).exit_code == 0);
    CHECK(read_file(tuned) == expected);
    CHECK(run_ingot({"unpack", patch, "--from", base}).exit_code == 1);  // it is there
}

TEST_CASE("pack --from: another type, missing tensors, the same file") {
    const TemporaryFolder folder;
    const auto there_and_back = [&](const std::string& file, const std::string& base) {
        const std::string patch = folder / "p", back = folder / "back.gguf";
        const Outcome packed =
            run_ingot({"pack", file, "--from", base, "-o", patch, "--force", "--frame-size", "50000"});
        INFO(packed.err);
        REQUIRE(packed.exit_code == 0);
        const Outcome unpacked = run_ingot({"unpack", patch, "--from", base, "-o", back, "--force"});
        INFO(unpacked.err);
        REQUIRE(unpacked.exit_code == 0);
        CHECK(read_file(back) == read_file(file));
        return std::filesystem::file_size(patch);
    };
    const std::string &q4 = demo_model("Q4_0"), &bf16 = demo_model("BF16");
    CHECK(there_and_back(q4, q4) < 60000);  // a recipe for each frame
    there_and_back(q4, bf16);
    there_and_back(bf16, q4);
    REQUIRE(run_ingot({"split", bf16, folder / "part", "--max-tensors", "30"}).exit_code == 0);
    there_and_back(bf16, folder / "part-00001-of-00002.gguf");
    there_and_back(folder / "part-00002-of-00002.gguf", bf16);
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
