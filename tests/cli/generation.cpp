// Several prompts at once, saved sessions, guessed tokens: never another text than without them.
#include "tests/cli/process.h"

using namespace ingot::test;

namespace {

const std::vector<std::string> kPrompts = {"The old prince", "It was",
                                           "\"Well, then,\" said the princess, and", "Napoleon",
                                           "In the evening the officers"};

// Greedy.
Outcome run(std::vector<std::string> more, const std::string& type = "F32") {
    std::vector<std::string> all = {"run", demo_model(type), "-n", "24", "--temperature",
                                    "0",   "--threads",      "1"};
    all.insert(all.end(), more.begin(), more.end());
    const Outcome outcome = run_ingot(all);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome;
}

// What several prompts print, of the texts of each alone.
std::string joined(const std::vector<std::string>& texts) {
    std::string all;
    for (size_t i = 0; i < texts.size(); ++i) {
        if (i > 0) all += '\n';
        all += "==> ";
        all += std::to_string(i + 1);
        all += " <==\n";
        all += texts[i];
        if (!all.ends_with('\n')) all += '\n';
    }
    return all;
}

}  // namespace

TEST_CASE("several prompts at once have the texts that each has alone") {
    const TemporaryFolder folder;
    std::vector<std::string> alone, echoed;
    std::string lines;
    for (const std::string& prompt : kPrompts) {
        alone.push_back(run({"-p", prompt}).out);
        echoed.push_back(prompt + alone.back());
        lines += prompt + "\n";
    }
    write_file(folder / "prompts", lines);
    for (const char* n : {"1", "2", "5"}) {
        INFO(n);
        const Outcome outcome = run({"-f", folder / "prompts", "--lines", "--parallel", n});
        CHECK(outcome.out == joined(alone));
        CHECK_THAT(outcome.err, ContainsSubstring("120 of them generated, " + std::string(n) + " prompt"));
    }
    CHECK(run({"-f", folder / "prompts", "--lines", "--echo"}).out == joined(echoed));
    CHECK(run({"-p", kPrompts[0], "-p", kPrompts[1]}).out == joined({alone[0], alone[1]}));

    // Sampled: prompt i has seed + i.
    const auto sampled = [&](std::vector<std::string> more) {
        for (const char* option : {"--temperature", "0.8"}) more.emplace_back(option);
        more.insert(more.begin(), {"run", demo_model(), "-n", "24", "--threads", "1"});
        return run_ingot(more).out;
    };
    CHECK(sampled({"-p", kPrompts[0], "-p", kPrompts[0], "--seed", "7"}) ==
          joined({sampled({"-p", kPrompts[0], "--seed", "7"}), sampled({"-p", kPrompts[0], "--seed", "8"})}));
}

TEST_CASE("of quantized models, too, up to seven texts at once and six guesses change nothing") {
    for (const char* type : {"Q4_0", "Q4_K_M", "Q8_0"}) {
        INFO(type);
        std::vector<std::string> alone, prompts;
        for (const std::string& prompt : kPrompts) {
            alone.push_back(run({"-p", prompt}, type).out);
            prompts.insert(prompts.end(), {"-p", prompt});
        }
        CHECK(run(prompts, type).out == joined(alone));
        CHECK(run({"-p", kPrompts[0], "--prompt-lookup"}, type).out == alone[0]);
        CHECK(run({"-p", kPrompts[0], "--draft", demo_model("Q4_K_M")}, type).out == alone[0]);
    }
}

TEST_CASE("a prompt of several that does not fit is named by its number") {
    std::string text;
    for (int i = 0; i < 300; ++i) text += "word and ";
    const Outcome outcome = run_ingot({"run", demo_model(), "-p", "a", "-p", text});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("the prompt 2 has"));
}

TEST_CASE("a session restores the prompt, and the text is the same") {
    const TemporaryFolder folder;
    const std::string text = run({"-p", "The old prince looked at her"}).out;
    const std::vector<std::string> with = {"-p", "The old prince looked at her", "--session", folder / "s"};
    const Outcome first = run(with);
    CHECK(first.out == text);
    CHECK_THAT(first.err, !ContainsSubstring("from the session"));
    const std::string bytes = read_file(folder / "s");
    const Outcome second = run(with);
    CHECK(second.out == text);
    CHECK_THAT(second.err, ContainsSubstring("0 tokens") && ContainsSubstring(" from the session"));
    CHECK(read_file(folder / "s") == bytes);  // nothing to add

    // A longer prompt takes over what it begins with, and is what the session holds from then on.
    const std::string longer = "The old prince looked at her and smiled";
    const std::string longer_text = run({"-p", longer}).out;
    CHECK(run({"-p", longer, "--session", folder / "s"}).out == longer_text);
    CHECK(read_file(folder / "s") != bytes);
    const Outcome again = run({"-p", longer, "--session", folder / "s"});
    CHECK(again.out == longer_text);
    CHECK_THAT(again.err, ContainsSubstring("0 tokens"));
    CHECK(folder.names().size() == 1);
}

TEST_CASE("a session file that is something else is refused and left as it is") {
    const TemporaryFolder folder;
    const auto refused = [&](const std::string& file, const std::string& message) {
        const std::string before = read_file(file);
        const Outcome outcome = run_ingot({"run", demo_model(), "-p", "It was", "--session", file});
        CHECK(outcome.exit_code == 1);
        CHECK(outcome.out == "");
        CHECK_THAT(outcome.err, ContainsSubstring(file) && ContainsSubstring(message));
        CHECK(read_file(file) == before);
    };
    refused(demo_model("Q8_0"), "no file that --session wrote");
    write_file(folder / "text", "once upon a time");
    refused(folder / "text", "GGUF");
    const std::vector<std::string> with = {"-p", "It was", "--session", folder / "s"};
    run(with);
    const Outcome other = run_ingot({"run", demo_model("Q8_0"), "-p", "It was", "--session", folder / "s"});
    CHECK(other.exit_code == 1);
    CHECK_THAT(other.err, ContainsSubstring("session of another model"));
    const std::string bytes = read_file(folder / "s");
    for (const size_t at : {size_t(4), bytes.size() / 3, bytes.size() / 2, bytes.size() - 1}) {
        std::string bad = bytes;
        bad[at] = char(bad[at] ^ 0x41);
        write_file(folder / "s", bad);
        CHECK(run_ingot({"run", demo_model(), "-p", "It was", "--session", folder / "s"}).exit_code == 1);
    }
}

TEST_CASE("guessed tokens leave the greedy text as it is, and are counted") {
    const std::string prompt = "The old man's and the old man's and the old";
    const std::string text = run({"-p", prompt}).out;
    const auto same = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"-p", prompt});
        const Outcome outcome = run(more);
        CHECK(outcome.out == text);
        CHECK_THAT(outcome.err, ContainsSubstring("guesses right ("));
    };
    same({"--prompt-lookup"});
    same({"--draft", demo_model("Q4_K_M")});
    same({"--draft", demo_model("Q8_0"), "--guesses", "3"});
}

TEST_CASE("a draft model with another vocabulary is refused") {
    const TemporaryFolder folder;
    const Outcome made =
        run_ingot({"bench", "--shape", "llama-tiny", "--type", "Q8_0", "--keep", folder / "other", "--prompt",
                   "1", "--generate", "0", "--repetitions", "1", "--threads", "1"});
    REQUIRE(made.exit_code == 0);
    const Outcome outcome = run_ingot({"run", demo_model(), "-p", "It was", "--draft", folder / "other"});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err,
               ContainsSubstring(folder / "other") && ContainsSubstring("must have the model's vocabulary"));
}

TEST_CASE("the text does not depend on how the weights are loaded") {
    const std::string text = run({"-p", "It was"}).out;
    for (const char* how : {"map", "read", "direct"}) CHECK(run({"-p", "It was", "--load", how}).out == text);
    CHECK(run_ingot({"run", demo_model(), "--load", "carry"}).exit_code == 2);
}
