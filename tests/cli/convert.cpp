// convert, quantize and export as a user calls them: checks, kills, the way back.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot::test;
namespace fs = std::filesystem;

namespace {

const std::string kDemo = INGOT_SOURCE_DIR "/tests/data/tolstoy-5m";

/// Starts a conversion, waits until its unfinished file is there, and kills it so many microseconds later.
/// True when it was still running.
bool convert_and_kill(const std::string& output, const char* type, int microseconds) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(STDOUT_FILENO);
        ::execl(INGOT_BINARY, INGOT_BINARY, "convert", kDemo.c_str(), "-t", type, "-o", output.c_str(),
                "--threads", "1", nullptr);
        ::_exit(127);
    }
    int status = 0;
    const std::string unfinished = output + ".ingot-partial";
    while (!fs::exists(unfinished) && ::waitpid(child, &status, WNOHANG) == 0) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status);
}

}  // namespace

TEST_CASE("killed at several moments, the same command goes on and ends in the same bytes") {
    const TemporaryFolder folder;
    const std::string output = folder / "out.gguf";
    int n_kills = 0;
    for (const int microseconds : {0, 2'000, 5'000, 10'000, 20'000, 40'000, 80'000}) {
        n_kills += convert_and_kill(output, "Q4_K_M", microseconds);
        if (fs::exists(output)) break;
    }
    CHECK(n_kills > 0);
    if (!fs::exists(output)) {
        const Outcome outcome = run_ingot({"convert", kDemo, "-t", "Q4_K_M", "-o", output});
        INFO(outcome.err);
        REQUIRE(outcome.exit_code == 0);
    }
    CHECK(read_file(output) == read_file(demo_model("Q4_K_M")));
    CHECK_FALSE(fs::exists(output + ".ingot-partial"));
}

TEST_CASE("--check says what is in the way, all of it, and writes nothing") {
    const TemporaryFolder folder;
    const std::string output = folder / "out.gguf";
    const Outcome good = run_ingot({"convert", kDemo, "--check", "-o", output});
    CHECK(good.exit_code == 0);
    CHECK_THAT(good.out, ContainsSubstring("nothing is in the way") && ContainsSubstring("Llama"));
    fs::create_directory(folder / "bad");
    for (const char* name : {"config.json", "tokenizer_config.json"})
        fs::copy_file(kDemo + "/" + name, folder / (std::string("bad/") + name));
    write_file(output, "there");
    const Outcome bad = run_ingot({"convert", folder / "bad", "--check", "-o", output});
    CHECK(bad.exit_code == 1);
    CHECK_THAT(bad.out, ContainsSubstring("no weights") && ContainsSubstring("tokenizer"));
    const Outcome json = run_ingot({"convert", folder / "bad", "--check", "--json", "-o", output});
    CHECK(json.exit_code == 1);
    CHECK_THAT(json.out,
               ContainsSubstring("\"ok\": false") && ContainsSubstring("\"severity\": \"problem\""));
    CHECK(read_file(output) == "there");
    const Outcome convert = run_ingot({"convert", folder / "bad", "-o", output, "--force"});
    CHECK(convert.exit_code == 1);
    CHECK_THAT(convert.err, ContainsSubstring("problems"));
    CHECK(read_file(output) == "there");
}

TEST_CASE("--verify compares what was written with the source") {
    const TemporaryFolder folder;
    const Outcome text = run_ingot({"convert", kDemo, "-t", "q8_0", "-o", folder / "a.gguf", "--verify"});
    CHECK(text.exit_code == 0);
    CHECK_THAT(text.out,
               ContainsSubstring("blk.*.attn_q.weight") && ContainsSubstring("as the source has them"));
    const Outcome json = run_ingot(
        {"quantize", folder / "a.gguf", "-t", "q8_0", "-o", folder / "b.gguf", "--verify", "--json"});
    CHECK(json.exit_code == 0);
    CHECK_THAT(json.out, ContainsSubstring("\"verification\"") && ContainsSubstring("\"relative_rmse\""));
}

TEST_CASE("a size for the shards of a split model that is none is refused") {
    for (const char* size : {"0", "2X", "-1", "G", ""})
        CHECK(run_ingot({"convert", kDemo, "--split-max-size", size}).exit_code == 2);
}

TEST_CASE("a vocabulary without weights tokenizes") {
    const TemporaryFolder folder;
    CHECK(run_ingot({"convert", kDemo, "--vocab-only", "-o", folder / "v.gguf"}).exit_code == 0);
    CHECK(run_ingot({"tokenize", folder / "v.gguf", "-p", "The prince"}).out ==
          run_ingot({"tokenize", demo_model("Q4_0"), "-p", "The prince"}).out);
}

TEST_CASE("export writes a checkpoint that converts to the same file again") {
    const TemporaryFolder folder;
    const std::string back = folder / "back";
    const Outcome outcome = run_ingot({"export", demo_model("F16"), back, "-t", "f32"});
    INFO(outcome.err);
    CHECK(outcome.exit_code == 0);
    REQUIRE(run_ingot({"convert", back, "-t", "F16", "-o", folder / "again.gguf"}).exit_code == 0);
    const Outcome tensors = run_ingot({"verify", folder / "again.gguf"});
    CHECK(tensors.exit_code == 0);
    const std::string once = read_file(demo_model("F16")), again = read_file(folder / "again.gguf");
    // Weights are at the end of both; what the files say of their source differs.
    const size_t n_bytes = 10'000'000;
    CHECK(once.substr(once.size() - n_bytes) == again.substr(again.size() - n_bytes));
    const Outcome refused = run_ingot({"export", demo_model("F16"), back});
    CHECK(refused.exit_code == 1);
    CHECK_THAT(refused.err, ContainsSubstring("is not empty") && ContainsSubstring("--force"));
    CHECK(run_ingot({"export", demo_model("F16"), back, "-t", "q8_0"}).exit_code == 2);
    CHECK(run_ingot({"export", demo_model("F16")}).exit_code == 2);
}

TEST_CASE("outputs that cannot be written are refused with a reason") {
    const TemporaryFolder folder;
    write_file(folder / "file", "");
    for (const std::string& output :
         {folder / "no/such/folder.gguf", folder / "file/model.gguf", std::string("/dev/null")}) {
        CAPTURE(output);
        const Outcome outcome = run_ingot({"convert", kDemo, "-t", "q4_0", "-o", output, "--force"});
        CHECK(outcome.exit_code == 1);
        CHECK_THAT(outcome.err, ContainsSubstring(output));
    }
}
