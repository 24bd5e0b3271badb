#include "inspect/lint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "format/decode.h"
#include "inspect/verify.h"
#include "tests/catch.h"
#include "tests/inspect/small_file.h"

using namespace ingot;
using namespace ingot::test;
using namespace ingot::inspect;

namespace {

Metadata good_metadata() {
    Metadata metadata;
    metadata.set("general.architecture", "llama");
    metadata.set("general.file_type", uint32_t(0));
    metadata.set("llama.block_count", uint32_t(2));
    metadata.set("llama.context_length", uint32_t(128));
    metadata.set("llama.embedding_length", uint32_t(32));
    metadata.set("tokenizer.ggml.model", "llama");
    metadata.set("tokenizer.ggml.tokens", MetadataArray{std::vector<std::string>{"<s>", "a", "b", "c"}});
    metadata.set("tokenizer.ggml.bos_token_id", uint32_t(0));
    return metadata;
}

const std::vector<TensorPlan> kPlans = {{"token_embd.weight", TensorType::F32, {32, 4}},
                                        {"blk.0.attn_q.weight", TensorType::F32, {32, 32}},
                                        {"blk.1.attn_q.weight", TensorType::F32, {32, 32}}};

/// "code subject" of what lint() says about a file.
std::vector<std::string> codes_of(const std::vector<std::byte>& bytes) {
    const TemporaryFolder folder;
    write_bytes(folder / "t.gguf", bytes);
    std::vector<std::string> codes;
    for (const Finding& finding : lint(GgufModel(folder / "t.gguf")))
        codes.push_back(std::string(finding.code) + " " + finding.subject);
    return codes;
}

std::vector<std::string> codes_with(const Metadata& metadata, const std::vector<TensorPlan>& plans = kPlans) {
    return codes_of(encode_file_with_checksums(metadata, plans));
}

using Codes = std::vector<std::string>;

/// A file of one F32 matrix of 32 columns.
std::string matrix_file(const TemporaryFolder& folder, const std::vector<float>& values) {
    std::vector<std::byte> bytes =
        encode_file({}, {{"m", TensorType::F32, {32, uint64_t(values.size()) / 32}}});
    std::memcpy(bytes.data() + GgufHeader::parse(bytes).tensors()[0].offset, values.data(),
                values.size() * sizeof(float));
    const std::string path = folder / "m.gguf";
    write_bytes(path, bytes);
    return path;
}

std::vector<Finding> value_findings(const std::vector<float>& values) {
    const TemporaryFolder folder;
    return verify(GgufModel(matrix_file(folder, values)), {.values = true, .n_threads = 1}).findings;
}

}  // namespace

TEST_CASE("lint: nothing to say about a file that is as it should be") {
    CHECK(codes_with(good_metadata()).empty());
}

TEST_CASE("lint: keys that are missing or of another type") {
    Metadata metadata = good_metadata();
    metadata.erase("llama.context_length");
    CHECK(codes_with(metadata) == Codes{"missing-key llama.context_length"});
    metadata = good_metadata();
    metadata.erase("general.architecture");
    CHECK(codes_with(metadata) == Codes{"missing-key general.architecture"});
    metadata = good_metadata();
    metadata.set("llama.embedding_length", "32");
    CHECK(codes_with(metadata) == Codes{"key-type llama.embedding_length"});
    metadata.set("llama.embedding_length", uint32_t(0));
    CHECK(codes_with(metadata) == Codes{"key-type llama.embedding_length"});
}

TEST_CASE("lint: blocks that the tensors do not have, and tensors of blocks that are not counted") {
    Metadata metadata = good_metadata();
    metadata.set("llama.block_count", uint32_t(3));
    CHECK(codes_with(metadata) == Codes{"block-count llama.block_count"});
    metadata.set("llama.block_count", uint32_t(1));
    CHECK(codes_with(metadata) == Codes{"block-count llama.block_count"});
}

TEST_CASE("lint: a file type that no tensor has, or that has no meaning") {
    Metadata metadata = good_metadata();
    metadata.set("general.file_type", uint32_t(15));  // Q4_K_M
    CHECK(codes_with(metadata) == Codes{"file-type general.file_type"});
    metadata.set("general.file_type", uint32_t(999));
    CHECK(codes_with(metadata) == Codes{"file-type general.file_type"});
}

TEST_CASE("lint: a vocabulary whose parts do not fit each other") {
    Metadata metadata = good_metadata();
    metadata.set("tokenizer.ggml.scores", MetadataArray{std::vector<float>{1, 2, 3}});
    metadata.set("tokenizer.ggml.eos_token_id", uint32_t(4));
    metadata.set("tokenizer.ggml.padding_token_id", "a");
    CHECK(codes_with(metadata) == Codes{"vocabulary-length tokenizer.ggml.scores",
                                        "special-token tokenizer.ggml.eos_token_id",
                                        "key-type tokenizer.ggml.padding_token_id"});
    metadata = good_metadata();
    metadata.set("tokenizer.ggml.tokens", MetadataArray{std::vector<std::string>{"a", "b", "a", "d", "a"}});
    CHECK(codes_with(metadata) ==
          Codes{"duplicate-token tokenizer.ggml.tokens", "vocabulary-length token_embd.weight"});
}

TEST_CASE("lint: names that llama.cpp cannot read, tensors without elements") {
    std::vector<TensorPlan> plans = kPlans;
    plans.push_back({"none", TensorType::F32, {0}});
    CHECK(codes_with(good_metadata(), plans) == Codes{"empty-tensor none"});
}

TEST_CASE("lint: gaps, bytes behind the end, padding that is not zero, no checksums") {
    std::vector<std::byte> bytes = encode_file(good_metadata(), kPlans);
    CHECK(codes_of(bytes) == Codes{"no-checksums t.gguf"});
    bytes = encode_file_with_checksums(good_metadata(), kPlans);
    bytes.resize(bytes.size() + 5);
    CHECK(codes_of(bytes) == Codes{"trailing-bytes t.gguf"});
    std::vector<TensorPlan> plans = kPlans;
    plans.push_back({"odd", TensorType::F32, {3}});
    bytes = encode_file_with_checksums(good_metadata(), plans);
    CHECK(codes_of(bytes).empty());
    bytes.back() = std::byte{1};
    CHECK(codes_of(bytes) == Codes{"padding t.gguf"});
    bytes.resize(bytes.size() - 20);
    CHECK(codes_of(bytes) == Codes{"short-padding t.gguf"});
}

TEST_CASE("template: what parses, and what does not, with its line") {
    for (const char* good :
         {"", "plain } text %", "{{ a }}", "{%- if a -%}x{%- elif b %}y{% else %}z{% endif %}",
          "{% for m in messages %}{{ m['%}'] + \"}}\" + 'it\\'s' }}{% else %}{% endfor %}",
          "{% set x = {'a': [1, 2]} %}{{ {'b': {}}['b'] }}", "{% set x %}text{% endset %}", "{# {% if #}",
          "{% raw %}{{ {% if %}{% endraw %}", "{% macro f(a) %}{% endmacro %}",
          "{% generation %}x{% endgeneration %}"}) {
        CAPTURE(good);
        CHECK(template_problem(good) == "");
    }
    const std::pair<const char*, const char*> bad[] = {
        {"a\nb{{ c", "line 2: }} is missing"},
        {"{% if a %}", "line 1: {% if %} is never closed"},
        {"{% endif %}", "line 1: {% endif %} closes nothing"},
        {"{% for a in b %}\n{% endif %}", "line 2: {% endif %} where {% endfor %} must be, for line 1"},
        {"{{ (a] }}", "line 1: ']' closes nothing"},
        {"{{ (a }}", "line 1: '}' closes nothing"},
        {"{{ 'a }}", "line 1: a string begins with ' and never ends"},
        {"{% else %}", "line 1: {% else %} belongs to nothing"},
        {"{# a", "line 1: a comment is never closed"},
        {"{{ }}", "line 1: {{ }} holds nothing"},
        {"{% raw %}", "line 1: {% raw %} is never closed"},
    };
    for (const auto& [text, expected] : bad) {
        CAPTURE(text);
        CHECK(template_problem(text).substr(0, std::strlen(expected)) == expected);
    }
    Metadata metadata = good_metadata();
    metadata.set("tokenizer.chat_template", "{% if x %}");
    CHECK(codes_with(metadata) == Codes{"chat-template tokenizer.chat_template"});
}

TEST_CASE("template: deep nesting and a million statements take no time and no stack") {
    CHECK_THAT(template_problem("{{" + std::string(1000000, '(')), ContainsSubstring("256 deep"));
    std::string many;
    for (int i = 0; i < 200000; ++i) many += "{% if a %}\n{% endif %}";
    CHECK(template_problem(many).empty());
}

TEST_CASE("values: NaN and infinities, with the first place") {
    std::vector<float> values(32 * 32, 0.5f);
    values[32 * 3 + 7] = std::numeric_limits<float>::quiet_NaN();
    values[32 * 5] = std::numeric_limits<float>::infinity();
    const auto findings = value_findings(values);
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].code == "nan");
    CHECK(findings[0].severity == Severity::Error);
    CHECK_THAT(findings[0].message, ContainsSubstring("row 3, column 7") && ContainsSubstring("1 infinite"));
}

TEST_CASE("values: a matrix of zeros; one block far beyond the others; the same data twice") {
    auto findings = value_findings(std::vector<float>(32 * 32, 0));
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].code == "all-zero");

    std::vector<float> values(32 * 32, 0.01f);
    values[32 * 9] = 100;  // 10,000 times the others
    CHECK(value_findings(values).empty());
    values[32 * 9] = 5000;  // 500,000 times
    findings = value_findings(values);
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].code == "absurd-scale");
    CHECK_THAT(findings[0].message,
               ContainsSubstring("1 of 16 blocks") && ContainsSubstring("row 8, column 0"));

    const TemporaryFolder folder;
    std::vector<std::byte> bytes =
        encode_file({}, {{"a", TensorType::I8, {4096}}, {"b", TensorType::I8, {4096}}});
    const GgufHeader header = GgufHeader::parse(bytes);
    std::copy_n(bytes.begin() + long(header.tensors()[0].offset), 4096,
                bytes.begin() + long(header.tensors()[1].offset));
    write_bytes(folder / "twice.gguf", bytes);
    findings = verify(GgufModel(folder / "twice.gguf"), {.values = true, .n_threads = 2}).findings;
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].code == "duplicate-data");
    CHECK(findings[0].subject == "b");
}

TEST_CASE("values: a scale whose exponent was damaged is found in a quantized tensor") {
    const TemporaryFolder folder;
    std::vector<std::byte> bytes = encode_file({}, {{"q", TensorType::Q8_0, {32, 64}}});
    const uint64_t offset = GgufHeader::parse(bytes).tensors()[0].offset;
    for (int block = 0; block < 64; ++block) {
        bytes[offset + 34 * block] = std::byte{0x00};
        bytes[offset + 34 * block + 1] = std::byte{0x10};  // 2^-11
    }
    bytes[offset + 34 * 40 + 1] = std::byte{0x50};  // 2^5
    write_bytes(folder / "q.gguf", bytes);
    const auto findings = verify(GgufModel(folder / "q.gguf"), {.values = true}).findings;
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].code == "absurd-scale");
    CHECK_THAT(findings[0].message, ContainsSubstring("row 40"));
}

TEST_CASE("values: what the scales tell is what decoding tells, for every layout") {
    const TemporaryFolder folder;
    uint32_t state = 1;
    for (const TensorTypeInfo& type : tensor_types()) {
        if (!type.decodable) continue;
        CAPTURE(type.name);
        constexpr uint64_t kRows = 4096 + 7;
        const uint64_t n_columns = type.block_elements == 1 ? 3 : type.block_elements;
        std::vector<std::byte> bytes = encode_file({}, {{"t", type.type, {n_columns, kRows}}});
        const TensorInfo tensor = GgufHeader::parse(bytes).tensors()[0];
        // Any bits at all: NaN and infinity are among them wherever the layout has them.
        for (uint64_t i = 0; i < tensor.size_bytes; ++i) {
            state = state * 1664525 + 1013904223;
            bytes[tensor.offset + i] = std::byte(state >> 24);
        }
        write_bytes(folder / "t.gguf", bytes);
        std::vector<float> values(tensor.n_elements);
        decode_row(type.type, bytes.data() + tensor.offset, values.data(), values.size());
        const uint64_t n_nan = uint64_t(std::ranges::count_if(values, [](float x) { return std::isnan(x); }));
        const uint64_t n_infinite =
            uint64_t(std::ranges::count_if(values, [](float x) { return std::isinf(x); }));
        const auto first =
            std::ranges::find_if(values, [](float x) { return !std::isfinite(x); }) - values.begin();
        const auto findings = verify(GgufModel(folder / "t.gguf"), {.values = true}).findings;
        const auto odd = std::ranges::find_if(findings, [](const Finding& finding) {
            return finding.code == "nan" || finding.code == "infinity";
        });
        REQUIRE((odd != findings.end()) == (n_nan + n_infinite > 0));
        if (odd == findings.end()) continue;
        CHECK((odd->code == "nan") == (n_nan > 0));
        CHECK_THAT(odd->message,
                   ContainsSubstring(
                       fmt::format("{} of {} values are NaN and {} infinite, the first at row {}, column {}",
                                   grouped(n_nan), grouped(values.size()), grouped(n_infinite),
                                   grouped(uint64_t(first) / n_columns), uint64_t(first) % n_columns)));
    }
}

TEST_CASE("values: scales that are not zero, and codes that are") {
    const TemporaryFolder folder;
    std::vector<std::byte> bytes = encode_file({}, {{"q", TensorType::Q8_0, {32, 64}}});
    const uint64_t offset = GgufHeader::parse(bytes).tensors()[0].offset;
    const auto codes = [&] {
        write_bytes(folder / "q.gguf", bytes);
        std::vector<std::string> result;
        for (const Finding& finding : verify(GgufModel(folder / "q.gguf"), {.values = true}).findings)
            result.emplace_back(finding.code);
        return result;
    };
    std::fill_n(bytes.begin() + long(offset), 64 * 34, std::byte{0});
    for (int block = 0; block < 64; ++block) bytes[offset + 34 * block + 1] = std::byte{0x10};
    CHECK(codes() == Codes{"all-zero"});
    bytes[offset + 34 * 63 + 33] = std::byte{1};
    CHECK(codes().empty());
}
