// Section 4 of SPEC.md, read and tried: the table of types, the diagrams and the example of every layout.
#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "format/decode.h"
#include "format/tensor_type.h"
#include "tests/catch.h"

using namespace ingot;

namespace {

struct Example {
    std::vector<uint8_t> bytes;
    std::vector<float> values;
};

std::vector<std::string> lines_of(const std::string& path) {
    std::ifstream file(INGOT_SOURCE_DIR + ("/" + path));
    REQUIRE(file.is_open());
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

/// The fenced blocks ```example NAME of SPEC.md: hex, a line "=", values; "#" starts a comment.
std::multimap<std::string, Example> examples() {
    const std::string opening = "```example ";
    std::multimap<std::string, Example> found;
    Example* example = nullptr;
    bool in_values = false;
    for (std::string line : lines_of("SPEC.md")) {
        if (line.starts_with(opening)) {
            example = &found.emplace(line.substr(opening.size()), Example{})->second;
            in_values = false;
            continue;
        }
        if (line == "```") example = nullptr;
        if (example == nullptr) continue;
        line = line.substr(0, line.find('#'));
        if (line == "=") {
            in_values = true;
            continue;
        }
        std::istringstream words(line);
        for (std::string word; words >> word;) {
            char* end = nullptr;
            if (in_values) {
                example->values.push_back(std::strtof(word.c_str(), &end));
            } else {
                REQUIRE(word.size() == 2);
                example->bytes.push_back(uint8_t(std::strtoul(word.c_str(), &end, 16)));
            }
            INFO(word);
            REQUIRE(*end == '\0');
        }
    }
    return found;
}

/// The floats' bits, so that comparing them tells -0 from 0 and NaN equals itself.
std::vector<uint32_t> bits(const std::vector<float>& values) {
    std::vector<uint32_t> result;
    for (float value : values) result.push_back(std::bit_cast<uint32_t>(value));
    return result;
}

std::vector<float> decoded(TensorType type, const std::vector<uint8_t>& bytes) {
    const size_t n_elements = bytes.size() / info(type).block_bytes * info(type).block_elements;
    std::vector<float> values(n_elements);
    decode_row(type, bytes.data(), values.data(), n_elements);
    return values;
}

}  // namespace

TEST_CASE("SPEC: the table of types is the program's") {
    std::vector<std::string> in_spec;
    bool in_section = false;
    for (const std::string& line : lines_of("SPEC.md")) {
        if (line.starts_with("### ")) in_section = line == "### 4.1 Types";
        if (in_section && line.starts_with("| ") && std::isdigit(static_cast<unsigned char>(line[2]))) {
            in_spec.push_back(line);
        }
    }
    std::vector<std::string> in_program;
    for (const TensorTypeInfo& type : tensor_types()) {
        std::ostringstream row;
        row << "| " << uint32_t(type.type) << " | " << type.name << " | " << type.block_elements << " | "
            << type.block_bytes << " | " << type.bits_per_element() << " | "
            << (type.decodable ? "yes" : "no") << " |";
        in_program.push_back(row.str());
    }
    CHECK(in_spec == in_program);
}

TEST_CASE("SPEC: every decoded type has one example, and its bytes decode to its values") {
    const auto found = examples();
    for (const TensorTypeInfo& type : tensor_types()) {
        const std::string name(type.name);
        INFO(name);
        REQUIRE(found.count(name) == (type.decodable ? 1 : 0));
        if (!type.decodable) continue;
        const Example& example = found.find(name)->second;
        REQUIRE(!example.bytes.empty());
        REQUIRE(example.bytes.size() % type.block_bytes == 0);
        CHECK(bits(decoded(type.type, example.bytes)) == bits(example.values));
    }
    for (const auto& [name, example] : found) {
        INFO(name);
        CHECK(parse_tensor_type(name).has_value());
    }
}

TEST_CASE("SPEC: no bit of an example can change without changing its values") {
    // In these, some different bytes mean the same: the two zeros of 4-bit floats, the unused top bit of
    // NVFP4's scales, 256 bytes for 243 groups of five digits.
    const std::set<std::string> redundant = {"MXFP4", "NVFP4", "TQ1_0"};
    for (const auto& [name, example] : examples()) {
        const TensorType type = parse_tensor_type(name).value();
        if (!info(type).quantized) continue;
        INFO(name);
        std::vector<size_t> silent_bits;
        for (size_t bit = 0; bit < 8 * example.bytes.size(); ++bit) {
            std::vector<uint8_t> changed = example.bytes;
            changed[bit / 8] = uint8_t(changed[bit / 8] ^ (1 << (bit % 8)));
            if (bits(decoded(type, changed)) == bits(example.values)) silent_bits.push_back(bit);
        }
        if (redundant.contains(name)) {
            CHECK(silent_bits.size() * 12 < 8 * example.bytes.size());
        } else {
            CHECK(silent_bits == std::vector<size_t>{});
        }
    }
}

TEST_CASE("SPEC: the diagram of a layout is the one in its header") {
    std::map<std::string, std::vector<std::string>> indented;  // section -> its indented lines
    std::string section;
    for (const std::string& line : lines_of("SPEC.md")) {
        if (line.starts_with("### ")) section = line.substr(4);
        if (line.starts_with("## ")) section.clear();
        if (line.starts_with("    ")) indented[section].push_back(line);
    }
    int n_layouts = 0;
    for (const TensorTypeInfo& type : tensor_types()) {
        if (!type.decodable || !type.quantized) continue;
        const std::string name(type.name);
        std::string header = "format/blocks/" + name + ".h";
        for (char& character : header) character = char(std::tolower(static_cast<unsigned char>(character)));
        std::vector<std::string> diagram;
        for (const std::string& line : lines_of(header)) {
            if (line.starts_with("//     ")) diagram.push_back(line.substr(3));
        }
        INFO(name);
        REQUIRE(diagram.size() > 5);
        CHECK(indented[name] == diagram);
        ++n_layouts;
    }
    CHECK(n_layouts >= 18);
}
