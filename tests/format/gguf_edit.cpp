#include "format/gguf_edit.h"

#include <algorithm>

#include "format/checksum.h"
#include "format/error.h"
#include "format/gguf_writer.h"
#include "format/ingot_keys.h"
#include "format/patch.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::test;

namespace {

/// A file of two tensors, with `n_spare` spare bytes (none: without the key).
std::string some_file(const TemporaryFolder& folder, size_t n_spare, uint32_t alignment = 32) {
    Metadata metadata;
    metadata.set("general.name", "old");
    if (alignment != 32) metadata.set("general.alignment", alignment);
    if (n_spare > 0) metadata.set(std::string(keys::kSpare), std::string(n_spare, ' '));
    metadata.set("list", MetadataArray{std::vector<std::string>{"a", "b"}});
    const GgufLayout layout(metadata, {{"x", TensorType::I8, {5}}, {"y", TensorType::I8, {7}}});
    std::vector<std::byte> bytes = layout.encode_header();
    bytes.resize(layout.file_size_bytes());
    for (const TensorPlan& tensor : layout.tensors())
        for (uint64_t i = 0; i < tensor.size_bytes; ++i) bytes[tensor.offset + i] = std::byte(i + 1);
    const std::string path = folder / "t.gguf";
    write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return path;
}

MetadataChanges name(const std::string& text) {
    return {.set = {{"general.name", text}}};
}

/// Edits, and checks that everything else stayed.
bool edit(const std::string& path, const MetadataChanges& changes) {
    bool in_place = false;
    {
        const GgufFile file(path);
        const EditedHeader edited = edit_header(file, changes);
        write_header(file, edited);
        in_place = edited.in_place;
    }
    const GgufFile file(path);
    REQUIRE(file.header().tensors().size() == 2);
    for (const TensorInfo& tensor : file.header().tensors()) {
        const auto bytes = file.tensor_bytes(tensor);
        for (size_t i = 0; i < bytes.size(); ++i) REQUIRE(bytes[i] == std::byte(i + 1));
    }
    CHECK_FALSE(std::filesystem::exists(journal_of(path)));
    return in_place;
}

}  // namespace

TEST_CASE("edit: in place while the spare bytes last, with every length of text between") {
    for (const uint32_t alignment : {32u, 64u, 256u}) {
        const TemporaryFolder folder;
        const std::string path = some_file(folder, 300, alignment);
        const uint64_t offset = GgufFile(path).header().data_offset();
        size_t n_in_place = 0;
        for (size_t n = 0; n < 700; ++n) {
            const std::string text(n, 'n');
            const bool in_place = edit(path, name(text));
            n_in_place += in_place;
            const GgufFile file(path);
            CHECK(file.header().require_string("general.name") == text);
            CHECK(file.header().find("list")->count() == 2);
            if (!in_place) break;
            CHECK(file.header().data_offset() == offset);
            CHECK(file.bytes().size() == std::filesystem::file_size(path));
        }
        CHECK(n_in_place >= 300);  // the spare bytes, the key itself and padding
        CHECK(n_in_place < 700);
        // Written anew, it has room again, and the data its place in a page.
        const GgufFile file(path);
        CHECK(file.header().data_offset() % 4096 == offset % 4096);
        CHECK(file.header().find(keys::kSpare)->as_string().size() >= keys::kSpareBytes);
    }
}

TEST_CASE("edit: at alignment 8 some lengths cannot be filled; these are written anew") {
    const TemporaryFolder folder;
    const std::string path = some_file(folder, 40, 8);
    for (size_t n = 0; n < 90; ++n) {
        edit(path, name(std::string(n, 'n')));
        CHECK(GgufFile(path).header().require_string("general.name").size() == n);
    }
}

TEST_CASE("edit: rename, delete, set and add keep the other keys' order and bytes") {
    const TemporaryFolder folder;
    const std::string path = some_file(folder, 500);
    CHECK(edit(path,
               {.renamed = {{"general.name", "general.title"}},
                .erased = {"list"},
                .set = {{"general.title", uint32_t(7)}, {"new", MetadataArray{std::vector<float>{1, 2}}}}}));
    const GgufFile file(path);
    const auto& metadata = file.header().metadata();
    REQUIRE(metadata.size() == 3);
    CHECK(metadata[0].key == "general.title");
    CHECK(metadata[0].value.type() == ValueType::Uint32);
    CHECK(metadata[1].key == "new");
    CHECK(metadata[2].key == keys::kSpare);
}

TEST_CASE("edit: keys that say where bytes are, that are not there, or that are there already") {
    const TemporaryFolder folder;
    const GgufFile file(some_file(folder, 100));
    for (const std::string key :
         {"general.alignment", "split.count", "ingot.spare", "ingot.checksum.xxh3_128"}) {
        CHECK_THROWS_WITH(edit_header(file, {.set = {{key, uint32_t(64)}}}), ContainsSubstring(key));
        CHECK_THROWS_AS(edit_header(file, {.erased = {key}}), Error);
    }
    CHECK_THROWS_WITH(edit_header(file, {.erased = {"absent"}}), ContainsSubstring("is not in the file"));
    CHECK_THROWS_WITH(edit_header(file, {.renamed = {{"list", "general.name"}}}),
                      ContainsSubstring("is in the file already"));
    CHECK_THROWS_AS(edit_header(file, {.set = {{"", uint32_t(1)}}}), Error);
}

TEST_CASE("edit: a file that was changed since it was read is not touched") {
    const TemporaryFolder folder;
    const std::string path = some_file(folder, 100);
    const GgufFile file(path);
    const EditedHeader mine = edit_header(file, name("mine"));
    edit(path, name("theirs"));
    const std::string bytes = read_file(path);
    CHECK_THROWS_WITH(write_header(file, mine), ContainsSubstring("edited by another program"));
    CHECK(read_file(path) == bytes);
}

TEST_CASE("patch: a journal and half of the bytes: readers say so, finish_patch() finishes it") {
    const TemporaryFolder folder;
    const std::string path = some_file(folder, 100);
    const std::string before = read_file(path);
    // A patch that never ends: the journal of one that does, kept.
    std::string journal;
    {
        const GgufFile file(path);
        const EditedHeader edited = edit_header(file, name("a longer name than before"));
        // What patch_file() would write, taken from a copy of the file that cannot be written to the end.
        write_header(file, edited);
    }
    const std::string after = read_file(path);
    const auto [first, ignored] = std::mismatch(before.begin(), before.end(), after.begin());
    const size_t begin = size_t(first - before.begin());
    size_t end = before.size();
    while (before[end - 1] == after[end - 1]) --end;
    const auto n = uint64_t(end - begin), offset = uint64_t(begin), size = uint64_t(before.size());
    journal.assign("ingot edit 1\n\0\0\0", 16);
    for (const uint64_t number : {size, offset, n})
        journal.append(reinterpret_cast<const char*>(&number), sizeof number);
    journal += before.substr(begin, n) + after.substr(begin, n);
    journal += xxh3_128_hex(std::as_bytes(std::span(journal)));

    const std::string half = before.substr(0, begin + n / 2) + after.substr(begin + n / 2);
    const std::pair<std::string, UnfinishedPatch> states[] = {
        {before, UnfinishedPatch::Old}, {after, UnfinishedPatch::New}, {half, UnfinishedPatch::Torn}};
    for (const auto& [bytes, state] : states) {
        write_file(path, bytes);
        write_file(journal_of(path), journal);
        CHECK(unfinished_patch(path) == state);
        if (state == UnfinishedPatch::Torn) {
            CHECK_THROWS_WITH(GgufFile(path), ContainsSubstring("--recover"));
        } else {
            CHECK_NOTHROW(GgufFile(path));
        }
        CHECK(finish_patch(path));
        CHECK(read_file(path) == after);
        CHECK(unfinished_patch(path) == UnfinishedPatch::None);
        CHECK_FALSE(finish_patch(path));
    }
    write_file(path, before + "more");  // another file took its name
    write_file(journal_of(path), journal);
    CHECK_THROWS_WITH(finish_patch(path), ContainsSubstring("another file"));
    CHECK(read_file(path) == before + "more");
    for (const std::string& damaged : {journal.substr(0, 100), std::string(), journal + "x"}) {
        write_file(journal_of(path), damaged);
        CHECK_THROWS_WITH(finish_patch(path), ContainsSubstring("is no journal"));
    }
}
