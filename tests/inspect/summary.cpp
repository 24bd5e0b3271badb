#include "inspect/summary.h"

#include "tests/catch.h"
#include "tests/inspect/small_file.h"

using namespace ingot;
using namespace ingot::test;
using inspect::summarize;
using inspect::Summary;

namespace {

Metadata llama_metadata() {
    Metadata metadata;
    metadata.set("general.architecture", "llama");
    metadata.set("general.name", "small");
    metadata.set("general.file_type", uint32_t(15));
    metadata.set("llama.context_length", uint32_t(4096));
    metadata.set("llama.block_count", uint32_t(2));
    metadata.set("llama.embedding_length", uint32_t(512));
    metadata.set("llama.feed_forward_length", uint32_t(1024));
    metadata.set("llama.attention.head_count", uint32_t(8));
    metadata.set("llama.attention.head_count_kv", uint32_t(2));
    return metadata;
}

Summary summary_of(const std::vector<std::byte>& bytes) {
    // Views in the summary point into `bytes`, which the caller keeps.
    return summarize(GgufHeader::parse(bytes), bytes.size());
}

}  // namespace

TEST_CASE("summary: parameters, bytes by type and bits per weight come from the tensor list") {
    // Q4_K: 144 bytes for 256 elements; Q6_K: 210; F32: 4 for one.
    const auto bytes = encode_file(llama_metadata(), {{"a.weight", TensorType::Q4_K, {512, 3}},
                                                      {"b.weight", TensorType::F32, {512}},
                                                      {"c.weight", TensorType::Q6_K, {256, 2}},
                                                      {"d.weight", TensorType::Q4_K, {256}}});
    const Summary summary = summary_of(bytes);
    CHECK(summary.n_tensors == 4);
    CHECK(summary.n_parameters == 1536 + 512 + 512 + 256);
    CHECK(summary.tensor_bytes == 7 * 144 + 2048 + 2 * 210);
    CHECK(summary.bits_per_weight() == Approx(8.0 * (7 * 144 + 2048 + 420) / 2816));
    CHECK(summary.file_size_bytes == bytes.size());
    REQUIRE(summary.types.size() == 3);
    CHECK(summary.types[0].type == TensorType::F32);  // most bytes first
    CHECK(summary.types[1].type == TensorType::Q4_K);
    CHECK(summary.types[1].n_tensors == 2);
    CHECK(summary.types[1].n_elements == 1536 + 256);
    CHECK(summary.types[1].size_bytes == 7 * 144);
    CHECK(summary.types[2].type == TensorType::Q6_K);
}

TEST_CASE("summary: the model's dimensions come from the keys of its architecture") {
    const auto bytes = encode_file(llama_metadata(), {});
    const Summary summary = summary_of(bytes);
    CHECK(summary.architecture == "llama");
    CHECK(summary.name == "small");
    CHECK(summary.file_type_name == "Q4_K_M");
    CHECK(summary.context_length == 4096u);
    CHECK(summary.n_layers == 2u);
    CHECK(summary.n_embd == 512u);
    REQUIRE(summary.n_heads);
    CHECK(summary.n_heads->low == 8);
    CHECK(summary.n_kv_heads->high == 2);
    CHECK(summary.head_dim->low == 64);  // 512 / 8, as no key says otherwise
    CHECK(summary.bits_per_weight() == 0);
    CHECK_FALSE(summary.has_chat_template);
    CHECK_FALSE(summary.has_checksums);
}

TEST_CASE("summary: a number that differs from layer to layer is a range") {
    Metadata metadata = llama_metadata();
    metadata.set("llama.attention.head_count_kv", MetadataArray{std::vector<int32_t>{4, 0, 8}});
    const auto bytes = encode_file(metadata, {});
    const Summary summary = summary_of(bytes);
    REQUIRE(summary.n_kv_heads);
    CHECK(summary.n_kv_heads->low == 0);
    CHECK(summary.n_kv_heads->high == 8);
}

TEST_CASE("summary: keys of unexpected types count as absent instead of stopping the inspection") {
    Metadata metadata;
    metadata.set("general.architecture", "llama");
    metadata.set("general.name", uint32_t(7));
    metadata.set("general.file_type", "Q4_K_M");
    metadata.set("llama.context_length", -1.5f);
    metadata.set("llama.block_count", int32_t(-4));
    metadata.set("llama.attention.head_count", MetadataArray{std::vector<std::string>{"eight"}});
    metadata.set("llama.embedding_length", MetadataArray{std::vector<uint32_t>{1, 2}});
    metadata.set("tokenizer.ggml.tokens", "none");
    metadata.set("ingot.source.files", MetadataArray{std::vector<uint32_t>{1}});
    const auto bytes = encode_file(metadata, {});
    const Summary summary = summary_of(bytes);
    CHECK(summary.name.empty());
    CHECK_FALSE(summary.file_type);
    CHECK_FALSE(summary.context_length);
    CHECK_FALSE(summary.n_layers);
    CHECK_FALSE(summary.n_heads);
    CHECK_FALSE(summary.head_dim);
    CHECK_FALSE(summary.n_embd);
    CHECK_FALSE(summary.vocabulary_size);
    CHECK(summary.source_files.empty());
}

TEST_CASE("summary: no heads is no division by zero") {
    Metadata metadata = llama_metadata();
    metadata.set("llama.attention.head_count", uint32_t(0));
    const auto bytes = encode_file(metadata, {});
    CHECK_FALSE(summary_of(bytes).head_dim);
}

TEST_CASE("summary: file types by number, as llama.cpp counts them") {
    CHECK(inspect::file_type_name(0) == "F32");
    CHECK(inspect::file_type_name(1) == "F16");
    CHECK(inspect::file_type_name(7) == "Q8_0");
    CHECK(inspect::file_type_name(12) == "Q3_K_M");
    CHECK(inspect::file_type_name(18) == "Q6_K");
    CHECK(inspect::file_type_name(30) == "IQ4_XS");
    CHECK(inspect::file_type_name(32) == "BF16");
    CHECK(inspect::file_type_name(41) == "Q2_0");
    CHECK(inspect::file_type_name(5).empty());
    CHECK(inspect::file_type_name(1024).empty());
}
