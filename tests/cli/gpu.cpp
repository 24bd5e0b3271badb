// The demo model on the emulator: the CPU's text, whatever the layout of its weights.
#include <simdjson.h>

#include <algorithm>

#include "tests/cli/process.h"

using namespace ingot::test;

namespace {

std::string greedy_text(const std::string& model, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "run", model, "-p", "The old prince", "-n", "6", "--temperature", "0", "--threads", "1", "-q"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_ingot(arguments);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome.out;
}

/// All of them; where the emulator is checked by AddressSanitizer, and many times slower, the first ones.
std::vector<const char*> some_of(std::vector<const char*> first,
                                 [[maybe_unused]] std::initializer_list<const char*> others) {
#if !defined(__SANITIZE_ADDRESS__)
    first.insert(first.end(), others);
#endif
    return first;
}

}  // namespace

TEST_CASE("gpu: the demo model writes on the emulator what it writes on the CPU, in every layout") {
    const TemporaryFolder folder;
    for (const char* type :
         some_of({"BF16", "Q5_1", "Q3_K", "Q4_K"}, {"F32", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q2_K",
                                                    "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"})) {
        INFO(type);
        const std::string model = folder / (std::string(type) + ".gguf");
        const Outcome made = run_ingot({"convert", INGOT_SOURCE_DIR "/tests/data/tolstoy-5m", "-t", type,
                                        "--pure", "-o", model, "--threads", "2"});
        INFO(made.err);
        REQUIRE(made.exit_code == 0);
        const std::string text = greedy_text(model, {"--device", "cpu"});
        CHECK(text.size() > 5);
        CHECK(greedy_text(model, {"--device", "emulator"}) == text);
    }
}

TEST_CASE("gpu: the demo model goes on with a longer text as on the CPU, by its best tokens or by chance") {
    const std::string prompt =
        "The old prince looked at his daughter and said nothing. In the next room the little princess was "
        "laughing with the countess, and the sound of it went through the whole house.";
    for (const char* cache : some_of({"q8_0"}, {"f16"})) {
        for (const std::vector<std::string>& how :
             {std::vector<std::string>{"--temperature", "0"}, {"--seed", "3", "--repeat-penalty", "1.3"}}) {
            std::string texts[2];
            for (const char* device : {"cpu", "emulator"}) {
                std::vector<std::string> arguments = {"run", demo_model(), "-p",  prompt,      "-n",
                                                      "5",   "--kv-type",  cache, "--threads", "1",
                                                      "-q",  "--device",   device};
                arguments.insert(arguments.end(), how.begin(), how.end());
                const Outcome outcome = run_ingot(arguments);
                INFO(outcome.err);
                REQUIRE(outcome.exit_code == 0);
                texts[device == std::string("cpu")] = outcome.out;
            }
            CHECK(texts[0].size() > 5);
            CHECK(texts[0] == texts[1]);
        }
    }
}

TEST_CASE("gpu: the demo model goes on with a long prompt, multiplied by warpgroups, as on the CPU") {
    const TemporaryFolder folder;
    const std::string prompt =
        "The old prince looked at his daughter and said nothing. In the next room the little princess was "
        "laughing with the countess, and the sound of it went through the whole house. Pierre, who had been "
        "standing by the window all the evening, turned round and went up to them; he wished to speak of the "
        "war and of the Emperor, but nobody listened to him, and the officers who had come with Prince "
        "Andrew "
        "were already at the door.";
    for (const char* type : some_of({"Q4_K"}, {"F16", "Q4_0", "Q6_K"})) {
        INFO(type);
        const std::string model = folder / (std::string(type) + ".gguf");
        REQUIRE(run_ingot({"convert", INGOT_SOURCE_DIR "/tests/data/tolstoy-5m", "-t", type, "--pure", "-o",
                           model, "--threads", "2"})
                    .exit_code == 0);
        const Outcome ids = run_ingot({"tokenize", model, "-p", prompt});
        CHECK(std::ranges::count(ids.out, ' ') > 65);  // of fewer tokens, tiles are quicker
        const auto text = [&](const char* device) {
            const Outcome outcome = run_ingot({"run", model, "-p", prompt, "-n", "12", "--temperature", "0",
                                               "--threads", "1", "-q", "--device", device});
            INFO(outcome.err);
            REQUIRE(outcome.exit_code == 0);
            return outcome.out;
        };
        CHECK(text("emulator") == text("cpu"));
    }
}

TEST_CASE("gpu: the demo model writes the same wherever the border between CPU and GPU is") {
    const std::string text = greedy_text(demo_model(), {"--device", "cpu"});
    const auto on_both = [&](std::vector<std::string> more, const std::string& device = "emulator") {
        more.insert(more.end(), {"--device", device});
        return greedy_text(demo_model(), more);
    };
    for (const char* n : {"0", "1", "2", "3", "4", "5", "6"}) CHECK(on_both({"--gpu-layers", n}) == text);
    CHECK(on_both({"--tensor-placement", "ffn_=cpu"}) == text);
    CHECK(on_both({"--tensor-placement", "attn_k=gpu", "--gpu-layers", "0"}) == text);
    CHECK(on_both({"--device-memory", "8MiB"}) == text);
    CHECK(on_both({"--device-memory", "4MB,8MB"}, "emulator,emulator") == text);
    CHECK(on_both({"--tensor-placement", "blk.[135]=gpu:1"}, "emulator,emulator") == text);

    const auto refused = [&](std::vector<std::string> more, const std::string& message) {
        std::vector<std::string> arguments{"run", demo_model(), "-p", "a"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const Outcome outcome = run_ingot(arguments);
        CHECK(outcome.exit_code == 1);
        CHECK_THAT(outcome.err, ContainsSubstring(message));
    };
    refused({"--gpu-layers", "1", "--device", "cpu"}, "there is none with --device cpu");
    refused({"--tensor-placement", "x=y", "--device", "emulator"}, "expected REGEX=cpu, REGEX=gpu");
    refused({"--tensor-placement", "x=gpu:1", "--device", "emulator"}, "there is no such GPU");
    refused({"--device-memory", "1MiB,1MiB", "--device", "emulator"}, "names 2 sizes for 1 GPU");
    refused({"--tensor-placement", "ffn=gpu", "--device-memory", "1K", "--device", "emulator"},
            "allows 1,000");
    refused({"--gpu-layers", "6", "--device", "emulator", "--context", "2000000000"}, "--gpu-layers 0 fits");
}

TEST_CASE("gpu: perplexity, imatrix and bench put a model where run would") {
    const TemporaryFolder folder;
    std::string ids;
    for (int i = 0; i < 32; ++i) ids += std::to_string(100 + i * 37 % 900) + " ";
    const std::string tokens = folder / "ids.txt";
    write_file(tokens, ids);
    const std::vector<std::string> halves = {"--device", "emulator", "--gpu-layers", "3", "--threads", "1"};
    const auto with = [](std::vector<std::string> arguments, const std::vector<std::string>& more) {
        arguments.insert(arguments.end(), more.begin(), more.end());
        const Outcome outcome = run_ingot(arguments);
        INFO(outcome.err);
        REQUIRE(outcome.exit_code == 0);
        return outcome;
    };
    const auto perplexity = [&](const std::vector<std::string>& more) {
        const Outcome outcome =
            with({"perplexity", demo_model(), "--token-ids", tokens, "--context", "16", "--json"}, more);
        simdjson::dom::parser parser;
        const double value = parser.parse(outcome.out)["perplexity"];
        return std::pair(value, outcome.err);
    };
    const auto on_cpu = perplexity({"--device", "cpu", "--threads", "1"}), on_both = perplexity(halves);
    CHECK(on_both.first == Approx(on_cpu.first).epsilon(1e-4));
    CHECK_THAT(on_both.second, ContainsSubstring("3 of 6 layers on emulator, the rest on the CPU"));

    const Outcome matrix = with({"imatrix", demo_model(), "--token-ids", tokens, "--context", "16",
                                 "--chunks", "1", "-o", folder / "imatrix.gguf"},
                                halves);
    CHECK_THAT(matrix.err, ContainsSubstring("3 of 6 layers on emulator"));
    const Outcome bench =
        with({"bench", demo_model(), "--prompt", "4", "--generate", "2", "--repetitions", "1"}, halves);
    CHECK_THAT(bench.err, ContainsSubstring("3 of 6 layers on emulator"));
    const Outcome refused = run_ingot({"perplexity", demo_model(), "--token-ids", tokens, "--context", "16",
                                       "--gpu-layers", "1", "--device", "cpu"});
    CHECK(refused.exit_code == 1);
    CHECK_THAT(refused.err, ContainsSubstring("there is none with --device cpu"));
}

namespace {

/// What `ingot plan --json` says.
class Plan {
  public:
    explicit Plan(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), "plan");
        arguments.push_back("--json");
        const Outcome outcome = run_ingot(arguments);
        INFO(outcome.err);
        REQUIRE(outcome.exit_code == 0);
        root = parser_.parse(outcome.out);
    }
    uint64_t of(size_t device, const char* what) const {
        return simdjson::dom::array(root["devices"]).at(device)[what];
    }
    uint64_t number(const char* name) const { return root[name]; }

    simdjson::dom::element root;

  private:
    simdjson::dom::parser parser_;
};

}  // namespace

TEST_CASE("gpu: plan shows what fits in a device's memory") {
    const Outcome outcome = run_ingot({"plan", demo_model(), "--cpu-bandwidth", "10GB/s"});
    INFO(outcome.err);
    CHECK(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("6 of 6 layers on the GPU, a context of 256 tokens") &&
                                ContainsSubstring("layers 0 to 5"));

    const Plan plan({demo_model(), "--device-memory", "12MiB", "--context", "100", "--cpu-bandwidth",
                     "10GB/s", "--bandwidth", "100GB/s"});
    CHECK(plan.number("context") == 100);
    CHECK(plan.number("gpu_layers") > 0);
    CHECK(plan.number("gpu_layers") < 6);
    CHECK(plan.of(1, "total") <= 12 << 20);
    CHECK(plan.of(1, "total") == plan.of(1, "weights") + plan.of(1, "cache") + plan.of(1, "scratch"));
    CHECK(plan.number("longest_context") >= 100);
    for (size_t device : {0, 1}) {
        uint64_t sum = 0;
        for (const auto part :
             simdjson::dom::array(simdjson::dom::array(plan.root["devices"]).at(device)["parts"]))
            sum += uint64_t(part["total"]);
        CHECK(sum == plan.of(device, "total"));
    }
    const double seconds =
        double(plan.of(0, "read_by_last_token")) / 10e9 + double(plan.of(1, "read_by_last_token")) / 100e9;
    CHECK(double(plan.root["tokens_per_second_at_most"]) * seconds == Approx(1));
}

TEST_CASE("gpu: plan knows what the model would take in another type") {
    const Plan plan({demo_model(), "--device-memory", "8MiB", "--cpu-bandwidth", "1GB"});
    int n_found = 0;
    for (const auto type : simdjson::dom::array(plan.root["types"])) {
        const std::string name{std::string_view(type["type"])};
        if (name != "Q8_0" && name != "Q4_K_M") continue;
        ++n_found;
        const Plan real({demo_model(name), "--device-memory", "8MiB", "--cpu-bandwidth", "1GB"});
        CHECK(uint64_t(type["gpu_layers"]) == real.number("gpu_layers"));
        CHECK(bool(type["fits"]) == (real.of(0, "read_by_last_token") == 0));
        const Plan all({demo_model(name), "--cpu-bandwidth", "1GB"});
        CHECK(uint64_t(type["all_on_gpu"]) == all.of(1, "total"));
    }
    CHECK(n_found == 2);
}

TEST_CASE("gpu: plan reads shards and packed files as it reads the whole") {
    const TemporaryFolder folder;
    const std::vector<std::string> options{"--device-memory", "8MiB", "--cpu-bandwidth", "1GB"};
    const auto devices = [&](const std::string& file) {
        std::vector<std::string> arguments{file};
        arguments.insert(arguments.end(), options.begin(), options.end());
        return simdjson::minify(Plan(arguments).root["devices"]);
    };
    const std::string expected = devices(demo_model());
    REQUIRE(run_ingot({"split", demo_model(), folder / "part", "--max-tensors", "20"}).exit_code == 0);
    CHECK(devices(folder / "part-00002-of-00003.gguf") == expected);
    REQUIRE(run_ingot({"pack", demo_model(), "-o", folder / "demo.gguf.zst"}).exit_code == 0);
    CHECK(devices(folder / "demo.gguf.zst") == expected);
}
