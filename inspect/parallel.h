#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace ingot::inspect {

/// Calls `work(i)` for every i below `n`, each once, in ascending order of their start, on `n_threads`
/// threads (0: all that the machine has). Once `stop` is raised no further call begins. The first exception
/// ends it all and is thrown here.
template <typename Work>
void in_parallel(size_t n, int n_threads, const std::atomic<bool>* stop, const Work& work) {
    std::atomic<size_t> next = 0;
    std::mutex mutex;  // guards failure
    std::exception_ptr failure;
    const auto work_all = [&] {
        try {
            for (size_t i = next++; i < n && !(stop && stop->load(std::memory_order_relaxed)); i = next++)
                work(i);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
            next = n;
        }
    };
    if (n_threads <= 0) n_threads = int(std::max(1u, std::thread::hardware_concurrency()));
    {
        std::vector<std::jthread> helpers;
        for (size_t i = 1; i < std::min(size_t(n_threads), n); ++i) helpers.emplace_back(work_all);
        work_all();
    }  // joined here
    if (failure) std::rethrow_exception(failure);
}

}  // namespace ingot::inspect
