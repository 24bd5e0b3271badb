// A split model, named by any of its shards, is for every command what the whole file is.
#include <simdjson.h>

#include <algorithm>

#include "tests/cli/process.h"

using namespace ingot::test;

namespace {

/// The demo model in one file and in three, made once.
struct Models {
    TemporaryFolder folder;
    std::string whole = folder / "whole.gguf";
    std::vector<std::string> shards;

    Models() {
        const std::string demo = INGOT_SOURCE_DIR "/tests/data/tolstoy-5m";
        REQUIRE(run_ingot({"convert", demo, "-t", "q8_0", "-o", whole}).exit_code == 0);
        REQUIRE(run_ingot({"convert", demo, "-t", "q8_0", "-o", folder / "m.gguf", "--split-max-size", "2MB"})
                    .exit_code == 0);
        for (const char* name : {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}) {
            shards.push_back(folder / name);
            REQUIRE(std::filesystem::exists(shards.back()));
        }
    }
};

const Models& models() {
    static const Models made;
    return made;
}

/// The standard output of a run that must succeed.
std::string output_of(const std::vector<std::string>& arguments) {
    const Outcome outcome = run_ingot(arguments);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome.out;
}

std::vector<std::string> checksums_of(const std::string& file) {
    simdjson::dom::parser parser;
    const simdjson::dom::element report =
        parser.parse(output_of({"inspect", file, "--metadata", "--json", "--full"}));
    std::vector<std::string> checksums;
    for (const simdjson::dom::element one :
         simdjson::dom::array(report["metadata"]["ingot.checksum.xxh3_128"]["value"]))
        checksums.emplace_back(std::string_view(one));
    return checksums;
}

}  // namespace

TEST_CASE("split: the same text, the same logits and the same ids from whichever shard") {
    const TemporaryFolder folder;
    write_file(folder / "ids.txt", "1 31 7 200 5 90 12 8");
    const auto text = [&](const std::string& model) {
        return output_of({"run", model, "-p", "The prince", "-n", "12", "--temperature", "0", "-q"});
    };
    const auto logits = [&](const std::string& model) {
        output_of(
            {"perplexity", model, "--token-ids", folder / "ids.txt", "--logits", folder / "logits.npy"});
        return read_file(folder / "logits.npy");
    };
    const auto ids = [&](const std::string& model) {
        return output_of({"tokenize", model, "-p", "War and Peace"});
    };
    for (const std::string& shard : models().shards) {
        CHECK(text(shard) == text(models().whole));
        CHECK(logits(shard) == logits(models().whole));
        CHECK(ids(shard) == ids(models().whole));
    }
}

TEST_CASE("split: quantized and exported as the whole file") {
    const TemporaryFolder folder;
    const auto quantized = [&](const std::string& model, const std::string& name) {
        output_of({"quantize", model, "-t", "q4_0", "--allow-requantize", "-o", folder / name, "--verify"});
        return checksums_of(folder / name);
    };
    const auto expected = quantized(models().whole, "whole.gguf");
    CHECK(expected.size() == 56);
    CHECK(quantized(models().shards[1], "shards.gguf") == expected);
    output_of({"export", models().whole, folder / "whole"});
    output_of({"export", models().shards[2], folder / "shards"});
    for (const std::string name : {"model.safetensors", "config.json", "tokenizer.model"})
        CHECK(read_file(folder.path() / "whole" / name) == read_file(folder.path() / "shards" / name));
    // A shard is an input too: it is not written over.
    const Outcome over = run_ingot({"quantize", models().shards[0], "-t", "q4_0", "--allow-requantize",
                                    "--force", "-o", models().shards[1]});
    CHECK(over.exit_code == 1);
    CHECK_THAT(over.err, ContainsSubstring("the same file as the input"));
}

TEST_CASE("split: inspect shows the whole model, or with --shard one file") {
    const std::string text = output_of({"inspect", models().shards[1]});
    CHECK_THAT(text, ContainsSubstring("5,246,208 in 56 tensors") && ContainsSubstring("in 3 shards") &&
                         ContainsSubstring("general.architecture") &&
                         ContainsSubstring("output_norm.weight"));
    simdjson::dom::parser parser;
    const simdjson::dom::element report = parser.parse(output_of({"inspect", models().shards[1], "--json"}));
    CHECK(uint64_t(report["summary"]["shards"]) == 3);
    CHECK(report["summary"]["shard"].is_null());
    CHECK(simdjson::dom::array(report["files"]).size() == 3);
    CHECK(std::string_view(report["files"].at(0)) == models().shards[0]);
    uint64_t last = 0;
    for (const simdjson::dom::element tensor : simdjson::dom::array(report["tensors"]))
        last = uint64_t(tensor["shard"]);
    CHECK(last == 2);

    const std::string alone = output_of({"inspect", models().shards[1], "--shard"});
    CHECK_THAT(alone, ContainsSubstring("2 of 3; the figures here are this shard's") &&
                          !ContainsSubstring("general.architecture"));
    const simdjson::dom::element one =
        parser.parse(output_of({"inspect", models().shards[1], "--shard", "--json"}));
    CHECK(uint64_t(one["summary"]["shard"]) == 1);
    CHECK(simdjson::dom::array(one["files"]).size() == 1);
}

TEST_CASE("split: verify checks all shards and names the damaged one; a missing one is an error everywhere") {
    const TemporaryFolder folder;
    std::vector<std::string> copies;
    for (const std::string& shard : models().shards) {
        copies.push_back(folder / std::filesystem::path(shard).filename().string());
        std::filesystem::copy_file(shard, copies.back());
    }
    CHECK_THAT(output_of({"verify", copies[2]}), ContainsSubstring("56 tensors in 3 shards"));
    CHECK_THAT(output_of({"verify", copies[2], "--shard"}), !ContainsSubstring("56 tensors"));
    std::string bytes = read_file(copies[1]);
    bytes.back() ^= 1;
    write_file(copies[1], bytes);
    const Outcome damaged = run_ingot({"verify", copies[0], "--json"});
    CHECK(damaged.exit_code == 1);
    simdjson::dom::parser parser;
    const simdjson::dom::element report = parser.parse(damaged.out);
    REQUIRE(simdjson::dom::array(report["damaged"]).size() == 1);
    CHECK(std::string_view(report["damaged"].at(0)["file"]) == copies[1]);
    CHECK_THAT(run_ingot({"verify", copies[0]}).out, ContainsSubstring("of shard"));
    CHECK(run_ingot({"verify", copies[0], "--shard"}).exit_code == 0);

    std::filesystem::remove(copies[2]);
    const std::vector<std::vector<std::string>> commands = {
        {"inspect", copies[0]},
        {"verify", copies[0]},
        {"run", copies[0], "-n", "1"},
        {"tokenize", copies[0], "-p", "x"},
        {"bench", copies[0]},
        {"quantize", copies[0], "-t", "q4_0", "-o", folder / "out.gguf"},
        {"export", copies[0], folder / "out"},
    };
    for (const auto& command : commands) {
        const Outcome outcome = run_ingot(command);
        CAPTURE(command.front());
        CHECK(outcome.exit_code == 1);
        CHECK_THAT(outcome.err, ContainsSubstring("missing beside it: m-00003-of-00003.gguf; fetch all"));
    }
    CHECK(folder.names().size() == 2);
}
