// Counts what the test program asks `new` for. In a source of its own, where no compiler sees through it.
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/format/gguf_bytes.h"

namespace {
std::atomic<uint64_t> allocated{0};
}

void* operator new(size_t size) {
    allocated.fetch_add(size, std::memory_order_relaxed);
    void* memory = std::malloc(size == 0 ? 1 : size);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
    std::free(memory);
}

uint64_t ingot::test::allocated_bytes() {
    return allocated.load(std::memory_order_relaxed);
}
