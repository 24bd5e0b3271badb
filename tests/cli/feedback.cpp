// --method gptq as a user calls it.
#include "format/gguf.h"
#include "format/ingot_keys.h"
#include "tests/cli/process.h"

using namespace ingot;
using namespace ingot::test;

namespace {

const std::string kCheckpoint = INGOT_SOURCE_DIR "/tests/data/tolstoy-5m";

/// Prose of about 400 tokens.
std::string calibration_text() {
    std::string text;
    for (const char* who :
         {"The prince", "Natasha", "The old countess", "A soldier", "My brother", "The doctor"})
        text +=
            std::string(who) +
            " came into the room, looked at the table with the letters on it, and said nothing for a long "
            "time. Then the door was opened again, and everybody rose to meet the guests from Moscow.\n";
    return text;
}

/// Two layers and the output are enough to ask how the work is cut: feedback takes its time.
const std::string kOtherLayers = "blk\\.[2-9]\\.=BF16";

Outcome run_gptq(const std::string& command, const std::string& source, const std::string& text,
                 const std::string& output, const std::string& n_threads) {
    return run_ingot({command, source, "-t", "Q4_K_M", "--tensor-type", kOtherLayers, "--method", "gptq",
                      "--calibration", text, "--calibration-chunks", "4", "--calibration-context", "64",
                      "--threads", n_threads, "-o", output});
}

std::vector<std::string> checksums(const std::string& path) {
    const GgufFile file(path);
    const auto found = file.header().strings(keys::kChecksums);
    return {found.begin(), found.end()};
}

}  // namespace

TEST_CASE("gptq: the same bytes for every number of threads, from a checkpoint and from a GGUF file") {
    const TemporaryFolder folder;
    const std::string text = folder / "text.txt", source = folder / "bf16.gguf";
    write_file(text, calibration_text());
    REQUIRE(run_ingot({"convert", kCheckpoint, "-t", "BF16", "-o", source}).exit_code == 0);

    const Outcome one = run_gptq("quantize", source, text, folder / "one.gguf", "1");
    CAPTURE(one.err);
    REQUIRE(one.exit_code == 0);
    CHECK(one.out.find("15 tensors, measured on text.txt, 4 chunks of 64 tokens") != std::string::npos);
    REQUIRE(run_gptq("quantize", source, text, folder / "three.gguf", "3").exit_code == 0);
    CHECK(read_file(folder / "one.gguf") == read_file(folder / "three.gguf"));
    REQUIRE(run_gptq("convert", kCheckpoint, text, folder / "direct.gguf", "2").exit_code == 0);
    CHECK(checksums(folder / "direct.gguf") == checksums(folder / "one.gguf"));
    CHECK(folder.names().size() == 5);  // the model that was run is gone

    CHECK(run_ingot({"verify", folder / "one.gguf"}).exit_code == 0);
    CHECK(GgufFile(folder / "one.gguf").header().get_string(keys::kMethod) == "gptq");
    REQUIRE(run_ingot({"quantize", source, "-t", "Q4_K_M", "-o", folder / "fit.gguf"}).exit_code == 0);
    CHECK(checksums(folder / "fit.gguf") != checksums(folder / "one.gguf"));
    CHECK_FALSE(GgufFile(folder / "fit.gguf").header().find(keys::kMethod));
}

TEST_CASE("gptq is refused where nothing becomes a type that it works on, and the report names the rest") {
    const TemporaryFolder folder;
    const std::string text = folder / "text.txt", output = folder / "out.gguf";
    write_file(text, calibration_text());
    const auto run = [&](const char* type) {
        return run_ingot({"convert", kCheckpoint, "-t", type, "--method", "gptq", "--calibration", text,
                          "--calibration-chunks", "1", "--calibration-context", "32", "-o", output});
    };
    const Outcome plain = run("F16");
    CHECK(plain.exit_code == 1);
    CHECK(plain.err.find("found no tensor to become one of Q4_0") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(output));
    const Outcome mixed = run("MXFP4");
    CAPTURE(mixed.err);
    REQUIRE(mixed.exit_code == 0);
    CHECK(mixed.out.find("1 tensor, measured on text.txt") != std::string::npos);
    CHECK(mixed.out.find("42 quantized tensors more as without it") != std::string::npos);
}

TEST_CASE("gptq and imatrix without a text: the model writes one, the same for every number of threads") {
    const TemporaryFolder folder;
    const std::string source = folder / "bf16.gguf";
    REQUIRE(run_ingot({"convert", kCheckpoint, "-t", "BF16", "-o", source}).exit_code == 0);
    const auto quantize = [&](const std::string& output, const char* n_chunks, const char* n_threads) {
        return run_ingot({"quantize", source, "-t", "Q4_0", "--tensor-type", kOtherLayers, "--method", "gptq",
                          "--calibration-chunks", n_chunks, "--calibration-context", "32", "--threads",
                          n_threads, "-o", folder / output});
    };
    const Outcome one = quantize("one.gguf", "3", "1");
    CAPTURE(one.err);
    REQUIRE(one.exit_code == 0);
    CHECK(one.out.find("measured on a text by the model itself, 3 chunks of 32 tokens") != std::string::npos);
    REQUIRE(quantize("three.gguf", "3", "3").exit_code == 0);
    CHECK(read_file(folder / "one.gguf") == read_file(folder / "three.gguf"));
    REQUIRE(quantize("other.gguf", "2", "1").exit_code == 0);
    CHECK(checksums(folder / "other.gguf") != checksums(folder / "one.gguf"));

    // What the model wrote is likelier to it than what Tolstoy did: its perplexity on the held-out text
    // is 38.
    const Outcome measured = run_ingot(
        {"imatrix", source, "--chunks", "16", "--context", "128", "-o", folder / "own.gguf", "--json"});
    CAPTURE(measured.err);
    REQUIRE(measured.exit_code == 0);
    const auto at = measured.out.find("\"perplexity\":");
    REQUIRE(at != std::string::npos);
    const double perplexity = std::stod(measured.out.substr(at + 13));
    CHECK(perplexity > 10);
    CHECK(perplexity < 36);
    CHECK(measured.out.find("a text by the model itself") != std::string::npos);
}

TEST_CASE("gptq wants a text that is long enough") {
    const TemporaryFolder folder;
    const std::string text = folder / "text.txt", output = folder / "out.gguf";
    write_file(text, "Too short.");
    CHECK(run_ingot({"convert", kCheckpoint, "--calibration", text, "-o", output}).exit_code == 2);
    const Outcome outcome = run_gptq("convert", kCheckpoint, text, output, "1");
    CHECK(outcome.exit_code == 1);
    CHECK(outcome.err.find("less than one chunk of 64") != std::string::npos);
    CHECK(folder.names() == std::vector<std::string>{"text.txt"});
}
