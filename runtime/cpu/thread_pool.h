#pragma once
#include <cstdint>
#include <functional>
#include <memory>

namespace ingot::runtime {

/// A fixed set of threads that run one job at a time, together with the caller. Waiting threads spin for a
/// short while, then sleep. Not thread-safe: one caller.
class ThreadPool {
  public:
    /// `n_threads` includes the caller; 0 means default_threads().
    explicit ThreadPool(int n_threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const;
    /// Runs job(thread) for thread = 0 … size()-1 and returns when all are done. An exception thrown by any
    /// of them is rethrown here.
    void run(const std::function<void(int thread)>& job);
    /// The same for work that any number of threads can do: runs job(0) here, and job(thread) on those
    /// threads that come before it returns; then waits for these. A thread that the system has not let run,
    /// because other programs keep its processor busy, holds up nobody.
    void share(const std::function<void(int thread)>& job);
    /// Splits [0, n) into contiguous ranges, one per thread, multiples of `grain`: job(begin, end).
    void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t begin, int64_t end)>& job);

    /// Physical cores that this process may use (affinity and cgroup limits respected).
    static int default_threads();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace ingot::runtime
