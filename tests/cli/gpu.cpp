// The demo model on the emulator: the CPU's text, whatever the layout of its weights.
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

}  // namespace

TEST_CASE("gpu: the demo model writes on the emulator what it writes on the CPU, in every layout") {
    const TemporaryFolder folder;
#if defined(__SANITIZE_ADDRESS__)  // many times slower: a layout of each kind
    const std::vector<const char*> types = {"BF16", "Q5_1", "Q3_K", "Q4_K"};
#else
    const std::vector<const char*> types = {"F32",  "F16",    "BF16",   "Q8_0", "Q4_0", "Q4_1",
                                            "Q5_0", "Q5_1",   "Q2_K",   "Q3_K", "Q4_K", "Q5_K",
                                            "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"};
#endif
    for (const char* type : types) {
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
