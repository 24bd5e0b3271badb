// Types of single tensors, and recipes, as a user asks for them.
#include "format/gguf.h"
#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot;
using namespace ingot::test;

namespace {

TensorType type_in(const std::string& file, const char* tensor) {
    const GgufFile gguf{std::filesystem::path(file)};
    const TensorInfo* found = gguf.header().find_tensor(tensor);
    REQUIRE(found);
    return found->type;
}

}  // namespace

TEST_CASE("rules change the mix, are saved, stand in the file, and give the same bytes again") {
    const TemporaryFolder folder;
    const std::string first = folder / "first.gguf", second = folder / "second.gguf",
                      third = folder / "third.gguf";
    const std::string recipe = folder / "recipe.json";
    const Outcome made = run_ingot({"quantize", demo_model(), "-t", "q4_0", "--tensor-type",
                                    "blk\\.[01]\\.ffn_up=q8_0", "--tensor-type", "ffn_up=Q5_1",
                                    "--output-type", "Q6_K", "--save-recipe", recipe, "-o", first});
    INFO(made.err);
    REQUIRE(made.exit_code == 0);
    CHECK(type_in(first, "blk.1.ffn_up.weight") == TensorType::Q8_0);
    CHECK(type_in(first, "blk.2.ffn_up.weight") == TensorType::Q5_1);
    CHECK(type_in(first, "blk.2.ffn_gate.weight") == TensorType::Q4_0);
    CHECK(type_in(first, "token_embd.weight") == TensorType::Q6_K);

    CHECK(run_ingot({"quantize", demo_model(), "--recipe", recipe, "-o", second}).exit_code == 0);
    CHECK(read_file(second) == read_file(first));
    CHECK(run_ingot({"quantize", demo_model(), "--recipe", first, "-o", third}).exit_code == 0);
    CHECK(read_file(third) == read_file(first));

    CHECK_THAT(run_ingot({"inspect", first}).out, ContainsSubstring("recipe Q4_0 with changes"));
    const Outcome json = run_ingot({"inspect", first, "--json"});
    CHECK_THAT(json.out, ContainsSubstring("recipe_changes") && ContainsSubstring("ffn_up"));

    // What the command line says goes before the file, and a mix of its own name takes the file's place.
    const Outcome over = run_ingot({"quantize", demo_model(), "--recipe", recipe, "--tensor-type",
                                    "ffn_up=F16", "-o", third, "--force"});
    INFO(over.err);
    CHECK(over.exit_code == 0);
    CHECK(type_in(third, "blk.1.ffn_up.weight") == TensorType::F16);
    CHECK(type_in(third, "blk.2.ffn_gate.weight") == TensorType::Q4_0);
}

TEST_CASE("a rule that cannot be followed stops everything before it begins") {
    const TemporaryFolder folder;
    const std::string output = folder / "out.gguf";
    const auto error = [&](std::vector<std::string> rules) {
        rules.insert(rules.begin(), {"quantize", demo_model(), "-t", "Q4_0", "-o", output});
        const Outcome outcome = run_ingot(rules);
        CHECK(outcome.exit_code == 1);
        CHECK_FALSE(std::filesystem::exists(output));
        return outcome.err;
    };
    CHECK_THAT(error({"--tensor-type", "ffn_upp=Q8_0"}),
               ContainsSubstring("nearest names are blk.*.ffn_up.weight"));
    CHECK_THAT(error({"--tensor-type", "norm=Q8_0"}), ContainsSubstring("never quantized"));
    CHECK_THAT(error({"--tensor-type", "attn=Q8_0", "--tensor-type", "attn_v=Q4_0"}),
               ContainsSubstring("are taken by"));
    CHECK_THAT(error({"--recipe", folder / "none.json"}), ContainsSubstring("none.json"));
    for (const char* rule : {"attn_v=Q9_0", "attn_v", "attn_v=Q4_K_M", "(=Q4_0"}) {
        const Outcome outcome =
            run_ingot({"quantize", demo_model(), "-t", "Q4_0", "-o", output, "--tensor-type", rule});
        CHECK(outcome.exit_code == 2);
    }
    const Outcome no_type = run_ingot({"quantize", demo_model(), "-o", output});
    CHECK(no_type.exit_code == 2);
    CHECK_THAT(no_type.err, ContainsSubstring("--type, --recipe or a target"));
}

TEST_CASE("a dry run has the bytes of every type and group and writes nothing") {
    const TemporaryFolder folder;
    const Outcome outcome =
        run_ingot({"quantize", demo_model(), "-t", "Q4_0", "--pure", "-o", folder / "out.gguf", "--dry-run"});
    CHECK(outcome.exit_code == 0);
    // 5,242,880 weights in matrices, 18 bytes for 32 of them; 13 norms of 256.
    CHECK_THAT(outcome.out, ContainsSubstring("Q4_0        43   5.24 M        4.5  2.81 MiB") &&
                                ContainsSubstring("F32         13   3.33 K         32  13.0 KiB"));
    CHECK_FALSE(std::filesystem::exists(folder / "out.gguf"));
}

TEST_CASE("a target chooses types for a size, with a text or without, and its recipe is replayed") {
    const TemporaryFolder folder;
    const std::string by_error = folder / "a.gguf", by_divergence = folder / "b.gguf",
                      again = folder / "c.gguf";
    const std::string text = folder / "text.txt", recipe = folder / "recipe.json";
    write_file(
        text,
        "The prince looked at her and said that the whole army had been in disorder since the morning.");
    const Outcome first = run_ingot({"quantize", demo_model(), "--target-size", "3MB", "--target-types",
                                     "Q3_K,Q4_K,Q6_K", "-o", by_error});
    INFO(first.err);
    REQUIRE(first.exit_code == 0);
    CHECK_THAT(first.out, ContainsSubstring("proven to be the least") && ContainsSubstring("chosen"));
    CHECK(std::filesystem::file_size(by_error) <= 3'000'000);
    CHECK(std::filesystem::file_size(by_error) > 2'950'000);

    const Outcome second =
        run_ingot({"quantize", demo_model(), "--target-size", "3MB", "--target-types", "Q3_K,Q4_K,Q6_K",
                   "--target-text", text, "--save-recipe", recipe, "-o", by_divergence, "--json"});
    INFO(second.err);
    REQUIRE(second.exit_code == 0);
    CHECK_THAT(second.out,
               ContainsSubstring("\"measured\": \"divergence\"") && ContainsSubstring("\"curve\""));
    CHECK(run_ingot({"quantize", demo_model(), "--recipe", recipe, "-o", again}).exit_code == 0);
    CHECK(read_file(again) == read_file(by_divergence));
    CHECK_THAT(read_file(recipe), ContainsSubstring("chosen for at most 3,000,000 bytes"));
}

TEST_CASE("a checkpoint is run on the target's text, too, and nothing of that stays") {
    const TemporaryFolder folder;
    const std::string text = folder / "text.txt", output = folder / "out.gguf";
    write_file(text, "The prince looked at her and said that the whole army had been in disorder.");
    const Outcome outcome = run_ingot({"convert", INGOT_SOURCE_DIR "/tests/data/tolstoy-5m", "--target-bpw",
                                       "5", "--target-types", "Q4_0,Q8_0", "--target-text", text,
                                       "--target-tokens", "16", "-o", output, "--json"});
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("\"measured\": \"divergence\""));
    CHECK(folder.names() == std::vector<std::string>{"out.gguf", "text.txt"});
}

TEST_CASE("targets that cannot be are refused") {
    const TemporaryFolder folder;
    const std::string output = folder / "out.gguf";
    const Outcome small =
        run_ingot({"quantize", demo_model(), "--target-bpw", "1", "--target-types", "Q4_0", "-o", output});
    CHECK(small.exit_code == 1);
    CHECK_THAT(small.err, ContainsSubstring("too few"));
    using Arguments = std::vector<std::string>;
    for (const Arguments& wrong :
         {Arguments{"--target-size", "3MB", "-t", "Q4_0"},
          Arguments{"--target-size", "3MB", "--target-bpw", "4"}, Arguments{"--target-size", "much"},
          Arguments{"--target-bpw", "-1"}, Arguments{"--target-types", "Q4_0"},
          Arguments{"--target-bpw", "4", "--pure"},
          Arguments{"--target-bpw", "4", "--target-types", "Q4_K_M"},
          Arguments{"-t", "Q4_0", "--target-text", "x"}}) {
        Arguments all = {"quantize", demo_model(), "-o", output};
        all.insert(all.end(), wrong.begin(), wrong.end());
        CHECK(run_ingot(all).exit_code == 2);
    }
    CHECK_FALSE(std::filesystem::exists(output));
}
