#include "runtime/unpack.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace ingot::runtime {

void unpack_all(const GgufModel& model) {
    if (std::ranges::all_of(model.files(), &GgufFile::is_plain)) return;
    const auto& tensors = model.header().tensors();
    std::atomic<size_t> next = 0;
    std::mutex mutex;  // guards failure
    std::exception_ptr failure;
    const auto work = [&] {
        try {
            for (size_t i = next++; i < tensors.size(); i = next++) model.tensor_bytes(tensors[i]);
        } catch (...) {
            const std::lock_guard lock(mutex);
            failure = std::current_exception();
            next = tensors.size();
        }
    };
    {
        std::vector<std::jthread> helpers;
        const size_t n_threads = std::max(1u, std::thread::hardware_concurrency());
        for (size_t i = 1; i < std::min(n_threads, tensors.size()); ++i) helpers.emplace_back(work);
        work();
    }  // joined here
    if (failure) std::rethrow_exception(failure);
}

}  // namespace ingot::runtime
