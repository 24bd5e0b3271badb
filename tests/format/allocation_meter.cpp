// Counts what the test program asks `new` for. In a source of its own, where no compiler sees through it;
// every form but the over-aligned ones is replaced, since sanitizers insist that `new` and `delete` match.
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/format/gguf_bytes.h"

namespace {

std::atomic<uint64_t> allocated{0};

void* count_and_allocate(size_t size) noexcept {
    allocated.fetch_add(size, std::memory_order_relaxed);
    return std::malloc(size == 0 ? 1 : size);
}

void* allocate_or_throw(size_t size) {
    void* memory = count_and_allocate(size);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

void* operator new(size_t size) {
    return allocate_or_throw(size);
}
void* operator new[](size_t size) {
    return allocate_or_throw(size);
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
    return count_and_allocate(size);
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
    return count_and_allocate(size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, size_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
    std::free(memory);
}

uint64_t ingot::test::allocated_bytes() {
    return allocated.load(std::memory_order_relaxed);
}
