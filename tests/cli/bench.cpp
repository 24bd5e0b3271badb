// bench as a user calls it: lists of tests and types, four formats, the cost of each kind of work.
#include <algorithm>

#include "tests/cli/process.h"

using namespace ingot::test;

namespace {

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

Outcome bench(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "bench");
    for (const char* more : {"--repetitions", "2", "--threads", "1"}) arguments.emplace_back(more);
    const Outcome outcome = run_ingot(arguments);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome;
}

}  // namespace

TEST_CASE("bench cuts tests to the model's context and says so") {
    const Outcome outcome = bench({demo_model(), "--prompt", "1000", "--generate", "4", "--json"});
    CHECK_THAT(outcome.err, ContainsSubstring("--prompt 1000 is cut to the model's context, 256"));
    CHECK_THAT(outcome.out, ContainsSubstring("\"tokens\": 256") && ContainsSubstring("\"median\": ") &&
                                ContainsSubstring("\"prompt_tokens_per_second\": ") &&
                                ContainsSubstring("\"generate_tokens_per_second\": ") &&
                                ContainsSubstring("\"share_of_limit\": "));
    const Outcome deep =
        bench({demo_model(), "--prompt", "8", "--generate", "0", "--depth", "250", "--json"});
    CHECK_THAT(deep.err, ContainsSubstring("--prompt 8 after 250 is cut to the model's context, 6"));
}

TEST_CASE("bench does not overwrite a file unasked, and leaves none behind") {
    const TemporaryFolder folder;
    write_file(folder / "mine", "mine");
    const Outcome outcome = run_ingot({"bench", "--shape", "llama-tiny", "--keep", folder / "mine"});
    CHECK(outcome.exit_code == 1);
    CHECK(read_file(folder / "mine") == "mine");
    CHECK(run_ingot({"bench", "--shape", "llama-tiny", "--type", "Q4_0,Q8_0", "--keep", folder / "a"})
              .exit_code == 2);
    const Outcome measured = run_ingot({"bench", "--shape", "llama-tiny", "--type", "Q4_0", "--prompt", "4",
                                        "--generate", "0", "--repetitions", "1", "--threads", "1"},
                                       {.variables = {"TMPDIR=" + folder.path().string()}});
    CHECK(measured.exit_code == 0);
    CHECK(folder.names() == std::vector<std::string>{"mine"});
}

TEST_CASE("bench's CSV has one line for each test of each type") {
    const Outcome outcome = bench({"--shape", "llama-tiny", "--type", "Q4_0,Q8_0", "--prompt", "8,16",
                                   "--generate", "2", "--depth", "0,32", "--format", "csv"});
    const std::vector<std::string> lines = lines_of(outcome.out);
    REQUIRE(lines.size() == 1 + 2 * 2 * 3);
    const auto n_columns = std::ranges::count(lines[0], ',');
    for (const std::string& line : lines) {
        INFO(line);
        // The device's name has a comma, and is quoted for it.
        CHECK(std::ranges::count(line, ',') == n_columns + (line != lines[0]));
    }
    CHECK_THAT(lines[1], ContainsSubstring(",llama,Q4_0,") && ContainsSubstring(",prompt,8,0,"));
    CHECK_THAT(lines[6], ContainsSubstring(",generate,2,32,"));
    CHECK_THAT(lines[12], ContainsSubstring(",llama,Q8_0,") && ContainsSubstring(",generate,2,32,"));
}

TEST_CASE("bench's table and Markdown name the limits, the profile names the work") {
    for (const char* format : {"table", "markdown"}) {
        const Outcome outcome = bench(
            {demo_model("Q4_K_M"), "--prompt", "16", "--generate", "2", "--profile", "--format", format});
        CHECK_THAT(outcome.out, ContainsSubstring("int8 ") && ContainsSubstring("GOP/s") &&
                                    ContainsSubstring("ffn_gate + ffn_up") &&
                                    ContainsSubstring("attention") && ContainsSubstring("prompt 16") &&
                                    ContainsSubstring("llama Q4_K_M, 5.25 M"));
    }
    const Outcome json =
        bench({demo_model("Q4_K_M"), "--prompt", "0", "--generate", "2", "--profile", "--format", "json"});
    CHECK_THAT(json.out, ContainsSubstring("\"kind\": \"ffn_down\"") && !ContainsSubstring("\"prompt\""));
}

TEST_CASE("bench measures several sequences at once") {
    const Outcome outcome = bench(
        {demo_model("Q4_K_M"), "--prompt", "0", "--generate", "4", "--parallel", "1,3", "--format", "csv"});
    const std::vector<std::string> lines = lines_of(outcome.out);
    REQUIRE(lines.size() == 3);
    CHECK_THAT(lines[0], ContainsSubstring(",parallel,"));
    CHECK_THAT(lines[2], ContainsSubstring(",generate,4,0,3,"));
}
