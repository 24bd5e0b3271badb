#include "inspect/diff.h"

#include <cstring>

#include "tests/catch.h"
#include "tests/inspect/small_file.h"

using namespace ingot;
using namespace ingot::test;
using namespace ingot::inspect;

namespace {

const std::vector<TensorPlan> kPlans = {
    {"a", TensorType::F32, {32}}, {"b", TensorType::F32, {32, 2}}, {"c", TensorType::Q4_0, {32}}};

Metadata some_metadata() {
    Metadata metadata;
    metadata.set("general.name", "x");
    metadata.set("n", uint32_t(4));
    metadata.set("list", MetadataArray{std::vector<int32_t>{1, 2, 3}});
    return metadata;
}

/// A file whose F32 tensors hold 1, 2, 3 …
std::string file_of(const TemporaryFolder& folder, const char* name, const Metadata& metadata,
                    const std::vector<TensorPlan>& plans) {
    std::vector<std::byte> bytes = encode_file(metadata, plans);
    const GgufHeader header = GgufHeader::parse(bytes);
    for (const TensorInfo& tensor : header.tensors()) {
        if (tensor.type != TensorType::F32) continue;
        for (uint64_t i = 0; i < tensor.n_elements; ++i) {
            const float value = float(i + 1);
            std::memcpy(bytes.data() + tensor.offset + 4 * i, &value, sizeof value);
        }
    }
    const std::string path = folder / name;
    write_bytes(path, bytes);
    return path;
}

}  // namespace

TEST_CASE("diff: the same content is the same, wherever it lies in the files") {
    const TemporaryFolder folder;
    const GgufModel a(file_of(folder, "a.gguf", some_metadata(), kPlans));
    Metadata aligned = some_metadata();
    aligned.set("general.alignment", uint32_t(256));
    const GgufModel b(file_of(folder, "b.gguf", aligned, {kPlans[0], kPlans[1], kPlans[2]}));
    CHECK(diff(a, a, {}).same());
    const Difference result = diff(a, b, {});
    CHECK(result.tensors.empty());
    CHECK(result.n_same_tensors == 3);
    CHECK(result.n_same_keys == 3);
    REQUIRE(result.keys.size() == 1);
    CHECK(result.keys[0].key == "general.alignment");
    CHECK(result.keys[0].a == nullptr);
    DiffOptions options;
    options.ignore_keys.emplace("alignment$");
    CHECK(diff(a, b, options).same());
}

TEST_CASE("diff: keys removed, added, of another value, of another type") {
    const TemporaryFolder folder;
    const GgufModel a(file_of(folder, "a.gguf", some_metadata(), {}));
    Metadata other;
    other.set("n", uint64_t(4));
    other.set("list", MetadataArray{std::vector<int32_t>{1, 2, 4, 5}});
    other.set("new", true);
    const GgufModel b(file_of(folder, "b.gguf", other, {}));
    const Difference result = diff(a, b, {});
    REQUIRE(result.keys.size() == 4);
    CHECK(result.keys[0].key == "general.name");
    CHECK(result.keys[0].b == nullptr);
    CHECK(result.keys[1].key == "n");
    CHECK(result.keys[2].key == "list");
    CHECK(first_difference(*result.keys[2].a, *result.keys[2].b) == 2);
    CHECK(result.keys[3].key == "new");
    CHECK(result.keys[3].a == nullptr);
    CHECK_FALSE(result.same());
}

TEST_CASE("diff: one changed value is measured by hand; padding does not count") {
    const TemporaryFolder folder;
    const std::string path = file_of(folder, "a.gguf", {}, kPlans);
    const GgufModel a(path);
    std::string bytes = read_file(path);
    const float value = 6.5f;  // was 3
    std::memcpy(bytes.data() + a.header().tensors()[1].offset + 8, &value, sizeof value);
    write_file(folder / "b.gguf", bytes);
    const GgufModel b(folder / "b.gguf");
    const Difference result = diff(a, b, {});
    REQUIRE(result.tensors.size() == 1);
    CHECK(result.tensors[0].name == "b");
    CHECK(result.n_same_tensors == 2);
    REQUIRE(result.tensors[0].sums);
    CHECK(result.tensors[0].sums->max_error == 3.5);
    CHECK(result.tensors[0].sums->rmse() == Approx(3.5 / 8));  // √(3.5² / 64)
    DiffOptions options;
    options.values = false;
    CHECK(diff(a, b, options).tensors[0].why_not == "other bytes");

    bytes = read_file(path);
    bytes.back() = 1;  // of the padding behind the last tensor
    write_file(folder / "c.gguf", bytes);
    CHECK(diff(a, GgufModel(folder / "c.gguf"), {}).same());
}

TEST_CASE("diff: other shapes and types, tensors of one file only") {
    const TemporaryFolder folder;
    const GgufModel a(file_of(folder, "a.gguf", {}, kPlans));
    const GgufModel b(
        file_of(folder, "b.gguf", {},
                {{"a", TensorType::Q8_0, {32}}, {"b", TensorType::F32, {64}}, {"d", TensorType::F32, {1}}}));
    const Difference result = diff(a, b, {});
    REQUIRE(result.tensors.size() == 4);
    CHECK(result.tensors[0].sums);  // F32 against Q8_0
    CHECK_FALSE(result.tensors[0].same_values());
    CHECK(result.tensors[1].why_not == "32 × 2, and 64 in the second");
    CHECK(result.tensors[2].b == nullptr);
    CHECK(result.tensors[3].a == nullptr);
    DiffOptions options;
    options.match.emplace("^c$");
    CHECK(diff(a, b, options).tensors.size() == 1);
}

TEST_CASE("diff by checksum: reads no data, and refuses files that have no checksums") {
    const TemporaryFolder folder;
    write_bytes(folder / "a.gguf", encode_file_with_checksums({}, kPlans));
    std::string bytes = read_file(folder / "a.gguf");
    bytes[bytes.size() - 40] ^= 1;  // data damaged, checksums as they were
    write_file(folder / "b.gguf", bytes);
    const GgufModel a(folder / "a.gguf"), b(folder / "b.gguf");
    DiffOptions options;
    options.by_checksum = true;
    CHECK(diff(a, b, options).same());
    CHECK_FALSE(diff(a, b, {}).same());
    const GgufModel without(file_of(folder, "c.gguf", {}, kPlans));
    CHECK_THROWS_WITH(diff(a, without, options), ContainsSubstring("has no checksum of every tensor"));
}
