#include "inspect/hash.h"

#include "tests/catch.h"
#include "tests/inspect/small_file.h"

using namespace ingot;
using namespace ingot::test;
using namespace ingot::inspect;

namespace {

std::string sha256(std::string_view bytes) {
    const auto digest = Digest::make(DigestKind::Sha256);
    digest->update(std::as_bytes(std::span(bytes)));
    return digest->hex();
}

/// Tensors with colons in their names, whose bytes are padded in the file.
std::string some_file(const TemporaryFolder& folder) {
    const std::string path = folder / "t.gguf";
    write_bytes(path, encode_file({}, {{"a:b", TensorType::I8, {5}}, {"b", TensorType::I8, {40}}}));
    return path;
}

std::string bytes_of(const GgufModel& model, size_t tensor) {
    const auto bytes = model.tensor_bytes(model.header().tensors()[tensor]);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("hash: of each tensor's bytes without padding, and of all one after the other") {
    const TemporaryFolder folder;
    const GgufModel model(some_file(folder));
    const Hashes found = hash(model, {.kinds = {DigestKind::Xxh64, DigestKind::Sha256}, .uuid = true});
    REQUIRE(found.tensors.size() == 2);
    CHECK(found.tensors[0][1] == sha256(bytes_of(model, 0)));
    CHECK(found.tensors[1][1] == sha256(bytes_of(model, 1)));
    CHECK(found.model[1] == sha256(bytes_of(model, 0) + bytes_of(model, 1)));
    CHECK(found.uuid.size() == 36);
    CHECK(hash(model, {.kinds = {DigestKind::Sha256}, .tensors = false}).tensors.empty());
}

TEST_CASE("manifest: the strongest hash of its lines is compared, and mismatches are named") {
    const TemporaryFolder folder;
    const GgufModel model(some_file(folder));
    const std::string first = sha256(bytes_of(model, 0)), second = sha256(bytes_of(model, 1));
    const std::string manifest = folder / "manifest";
    write_file(manifest,
               "xxh64     0000000000000000  t.gguf:b\n"
               "sha256    " +
                   first +
                   "  some/where/t.gguf:a:b\r\n"
                   "uuid      ef001206-dadc-5f6d-a15f-3359e577d4e5  t.gguf\n"
                   "sha256    " +
                   second + "  t.gguf\n");
    const auto entries = read_manifest(manifest, model);
    REQUIRE(entries.size() == 3);
    CHECK(entries[1].tensor == "a:b");
    CHECK(entries[2].tensor.empty());
    const ManifestCheck check = check_manifest(model, entries);
    CHECK(check.kind == DigestKind::Sha256);
    CHECK(check.n_checked == 1);
    CHECK(check.n_unchecked == 1);
    CHECK(check.checked_model);
    REQUIRE(check.mismatches.size() == 1);
    CHECK(check.mismatches[0].tensor.empty());
    CHECK(check.mismatches[0].expected == second);
}

TEST_CASE("manifest: another model's, and what is none") {
    const TemporaryFolder folder;
    const GgufModel model(some_file(folder));
    write_file(folder / "other", "sha256  00  x.gguf:blk.0.attn_q.weight\n");
    CHECK_THROWS_WITH(read_manifest(folder / "other", model),
                      ContainsSubstring("line 1") && ContainsSubstring("blk.0.attn_q.weight"));
    write_file(folder / "none", "hello\n\n");
    CHECK_THROWS_WITH(read_manifest(folder / "none", model), ContainsSubstring("is no manifest"));
}
