// Saved sessions: what is restored is what was computed, and a file that anybody may have made is harmless.
#include "runtime/session.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "format/checksum.h"
#include "format/error.h"
#include "format/gguf_writer.h"
#include "runtime/cpu/cpu_backend.h"
#include "tests/catch.h"
#include "tests/files.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace ingot::test;
using family_tests::SmallFile;

namespace {

std::vector<Token> some_tokens(size_t n) {
    std::vector<Token> tokens(n);
    for (size_t i = 0; i < n; ++i) tokens[i] = Token((i * 17 + 5) % family_tests::kVocabulary);
    return tokens;
}

std::vector<float> copy_of(std::span<const float> values) {
    return {values.begin(), values.end()};
}

/// A model, and a session of it that has read 12 tokens.
struct Saved {
    TemporaryFolder folder;
    SmallFile file;
    CpuBackend backend{1};
    Model model;
    std::vector<Token> tokens = some_tokens(12);
    std::string path = folder / "session";

    explicit Saved(const char* family = "llama", CacheType type = CacheType::F16)
        : file(family_tests::small_model(family)), model(file.path(), backend) {
        ForwardPass forward(model, 64, 512, type);
        forward.run(tokens, 1);
        save_session(path, forward, tokens);
    }
};

// The session's file again, with other metadata, tensors or bytes, and checksums that hold.
void rewrite(const std::string& path, const std::function<void(Metadata&, std::vector<TensorPlan>&)>& edit,
             const std::function<void(size_t tensor, std::vector<std::byte>&)>& edit_bytes = {}) {
    Metadata metadata;
    std::vector<TensorPlan> plans;
    std::vector<std::vector<std::byte>> contents;
    {
        const GgufFile file(path);
        for (const char* key : {"general.type", "ingot.session.model_xxh3_128"})
            metadata.set(key, MetadataValue(std::string(file.header().require_string(key))));
        metadata.set("ingot.session.version", uint32_t(file.header().require_uint("ingot.session.version")));
        metadata.set("ingot.session.long_context", *file.header().get_bool("ingot.session.long_context"));
        for (const TensorInfo& tensor : file.header().tensors()) {
            TensorPlan& plan = plans.emplace_back();
            plan.name = tensor.name;
            plan.type = tensor.type;
            plan.shape.assign(tensor.shape.begin(), tensor.shape.begin() + tensor.n_dims);
            const auto bytes = file.tensor_bytes(tensor);
            contents.emplace_back(bytes.begin(), bytes.end());
        }
    }
    const size_t n_before = plans.size();
    edit(metadata, plans);
    contents.resize(std::max(plans.size(), n_before));
    std::vector<std::string> checksums;
    for (size_t i = 0; i < plans.size(); ++i) {
        uint64_t n = 1;
        for (const uint64_t length : plans[i].shape) n *= length;
        contents[i].resize(row_bytes(plans[i].type, plans[i].shape[0]) * (n / plans[i].shape[0]));
        if (edit_bytes) edit_bytes(i, contents[i]);
        checksums.push_back(xxh3_128_hex(contents[i]));
    }
    metadata.set("ingot.checksum.xxh3_128", MetadataArray{std::move(checksums)});
    const GgufLayout layout(std::move(metadata), std::move(plans));
    std::string bytes(layout.file_size_bytes(), '\0');
    const std::vector<std::byte> header = layout.encode_header();
    std::memcpy(bytes.data(), header.data(), header.size());
    for (size_t i = 0; i < layout.tensors().size(); ++i)
        std::memcpy(bytes.data() + layout.tensors()[i].offset, contents[i].data(), contents[i].size());
    write_file(path, bytes);
}

}  // namespace

TEST_CASE("a restored session goes on as the one that was saved, in every family") {
    for (const auto& small : family_tests::small_models()) {
        INFO(small.family);
        const TemporaryFolder folder;
        const SmallFile file(small);
        CpuBackend backend(1);
        const Model model(file.path(), backend);
        const std::vector<Token> prompt = some_tokens(12), more = {3, 1, 4};
        ForwardPass first(model, 64);
        REQUIRE(first.run(prompt, 1));
        save_session(folder / "session", first, prompt);
        const std::vector<float> after_prompt = copy_of(first.logits());
        REQUIRE(first.run(more, 3));

        const Session session(folder / "session");
        CHECK(std::ranges::equal(session.tokens(), prompt));
        ForwardPass second(model, 64);
        REQUIRE(session.restore(second, prompt) == 12);
        CHECK(second.cache().n_used() == 12);
        CHECK(copy_of(second.logits()) == after_prompt);
        REQUIRE(second.run(more, 3));
        CHECK(copy_of(second.logits()) == copy_of(first.logits()));

        // A longer prompt: the rest is computed, in a longer context.
        std::vector<Token> longer = prompt;
        longer.insert(longer.end(), more.begin(), more.end());
        ForwardPass third(model, model.hyperparameters().n_context);
        REQUIRE(session.restore(third, longer) == 12);
        REQUIRE(third.run(more, 3));
        CHECK(copy_of(third.logits()) == copy_of(first.logits()));
    }
}

TEST_CASE("only what both begin with is taken over, and a token is left for the logits") {
    const Saved saved;
    const Session session(saved.path);
    const auto n_reused = [&](std::vector<Token> prompt, int64_t n_context = 64) {
        ForwardPass forward(saved.model, n_context);
        const int64_t n = session.restore(forward, prompt);
        CHECK(forward.cache().n_used() == n);
        // What follows is as if nothing had been restored.
        REQUIRE(forward.run(std::span<const Token>(prompt).subspan(size_t(n)), 1));
        ForwardPass alone(saved.model, n_context);
        REQUIRE(alone.run(prompt, 1));
        for (size_t i = 0; i < alone.logits().size(); ++i)
            CHECK(std::abs(forward.logits()[i] - alone.logits()[i]) < 0.01f);
        return n;
    };
    std::vector<Token> prompt = saved.tokens;
    prompt[7] = (prompt[7] + 1) % 128;
    CHECK(n_reused(prompt) == 7);
    prompt[0] = (prompt[0] + 1) % 128;
    CHECK(n_reused(prompt) == 0);
    CHECK(n_reused({saved.tokens.begin(), saved.tokens.begin() + 5}) == 4);
    CHECK(n_reused({saved.tokens.begin(), saved.tokens.begin() + 1}) == 0);
}

TEST_CASE("a recurrent model's states serve for the whole session or not at all") {
    const Saved saved("qwen3next");
    const Session session(saved.path);
    std::vector<Token> prompt = saved.tokens;
    prompt.push_back(1);
    ForwardPass forward(saved.model, 64);
    CHECK(session.restore(forward, prompt) == 12);
    prompt[11] = (prompt[11] + 1) % 128;
    ForwardPass other(saved.model, 64);
    CHECK(session.restore(other, prompt) == 0);
    CHECK(other.cache().n_used() == 0);
}

TEST_CASE("sessions of other models, other types and other versions are refused by name") {
    const Saved saved;
    auto other_model = family_tests::small_model("llama");
    other_model.set("attention.layer_norm_rms_epsilon", 1e-6f);
    const SmallFile other_file(other_model);
    CpuBackend backend(1);
    const Model other(other_file.path(), backend);
    CHECK(model_identity(other) != model_identity(saved.model));
    const Session session(saved.path);
    ForwardPass forward(other, 64);
    CHECK_THROWS_WITH(session.restore(forward, saved.tokens),
                      ContainsSubstring(saved.path) && ContainsSubstring("session of another model"));
    ForwardPass floats(saved.model, 64, 512, CacheType::F32);
    CHECK_THROWS_WITH(session.restore(floats, saved.tokens), ContainsSubstring("is F16; this run keeps F32"));

    rewrite(saved.path,
            [](Metadata& metadata, auto&) { metadata.set("ingot.session.version", uint32_t(2)); });
    CHECK_THROWS_WITH(Session(saved.path), ContainsSubstring("version 2"));
    CHECK_THROWS_WITH(Session(saved.file.path()), ContainsSubstring("no file that --session wrote"));
}

TEST_CASE("one changed byte in any tensor of a session is found") {
    const Saved saved;
    const std::string good = read_file(saved.path);
    std::vector<size_t> offsets;
    {
        const GgufFile file(saved.path);
        for (const TensorInfo& tensor : file.header().tensors())
            offsets.push_back(size_t(tensor.offset + tensor.size_bytes - 1));
    }
    CHECK(offsets.size() == 2 + 2 * 4);
    for (const size_t at : offsets) {
        std::string bad = good;
        bad[at] = char(bad[at] ^ 0x10);
        write_file(saved.path, bad);
        CHECK_THROWS_WITH(Session(saved.path), ContainsSubstring("XXH3-128"));
    }
    for (size_t n = 0; n < good.size(); n += 97) {
        write_file(saved.path, good.substr(0, n));
        CHECK_THROWS_AS(Session(saved.path), Error);
    }
}

TEST_CASE("a hostile session with checksums that hold is refused, or does no harm") {
    using Plans = std::vector<TensorPlan>;
    const auto refused = [](const std::function<void(Metadata&, Plans&)>& edit, const char* message) {
        const Saved saved;
        rewrite(saved.path, edit);
        const auto use = [&] {
            const Session session(saved.path);
            ForwardPass forward(saved.model, 64);
            session.restore(forward, saved.tokens);
        };
        CHECK_THROWS_WITH(use(), ContainsSubstring(saved.path) && ContainsSubstring(message));
    };
    const auto shape = [](size_t tensor, std::vector<uint64_t> lengths) {
        return [=](Metadata&, Plans& plans) { plans[tensor].shape = lengths; };
    };
    refused(shape(0, {6, 2}), "tensor tokens");
    refused(shape(1, {127}), "tensor logits: is 127 × 1; the model has 128 × 1");
    refused(shape(2, {32, 11}), "tensor blk.0.keys: is 32 × 11; the model has 32 × 12");
    refused(shape(2, {16, 24}), "tensor blk.0.keys");
    refused(shape(3, {32, 12, 2}), "tensor blk.0.values");
    refused([](Metadata&, Plans& plans) { plans[2].name = "blk.9.keys"; }, "tensor blk.0.keys is missing");
    refused([](Metadata&, Plans& plans) { plans[2].type = TensorType::F32; }, "tensor blk.0.keys: is F32");
    refused([](Metadata&, Plans& plans) { plans[0].type = TensorType::F32; }, "tensor tokens: is F32");
    refused([](Metadata&, Plans& plans) { plans.resize(2); }, "tensor blk.0.keys is missing");
    refused([](Metadata&, Plans& plans) { plans.resize(1); }, "tensor logits is missing");
    refused([](Metadata& m, Plans&) { m.set("ingot.session.model_xxh3_128", "x\x1b[2J"); }, "another model");

    // More tokens than there are in the context, tokens of no vocabulary, keys that are no numbers.
    const Saved saved;
    rewrite(
        saved.path, [](Metadata&, Plans&) {},
        [](size_t, std::vector<std::byte>& bytes) { std::ranges::fill(bytes, std::byte(0xff)); });
    const Session session(saved.path);
    ForwardPass forward(saved.model, 8);
    CHECK(session.restore(forward, saved.tokens) == 0);
    const std::vector<Token> hostile(12, -1);
    CHECK_NOTHROW(session.restore(forward, hostile));
    CHECK(forward.cache().n_used() <= 8);
}

TEST_CASE("a session is written whole or not at all, and only of what is there") {
    const Saved saved;
    ForwardPass forward(saved.model, 64);
    CHECK_THROWS_WITH(save_session(saved.path, forward, saved.tokens),
                      ContainsSubstring("0 positions are filled"));
    REQUIRE(forward.run(saved.tokens, 0));
    CHECK_THROWS_WITH(save_session(saved.path, forward, saved.tokens), ContainsSubstring("0 logits"));
    CHECK_NOTHROW(Session(saved.path));  // as it was
    CHECK_THROWS_AS(save_session(saved.folder / "none/session", forward, saved.tokens), Error);
}
