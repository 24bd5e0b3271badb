// Which files make up a checkpoint, and what is said when some are missing.
#include "converters/sources/checkpoint.h"
#include "format/error.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

/// Two shards and their index.
struct Shards {
    TemporaryFolder folder;
    std::string index =
        R"({"metadata":{},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})";

    void write() const {
        write_file(folder / "model-1.safetensors", safetensors_file({{"a", "F32", {1}, "aaaa"}}));
        write_file(folder / "model-2.safetensors", safetensors_file({{"b", "F32", {1}, "bbbb"}}));
        write_file(folder / "model.safetensors.index.json", index);
    }
    std::unique_ptr<Checkpoint> open() const { return open_checkpoint(folder.path().string()); }
};

}  // namespace

TEST_CASE("Shards are one checkpoint") {
    const Shards shards;
    shards.write();
    const auto checkpoint = shards.open();
    CHECK(checkpoint->tensors().size() == 2);
    CHECK(checkpoint->files().size() == 2);
    REQUIRE(checkpoint->find("b"));
    CHECK(char(checkpoint->find("b")->data[0]) == 'b');
    CHECK_FALSE(checkpoint->find("c"));
}

TEST_CASE("A missing shard is an error that names it") {
    const Shards shards;
    shards.write();
    fs::remove(shards.folder / "model-2.safetensors");
    CHECK_THROWS_WITH(shards.open(),
                      ContainsSubstring("1 of the 2 files") && ContainsSubstring("model-2.safetensors"));
}

TEST_CASE("A shard that lacks a tensor which the index has there is an error that names both") {
    Shards shards;
    shards.index =
        R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors","c":"model-2.safetensors"}})";
    shards.write();
    CHECK_THROWS_WITH(shards.open(), ContainsSubstring("tensor \"c\" is not in"));
    write_file(shards.folder / "model.safetensors.index.json",
               R"({"weight_map":{"a":"model-2.safetensors","b":"model-1.safetensors"}})");
    CHECK_THROWS_WITH(shards.open(), ContainsSubstring("different checkpoints"));
}

TEST_CASE("A tensor in two shards is an error that names it") {
    const Shards shards;
    shards.write();
    write_file(shards.folder / "model-2.safetensors",
               safetensors_file({{"b", "F32", {1}, "bbbb"}, {"a", "F32", {1}, "aaaa"}}));
    CHECK_THROWS_WITH(shards.open(), ContainsSubstring("tensor \"a\" is also in"));
}

TEST_CASE("An index that points outside its folder, or nowhere, is an error") {
    Shards shards;
    for (const char* name : {"../model-1.safetensors", "/etc/passwd", "..", "", "a\\\\b"}) {
        shards.index = fmt::format("{{\"weight_map\":{{\"a\":\"{}\"}}}}", name);
        shards.write();
        CHECK_THROWS_WITH(shards.open(), ContainsSubstring("no plain file name"));
    }
    for (const char* index :
         {"{}", "{\"weight_map\":{}}", "{\"weight_map\":[]}", "{\"weight_map\":{\"a\":1}}", "", "["}) {
        shards.index = index;
        shards.write();
        CHECK_THROWS_WITH(shards.open(), ContainsSubstring("model.safetensors.index.json"));
    }
}

TEST_CASE("A folder without weights says what it has instead") {
    const TemporaryFolder folder;
    const auto open = [&] { return open_checkpoint(folder.path().string()); };
    CHECK_THROWS_WITH(open(), ContainsSubstring("no weights"));
    write_file(folder / "pytorch_model.bin", "PK");
    CHECK_THROWS_WITH(open(), ContainsSubstring("neither a zip archive"));
    fs::rename(folder / "pytorch_model.bin", folder / "consolidated.pth");
    CHECK_THROWS_WITH(open(), ContainsSubstring("only consolidated.pth"));
    write_file(folder / "consolidated.safetensors", "");
    CHECK_THROWS_WITH(open(), ContainsSubstring("only consolidated.pth, consolidated.safetensors"));
    CHECK_THROWS_WITH(open_checkpoint(folder / "consolidated.pth"), ContainsSubstring("not a folder"));
    CHECK_THROWS_WITH(open_checkpoint(folder / "nowhere"), ContainsSubstring("no such folder"));
}
