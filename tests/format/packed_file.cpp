#include "format/packed_file.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "format/error.h"
#include "format/gguf_model.h"
#include "format/gguf_writer.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::test;

namespace {

std::string text_of(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A GGUF file with a key of 300,000 bytes and two tensors.
std::string some_gguf() {
    Metadata metadata;
    metadata.set("long", std::string(300000, 'x'));
    const GgufLayout layout(metadata, {{"a", TensorType::I8, {1000}}, {"b", TensorType::I8, {2000}}});
    std::vector<std::byte> bytes = layout.encode_header();
    bytes.resize(layout.file_size_bytes());
    for (const TensorPlan& tensor : layout.tensors())
        for (uint64_t i = 0; i < tensor.size_bytes; ++i) bytes[tensor.offset + i] = std::byte(i % 251);
    return text_of(bytes);
}

/// Frames of `step` bytes each, and their seek table where it is wanted.
std::string packed(const std::string& text, size_t step, bool with_table) {
    std::string result;
    std::vector<PackedFrame> frames;
    for (size_t at = 0; at < text.size(); at += step) {
        const std::string piece = text.substr(at, step);
        const std::string frame = text_of(pack_frame(std::as_bytes(std::span(piece)), 3, false));
        frames.push_back({result.size(), frame.size(), at, piece.size()});
        result += frame;
    }
    return with_table ? result + text_of(encode_seek_table(frames)) : result;
}

void check_model(const std::string& path, const std::string& text) {
    const GgufModel model(path);
    REQUIRE(model.header().tensors().size() == 2);
    CHECK(model.size_bytes() == text.size());
    CHECK_FALSE(model.files()[0].is_plain());
    for (const TensorInfo& tensor : model.header().tensors()) {
        const auto bytes = model.tensor_bytes(tensor);
        CHECK(std::memcmp(bytes.data(), text.data() + tensor.offset, bytes.size()) == 0);
    }
}

}  // namespace

TEST_CASE("packed: a model is read from frames of any size, with a seek table and without") {
    const TemporaryFolder folder;
    const std::string text = some_gguf(), path = folder / "t.gguf.zst";
    for (const size_t step : {1000u, 4097u, 65536u, 10000000u}) {
        for (const bool with_table : {true, false}) {
            CAPTURE(step, with_table);
            write_file(path, packed(text, step, with_table));
            check_model(path, text);
        }
    }
}

TEST_CASE("packed: the seek table is the one of zstd's seekable format") {
    // Two frames of 5 and 7 bytes that unpack to 100 and 200: by hand from the format's document.
    const PackedFrame frames[] = {{0, 5, 0, 100}, {5, 7, 100, 200}};
    const std::string expected(
        "\x5e\x2a\x4d\x18\x19\0\0\0"            // skippable frame of 25 bytes
        "\5\0\0\0\x64\0\0\0\7\0\0\0\xc8\0\0\0"  // 5, 100, 7, 200
        "\2\0\0\0\0\xb1\xea\x92\x8f",           // 2 frames, no checksums, magic
        33);
    CHECK(text_of(encode_seek_table(frames)) == expected);
}

TEST_CASE("packed: what is damaged, cut, or does not fit its table is one error") {
    const TemporaryFolder folder;
    const std::string text = some_gguf(), path = folder / "t.gguf.zst";
    const std::string good = packed(text, 100000, true);
    const auto read = [&](const std::string& bytes) {
        write_file(path, bytes);
        const GgufModel model(path);
        for (const TensorInfo& tensor : model.header().tensors()) model.tensor_bytes(tensor);
    };
    CHECK_NOTHROW(read(good));
    std::string damaged = good;
    damaged[200] ^= 0x10;
    CHECK_THROWS_AS(read(damaged), Error);
    CHECK_THROWS_AS(read(good.substr(0, good.size() / 2)), Error);
    std::string table = good;
    table[good.size() - 5 - 1] = char(0x7c);  // a reserved bit, 6 bytes before the end
    table[good.size() - 5] = char(0x7c);
    CHECK_THROWS_AS(read(table), Error);
    std::string sizes = good;
    sizes[good.size() - 9 - 4] ^= 1;  // of the last frame: it unpacks to another size
    CHECK_THROWS_AS(read(sizes), Error);
    std::string many = good;
    const uint32_t n = 0xffffffff;
    std::memcpy(many.data() + good.size() - 9, &n, sizeof n);
    CHECK_THROWS_WITH(read(many), ContainsSubstring("larger than the file"));
}

TEST_CASE("packed: a frame that says it unpacks to far more than any model does is refused") {
    const TemporaryFolder folder;
    const std::string zeros(100 << 20, '\0');
    write_file(folder / "bomb.zst", text_of(pack_frame(std::as_bytes(std::span(zeros)), 1, true)));
    CHECK_THROWS_WITH(GgufFile(folder / "bomb.zst"), ContainsSubstring("no model packs so well"));
}

TEST_CASE("packed: several threads that want the same bytes get them") {
    const TemporaryFolder folder;
    const std::string text = some_gguf(), path = folder / "t.gguf.zst";
    write_file(path, packed(text, 300, true));
    const GgufFile file(path);
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&] {
                for (const TensorInfo& tensor : file.header().tensors()) file.tensor_bytes(tensor);
            });
    }
    const TensorInfo& tensor = file.header().tensors()[1];
    CHECK(std::memcmp(file.tensor_bytes(tensor).data(), text.data() + tensor.offset, tensor.size_bytes) == 0);
}
