// HOSTILE_INPUT rows 39 to 41: what a header must not say about a model's geometry.
#include "runtime/hyperparameters.h"

#include <cmath>
#include <functional>

#include "format/error.h"
#include "format/gguf_writer.h"
#include "runtime/synthetic.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

/// The header of a small, valid model, changed by `edit`.
std::vector<std::byte> header_bytes(const std::function<void(Metadata&, std::vector<TensorPlan>&)>& edit) {
    std::vector<TensorPlan> tensors = synthetic_tensors(*find_synthetic_shape("llama-tiny"));
    Metadata metadata;
    metadata.set("general.architecture", "llama");
    metadata.set("llama.context_length", uint32_t(512));
    metadata.set("llama.embedding_length", uint32_t(256));
    metadata.set("llama.block_count", uint32_t(2));
    metadata.set("llama.feed_forward_length", uint32_t(512));
    metadata.set("llama.attention.head_count", uint32_t(4));
    metadata.set("llama.attention.head_count_kv", uint32_t(2));
    metadata.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    metadata.set("tokenizer.ggml.tokens", MetadataArray{std::vector<std::string>(1024, "x")});
    edit(metadata, tensors);
    const GgufLayout layout(std::move(metadata), std::move(tensors));
    std::vector<std::byte> bytes = layout.encode_header();
    bytes.resize(layout.file_size_bytes());
    return bytes;
}

Hyperparameters read(const std::function<void(Metadata&, std::vector<TensorPlan>&)>& edit) {
    const std::vector<std::byte> bytes = header_bytes(edit);
    return Hyperparameters::from_header(GgufHeader::parse(bytes));
}

Hyperparameters with(const char* key, MetadataValue value) {
    return read([&](Metadata& metadata, auto&) { metadata.set(key, std::move(value)); });
}

Hyperparameters without(const char* key) {
    return read([&](Metadata& metadata, auto&) { metadata.erase(key); });
}

}  // namespace

TEST_CASE("a model's geometry is read") {
    const Hyperparameters model = read([](auto&, auto&) {});
    CHECK(model.family->name == "llama");
    CHECK(model.n_layers == 2);
    CHECK(model.n_embd == 256);
    REQUIRE(model.layers.size() == 2);
    CHECK(model.layers[0].n_heads == 4);
    CHECK(model.layers[0].n_kv_heads == 2);
    CHECK(model.layers[0].key_dim == 64);
    CHECK(model.layers[0].value_dim == 64);
    CHECK(model.layers[1].n_ff == 512);
    CHECK(model.layers[1].window == 0);
    CHECK(model.rope.n_rot == 64);
    CHECK(model.n_vocab == 1024);
    CHECK(model.n_context == 512);
    CHECK(model.rope.base == 10000.0f);
}

TEST_CASE("key-value heads default to the query heads, and a number for each layer may be given") {
    CHECK(without("llama.attention.head_count_kv").layers[1].n_kv_heads == 4);
    const Hyperparameters each =
        with("llama.attention.head_count_kv", MetadataArray{std::vector<int32_t>{2, 4}});
    CHECK(each.layers[0].n_kv_heads == 2);
    CHECK(each.layers[1].n_kv_heads == 4);
    CHECK_THROWS_WITH(with("llama.attention.head_count_kv", MetadataArray{std::vector<int32_t>{2}}),
                      ContainsSubstring("has 1 values; expected one for each of 2 layers"));
    CHECK_THROWS_WITH(with("llama.attention.head_count_kv", MetadataArray{std::vector<int32_t>{-2, -2}}),
                      ContainsSubstring("holds -2"));
}

TEST_CASE("an architecture that is not known names those that are") {
    CHECK_THROWS_WITH(with("general.architecture", std::string("mamba")),
                      ContainsSubstring("\"mamba\"") && ContainsSubstring("llama, "));
    CHECK_THROWS_WITH(with("general.architecture", std::string("")), ContainsSubstring("llama, "));
    CHECK_THROWS_WITH(without("general.architecture"), ContainsSubstring("general.architecture"));
}

TEST_CASE("a block count that the file's tensors cannot justify is refused") {
    for (const uint32_t n : {57u, 100000u, 0x80000000u, 0xffffffffu, 0u}) {
        CHECK_THROWS_WITH(with("llama.block_count", n), ContainsSubstring("llama.block_count"));
    }
    CHECK_THROWS_WITH(with("llama.block_count", uint64_t(1) << 63), ContainsSubstring("llama.block_count"));
    CHECK_THROWS_WITH(with("llama.block_count", int32_t(-1)), ContainsSubstring("llama.block_count"));
    CHECK_THROWS_WITH(with("llama.block_count", std::string("2")), ContainsSubstring("llama.block_count"));
    CHECK_THROWS_WITH(without("llama.block_count"), ContainsSubstring("llama.block_count"));
}

TEST_CASE("head counts of zero, or absurd ones, are refused") {
    for (const char* key : {"llama.attention.head_count", "llama.attention.head_count_kv"}) {
        CHECK_THROWS_WITH(with(key, uint32_t(0)), ContainsSubstring(key));
        CHECK_THROWS_WITH(with(key, uint32_t(0x80000000)), ContainsSubstring(key));
        CHECK_THROWS_WITH(with(key, int32_t(-4)), ContainsSubstring(key));
    }
    CHECK_THROWS_WITH(without("llama.attention.head_count"), ContainsSubstring("llama.attention.head_count"));
}

TEST_CASE("more key-value heads than heads, or a number that does not divide them, are refused") {
    CHECK_THROWS_WITH(with("llama.attention.head_count_kv", uint32_t(8)), ContainsSubstring("more than"));
    CHECK_THROWS_WITH(with("llama.attention.head_count_kv", uint32_t(5)), ContainsSubstring("more than"));
    CHECK_THROWS_WITH(with("llama.attention.head_count_kv", uint32_t(3)),
                      ContainsSubstring("does not divide"));
}

TEST_CASE("an embedding that the heads do not divide is refused") {
    CHECK_THROWS_WITH(with("llama.attention.head_count", uint32_t(6)), ContainsSubstring("no multiple of"));
    CHECK_THROWS_WITH(with("llama.embedding_length", uint32_t(258)), ContainsSubstring("no multiple of"));
    CHECK_THROWS_WITH(with("llama.embedding_length", uint32_t(0)),
                      ContainsSubstring("embedding_length is 0"));
    CHECK_THROWS_WITH(with("llama.embedding_length", uint64_t(1) << 40),
                      ContainsSubstring("embedding_length"));
}

TEST_CASE("head lengths other than the quotient are taken from the file") {
    const Hyperparameters model = read([](Metadata& metadata, auto&) {
        metadata.set("llama.attention.key_length", uint32_t(128));
        metadata.set("llama.attention.value_length", uint32_t(128));
    });
    CHECK(model.layers[0].key_dim == 128);
    CHECK(model.layers[0].q_width() == 512);
    CHECK(with("llama.attention.value_length", uint32_t(32)).layers[0].value_dim == 32);
    CHECK_THROWS_WITH(with("llama.attention.key_length", uint32_t(0)), ContainsSubstring("key_length is 0"));
}

TEST_CASE("a vocabulary smaller or larger than the embedding is refused") {
    for (const size_t n : {size_t(0), size_t(1), size_t(1023), size_t(1025), size_t(4096)}) {
        CHECK_THROWS_WITH(
            with("tokenizer.ggml.tokens", MetadataArray{std::vector<std::string>(n, "x")}),
            ContainsSubstring(fmt::format("has {} tokens but token_embd.weight has 1024 rows", n)));
    }
    CHECK_THROWS_WITH(read([](auto&, auto& tensors) { tensors.erase(tensors.begin()); }),
                      ContainsSubstring("token_embd.weight is missing"));
}

TEST_CASE("more experts used than there are, or than their groups hold, are refused") {
    const auto experts = [](uint32_t n, uint32_t n_used) {
        return read([&](Metadata& metadata, auto&) {
            metadata.set("llama.expert_count", n);
            metadata.set("llama.expert_used_count", n_used);
        });
    };
    CHECK_THROWS_WITH(experts(4, 8), ContainsSubstring("expert_used_count is 8, more than"));
    CHECK_THROWS_WITH(experts(0, 1), ContainsSubstring("expert_used_count is 1, more than"));
    CHECK_THROWS_WITH(experts(8, 0xffffffff), ContainsSubstring("expert_used_count is 4294967295"));
    CHECK_THROWS_WITH(experts(8, 0), ContainsSubstring("expert_used_count is 0"));
    CHECK_THROWS_WITH(experts(0x80000000, 2), ContainsSubstring("expert_count"));
    CHECK(experts(8, 2).routing.n_used == 2);
    CHECK_FALSE(experts(8, 2).layers[0].has_experts);  // there is no router
    const auto groups = [](uint32_t n, uint32_t n_used) {
        return read([&](Metadata& metadata, auto&) {
            metadata.set("llama.expert_count", uint32_t(8));
            metadata.set("llama.expert_used_count", uint32_t(4));
            metadata.set("llama.expert_group_count", n);
            metadata.set("llama.expert_group_used_count", n_used);
        });
    };
    CHECK(groups(4, 2).routing.n_groups_used == 2);
    CHECK_THROWS_WITH(groups(3, 1), ContainsSubstring("expert_group_count is 3"));
    CHECK_THROWS_WITH(groups(4, 1), ContainsSubstring("expert_group_used_count is 1"));
    CHECK_THROWS_WITH(groups(4, 5), ContainsSubstring("expert_group_used_count is 5"));
    CHECK_THROWS_WITH(groups(0, 1), ContainsSubstring("expert_group_count is 0"));
    CHECK_THROWS_WITH(groups(0xffffffff, 1), ContainsSubstring("expert_group_count"));
    CHECK_NOTHROW(experts(0, 0));
}

TEST_CASE("numbers that must be positive are refused when they are not") {
    for (const char* key : {"llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base"}) {
        for (const float value : {0.0f, -1.0f, NAN, INFINITY}) {
            CHECK_THROWS_WITH(with(key, value), ContainsSubstring(key));
        }
    }
    CHECK_THROWS_WITH(with("llama.rope.dimension_count", uint32_t(7)), ContainsSubstring("even number"));
    CHECK_THROWS_WITH(with("llama.rope.dimension_count", uint32_t(66)),
                      ContainsSubstring("expected 1 to 64"));
    CHECK_THROWS_WITH(with("llama.context_length", uint32_t(0)), ContainsSubstring("context_length is 0"));
    CHECK_THROWS_WITH(with("llama.feed_forward_length", uint32_t(0)),
                      ContainsSubstring("feed_forward_length"));
    CHECK_THROWS_WITH(with("llama.rope.scaling.type", std::string("longer")), ContainsSubstring("longer"));
}

TEST_CASE("a sliding window is read") {
    CHECK(with("llama.attention.sliding_window", uint32_t(128)).layers[0].window == 128);
    CHECK(with("llama.attention.sliding_window", uint32_t(0)).layers[0].window == 0);
}

TEST_CASE("rope frequencies: plain, with factors, linear, YaRN") {
    RopeParameters model;
    model.n_rot = 8;
    model.base = 10000;
    model.original_context = 4096;
    const RopeTable plain = rope_table(model, {});
    REQUIRE(plain.frequencies.size() == 4);
    CHECK(plain.frequencies[0] == 1.0f);
    CHECK(plain.frequencies[1] == Approx(0.1));
    CHECK(plain.frequencies[3] == Approx(0.001));
    CHECK(plain.magnitude == 1.0f);

    const std::vector<float> factors = {1, 2, 4, 8};
    CHECK(rope_table(model, factors).frequencies[1] == Approx(0.05));
    CHECK(rope_table(model, factors).frequencies[3] == Approx(0.001 / 8));

    model.factor = 4;
    model.scaling = RopeScaling::Linear;
    CHECK(rope_table(model, {}).frequencies[0] == Approx(0.25));
    CHECK(rope_table(model, {}).frequencies[2] == Approx(0.0025));

    model.scaling = RopeScaling::Yarn;
    const RopeTable yarn = rope_table(model, {});
    CHECK(yarn.magnitude == Approx(1 + 0.1 * std::log(4.0)));
    CHECK(yarn.frequencies[0] == Approx(1.0));        // turns 652 times in the original context: kept
    CHECK(yarn.frequencies[3] == Approx(0.001 / 4));  // turns less than once: interpolated
    // By hand: the ramp runs from pair floor(8 ln(4096/64π)/(2 ln 10⁴)) = 1 to ceil(8 ln(4096/2π)/(2 ln 10⁴))
    // = 3, so pair 2 is half interpolated: 0.01 (0.5 + 0.5/4).
    CHECK(yarn.frequencies[1] == Approx(0.1));
    CHECK(yarn.frequencies[2] == Approx(0.00625));
}
