// Files: appearing whole or not at all, mapped, checked.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "format/checksum.h"
#include "format/error.h"
#include "format/mapped_file.h"
#include "format/output_file.h"
#include "tests/catch.h"
#include "tests/files.h"

namespace ingot::test {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

/// Runs `work` in a child process, which may die, and gives its exit code, or 128 + the signal that ended it.
template <typename Work>
int exit_code_of_child(const Work& work) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(work());
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

TEST_CASE("a file appears under its name when it is committed, not before", "[output]") {
    const TemporaryFolder folder;
    const fs::path target = folder / "model.gguf";
    {
        OutputFile file(target, 10, false);
        CHECK_FALSE(fs::exists(target));
        CHECK(folder.names().size() == 1);
        file.write_at(5, bytes_of("world"));
        file.write_at(0, bytes_of("hello"));
        CHECK_FALSE(fs::exists(target));
        file.commit();
        CHECK(read_file(target) == "helloworld");
    }
    CHECK(folder.names().size() == 1);
    CHECK(read_file(target) == "helloworld");
}

TEST_CASE("a file that is not committed leaves nothing behind and the target as it was", "[output]") {
    const TemporaryFolder folder;
    const fs::path target = folder / "model.gguf";
    SECTION("where there was none") {
        { OutputFile(target, 100, false).write_at(0, bytes_of("half")); }
        CHECK(folder.names().size() == 0);
    }
    SECTION("where there was one") {
        write_file(target, "old");
        { OutputFile(target, 100, true).write_at(0, bytes_of("half")); }
        CHECK(read_file(target) == "old");
        CHECK(folder.names().size() == 1);
    }
    SECTION("when the process is killed half-way") {
        write_file(target, "old");
        const int code = exit_code_of_child([&]() -> int {
            OutputFile file(target, 100, true);
            file.write_at(0, bytes_of("half"));
            ::raise(SIGKILL);
            return 0;
        });
        CHECK(code == 128 + SIGKILL);
        CHECK(read_file(target) == "old");
    }
}

TEST_CASE("an existing target is replaced only on request, and keeps its permissions", "[output]") {
    const TemporaryFolder folder;
    const fs::path target = folder / "model.gguf";
    write_file(target, "old");
    fs::permissions(target, fs::perms(0640));
    CHECK_THROWS_WITH(OutputFile(target, 3, false), ContainsSubstring("model.gguf: exists already"));
    CHECK(read_file(target) == "old");
    OutputFile file(target, 3, true);
    file.write_at(0, bytes_of("new"));
    CHECK(read_file(target) == "old");
    file.commit();
    CHECK(read_file(target) == "new");
    CHECK(fs::status(target).permissions() == fs::perms(0640));

    SECTION("a new one gets what the umask leaves") {
        const mode_t before = ::umask(027);
        OutputFile fresh(folder / "fresh.gguf", 0, false);
        fresh.commit();
        ::umask(before);
        CHECK(fs::status(folder / "fresh.gguf").permissions() == fs::perms(0640));
    }
    SECTION("a link stays a link, and what it points to is replaced") {
        fs::create_symlink("model.gguf", folder / "link.gguf");
        OutputFile linked(folder / "link.gguf", 5, true);
        linked.write_at(0, bytes_of("third"));
        linked.commit();
        CHECK(fs::is_symlink(folder / "link.gguf"));
        CHECK(read_file(target) == "third");
    }
}

TEST_CASE("a target that appeared during the work is not replaced unasked", "[output]") {
    const TemporaryFolder folder;
    const fs::path target = folder / "model.gguf";
    {
        OutputFile file(target, 3, false);
        file.write_at(0, bytes_of("new"));
        write_file(target, "somebody else's");
        CHECK_THROWS_WITH(
            file.commit(),
            ContainsSubstring("model.gguf: the finished file cannot take this name: File exists"));
    }
    CHECK(read_file(target) == "somebody else's");
    CHECK(folder.names().size() == 1);
}

TEST_CASE("a target that can never be is refused with its path", "[output]") {
    const TemporaryFolder folder;
    CHECK_THROWS_WITH(OutputFile(folder.path(), 1, true), ContainsSubstring("is not a regular file"));
    CHECK_THROWS_WITH(OutputFile("/dev/null", 1, true), ContainsSubstring("is not a regular file"));
    CHECK_THROWS_WITH(OutputFile(folder / "missing/model.gguf", 1, true),
                      ContainsSubstring("missing/model.gguf: no file can be created in its folder"));
    write_file(folder / "file", "");
    CHECK_THROWS_WITH(OutputFile(folder / "file/model.gguf", 1, true),
                      ContainsSubstring("file/model.gguf: "));
    CHECK(folder.names().size() == 1);
}

TEST_CASE("too large a file is refused before a byte is written", "[output]") {
    const TemporaryFolder folder;
    const fs::path target = folder / "model.gguf";
    write_file(target, "old");
    CHECK_THROWS_WITH(OutputFile(target, uint64_t(1) << 62, true), ContainsSubstring("model.gguf: "));
    CHECK_THROWS_WITH(OutputFile(target, UINT64_MAX, true),
                      ContainsSubstring("needs 18,446,744,073,709,551,615 bytes"));
    const fs::space_info space = fs::space(folder.path());
    CHECK_THROWS_WITH(OutputFile(target, space.available + (uint64_t(1) << 40), true),
                      ContainsSubstring("model.gguf: "));
    CHECK(read_file(target) == "old");
    CHECK(folder.names().size() == 1);
}

TEST_CASE("a write that fails leaves the destination as it was", "[output]") {
    const TemporaryFolder folder;
    const fs::path target = folder / "model.gguf";
    write_file(target, "old");
    // A limit on the size of files stands for a full disk: the kernel refuses the bytes beyond it.
    const auto limited_to = [](rlim_t size_bytes) {
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{size_bytes, size_bytes};
        return ::setrlimit(RLIMIT_FSIZE, &limit) == 0;
    };
    SECTION("when the space is reserved") {
        const int code = exit_code_of_child([&] {
            if (!limited_to(4096)) return 2;
            try {
                OutputFile file(target, 8192, true);
            } catch (const Error& error) {
                return std::string_view(error.what()).find("8,192 bytes cannot be reserved") !=
                               std::string_view::npos
                           ? 0
                           : 3;
            }
            return 4;
        });
        CHECK(code == 0);
    }
    SECTION("when the bytes are written") {
        const int code = exit_code_of_child([&] {
            try {
                OutputFile file(target, 100, true);
                if (!limited_to(4096)) return 2;
                file.write_at(0, bytes_of("fits"));
                file.write_at(4000, bytes_of(std::string(200, 'x')));
                file.commit();
            } catch (const Error& error) {
                return std::string_view(error.what()).find("bytes cannot be written at byte 4,096") !=
                               std::string_view::npos
                           ? 0
                           : 3;
            }
            return 4;
        });
        CHECK(code == 0);
    }
    CHECK(read_file(target) == "old");
    CHECK(folder.names().size() == 1);
}

TEST_CASE("several threads write one file", "[output]") {
    const TemporaryFolder folder;
    constexpr size_t kPieces = 64, kPieceBytes = 10'000;
    OutputFile file(folder / "model.gguf", kPieces * kPieceBytes, false);
    std::vector<std::thread> threads;
    for (size_t thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            for (size_t piece = thread; piece < kPieces; piece += 4) {
                file.write_at(piece * kPieceBytes, bytes_of(std::string(kPieceBytes, char('0' + piece))));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    file.commit();
    const std::string content = read_file(folder / "model.gguf");
    REQUIRE(content.size() == kPieces * kPieceBytes);
    for (size_t i = 0; i < content.size(); i += 999) CHECK(content[i] == char('0' + i / kPieceBytes));
}

TEST_CASE("a mapped file shows its bytes and knows its path by address", "[mapped]") {
    const TemporaryFolder folder;
    write_file(folder / "a", std::string(10'000, 'a'));
    write_file(folder / "b", "b");
    const char* outside = nullptr;
    {
        MappedFile a(folder / "a");
        const MappedFile b(folder / "b");
        REQUIRE(a.bytes().size() == 10'000);
        CHECK(a.bytes()[9'999] == std::byte('a'));
        CHECK(MappedFile::path_of_address(a.bytes().data()) == (folder / "a"));
        CHECK(MappedFile::path_of_address(a.bytes().data() + 9'999) == (folder / "a"));
        CHECK(MappedFile::path_of_address(b.bytes().data()) == (folder / "b"));
        CHECK(MappedFile::path_of_address(&outside) == nullptr);
        CHECK(MappedFile::path_of_address(nullptr) == nullptr);
        a.will_need(0, 10'000);
        a.will_need(5'000, SIZE_MAX);
        a.dont_need(1, 9'000);
        a.dont_need(20'000, 1);
        CHECK(a.bytes()[0] == std::byte('a'));

        MappedFile moved(std::move(a));
        CHECK(moved.bytes().size() == 10'000);
        CHECK(a.bytes().empty());
        outside = reinterpret_cast<const char*>(moved.bytes().data());
        CHECK(MappedFile::path_of_address(outside) == (folder / "a"));
        moved = MappedFile(folder / "b");
        CHECK(moved.path() == folder / "b");
    }
    CHECK(MappedFile::path_of_address(outside) == nullptr);
    write_file(folder / "empty", "");
    CHECK(MappedFile(folder / "empty").bytes().empty());
    CHECK_THROWS_WITH(MappedFile(folder / "missing"),
                      ContainsSubstring("missing: cannot be opened: No such file"));
}

TEST_CASE("a file that shrinks while it is mapped can be named by a signal handler", "[mapped]") {
    const TemporaryFolder folder;
    write_file(folder / "shrinks", std::string(100'000, 's'));
    const int code = exit_code_of_child([&] {
        struct sigaction action {};
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = [](int, siginfo_t* fault, void*) {
            const char* path = MappedFile::path_of_address(fault->si_addr);
            ::_exit(path != nullptr && std::string_view(path).ends_with("/shrinks") ? 42 : 43);
        };
        ::sigaction(SIGBUS, &action, nullptr);
        const MappedFile file(folder / "shrinks");
        fs::resize_file(folder / "shrinks", 10);
        return int(*const_cast<const volatile std::byte*>(&file.bytes()[90'000]));
    });
    CHECK(code == 42);
}

TEST_CASE("checksums are XXH3-128 in canonical hex", "[checksum]") {
    // By the reference implementation, through the Python package xxhash.
    CHECK(xxh3_128_hex({}) == "99aa06d3014798d86001c324468d497f");
    CHECK(xxh3_128_hex(bytes_of("abc")) == "06b05ab6733a618578af5f94892f3950");
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += char(i * 7 + i / 256);
    const std::string whole = xxh3_128_hex(bytes_of(text));
    for (const size_t piece_bytes : {1, 13, 240, 256, 1024, 65'536, 100'000}) {
        CAPTURE(piece_bytes);
        StreamingChecksum checksum;
        for (size_t begin = 0; begin < text.size(); begin += piece_bytes) {
            checksum.update(bytes_of(std::string_view(text).substr(begin, piece_bytes)));
        }
        CHECK(checksum.hex() == whole);
        CHECK(checksum.hex() == whole);  // asking does not end it
    }
    StreamingChecksum first;
    first.update(bytes_of("a"));
    StreamingChecksum second(std::move(first));
    second.update(bytes_of("bc"));
    CHECK(second.hex() == xxh3_128_hex(bytes_of("abc")));
}

}  // namespace ingot::test
