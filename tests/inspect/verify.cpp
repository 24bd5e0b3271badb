#include "inspect/verify.h"

#include "tests/catch.h"
#include "tests/inspect/small_file.h"

using namespace ingot;
using namespace ingot::test;
using inspect::Verification;
using inspect::verify;

namespace {

std::vector<TensorPlan> plans() {
    return {{"token_embd.weight", TensorType::Q4_K, {256, 33}},
            {"blk.0.norm.weight", TensorType::F32, {7}},
            {"empty.weight", TensorType::F32, {0}},
            {"output.weight", TensorType::F16, {100, 50}}};
}

struct Files {
    TemporaryFolder folder;
    std::filesystem::path path = folder / "model.gguf";

    GgufModel write(const std::vector<std::byte>& bytes) {
        write_bytes(path, bytes);
        return GgufModel(path);
    }
};

}  // namespace

TEST_CASE_METHOD(Files, "verify: every tensor as written, on any number of threads") {
    const GgufModel file = write(encode_file_with_checksums({}, plans()));
    for (const int n_threads : {0, 1, 2, 7}) {
        const Verification result = verify(file, {.n_threads = n_threads});
        CHECK(result.ok());
        CHECK(result.has_checksums);
        CHECK(result.n_checked == 4);
        CHECK(result.checked_bytes == 33 * 144 + 28 + 10000);
    }
}

TEST_CASE_METHOD(Files, "verify: one flipped bit names its tensor, with both checksums") {
    auto bytes = encode_file_with_checksums({}, plans());
    const GgufHeader header = GgufHeader::parse(bytes);
    for (const char* name : {"token_embd.weight", "blk.0.norm.weight", "output.weight"}) {
        auto damaged = bytes;
        const TensorInfo& tensor = *header.find_tensor(name);
        damaged[tensor.offset + tensor.size_bytes - 1] ^= std::byte(0x10);
        const Verification result = verify(write(damaged), {.n_threads = 2});
        REQUIRE(result.damaged.size() == 1);
        CHECK(result.damaged[0].offset == tensor.offset);
        CHECK(result.damaged[0].name == name);
        CHECK(result.damaged[0].expected.size() == 32);
        CHECK(result.damaged[0].found.size() == 32);
        CHECK(result.damaged[0].expected != result.damaged[0].found);
        CHECK_FALSE(result.damaged[0].pending);
        CHECK_FALSE(result.ok());
    }
}

TEST_CASE_METHOD(Files, "verify: padding between tensors may hold anything") {
    auto bytes = encode_file_with_checksums({}, plans());
    const GgufHeader header = GgufHeader::parse(bytes);
    const TensorInfo& norm = *header.find_tensor("blk.0.norm.weight");
    REQUIRE(norm.size_bytes % 32 != 0);
    bytes[norm.offset + norm.size_bytes] ^= std::byte(0xff);
    CHECK(verify(write(bytes)).ok());
}

TEST_CASE_METHOD(Files, "verify: a file without checksums has nothing to compare") {
    const Verification result = verify(write(encode_file({}, plans())));
    CHECK(result.ok());
    CHECK_FALSE(result.has_checksums);
    CHECK(result.n_checked == 0);
}

TEST_CASE_METHOD(Files,
                 "verify: a checksum that was never patched in marks a conversion that was cut short") {
    Metadata metadata;
    metadata.set(std::string(keys::kChecksums),
                 MetadataArray{std::vector<std::string>(4, std::string(keys::kPendingChecksum))});
    const GgufModel file = write(encode_file(metadata, plans()));
    const Verification result = verify(file);
    REQUIRE(result.damaged.size() == 4);
    CHECK(result.damaged[2].pending);
    CHECK(result.damaged[3].name == "output.weight");  // in the file's order
}

TEST_CASE_METHOD(Files, "verify: a list of checksums that does not fit the tensors is an error") {
    Metadata metadata;
    const std::string key(keys::kChecksums);
    metadata.set(key, MetadataArray{std::vector<std::string>(3, std::string(32, 'a'))});
    CHECK_THROWS_WITH(verify(write(encode_file(metadata, plans()))),
                      ContainsSubstring("3 checksums for 4 tensors"));
    metadata.set(key, MetadataArray{std::vector<std::string>(4, std::string(31, 'a'))});
    CHECK_THROWS_WITH(verify(write(encode_file(metadata, plans()))),
                      ContainsSubstring("token_embd.weight must be 32 lower-case hex digits"));
    metadata.set(key, MetadataArray{std::vector<uint32_t>(4, 7)});
    CHECK_THROWS_WITH(verify(write(encode_file(metadata, plans()))),
                      ContainsSubstring("must be an array of strings"));
    metadata.set(key, "0123");
    CHECK_THROWS_WITH(verify(write(encode_file(metadata, plans()))),
                      ContainsSubstring("must be an array of strings"));
}

TEST_CASE_METHOD(Files, "verify: stops when asked to, and then is not ok") {
    const GgufModel file = write(encode_file_with_checksums({}, plans()));
    const std::atomic<bool> stop = true;
    const Verification result = verify(file, {.n_threads = 2}, {}, &stop);
    CHECK(result.stopped);
    CHECK_FALSE(result.ok());
    CHECK(result.damaged.empty());
}

TEST_CASE_METHOD(Files, "verify: progress ends at the bytes of all tensors") {
    const GgufModel file = write(encode_file_with_checksums({}, plans()));
    std::atomic<uint64_t> highest = 0;
    verify(file, {.n_threads = 1}, [&](uint64_t bytes) { highest = std::max(highest.load(), bytes); });
    CHECK(highest == 33 * 144 + 28 + 10000);
}
