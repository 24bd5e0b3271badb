// run, perplexity and bench, as a user calls them, on the demo model and on random weights.
#include <fmt/format.h>

#include <algorithm>

#include "tests/cli/process.h"

using namespace ingot::test;

namespace {

const std::string kCheckpoint = INGOT_SOURCE_DIR "/tests/data/tolstoy-5m";

/// A small random model, long enough in generating to be interrupted.
const std::string& random_model() {
    static const TemporaryFolder folder;
    static const std::string path = [] {
        const std::string file = folder / "random.gguf";
        const Outcome outcome = run_ingot({"bench", "--shape", "llama-tiny", "--type", "Q8_0", "--keep", file,
                                           "--prompt", "1", "--generate", "0", "--repetitions", "1"});
        INFO(outcome.err);
        REQUIRE(outcome.exit_code == 0);
        return file;
    }();
    return path;
}

}  // namespace

TEST_CASE("the demo model's greedy text is what it always was") {
    const Outcome outcome = run_ingot(
        {"run", demo_model(), "-p", "The old prince", "-n", "64", "--temperature", "0", "--threads", "2"});
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    // llama.cpp writes the same from the same weights.
    CHECK(outcome.out ==
          ", and the old man's and the old man's, and the old man himself, and the other with his wife, was "
          "the first to "
          "be forgiven.\n\"Well, then, what do you think of me?\" said the princess. \"I am very glad to see "
          "him... I "
          "don");
    CHECK_THAT(outcome.err, ContainsSubstring("prompt") && ContainsSubstring("tokens/s"));
}

TEST_CASE("standard output carries the text and nothing else, wherever the prompt comes from") {
    const TemporaryFolder folder;
    write_file(folder / "prompt", "The old prince");
    const std::vector<std::string> common = {"run", demo_model(), "-n", "8", "--temperature", "0"};
    const auto with = [&](std::vector<std::string> more, const std::string& input = "") {
        std::vector<std::string> all = common;
        all.insert(all.end(), more.begin(), more.end());
        const Outcome outcome = run_ingot(all, {.input = input});
        INFO(outcome.err);
        REQUIRE(outcome.exit_code == 0);
        return outcome.out;
    };
    const std::string text = with({"-p", "The old prince"});
    CHECK(text == ", and the old man's and");
    CHECK(with({"-f", folder / "prompt"}) == text);
    CHECK(with({"-f", "-"}, "The old prince") == text);
    CHECK(with({"-"}, "The old prince") == text);
    CHECK(with({"-p", "The old prince", "--echo"}) == "The old prince" + text);
}

TEST_CASE("the same seed writes the same text, with any number of threads") {
    const auto text = [](const char* seed, const char* threads) {
        const Outcome outcome = run_ingot({"run", demo_model(), "-p", "It was", "-n", "40", "--seed", seed,
                                           "--threads", threads, "--quiet"});
        CHECK(outcome.exit_code == 0);
        CHECK(outcome.err == "");
        return outcome.out;
    };
    const std::string first = text("1", "1");
    CHECK(text("1", "2") == first);
    CHECK(text("2", "1") != first);
}

TEST_CASE("Ctrl-C ends a run with what was generated and exit code 130") {
    // Every token about as likely as any other, so that the end of text is far away.
    const Outcome outcome =
        run_ingot({"run", random_model(), "-p", "a", "-n", "-1", "--context", "100000", "--temperature",
                   "1000", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed", "1"},
                  {.interrupt_after = 100});
    CHECK(outcome.exit_code == 130);
    CHECK(outcome.out.size() > 0);
    CHECK_THAT(outcome.err, ContainsSubstring("generation"));
}

TEST_CASE("a prompt longer than the context is refused with both numbers") {
    std::string prompt;
    for (int i = 0; i < 300; ++i) prompt += "word and ";
    Outcome outcome = run_ingot({"run", demo_model(), "-"}, {.input = prompt});
    CHECK(outcome.exit_code == 1);
    CHECK(outcome.out == "");
    CHECK_THAT(outcome.err, ContainsSubstring("tokens, the context 256") && ContainsSubstring("--context"));
    outcome = run_ingot({"run", demo_model(), "-p", "The old prince", "--context", "2"});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("the prompt has 4 tokens, the context 2"));
}

TEST_CASE("generation stops when the context is full") {
    const Outcome outcome =
        run_ingot({"run", random_model(), "-p", "a", "-n", "-1", "--context", "20", "--seed", "1"});
    CHECK(outcome.exit_code == 0);
    CHECK_THAT(outcome.err, ContainsSubstring("context is full"));
}

TEST_CASE("wrong options end with 2, missing and foreign files with 1, each named") {
    CHECK(run_ingot({"run"}).exit_code == 2);
    CHECK(run_ingot({"run", demo_model(), "-n", "many"}).exit_code == 2);
    CHECK(run_ingot({"run", demo_model(), "--device", "abacus"}).exit_code == 2);
    CHECK(run_ingot({"run", demo_model(), "-p", "a", "-f", "b"}).exit_code == 2);
    CHECK(run_ingot({"bench"}).exit_code == 2);
    CHECK(run_ingot({"bench", "--shape", "cube"}).exit_code == 2);
    CHECK(run_ingot({"bench", "--shape", "llama-tiny", "--type", "Q9"}).exit_code == 2);
    CHECK(run_ingot({"run", demo_model(), "-p", "a", "-p", "b", "--session", "s"}).exit_code == 2);
    CHECK(run_ingot({"run", demo_model(), "-p", "a", "--parallel", "2", "--prompt-lookup"}).exit_code == 2);
    CHECK(run_ingot({"run", demo_model(), "-p", "a", "--draft", "b", "--prompt-lookup"}).exit_code == 2);
    CHECK(run_ingot({"perplexity", demo_model()}).exit_code == 2);

    Outcome outcome = run_ingot({"run", "no-such-file.gguf"});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("no-such-file.gguf"));
    outcome = run_ingot({"run", kCheckpoint + "/config.json"});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("config.json"));
    outcome = run_ingot({"run", demo_model(), "-f", "no-such-prompt"});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("no-such-prompt"));
    outcome = run_ingot({"run", demo_model(), "--top-p", "7"});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("top-p is 7"));
}

TEST_CASE("help of run, perplexity and bench fits a screen and has an example") {
    for (const char* command : {"run", "perplexity", "bench"}) {
        const Outcome outcome = run_ingot({command, "--help"});
        CHECK(outcome.exit_code == 0);
        CHECK(std::ranges::count(outcome.out, '\n') <= 40);
        CHECK_THAT(outcome.out, ContainsSubstring(fmt::format("  ingot {} ", command)));
    }
}

TEST_CASE("perplexity of text and of its token ids agree, and each scored token is listed") {
    const TemporaryFolder folder;
    std::string text;
    for (int i = 0; i < 12; ++i)
        text += "The old prince looked at her and said that he did not know what to think. ";
    write_file(folder / "text", text);
    const std::vector<std::string> common = {"perplexity", demo_model(), "--context", "64", "--json"};
    std::vector<std::string> arguments = common;
    arguments.insert(arguments.end(), {"-f", folder / "text", "--per-token"});
    const Outcome of_text = run_ingot(arguments);
    INFO(of_text.err);
    REQUIRE(of_text.exit_code == 0);
    CHECK_THAT(of_text.out, ContainsSubstring("\"perplexity\": ") && ContainsSubstring("\"index\": 33,"));

    const auto value = [](const std::string& json) {
        const size_t at = json.find("\"perplexity\": ");
        return at == std::string::npos ? 0.0 : std::stod(json.substr(at + 14));
    };
    CHECK(value(of_text.out) > 1);
    CHECK(value(of_text.out) < 100);

    const Outcome tokenized = run_ingot({"tokenize", demo_model(), "-f", folder / "text"});
    REQUIRE(tokenized.exit_code == 0);
    write_file(folder / "ids", tokenized.out);
    std::vector<std::string> with_ids = common;
    with_ids.insert(with_ids.end(), {"--token-ids", folder / "ids"});
    CHECK(value(run_ingot(with_ids).out) == value(of_text.out));

    write_file(folder / "ids", "1 5 [7, 9]\n11x");
    Outcome outcome = run_ingot(with_ids);
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("byte 11 begins no token id"));
    write_file(folder / "ids", "1 2 3");
    outcome = run_ingot(with_ids);
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("has 3 tokens"));
    std::string many;
    for (int i = 0; i < 64; ++i) many += i == 40 ? "2048, " : "17, ";
    write_file(folder / "ids", many);
    outcome = run_ingot(with_ids);
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("token 2048 is outside the vocabulary"));
}
