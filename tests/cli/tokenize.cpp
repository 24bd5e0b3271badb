// ingot tokenize, as its users run it.
#include "tests/cli/process.h"

using namespace ingot::test;

using Catch::Matchers::StartsWith;

namespace {

const std::string kModel = std::string(INGOT_SOURCE_DIR) + "/tests/data/tolstoy-5m";

/// A file with the demo checkpoint's vocabulary alone.
const std::string& vocabulary() {
    static const TemporaryFolder folder;
    static const std::string file = [] {
        const std::string path = folder / "v.gguf";
        REQUIRE(run_ingot({"convert", kModel, "--vocab-only", "-o", path}).exit_code == 0);
        return path;
    }();
    return file;
}

}  // namespace

TEST_CASE("lines of JSON: texts are answered by ids, ids by texts") {
    const std::string texts =
        "{\"text\": \"The prince\"}\n\n{\"text\": \"\", \"label\": 1}\n{\"text\": \"\\u00e9\\n\\u0000\"}";
    const Outcome ids = run_ingot({"tokenize", vocabulary(), "--json-lines"}, {.input = texts});
    INFO(ids.err);
    REQUIRE(ids.exit_code == 0);
    std::string one = run_ingot({"tokenize", vocabulary(), "-p", "The prince"}).out;
    for (size_t at = 0; (at = one.find(' ', at)) != std::string::npos; at += 2) one.replace(at, 1, ", ");
    one.pop_back();
    CHECK_THAT(ids.out, StartsWith("{\"ids\": [" + one + "]}\n{\"ids\": [1]}\n{\"ids\": [1, "));
    // What came out goes in again.
    const Outcome back = run_ingot({"tokenize", vocabulary(), "--json-lines", "-f", "-"}, {.input = ids.out});
    CHECK(back.out == "{\"text\": \"The prince\"}\n{\"text\": \"\"}\n{\"text\": \"\u00e9\\n\\u0000\"}\n");
    CHECK(run_ingot({"tokenize", vocabulary(), "--json-lines", "--special"}, {.input = "{\"ids\": [1, 2]}"})
              .out == "{\"text\": \"<s></s>\"}\n");
    CHECK(run_ingot({"tokenize", vocabulary(), "--json-lines", "--no-bos"}, {.input = "{\"text\": \"\"}"})
              .out == "{\"ids\": []}\n");
    CHECK(run_ingot({"tokenize", vocabulary(), "--json-lines"}).out.empty());
}

TEST_CASE("a line of JSON that asks for nothing is named, and those before it are answered") {
    const auto says = [](const std::string& line, const std::string& what) {
        CAPTURE(line);
        const Outcome outcome =
            run_ingot({"tokenize", vocabulary(), "--json-lines"}, {.input = "{\"ids\": []}\n" + line + "\n"});
        CHECK(outcome.exit_code == 1);
        CHECK(outcome.out == "{\"text\": \"\"}\n");
        CHECK_THAT(outcome.err, ContainsSubstring("standard input: line 2") && ContainsSubstring(what));
    };
    says("{}", "neither");
    says("{\"text\": \"a\", \"ids\": [1]}", "both");
    says("{\"text\": 1}", "text");
    says("{\"ids\": 1}", "no array");
    says("{\"ids\": [1, 2048]}", "ids[1] is no token id; the vocabulary has 0 to 2047");
    says("{\"ids\": [-1]}", "ids[0]");
    says("{\"ids\": [1.5]}", "ids[0]");
    says("[1]", "object");
    says("The prince", "JSON");
    const Outcome missing = run_ingot({"tokenize", vocabulary(), "--json-lines", "-f", "/nonexistent"});
    CHECK(missing.exit_code == 1);
    CHECK_THAT(missing.err, ContainsSubstring("/nonexistent: cannot be opened"));
    CHECK(run_ingot({"tokenize", vocabulary(), "--json-lines", "-p", "x"}).exit_code == 2);
}
