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

struct ThreadPool::Impl {
    // What the caller writes and what the workers write live in cache lines of their own.
    alignas(64) std::atomic<uint32_t> generation{0};  // one more for each job, and for the end
    const std::function<void(int)>* job = nullptr;    // of this generation; null means the end
    alignas(64) std::atomic<int> n_running{0};        // workers that have not finished this generation
    alignas(64) std::mutex exception_mutex;
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

    void work(int thread) {
        for (uint32_t seen = 0;; ++seen) {
            spin(may_spin, [&] { return generation.load(std::memory_order_acquire) != seen; });
            generation.wait(seen, std::memory_order_acquire);
            if (!job) return;
            execute(thread);
            if (n_running.fetch_sub(1, std::memory_order_acq_rel) == 1) n_running.notify_one();
        }
    }

    void start(const std::function<void(int)>* next_job) {
        job = next_job;
        n_running.store(int(workers.size()), std::memory_order_relaxed);
        generation.fetch_add(1, std::memory_order_release);
        generation.notify_all();
    }

    void stop() {
        start(nullptr);
        for (auto& worker : workers) worker.join();
    }
};

ThreadPool::ThreadPool(int n_threads) : impl_(std::make_unique<Impl>()) {
    if (n_threads < 0) fail("a thread pool of {} threads was asked for; give at least 1", n_threads);
    if (n_threads == 0) n_threads = default_threads();
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
    const auto n_running = [&] { return pool.n_running.load(std::memory_order_acquire); };
    spin(pool.may_spin, [&] { return n_running() == 0; });
    for (int n = n_running(); n != 0; n = n_running()) pool.n_running.wait(n, std::memory_order_acquire);
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
