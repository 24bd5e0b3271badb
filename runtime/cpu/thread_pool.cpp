#include "runtime/cpu/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "format/error.h"
#include "runtime/cpu/cpu_topology.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace ingot::runtime {
namespace {

// A forward pass issues a job every few microseconds, and a thread that sleeps needs tens of them to wake. So
// a thread that waits first only spins; then it keeps looking but offers its processor to others, for the one
// that it waits for may be queued behind it (on busy machines Linux likes to put both on one); then it
// sleeps.
constexpr auto kSpinTime = std::chrono::microseconds(10);
constexpr auto kYieldTime = std::chrono::microseconds(50);

void relax() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Returns when `ready()` or when the time is over, whichever is first.
template <typename Ready>
void spin(bool may_spin, const Ready& ready) {
    if (!may_spin) return;
    const auto start = std::chrono::steady_clock::now();
    auto elapsed = start - start;
    while (elapsed < kSpinTime + kYieldTime) {
        const int n_looks = elapsed < kSpinTime ? 16 : 1;  // between two looks at the clock
        for (int i = 0; i < n_looks; ++i) {
            if (ready()) return;
            relax();
        }
        if (elapsed >= kSpinTime) std::this_thread::yield();
        elapsed = std::chrono::steady_clock::now() - start;
    }
}

}  // namespace

/// Who may take part in the job at hand, in one word, so that nobody slips in when it is over: its number in
/// the upper half; whether it is closed; how many workers have come, and how many of them are still at it.
struct Door {
    static constexpr uint64_t kInside = 1, kEntered = uint64_t(1) << 15, kClosed = uint64_t(1) << 31;
    static constexpr uint64_t kMostWorkers = kEntered - 1;
    static uint32_t job(uint64_t door) { return uint32_t(door >> 32); }
    static uint64_t inside(uint64_t door) { return door & kMostWorkers; }
    static uint64_t entered(uint64_t door) { return (door / kEntered) & kMostWorkers; }
    static uint64_t open(uint32_t job) { return uint64_t(job) << 32; }
};

struct ThreadPool::Impl {
    // What all look at and what wakes those who sleep live in cache lines of their own.
    alignas(64) std::atomic<uint64_t> door{Door::kClosed};  // job 0 is none
    const std::function<void(int)>* job = nullptr;          // null means the end
    alignas(64) std::atomic<uint32_t> newest{0};            // number of the newest job
    alignas(64) std::atomic<uint32_t> n_exits{0};           // goes on whenever the last worker leaves a job
    std::mutex exception_mutex;
    std::exception_ptr exception;  // the first that was thrown
    bool may_spin = true;          // false when there are more threads than processors
    std::vector<std::thread> workers;

    void execute(int thread) noexcept {
        try {
            (*job)(thread);
        } catch (...) {
            const std::lock_guard lock(exception_mutex);
            if (!exception) exception = std::current_exception();
        }
    }

    // Whether a worker who has done everything up to `seen` takes part in the newest job; `seen` is then that
    // one.
    bool enter(uint32_t& seen) {
        uint64_t now = door.load(std::memory_order_acquire);
        while (Door::job(now) != seen && (now & Door::kClosed) == 0) {
            if (door.compare_exchange_weak(now, now + Door::kEntered + Door::kInside,
                                           std::memory_order_acq_rel, std::memory_order_acquire)) {
                seen = Door::job(now);
                return true;
            }
        }
        seen = Door::job(now);
        return false;
    }

    void work(int thread) {
        for (uint32_t seen = 0;;) {
            spin(may_spin, [&] { return newest.load(std::memory_order_acquire) != seen; });
            newest.wait(seen, std::memory_order_acquire);
            if (!enter(seen)) continue;
            if (!job) return;
            execute(thread);
            if (Door::inside(door.fetch_sub(Door::kInside, std::memory_order_acq_rel)) == 1) {
                n_exits.fetch_add(1, std::memory_order_release);
                n_exits.notify_one();
            }
        }
    }

    void start(const std::function<void(int)>* next_job) {
        const uint32_t number = newest.load(std::memory_order_relaxed) + 1;
        job = next_job;
        door.store(Door::open(number), std::memory_order_release);
        newest.store(number, std::memory_order_release);
        newest.notify_all();
    }

    // Until `over(door)`.
    template <typename Over>
    void wait(const Over& over) {
        const auto is_over = [&] { return over(door.load(std::memory_order_acquire)); };
        spin(may_spin, is_over);
        while (true) {
            const uint32_t before = n_exits.load(std::memory_order_acquire);
            if (is_over()) return;
            n_exits.wait(before, std::memory_order_acquire);
        }
    }

    void stop() {
        start(nullptr);
        for (auto& worker : workers) worker.join();
    }
};

ThreadPool::ThreadPool(int n_threads) : impl_(std::make_unique<Impl>()) {
    if (n_threads < 0) fail("a thread pool of {} threads was asked for; give at least 1", n_threads);
    if (n_threads == 0) n_threads = default_threads();
    if (uint64_t(n_threads) > Door::kMostWorkers)
        fail("a thread pool of {} threads was asked for; {} are the most", n_threads, Door::kMostWorkers);
    impl_->may_spin = n_threads <= cpu::allowed_processors();
    impl_->workers.reserve(size_t(n_threads - 1));
    try {
        for (int thread = 1; thread < n_threads; ++thread) {
            impl_->workers.emplace_back([impl = impl_.get(), thread] { impl->work(thread); });
        }
    } catch (const std::exception& error) {
        const size_t n_started = impl_->workers.size() + 1;
        impl_->stop();
        fail("could start only {} of {} threads ({}); ask for fewer", n_started, n_threads, error.what());
    }
}

ThreadPool::~ThreadPool() {
    impl_->stop();
}

int ThreadPool::size() const {
    return int(impl_->workers.size()) + 1;
}

void ThreadPool::run(const std::function<void(int thread)>& job) {
    Impl& pool = *impl_;
    if (pool.workers.empty()) return job(0);
    pool.start(&job);
    pool.execute(0);
    pool.wait([n = pool.workers.size()](uint64_t door) {
        return Door::entered(door) == n && Door::inside(door) == 0;
    });
    if (pool.exception) std::rethrow_exception(std::exchange(pool.exception, nullptr));
}

void ThreadPool::share(const std::function<void(int thread)>& job) {
    Impl& pool = *impl_;
    if (pool.workers.empty()) return job(0);
    pool.start(&job);
    pool.execute(0);
    pool.door.fetch_or(Door::kClosed, std::memory_order_acq_rel);
    pool.wait([](uint64_t door) { return Door::inside(door) == 0; });
    if (pool.exception) std::rethrow_exception(std::exchange(pool.exception, nullptr));
}

void ThreadPool::parallel_for(int64_t n, int64_t grain,
                              const std::function<void(int64_t begin, int64_t end)>& job) {
    if (n <= 0) return;
    grain = std::max<int64_t>(grain, 1);
    const int64_t n_grains = (n - 1) / grain + 1;
    const int64_t n_threads = std::min<int64_t>(size(), n_grains);
    if (n_threads == 1) return job(0, n);
    // One captured reference fits into std::function without an allocation.
    const struct {
        int64_t n, grain, n_grains, n_threads;
        const std::function<void(int64_t, int64_t)>& job;
    } split{n, grain, n_grains, n_threads, job};
    run([&split](int thread) {
        if (thread >= split.n_threads) return;
        // The first (n_grains mod n_threads) threads take one grain more.
        const int64_t each = split.n_grains / split.n_threads;
        const int64_t extra = split.n_grains % split.n_threads;
        const int64_t first = thread * each + std::min<int64_t>(thread, extra);
        const int64_t last = first + each + (thread < extra ? 1 : 0);
        split.job(first * split.grain, std::min(split.n, last * split.grain));
    });
}

int ThreadPool::default_threads() {
    const int n_cores = cpu::allowed_cores();
    const int limit = cpu::cgroup_cpu_limit();
    return std::max(1, limit > 0 ? std::min(n_cores, limit) : n_cores);
}

}  // namespace ingot::runtime
