// How fast a file that is in the page cache can be read: mapped, and with pread. bench/inspector.py compiles and runs it.
//
//     read_file FILE THREADS      prints bytes per second: the better of both, each at its best of five
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr size_t kMappedPiece = 1 << 20, kReadPiece = 256 << 10;  // bytes; the latter stays in the cache

/// Four sums side by side: as fast as memory, with plain instructions.
uint64_t sum_of(const char* bytes, size_t n) {
    uint64_t sums[4] = {};
    for (size_t at = 0; at + 32 <= n; at += 32) {
        uint64_t words[4];
        std::memcpy(words, bytes + at, sizeof words);
        for (int i = 0; i < 4; ++i) sums[i] += words[i];
    }
    return sums[0] + sums[1] + sums[2] + sums[3];
}

/// Bytes per second of `take(offset, size)` over all pieces, on threads that each take the next one.
template <typename Take>
double rate(size_t size, size_t piece, int n_threads, const Take& take) {
    const auto start = std::chrono::steady_clock::now();
    std::atomic<size_t> next = 0;
    std::vector<std::jthread> threads;
    for (int i = 0; i < n_threads; ++i)
        threads.emplace_back([&] {
            for (size_t at; (at = next.fetch_add(piece)) < size;) take(at, std::min(piece, size - at));
        });
    threads.clear();
    return double(size) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
    struct stat status {};
    const int file = argc == 3 ? ::open(argv[1], O_RDONLY) : -1;
    if (file < 0 || ::fstat(file, &status) != 0) return EXIT_FAILURE;
    const size_t size = size_t(status.st_size);
    const int n_threads = std::atoi(argv[2]);
    std::atomic<uint64_t> total = 0;  // so that nothing is left out
    double best = 0;
    for (int run = 0; run < 5; ++run) {
        void* const data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
        if (data == MAP_FAILED) return EXIT_FAILURE;
        best = std::max(best, rate(size, kMappedPiece, n_threads, [&](size_t at, size_t n) {
                            total += sum_of(static_cast<const char*>(data) + at, n);
                        }));
        ::munmap(data, size);
        best = std::max(best, rate(size, kReadPiece, n_threads, [&](size_t at, size_t n) {
                            thread_local std::vector<char> buffer(kReadPiece);
                            if (::pread(file, buffer.data(), n, off_t(at)) == ssize_t(n))
                                total += sum_of(buffer.data(), n);
                        }));
    }
    std::fprintf(stderr, "%llx\n", static_cast<unsigned long long>(total));
    std::printf("%.0f\n", best);
}
