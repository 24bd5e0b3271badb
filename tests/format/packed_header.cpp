#include "format/packed_header.h"

#include <cstring>

#include "format/checksum.h"
#include "format/error.h"
#include "format/packed_file.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::test;

namespace {

std::string text_of(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::byte> bytes_of(const std::string& text) {
    std::vector<std::byte> bytes(text.size());
    if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
    return bytes;
}

PackedHeader some_header() {
    PackedHeader header{.size_bytes = 9, .base_size_bytes = 300};
    header.base_checksum = "000102030405060708090a0b0c0d0e0f";
    header.base_name = "base";
    header.frames = {{.base_offset = 7,
                      .base_bytes = 9,
                      .transform = FrameTransform::Difference,
                      .element_bytes = 2,
                      .checksum = 0x1122334455667788}};
    return header;
}

/// The file of SPEC.md, section 8: numbers at their places, by hand.
const std::string kByHand(
    "INGOTPAK"
    "\1\0\0\0"            // version
    "\1\0\0\0"            // needs a base
    "\x09\0\0\0\0\0\0\0"  // unpacks to 9 bytes
    "\1\0\0\0\0\0\0\0"    // frames
    "\x2c\1\0\0\0\0\0\0"  // the base has 300 bytes
    "\0\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
    "\4\0\0\0"
    "base"
    "\7\0\0\0\0\0\0\0"  // at byte 7 of the base
    "\x09\0\0\0"        // 9 of its bytes
    "\2\2\0\0"          // difference, elements of 2 bytes
    "\x88\x77\x66\x55\x44\x33\x22\x11",
    88);

/// A file with these bytes, of which a base has all but one.
struct Patch {
    TemporaryFolder folder;
    std::string base = folder / "base.bin", path = folder / "t.patch";
    std::string text, base_text;
    PackedHeader header;
    std::string frame;

    Patch() {
        for (int i = 0; i < 1001; ++i) text += char(i * 37 >> 3);
        base_text = text;
        base_text[500] = char(base_text[500] ^ 1);
        write_file(base, "front" + base_text);
        header.size_bytes = text.size();
        header.base_size_bytes = base_text.size() + 5;
        header.base_checksum = xxh3_128_hex(bytes_of("front" + base_text));
        header.base_name = "base.bin";
        header.frames = {{.base_offset = 5,
                          .base_bytes = uint32_t(text.size()),
                          .transform = FrameTransform::Difference,
                          .element_bytes = 4,
                          .checksum = xxh3_64(bytes_of(text))}};
        std::vector<std::byte> difference(text.size());
        transform_frame(FrameTransform::Difference, 4, bytes_of(text), bytes_of(base_text), difference);
        frame = text_of(pack_frame(difference, 3, false));
    }
    std::string file() const {
        const std::string head = text_of(encode_packed_header(header));
        const PackedFrame frames[] = {{0, head.size(), 0, 0}, {head.size(), frame.size(), 0, text.size()}};
        return head + frame + text_of(encode_seek_table(frames));
    }
    /// What the file unpacks to.
    std::string unpacked(const std::string& packed) const {
        write_file(path, packed);
        const MappedFile other{std::filesystem::path(base)};
        const PackedFile source(MappedFile{std::filesystem::path(path)}, &other);
        std::string result(*source.size_bytes(), '\0');
        for (size_t i = 0; i < source.frames().size(); ++i) {
            const PackedFrame& place = source.frames()[i];
            source.unpack(i,
                          std::as_writable_bytes(std::span(result)).subspan(place.offset, place.size_bytes));
        }
        return result;
    }
};

}  // namespace

TEST_CASE("packed header: the bytes are those of SPEC.md, and are read again") {
    CHECK(text_of(encode_packed_header(some_header())) == kByHand);
    uint64_t n_bytes = 0;
    const PackedHeader read = parse_packed_header(bytes_of(kByHand + "more"), n_bytes);
    CHECK(n_bytes == kByHand.size());
    CHECK(read.base_checksum == some_header().base_checksum);
    CHECK(read.base_name == "base");
    CHECK(encode_packed_header(read) == bytes_of(kByHand));
}

TEST_CASE("packed header: what is cut, unknown or outside the base is one error") {
    uint64_t n_bytes = 0;
    for (size_t n = 0; n < kByHand.size(); ++n) {
        CAPTURE(n);
        CHECK_THROWS_AS(parse_packed_header(bytes_of(kByHand.substr(0, n)), n_bytes), Error);
    }
    const auto with = [](size_t at, char byte) {
        std::string text = kByHand;
        text[at] = byte;
        return bytes_of(text);
    };
    const std::tuple<size_t, char, const char*> wrong[] = {
        {8, 2, "version 2"},
        {12, 3, "flags"},
        {12, 0, "the size of a base"},          // a base, but no need of it
        {24, 2, "cut short"},                   // two frames
        {31, '\x7f', "cut short"},              // 2^62 frames
        {59, 1, "cut short"},                   // a name of 16 MiB
        {64 + 1, 2, "the base does not have"},  // at byte 512 of 300
        {64 + 8, 0, "from nothing"},
        {64 + 11, 9, "more than 128 MiB"},
        {64 + 12, 3, "does not know"},
        {64 + 12, 1, "planes and a base"},
        {64 + 13, 3, "neither 1, 2, 4 nor 8"},
        {64 + 14, 1, "must be 0"},
    };
    for (const auto& [at, byte, message] : wrong) {
        CAPTURE(at, message);
        CHECK_THROWS_WITH(parse_packed_header(with(at, byte), n_bytes), ContainsSubstring(message));
    }
}

TEST_CASE("frames: planes and differences, by hand") {
    const auto frame = [](FrameTransform transform, size_t n, const std::string& source,
                          const std::string& base) {
        std::vector<std::byte> target(source.size());
        transform_frame(transform, n, bytes_of(source), bytes_of(base), target);
        std::vector<std::byte> back(source.size());
        restore_frame(transform, n, target, bytes_of(base), back);
        CHECK(text_of(back) == source);
        return text_of(target);
    };
    CHECK(frame(FrameTransform::Planes, 2, "aAbBcCx", "") == "abcABCx");
    CHECK(frame(FrameTransform::Planes, 4, "0123abcdXY", "") == "0a1b2c3dXY");
    // 0x0102 - 0x0101 = 1 -> 2; 0x0000 - 0x0001 = -1 -> 1; behind the last element: 5 - 3.
    using namespace std::string_literals;
    CHECK(frame(FrameTransform::Difference, 2, "\x02\x01\0\0\5"s, "\x01\x01\1\0\3"s) == "\x02\x01\0\0\2"s);
    CHECK(frame(FrameTransform::Difference, 1, "\x7f\x80"s, "\0\0"s) == "\xfe\xff"s);
    CHECK(frame(FrameTransform::Difference, 8, std::string(16, '\xff'), std::string(16, '\0')) ==
          "\1\1"s + std::string(14, '\0'));
    std::string random, other;
    for (int i = 0; i < 1003; ++i) {
        random += char(i * 7919 >> 3);
        other += char(i * 104729 >> 5);
    }
    for (const size_t n : {1u, 2u, 4u, 8u}) {
        frame(FrameTransform::Planes, n, random, "");
        frame(FrameTransform::Difference, n, random, other);
    }
}

TEST_CASE_METHOD(Patch,
                 "patch: with its base it is the file; with another, or none, an error that names both") {
    CHECK(unpacked(file()) == text);
    write_file(base, "front" + text);
    CHECK_THROWS_WITH(unpacked(file()), ContainsSubstring(header.base_checksum) &&
                                            ContainsSubstring(xxh3_128_hex(bytes_of("front" + text))) &&
                                            ContainsSubstring("another file"));
    write_file(path, file());
    CHECK_THROWS_WITH(PackedFile(MappedFile{std::filesystem::path(path)}),
                      ContainsSubstring("is a patch") && ContainsSubstring("unpack --from base.bin"));
    write_file(path, text_of(pack_frame(bytes_of(text), 3, false)));
    const MappedFile other{std::filesystem::path(base)};
    CHECK_THROWS_WITH(PackedFile(MappedFile{std::filesystem::path(path)}, &other),
                      ContainsSubstring("is no patch"));
}

TEST_CASE_METHOD(Patch, "patch: cut anywhere, or with a byte changed, it is one error") {
    const std::string good = file();
    for (size_t n = 0; n < good.size(); ++n) {
        CAPTURE(n);
        CHECK_THROWS_AS(unpacked(good.substr(0, n)), Error);
    }
    const size_t name_at = 60, name_end = name_at + header.base_name.size();
    for (size_t at = 0; at < good.size(); ++at) {
        if (at >= name_at && at < name_end) continue;  // the name is for people
        CAPTURE(at);
        std::string damaged = good;
        damaged[at] = char(damaged[at] ^ 0x21);
        CHECK_THROWS_AS(unpacked(damaged), Error);
    }
}

TEST_CASE_METHOD(Patch, "patch: a base that changes while it is read is noticed") {
    write_file(path, file());
    const MappedFile other{std::filesystem::path(base)};
    const PackedFile source(MappedFile{std::filesystem::path(path)}, &other);
    std::fstream stream(base, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(100);
    stream.put('!');
    stream.close();
    std::vector<std::byte> target(text.size());
    CHECK_THROWS_WITH(source.unpack(0, target), ContainsSubstring("the base has changed"));
}

TEST_CASE_METHOD(Patch, "patch: frames that do not fit the seek table are refused") {
    header.frames[0].base_bytes -= 1;
    CHECK_THROWS_WITH(unpacked(file()), ContainsSubstring("is a difference from"));
    header.frames[0].base_bytes += 1;
    header.size_bytes += 1;
    CHECK_THROWS_WITH(unpacked(file()), ContainsSubstring("its seek table has"));
    header.size_bytes -= 1;
    header.frames.push_back(header.frames[0]);
    CHECK_THROWS_WITH(unpacked(file()), ContainsSubstring("its seek table has"));
}
