#include "format/gguf_split.h"

#include <algorithm>

#include "format/checksum.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/output_file.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::test;

namespace {

constexpr size_t kTensors = 7;

/// Tensor i has 100 + i bytes, all of them i + 1; with checksums.
std::string some_model(const TemporaryFolder& folder, uint32_t alignment = 64) {
    Metadata metadata;
    metadata.set("general.architecture", "llama");
    metadata.set("general.alignment", alignment);
    std::vector<TensorPlan> plans;
    std::vector<std::string> checksums;
    for (size_t i = 0; i < kTensors; ++i) {
        plans.push_back({"t" + std::to_string(i), TensorType::I8, {100 + i}});
        checksums.push_back(xxh3_128_hex(std::vector<std::byte>(100 + i, std::byte(i + 1))));
    }
    metadata.set(std::string(keys::kChecksums), MetadataArray{checksums});
    const GgufLayout layout(metadata, plans);
    std::vector<std::byte> bytes = layout.encode_header();
    bytes.resize(layout.file_size_bytes());
    for (size_t i = 0; i < kTensors; ++i)
        std::fill_n(bytes.begin() + long(layout.tensors()[i].offset), 100 + i, std::byte(i + 1));
    const std::string path = folder / "whole.gguf";
    write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return path;
}

std::vector<std::string> split(const std::string& path, const std::string& prefix,
                               const SplitLimits& limits) {
    const GgufModel model(path);
    const auto shards = plan_split(model, limits);
    std::vector<std::string> paths;
    for (size_t i = 0; i < shards.size(); ++i) paths.push_back(shard_name(prefix, i, shards.size()));
    REQUIRE(write_shards(model, shards, paths, false));
    return paths;
}

void check_whole(const GgufModel& model) {
    REQUIRE(model.header().tensors().size() == kTensors);
    for (size_t i = 0; i < kTensors; ++i) {
        const TensorInfo& tensor = model.header().tensors()[i];
        CHECK(tensor.name == "t" + std::to_string(i));
        const auto bytes = model.tensor_bytes(tensor);
        CHECK(bytes.size() == 100 + i);
        CHECK(std::ranges::all_of(bytes, [&](std::byte byte) { return byte == std::byte(i + 1); }));
        const GgufFile& file = model.file_of(tensor);
        const auto own = file.header().strings(keys::kChecksums);
        const auto place = size_t(file.header().find_tensor(tensor.name) - file.header().tensors().data());
        REQUIRE(place < own.size());
        CHECK(own[place] == xxh3_128_hex(bytes));
    }
}

}  // namespace

TEST_CASE("split: by tensors, and merged again: the same bytes as the file that was split") {
    const TemporaryFolder folder;
    const std::string whole = some_model(folder);
    const auto paths = split(whole, folder / "part", {.max_tensors = 3});
    REQUIRE(paths.size() == 3);
    CHECK(paths[2].ends_with("part-00003-of-00003.gguf"));
    const GgufModel model(paths[1]);
    check_whole(model);
    CHECK(model.files()[2].header().tensors().size() == 1);
    CHECK(model.files()[1].header().alignment() == 64);
    CHECK(model.files()[1].header().find("split.no")->type() == ValueType::Uint16);
    CHECK(model.files()[1].header().find("split.tensors.count")->type() == ValueType::Int32);
    CHECK(model.files()[1].header().find("general.architecture") == nullptr);

    const auto merge = [&](const std::string& from, const std::string& to) {
        const GgufModel parts(from);
        std::vector<PlannedShard> plan;
        plan.push_back(plan_merge(parts));
        REQUIRE(write_shards(parts, plan, {to}, false));
    };
    merge(paths[0], folder / "merged.gguf");
    merge(whole, folder / "again.gguf");  // the original, with spare bytes
    CHECK(read_file(folder / "merged.gguf") == read_file(folder / "again.gguf"));
    const GgufModel merged(folder / "merged.gguf");
    check_whole(merged);
    CHECK(merged.header().find("split.count") == nullptr);
}

TEST_CASE("split: by bytes; no file is larger, but for one tensor that is") {
    const TemporaryFolder folder;
    const std::string whole = some_model(folder);
    for (const uint64_t limit : {6000ull, 5200ull, 1000ull, 10ull}) {
        const auto shards = plan_split(GgufModel(whole), {.max_bytes = limit});
        size_t next = 0;
        for (size_t i = 0; i < shards.size(); ++i) {
            CHECK(shards[i].first_tensor == next);
            next += shards[i].layout.tensors().size();
            CHECK((shards[i].layout.file_size_bytes() <= limit || shards[i].layout.tensors().size() == 1));
        }
        CHECK(next == kTensors);
    }
    const auto first = plan_split(GgufModel(whole), {.max_tensors = 4, .no_tensor_first = true});
    REQUIRE(first.size() == 3);
    CHECK(first[0].layout.tensors().empty());
    CHECK(first[1].layout.tensors().size() == 4);
    CHECK_THROWS_WITH(plan_split(GgufModel(whole), {}), ContainsSubstring("needs a limit"));
}

TEST_CASE("split: stopped, nothing is left") {
    const TemporaryFolder folder;
    const std::string whole = some_model(folder);
    const GgufModel model(whole);
    const std::atomic<bool> stop = true;
    CHECK_FALSE(write_shards(model, plan_split(model, {.max_tensors = 7}), {folder / "x-00001-of-00001.gguf"},
                             false, {}, &stop));
    CHECK(folder.names() == std::vector<std::string>{"whole.gguf"});
}

TEST_CASE("merge and delete: the shards are gone, the file is whole") {
    const TemporaryFolder folder;
    const auto paths = split(some_model(folder), folder / "part", {.max_tensors = 3});
    REQUIRE(merge_and_delete(paths[1], folder / "merged.gguf"));
    for (const std::string& path : paths) CHECK_FALSE(std::filesystem::exists(path));
    check_whole(GgufModel(folder / "merged.gguf"));
    CHECK(folder.names().size() == 2);
}

TEST_CASE("merge and delete: stopped at any piece, the next one goes on, whatever is deleted by then") {
    for (size_t stop_at = 0; stop_at <= 15; ++stop_at) {
        CAPTURE(stop_at);
        const TemporaryFolder folder;
        const auto paths = split(some_model(folder), folder / "part", {.max_tensors = 3});
        std::atomic<bool> stop = stop_at == 0;
        size_t n_pieces = 0;
        const bool finished = merge_and_delete(
            paths[0], folder / "merged.gguf", [&](uint64_t) { stop = ++n_pieces == stop_at; }, &stop);
        CHECK(finished == (stop_at > kTensors));
        if (!finished) {
            CHECK_FALSE(std::filesystem::exists(folder / "merged.gguf"));
            REQUIRE(
                merge_and_delete(paths[0], folder / "merged.gguf"));  // by the name of one that may be gone
        }
        check_whole(GgufModel(folder / "merged.gguf"));
        CHECK(folder.names().size() == 2);
    }
}

TEST_CASE("merge and delete: a shard of another model is not merged and not deleted") {
    const TemporaryFolder folder;
    const auto paths = split(some_model(folder), folder / "part", {.max_tensors = 3});
    std::atomic<bool> stop = false;
    size_t n_pieces = 0;
    merge_and_delete(
        paths[0], folder / "merged.gguf", [&](uint64_t) { stop = ++n_pieces == 4; }, &stop);
    REQUIRE_FALSE(std::filesystem::exists(paths[0]));
    Metadata metadata;
    metadata.set("split.no", uint16_t(2));
    const GgufLayout other(metadata, {{"u", TensorType::I8, {8}}});
    std::vector<std::byte> bytes = other.encode_header();
    bytes.resize(other.file_size_bytes());
    write_file(paths[2], {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    CHECK_THROWS_WITH(merge_and_delete(paths[2], folder / "merged.gguf"), ContainsSubstring("another model"));
    CHECK(std::filesystem::exists(paths[2]));
    for (const char* name : {"part.gguf", "part-0000a-of-00003.gguf", "part-00004-of-00003.gguf", "-of-"})
        CHECK_THROWS_WITH(merge_and_delete(folder / name, folder / "out.gguf"),
                          ContainsSubstring("is no shard"));
}
