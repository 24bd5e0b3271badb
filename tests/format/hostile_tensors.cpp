// Malformed containers, part 2: tensors, and what is no file. Each case is one row of the list of what must
// be refused; its tag is the row's number.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/catch.h"
#include "tests/format/gguf_bytes.h"

namespace ingot::test {
namespace {

constexpr uint32_t kF32 = 0, kQ4_0 = 2, kQ8_0 = 8, kQ4_K = 12, kF64 = 28;

/// A file with one tensor and a kilobyte of data.
GgufBytes one_tensor(std::initializer_list<uint64_t> shape, uint32_t type, uint64_t offset = 0) {
    return GgufBytes(1, 0).tensor("w", shape, type, offset).pad().zeros(1024);
}

}  // namespace

TEST_CASE("a tensor of more than four dimensions is refused", "[hostile][row19]") {
    CHECK_REFUSED(one_tensor({1, 1, 1, 1, 1}, kF32), "tensor w at byte 37: has 5 dimensions");
    for (const uint32_t n_dims : {5u, 255u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
        CAPTURE(n_dims);
        CHECK_REFUSED(GgufBytes(1, 0).string("w").u32(n_dims).zeros(2000), "at most 4 are allowed");
    }
    for (const auto& shape : {std::initializer_list<uint64_t>{}, {2}, {2, 2}, {2, 2, 2}, {2, 2, 2, 2}}) {
        CHECK(outcome_of(one_tensor(shape, kF32)).error == "");
    }
}

TEST_CASE("a negative dimension is refused", "[hostile][row20]") {
    CHECK_REFUSED(one_tensor({uint64_t(-1)}, kF32), "dimension 0 is -1");
    CHECK_REFUSED(one_tensor({1, uint64_t(-32)}, kF32), "dimension 1 is -32");
    CHECK_REFUSED(one_tensor({uint64_t(-1), uint64_t(-1)}, kF32), "dimension 0 is -1");
    CHECK_REFUSED(one_tensor({0, 0, 0, uint64_t(INT64_MIN)}, kF32), "dimension 3 is -9223372036854775808");
}

TEST_CASE("a dimension of zero makes an empty tensor", "[hostile][row21]") {
    for (const auto& shape :
         {std::initializer_list<uint64_t>{0}, {0, 5}, {32, 0}, {256, 2, 0, 7}, {0, 0, 0, 0}}) {
        for (const uint32_t type : {kF32, kQ8_0, kQ4_K}) {
            if (*shape.begin() % 256 != 0 && type == kQ4_K) continue;
            const std::vector<std::byte> bytes = one_tensor(shape, type).bytes();
            const GgufHeader header = GgufHeader::parse(bytes);
            const TensorInfo& tensor = header.tensors()[0];
            CHECK(tensor.n_elements == 0);
            CHECK(tensor.size_bytes == 0);
            CHECK(tensor.n_rows() == 0);
        }
    }
    SECTION("which may share its place with the next one") {
        CHECK(outcome_of(GgufBytes(2, 0).tensor("w", {0}, kF32, 0).tensor("v", {8}, kF32, 0).pad().zeros(32))
                  .error == "");
        CHECK(outcome_of(GgufBytes(2, 0).tensor("v", {8}, kF32, 0).tensor("w", {0}, kF32, 0).pad().zeros(32))
                  .error == "");
    }
    SECTION("which lies in the file nevertheless") {
        CHECK_REFUSED(one_tensor({0}, kF32, 4096), "the download is incomplete");
        CHECK_REFUSED(one_tensor({0}, kF32, uint64_t(1) << 63), "ends at byte 9,223,372,");
        CHECK_REFUSED(one_tensor({0}, kF32, -uint64_t(32)), "2^64 or later");
    }
}

TEST_CASE("dimensions whose product wraps are refused", "[hostile][row22]") {
    const uint64_t two_32 = uint64_t(1) << 32;
    CHECK_REFUSED(one_tensor({two_32, two_32}, kF32), "more than 2^64 elements");
    CHECK_REFUSED(one_tensor({two_32, two_32, 1, 1}, kQ4_0), "more than 2^64 elements");
    CHECK_REFUSED(one_tensor({1 << 16, 1 << 16, 1 << 16, 1 << 16}, kF32), "more than 2^64 elements");
    CHECK_REFUSED(one_tensor({two_32 + 1, two_32 - 1, 2}, kF32), "more than 2^64 elements");
    CHECK_REFUSED(one_tensor({uint64_t(INT64_MAX), 3}, kF32), "more than 2^64 elements");
}

TEST_CASE("a tensor whose elements fit 64 bits but whose bytes do not is refused", "[hostile][row23]") {
    CHECK_REFUSED(one_tensor({uint64_t(1) << 62}, kF32), "take more than 2^64 bytes");
    CHECK_REFUSED(one_tensor({uint64_t(1) << 32, uint64_t(1) << 30}, kF32), "take more than 2^64 bytes");
    CHECK_REFUSED(one_tensor({uint64_t(1) << 61}, kF64), "take more than 2^64 bytes");
    CHECK_REFUSED(one_tensor({uint64_t(1) << 31, uint64_t(1) << 31, 3}, kF32), "take more than 2^64 bytes");
    CHECK_REFUSED(one_tensor({uint64_t(-1) / 64 * 32, 2}, kQ8_0),
                  "take more than 2^64 bytes");  // 34 for 32 elements
}

TEST_CASE("a row whose length times its block's bytes would wrap is measured block by block",
          "[hostile][row24]") {
    // 2^63 / 32 · 18 bytes fit 64 bits; 2^63 · 18 would not. Wrapped, each would seem to fit the file.
    CHECK_REFUSED(one_tensor({(uint64_t(1) << 63) - 32}, kQ4_0), "ends at byte 5,188,146,770,730,811,");
    CHECK_REFUSED(one_tensor({uint64_t(1) << 60}, kQ4_0), "ends at byte 648,518,346,341,351,");
    CHECK_REFUSED(one_tensor({uint64_t(1) << 57, 32}, kQ4_K), "ends at byte");
    CHECK_REFUSED(one_tensor({uint64_t(1) << 61}, kQ8_0), "ends at byte");
}

TEST_CASE("a tensor whose size or end comes near 2^64 is refused", "[hostile][row25]") {
    // 2^62 - 1 floats: 2^64 - 4 bytes, which padding would round to 0.
    CHECK_REFUSED(one_tensor({(uint64_t(1) << 62) - 1}, kF32), "ends at byte 2^64 or later");
    CHECK_REFUSED(one_tensor({(uint64_t(1) << 62) - 8}, kF32), "ends at byte 2^64 or later");
    CHECK_REFUSED(one_tensor({(uint64_t(1) << 61) - 1, 2}, kF32), "ends at byte 2^64 or later");
    CHECK_REFUSED(one_tensor({8}, kF32, -uint64_t(32)), "ends at byte 2^64 or later");
    CHECK_REFUSED(one_tensor({8}, kF32, -uint64_t(64)), "ends at byte");
    CHECK_REFUSED(one_tensor({8}, kF32, -uint64_t(96)), "ends at byte");
}

TEST_CASE("tensors whose sizes add up to a wrapped sum are refused", "[hostile][row26]") {
    const uint64_t half = uint64_t(1) << 61;  // floats: 2^63 bytes
    const auto two = [](uint64_t first, uint64_t second, uint64_t offset) {
        return GgufBytes(2, 0)
            .tensor("w", {first}, kF32, 0)
            .tensor("v", {second}, kF32, offset)
            .pad()
            .zeros(1024);
    };
    CHECK_REFUSED(two(half, half, uint64_t(1) << 63), "tensor w: ends at byte");
    CHECK_REFUSED(two(half, half, 0), "tensor w: ends at byte");
    CHECK_REFUSED(two(8, half * 2 - 8, 32), "tensor v: ends at byte");
    CHECK_REFUSED(two(8, half * 2 - 16, 32), "tensor v: ends at byte");
}

TEST_CASE("a tensor type that does not exist or was removed is refused by number", "[hostile][row27]") {
    for (const uint32_t type : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u}) {
        CAPTURE(type);
        CHECK_REFUSED(one_tensor({256}, type), fmt::format("has type {}, which does not exist (", type));
        CHECK_REFUSED(one_tensor({256}, type), "removed in 202");
    }
    for (const uint32_t type :
         {43u, 44u, 100u, 255u, 256u, 1u << 16, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
        CAPTURE(type);
        CHECK_REFUSED(one_tensor({256}, type), fmt::format("has type {}, which does not exist", type));
    }
    for (const TensorTypeInfo& type : tensor_types()) {
        CHECK(outcome_of(one_tensor({256}, uint32_t(type.type)).zeros(2048)).error == "");
    }
}

TEST_CASE("a row that is no whole number of blocks is refused", "[hostile][row28]") {
    CHECK_REFUSED(one_tensor({31}, kQ4_0), "rows of 31 elements, but Q4_0 has blocks of 32");
    CHECK_REFUSED(one_tensor({128}, kQ4_K), "rows of 128 elements, but Q4_K has blocks of 256");
    CHECK_REFUSED(one_tensor({16, 2}, kQ8_0), "rows of 16 elements");  // 32 elements in all
    CHECK_REFUSED(one_tensor({1, 256}, kQ4_K), "rows of 1 elements");
    CHECK_REFUSED(GgufBytes(1, 0).tensor("w", {}, kQ8_0, 0).pad().zeros(64), "rows of 1 elements");
}

TEST_CASE("tensors that are misaligned or overlap are refused", "[hostile][row29]") {
    for (const uint64_t offset : {1, 4, 16, 31, 33, 48}) {
        CAPTURE(offset);
        CHECK_REFUSED(one_tensor({8}, kF32, offset), "no multiple of the alignment, 32");
    }
    const auto two = [](uint64_t first_offset, uint64_t second_offset) {  // 64 bytes each
        return GgufBytes(2, 0)
            .tensor("w", {16}, kF32, first_offset)
            .tensor("v", {16}, kF32, second_offset)
            .pad()
            .zeros(512);
    };
    CHECK(outcome_of(two(0, 64)).error == "");
    CHECK(outcome_of(two(64, 0)).error == "");
    CHECK(outcome_of(two(0, 256)).error == "");
    CHECK_REFUSED(two(0, 0), "inside tensor");
    CHECK_REFUSED(two(0, 32), "tensor v: starts at byte");
    CHECK_REFUSED(two(32, 0), "tensor w: starts at byte");
    SECTION("a large one around a small one, far apart in the list") {
        GgufBytes file(3, 0);
        file.tensor("inner", {8}, kF32, 64).tensor("far", {8}, kF32, 480).tensor("outer", {64}, kF32, 0);
        CHECK_REFUSED(file.pad().zeros(512), "tensor inner: starts at byte");
    }
}

TEST_CASE("a tensor that starts inside the file but ends past it is refused", "[hostile][row30]") {
    const auto file = [](size_t data_bytes) {
        return GgufBytes(1, 0).tensor("w", {100}, kF32, 0).pad().zeros(data_bytes);
    };
    CHECK(outcome_of(file(400)).error == "");
    CHECK(outcome_of(file(416)).error == "");
    CHECK_REFUSED(file(399), "tensor w: ends at byte 464 but the file has 463; the download is incomplete");
    CHECK_REFUSED(file(1), "tensor w: ends at byte 464 but the file has 65");
    CHECK_REFUSED(file(0), "tensor w: ends at byte 464 but the file has 64");
    CHECK_REFUSED(one_tensor({8}, kF32, 1024), "the download is incomplete");
    CHECK_REFUSED(one_tensor({8}, kF32, 1 << 30), "the download is incomplete");

    SECTION("by the real size, when only the front of the file is at hand") {
        const std::vector<std::byte> front = GgufBytes(1, 0).tensor("w", {100}, kF32, 0).pad().bytes();
        CHECK(GgufHeader::parse(front, 464).tensors()[0].offset == 64);
        CHECK_THROWS_WITH(GgufHeader::parse(front, 463), ContainsSubstring("the file has 463"));
    }
}

TEST_CASE("what is no regular file is refused without waiting", "[hostile][row31]") {
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / fmt::format("ingot-hostile-{}", ::getpid());
    std::filesystem::create_directories(folder);
    const auto refusal = [](const std::filesystem::path& path) -> std::string {
        try {
            GgufFile file(path);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    SECTION("a pipe") {
        const auto pipe = folder / "pipe.gguf";
        REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
        CHECK(refusal(pipe) == pipe.string() + ": is a pipe; expected a regular file");
    }
    SECTION("a folder") {
        CHECK(refusal(folder) == folder.string() + ": is a folder; expected a regular file");
    }
    SECTION("a device") {
        CHECK(refusal("/dev/null") == "/dev/null: is a device; expected a regular file");
        CHECK(refusal("/dev/zero") == "/dev/zero: is a device; expected a regular file");
    }
    SECTION("a socket") {
        const auto path = (folder / "s").string();
        const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        REQUIRE(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        CHECK_THAT(refusal(path), ContainsSubstring(path));
        ::close(socket);
    }
    SECTION("nothing at all") {
        CHECK_THAT(refusal(folder / "missing.gguf"), ContainsSubstring("missing.gguf: cannot be opened"));
    }
    SECTION("an empty file, which cannot be mapped") {
        std::ofstream(folder / "empty.gguf");
        CHECK_THAT(refusal(folder / "empty.gguf"),
                   ContainsSubstring("empty.gguf: GGUF header at byte 0: magic"));
    }
    SECTION("a folder in place of the link to a file") {
        std::filesystem::create_directory_symlink(folder, folder / "link.gguf");
        CHECK_THAT(refusal(folder / "link.gguf"), ContainsSubstring("is a folder"));
    }
    std::filesystem::remove_all(folder);
}

}  // namespace ingot::test
