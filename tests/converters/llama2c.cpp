// Files of llama2.c in its three versions: the same model each time.
#include "converters/sources/llama2c.h"

#include <cmath>

#include "converters/convert.h"
#include "format/error.h"
#include "tests/catch.h"
#include "tests/converters/pytorch_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

constexpr int32_t kHidden = 8, kFeedForward = 12, kLayers = 2, kHeads = 2, kKvHeads = 1, kVocabulary = 10,
                  kContext = 6, kGroup = 4;

std::string header(int version, bool shared, int32_t vocabulary = kVocabulary) {
    std::string bytes;
    if (version > 0) bytes = little_endian<uint32_t>(0x616b3432) + little_endian<int32_t>(version);
    for (const int32_t value : {kHidden, kFeedForward, kLayers, kHeads, kKvHeads,
                                version == 0 && !shared ? -vocabulary : vocabulary, kContext}) {
        bytes += little_endian(value);
    }
    if (version == 0) return bytes;
    bytes += char(shared);
    if (version == 2) bytes += little_endian<int32_t>(kGroup);
    return bytes + std::string(256 - bytes.size(), '\0');
}

/// Whole numbers from `from` on, so that a value says where in the file it stood.
struct Writer {
    int version;
    std::string bytes;
    float next = 0;

    void floats(size_t n) {
        std::vector<float> values(n);
        for (float& value : values) value = next++;
        bytes += f32_bytes(values);
    }
    /// In version 2 the group's scale is its number, and the codes are its places.
    void matrix(size_t n) {
        if (version < 2) return floats(n);
        std::string codes;
        std::vector<float> scales;
        for (size_t i = 0; i < n; ++i) {
            codes += char(i % kGroup + 1);
            if (i % kGroup == 0) scales.push_back(next++);
        }
        bytes += codes + f32_bytes(scales);
    }
};

std::string file(int version, bool shared) {
    constexpr size_t kHead = kHidden / kHeads, kKv = kHead * kKvHeads;
    Writer out{version, header(version, shared)};
    const auto layers = [&](size_t n) {
        for (int32_t layer = 0; layer < kLayers; ++layer) out.matrix(n);
    };
    const auto attention = [&] {
        for (const size_t n :
             {kHidden * size_t(kHidden), kHidden * kKv, kHidden * kKv, kHidden * size_t(kHidden)})
            layers(n);
    };
    const auto feed_forward = [&] {
        for (int i = 0; i < 3; ++i) layers(kHidden * kFeedForward);
    };
    if (version == 0) {
        out.matrix(kVocabulary * kHidden);
        out.floats(kLayers * kHidden);
        attention();
        out.floats(kLayers * kHidden);
        feed_forward();
        out.floats(kHidden);
        out.floats(kContext * kHead);
    } else {
        out.floats((2 * kLayers + 1) * kHidden);
        out.matrix(kVocabulary * kHidden);
        attention();
        feed_forward();
    }
    if (!shared) out.matrix(kVocabulary * kHidden);
    return out.bytes;
}

struct Opened {
    explicit Opened(const std::string& bytes) {
        write_file(folder / "model.bin", bytes);
        checkpoint = open_llama2c(folder / "model.bin");
        weights.emplace(llama2c_weights(*checkpoint));
    }
    std::vector<float> values(const std::string& name) const { return read_all(*weights->find(name)->rows); }
    TemporaryFolder folder;
    std::unique_ptr<Llama2cCheckpoint> checkpoint;
    std::optional<WeightSet> weights;
};

std::string error_of(const std::string& bytes) {
    try {
        const Opened opened(bytes);
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_CASE("llama2.c: every tensor has its place in each version") {
    for (const bool shared : {true, false}) {
        const Opened old(file(0, shared));
        CHECK(old.weights->weights().size() == 3 + 9 * kLayers - (shared ? 1 : 0));
        CHECK(old.values("model.embed_tokens.weight").back() == 79);
        CHECK(old.values("model.layers.1.input_layernorm.weight").front() == 88);
        CHECK(old.values("model.layers.0.self_attn.v_proj.weight").front() == 96 + 2 * 64 + 2 * 32);
        // Behind embedding, norms and attention (448 floats in all), and the second norms (16).
        CHECK(old.values("model.layers.0.mlp.gate_proj.weight").front() == 80 + 16 + 384 + 16);
        CHECK(old.weights->find("model.layers.0.mlp.down_proj.weight")->rows->shape() ==
              std::vector<uint64_t>{kFeedForward, kHidden});
        const float norm = 80 + 16 + 384 + 16 + 576;
        CHECK(old.values("model.norm.weight").front() == norm);
        if (!shared) CHECK(old.values("lm_head.weight").front() == norm + 8 + 24);

        const Opened one(file(1, shared));
        CHECK(one.values("model.layers.1.post_attention_layernorm.weight").front() == 24);
        CHECK(one.values("model.embed_tokens.weight").front() == 40);
        CHECK(one.values("model.layers.1.mlp.up_proj.weight").front() == 40 + 80 + 384 + 5 * 96);
        if (!shared) CHECK(one.values("lm_head.weight").front() == 40 + 80 + 384 + 576);

        const Opened two(file(2, shared));
        CHECK(two.weights->weights().size() == 3 + 9 * kLayers - (shared ? 1 : 0));
        const std::vector<float> embedding = two.values("model.embed_tokens.weight");
        CHECK(std::vector<float>(embedding.begin(), embedding.begin() + 6) ==
              std::vector<float>{40, 80, 120, 160, 41, 82});
        CHECK(two.checkpoint->describe() == "llama2.c, version 2, int8 in groups of 4");
    }
}

TEST_CASE("llama2.c: neighbours that rotate together become halves of a head, as Hugging Face has them") {
    const Opened opened(file(0, true));
    // wq of layer 0 starts at 96; heads of 4 rows of 8.
    std::vector<float> first_of_row;
    const std::vector<float> q = opened.values("model.layers.0.self_attn.q_proj.weight");
    for (size_t row = 0; row < 8; ++row) first_of_row.push_back((q[row * 8] - 96) / 8);
    CHECK(first_of_row == std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7});
}

TEST_CASE("llama2.c: headers that make no sense, and files of another size") {
    CHECK_THAT(error_of(""), ContainsSubstring("shorter than a header"));
    CHECK_THAT(error_of(file(0, true) + "x"), ContainsSubstring("the file has"));
    CHECK_THAT(error_of(file(1, true).substr(0, 3000)), ContainsSubstring("the file has"));
    CHECK_THAT(error_of(file(1, true).substr(0, 100)), ContainsSubstring("shorter than a header"));
    const auto changed = [](int version, size_t at, int32_t value) {
        std::string bytes = file(version, true);
        bytes.replace(at, 4, little_endian(value));
        return error_of(bytes);
    };
    CHECK_THAT(changed(1, 4, 3), ContainsSubstring("version 3"));
    CHECK_THAT(changed(2, 37, 5), ContainsSubstring("groups of 5"));
    CHECK_THAT(changed(2, 37, 0), ContainsSubstring("groups of 0"));
    for (const size_t at : {0u, 4u, 8u, 12u, 16u, 24u}) {
        for (const int32_t value : {0, -1, INT32_MAX, INT32_MIN})
            CHECK_THAT(changed(0, at, value), ContainsSubstring("a dimension of"));
    }
    CHECK_THAT(changed(0, 20, INT32_MIN), ContainsSubstring("a dimension of"));
    CHECK_THAT(changed(0, 12, 3), ContainsSubstring("3 heads"));
    CHECK_THAT(changed(0, 8, 1 << 20), ContainsSubstring("the file has"));
    const std::string good = file(0, false), other(4096, '\1');
    CHECK(is_llama2c(std::as_bytes(std::span(good))));
    CHECK_FALSE(is_llama2c(std::as_bytes(std::span(other))));
}
