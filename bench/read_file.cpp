// How fast a file that is in the page cache can be read: mapped, and with pread. bench/inspector.py compiles
// and runs it.
//
//     read_file FILE THREADS      prints bytes per second, plainly, and in four places at once: the best of
//     five runs
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
#include <numeric>
#include <thread>
#include <vector>

namespace {

constexpr size_t kMappedPiece = 1 << 20, kReadPiece = 256 << 10;  // bytes; the latter stays in the cache

/// Many sums side by side, in registers of any width. Reads in `n_streams` places at once, as one alone does
/// not keep every memory busy.
uint64_t sum_of(const char* bytes, size_t n, size_t n_streams) {
    uint64_t sums[32] = {};
    const size_t stride = n / n_streams / sizeof sums * sizeof sums;
    for (size_t at = 0; at < stride; at += sizeof sums) {
        for (size_t stream = 0; stream < n_streams; ++stream) {
            uint64_t words[32];
            std::memcpy(words, bytes + stream * stride + at, sizeof words);
            for (int i = 0; i < 32; ++i) sums[i] += words[i];
        }
    }
    return std::accumulate(sums, sums + 32, uint64_t(0));
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
    double plain = 0, most = 0;
    for (int run = 0; run < 5; ++run) {
        for (const size_t n_streams : {1, 4}) {
            void* const data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
            if (data == MAP_FAILED) return EXIT_FAILURE;
            double& best = n_streams == 1 ? plain : most;
            best = std::max(best, rate(size, kMappedPiece, n_threads, [&](size_t at, size_t n) {
                                total += sum_of(static_cast<const char*>(data) + at, n, n_streams);
                            }));
            ::munmap(data, size);
        }
        plain = std::max(plain, rate(size, kReadPiece, n_threads, [&](size_t at, size_t n) {
                             thread_local std::vector<char> buffer(kReadPiece);
                             if (::pread(file, buffer.data(), n, off_t(at)) == ssize_t(n))
                                 total += sum_of(buffer.data(), n, 1);
                         }));
    }
    std::fprintf(stderr, "%llx\n", static_cast<unsigned long long>(total));
    std::printf("%.0f %.0f\n", plain, std::max(plain, most));
}
