// ingot inspect and ingot verify, as programs.
#include <simdjson.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "format/gguf.h"
#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot::test;

namespace {

/// Encoded pieces of a GGUF file.
std::string u32(uint32_t number) {
    return {reinterpret_cast<const char*>(&number), sizeof number};
}
std::string u64(uint64_t number) {
    return {reinterpret_cast<const char*>(&number), sizeof number};
}
std::string text(const std::string& bytes) {
    return u64(bytes.size()) + bytes;
}
std::string header(uint64_t n_tensors, uint64_t n_keys) {
    return "GGUF" + u32(3) + u64(n_tensors) + u64(n_keys);
}

}  // namespace

TEST_CASE("inspect: the summary, the metadata and the tensors of the demo model") {
    const Outcome outcome = run_ingot({"inspect", demo_model("Q4_0")});
    REQUIRE(outcome.exit_code == 0);
    CHECK(outcome.err.empty());
    for (const char* part : {"llama", "5,246,208 in 56 tensors", "256 tokens", "6 layers", "2,048 tokens",
                             "XXH3-128", "Bytes by tensor type", "Q4_0", "tokenizer.ggml.tokens",
                             "2,048 in all", "blk.5.ffn_down.weight", "768 × 256"}) {
        CHECK_THAT(outcome.out, ContainsSubstring(part));
    }
}

TEST_CASE("inspect: --metadata and --tensors show only that part") {
    const Outcome metadata = run_ingot({"inspect", demo_model("Q4_0"), "--metadata"});
    CHECK_THAT(metadata.out, ContainsSubstring("general.architecture"));
    CHECK_THAT(metadata.out, !ContainsSubstring("blk.0."));
    CHECK_THAT(metadata.out, !ContainsSubstring("bits per weight"));
    const Outcome tensors = run_ingot({"inspect", demo_model("Q4_0"), "--tensors"});
    CHECK_THAT(tensors.out, ContainsSubstring("blk.0.attn_q.weight"));
    CHECK_THAT(tensors.out, !ContainsSubstring("general.architecture"));
}

TEST_CASE("inspect: no line of the default output is longer than 100 columns when piped") {
    std::istringstream lines(run_ingot({"inspect", demo_model("Q4_0")}).out);
    for (std::string line; std::getline(lines, line);) {
        // Continuation bytes of UTF-8 take no column.
        const auto columns =
            std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
        CAPTURE(line);
        CHECK(columns <= 100);
    }
}

TEST_CASE("inspect: --full shows arrays whole") {
    CHECK_THAT(run_ingot({"inspect", demo_model("Q4_0"), "--metadata", "--full"}).out,
               !ContainsSubstring("in all]"));
}

TEST_CASE("inspect --json: valid JSON that agrees with the file, whole with --full") {
    for (const bool full : {false, true}) {
        std::vector<std::string> arguments = {"inspect", demo_model("Q4_0"), "--json"};
        if (full) arguments.push_back("--full");
        const Outcome outcome = run_ingot(arguments);
        REQUIRE(outcome.exit_code == 0);
        simdjson::dom::parser parser;
        const simdjson::dom::element report = parser.parse(outcome.out);
        CHECK(uint64_t(report["ingot_inspect"]) == 1);
        CHECK(uint64_t(report["summary"]["parameters"]) == 5246208);
        CHECK(uint64_t(report["summary"]["layers"]) == 6);
        CHECK(std::string_view(report["summary"]["file_type"]) == "Q4_0");
        CHECK(bool(report["summary"]["checksums"]));
        CHECK(report["summary"]["shards"].is_null());
        CHECK(uint64_t(report["metadata"]["llama.context_length"]["value"]) == 256);
        const simdjson::dom::element tokens = report["metadata"]["tokenizer.ggml.tokens"];
        CHECK(uint64_t(tokens["count"]) == 2048);
        CHECK(simdjson::dom::array(tokens["value"]).size() == (full ? 2048u : 8u));

        const ingot::GgufFile file(demo_model("Q4_0"));
        size_t i = 0;
        for (const simdjson::dom::element tensor : simdjson::dom::array(report["tensors"])) {
            const ingot::TensorInfo& expected = file.header().tensors().at(i++);
            CHECK(std::string_view(tensor["name"]) == expected.name);
            CHECK(std::string_view(tensor["type"]) == ingot::name(expected.type));
            CHECK(uint64_t(tensor["offset"]) == expected.offset);
            CHECK(uint64_t(tensor["size_bytes"]) == expected.size_bytes);
            CHECK(uint64_t(simdjson::dom::array(tensor["shape"]).at(0)) == expected.shape[0]);
        }
        CHECK(i == file.header().tensors().size());
    }
}

TEST_CASE("inspect --json: keys and texts that JSON must escape") {
    const TemporaryFolder folder;
    const std::string file = folder / "odd.gguf";
    const std::string key = "odd \"key\"\\";
    const std::string value = "tab\t quote\" bell\x07 bad\xff end";
    write_file(file, header(0, 1) + text(key) + u32(8) + text(value));
    const Outcome outcome = run_ingot({"inspect", file, "--json"});
    REQUIRE(outcome.exit_code == 0);
    simdjson::dom::parser parser;
    const simdjson::dom::element report = parser.parse(outcome.out);
    CHECK(std::string_view(report["metadata"][key]["value"]) == "tab\t quote\" bell\x07 bad\xef\xbf\xbd end");
    CHECK_THAT(run_ingot({"inspect", file}).out, ContainsSubstring("bell\\x07 bad\\xff end"));
}

TEST_CASE("inspect: a file without tensors is a vocabulary, not an error") {
    const TemporaryFolder folder;
    const std::string file = folder / "vocabulary.gguf";
    write_file(file, header(0, 1) + text("general.architecture") + u32(8) + text("llama"));
    const Outcome outcome = run_ingot({"inspect", file});
    CHECK(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("no tensors"));
}

TEST_CASE("what is no GGUF file is refused with its name and one message, by inspect and verify") {
    const TemporaryFolder folder;
    struct Hostile {
        std::string name, bytes;
    };
    const std::vector<Hostile> files = {
        {"empty", ""},
        {"magic only", "GGUF"},
        {"other magic", "GGML" + u32(3) + u64(0) + u64(0)},
        {"version 1", "GGUF" + u32(1) + u64(0) + u64(0)},
        {"big endian", "GGUF" + std::string("\0\0\0\3", 4) + u64(0) + u64(0)},
        {"a million keys in 24 bytes", header(0, 1000000)},
        {"negative counts", header(uint64_t(-1), uint64_t(-1))},
        {"a key that is too long", header(0, 1) + u64(uint64_t(1) << 40) + "key"},
        {"an unknown value type", header(0, 1) + text("key") + u32(99) + u64(0)},
        {"an array of 2^61 strings", header(0, 1) + text("key") + u32(9) + u32(8) + u64(uint64_t(1) << 61)},
        {"a tensor of unknown type", header(1, 0) + text("t") + u32(1) + u64(32) + u32(31) + u64(0)},
        {"a tensor past the end", header(1, 0) + text("t") + u32(1) + u64(1 << 20) + u32(0) + u64(0)},
        {"2^32 x 2^32 elements", header(1, 0) + text("t") + u32(2) + u64(uint64_t(1) << 32) +
                                     u64(uint64_t(1) << 32) + u32(0) + u64(0)},
    };
    for (const Hostile& hostile : files) {
        const std::string path = folder / (hostile.name + ".gguf");
        write_file(path, hostile.bytes);
        for (const char* command : {"inspect", "verify"}) {
            CAPTURE(hostile.name, command);
            const Outcome outcome = run_ingot({command, path});
            CHECK(outcome.exit_code == 1);
            CHECK(outcome.exit_code < 128);
            CHECK(outcome.out.empty());
            CHECK_THAT(outcome.err, ContainsSubstring("ingot: error: "));
            CHECK_THAT(outcome.err, ContainsSubstring(path));
            CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
        }
    }
}

TEST_CASE("a folder, a FIFO and a device are refused at once") {
    const TemporaryFolder folder;
    const std::string fifo = folder / "fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    for (const std::string& path : {folder / "", fifo, std::string("/dev/zero")}) {
        for (const char* command : {"inspect", "verify"}) {
            CAPTURE(path, command);
            const Outcome outcome = run_ingot({command, path});
            CHECK(outcome.exit_code == 1);
            CHECK_THAT(outcome.err, ContainsSubstring(path));
        }
    }
}

TEST_CASE("verify: the demo model is as it was written") {
    const Outcome outcome = run_ingot({"verify", demo_model("Q4_0")});
    CHECK(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("56 tensors"));
    CHECK_THAT(outcome.out, ContainsSubstring("all as written"));
}

TEST_CASE("verify: one flipped byte names the right tensor and exits with 1") {
    const TemporaryFolder folder;
    const std::string path = folder / "damaged.gguf";
    std::string bytes = read_file(demo_model("Q4_0"));
    const ingot::GgufFile file(demo_model("Q4_0"));
    const ingot::TensorInfo& tensor = *file.header().find_tensor("blk.3.ffn_up.weight");
    bytes[tensor.offset + tensor.size_bytes / 2] ^= 0x01;
    write_file(path, bytes);

    const Outcome outcome = run_ingot({"verify", path});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.out, ContainsSubstring("blk.3.ffn_up.weight"));
    CHECK_THAT(outcome.out, !ContainsSubstring("blk.3.ffn_gate.weight"));
    CHECK_THAT(outcome.err, ContainsSubstring("1 of 56 tensors do"));

    const Outcome json = run_ingot({"verify", path, "--json"});
    CHECK(json.exit_code == 1);
    simdjson::dom::parser parser;
    const simdjson::dom::element report = parser.parse(json.out);
    CHECK_FALSE(bool(report["ok"]));
    REQUIRE(simdjson::dom::array(report["damaged"]).size() == 1);
    const simdjson::dom::element damaged = simdjson::dom::array(report["damaged"]).at(0);
    CHECK(std::string_view(damaged["name"]) == "blk.3.ffn_up.weight");
    CHECK(uint64_t(damaged["offset"]) == tensor.offset);
    CHECK(std::string_view(damaged["expected"]) != std::string_view(damaged["found"]));
}

TEST_CASE("verify and inspect: a truncated file is refused with the number of missing bytes") {
    const TemporaryFolder folder;
    const std::string path = folder / "short.gguf";
    const std::string bytes = read_file(demo_model("Q4_0"));
    write_file(path, bytes.substr(0, bytes.size() - 100000));
    for (const char* command : {"verify", "inspect"}) {
        const Outcome outcome = run_ingot({command, path});
        CHECK(outcome.exit_code == 1);
        CHECK(outcome.out.empty());
        CHECK_THAT(outcome.err, ContainsSubstring("but the file has") && ContainsSubstring("incomplete"));
        CHECK_THAT(outcome.err, ContainsSubstring(path));
    }
}

TEST_CASE("verify: a file without checksums passes, with a note that says so") {
    const TemporaryFolder folder;
    const std::string path = folder / "plain.gguf";
    std::string file = header(1, 0) + text("t") + u32(1) + u64(8) + u32(0) + u64(0);
    file.resize((file.size() + 31) / 32 * 32 + 32);
    write_file(path, file);
    const Outcome outcome = run_ingot({"verify", path});
    CHECK(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("no checksums"));
    simdjson::dom::parser parser;
    const std::string json = run_ingot({"verify", path, "--json"}).out;
    CHECK_FALSE(bool(parser.parse(json)["checksums"]));
}
