// The container examples of SPEC.md, section 1, as a reader of that page would copy them: indented lines of
// hex, each perhaps followed by a remark. They must be what the writer writes and what the reader reads.
#include <fstream>
#include <sstream>

#include "format/gguf_writer.h"
#include "tests/catch.h"
#include "tests/format/gguf_bytes.h"

namespace ingot::test {
namespace {

/// The indented block that follows the line which starts with `introduction`.
std::vector<std::byte> example_after(const std::string& introduction) {
    std::ifstream spec(std::string(INGOT_SOURCE_DIR) + "/SPEC.md");
    REQUIRE(spec.good());
    std::string line;
    while (std::getline(spec, line) && !line.starts_with(introduction)) {
    }
    while (std::getline(spec, line) && !line.starts_with("    ")) {
    }
    std::vector<std::byte> bytes;
    for (; line.starts_with("    "); std::getline(spec, line)) {
        std::istringstream words(line);
        std::string word;
        while (words >> word && word.size() == 2 && word.find_first_not_of("0123456789abcdef") == word.npos) {
            bytes.push_back(std::byte(std::stoi(word, nullptr, 16)));
        }
    }
    return bytes;
}

/// A file's bytes behind its header of 24 bytes, without padding.
std::vector<std::byte> metadata_bytes(Metadata metadata, size_t size_bytes) {
    const std::vector<std::byte> header = GgufLayout(std::move(metadata), {}).encode_header();
    REQUIRE(header.size() >= 24 + size_bytes);
    return {header.begin() + 24, header.begin() + 24 + ptrdiff_t(size_bytes)};
}

}  // namespace

TEST_CASE("the smallest file of SPEC.md is one", "[spec]") {
    const std::vector<std::byte> bytes = example_after("The smallest file");
    REQUIRE(bytes.size() == 24);
    CHECK(bytes == GgufBytes(0, 0).bytes());
    const GgufHeader header = GgufHeader::parse(bytes);
    CHECK(header.version() == 3);
    CHECK(header.metadata().empty());
    CHECK(header.tensors().empty());
}

TEST_CASE("the keys of SPEC.md are what is written", "[spec]") {
    Metadata alignment, strings;
    alignment.set("general.alignment", uint32_t(64));
    strings.set("a", MetadataArray{std::vector<std::string>{"x", ""}});
    const std::vector<std::byte> alignment_example = example_after("Example: the key `general.alignment`");
    const std::vector<std::byte> strings_example = example_after("Example: the key `a`");
    REQUIRE(alignment_example.size() == 33);
    REQUIRE(strings_example.size() == 42);
    CHECK(metadata_bytes(alignment, 33) == alignment_example);
    CHECK(metadata_bytes(strings, 42) == strings_example);
}

}  // namespace ingot::test
