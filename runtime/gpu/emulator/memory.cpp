#include "runtime/gpu/emulator/memory.h"

#include <algorithm>
#include <new>

#include "format/error.h"

namespace ingot::runtime::gpu::emulator {

std::string Now::place() const {
    if (thread == Touch::kMany)
        return fmt::format("kernel {}, group ({}, {}, {}), a warpgroup", kernel, x, y, z);
    return fmt::format("kernel {}, group ({}, {}, {}), thread {}", kernel, x, y, z, thread);
}

void Touch::note_read(const Now& now, uint64_t since, const char* what) {
    if (written >= since && written < now.group_begin)
        fail("{}: race: reads {} that another group of the launch wrote", now.place(), what);
    if (written == now.interval && writer != now.thread)
        fail("{}: race: reads {} that thread {} wrote since the last barrier", now.place(), what, writer);
    if (read >= since && read < now.group_begin) read_elsewhere = read;
    if (read != now.interval) {
        read = now.interval;
        reader = now.thread;
    } else if (reader != now.thread) {
        reader = kMany;
    }
}

void Touch::note_write(const Now& now, uint64_t since, const char* what) {
    if (written >= since && written < now.group_begin)
        fail("{}: race: writes {} that another group of the launch wrote", now.place(), what);
    if (read_elsewhere >= since || (read >= since && read < now.group_begin))
        fail("{}: race: writes {} that another group of the launch read", now.place(), what);
    if (written == now.interval && writer != now.thread)
        fail("{}: race: writes {} that thread {} wrote since the last barrier", now.place(), what, writer);
    if (read == now.interval && reader != now.thread)
        fail("{}: race: writes {} that another thread read since the last barrier", now.place(), what);
    written = now.interval;
    writer = now.thread;
}

// --- the device's memory ---

Address Memory::allocate(size_t size_bytes, Access access) {
    if (size_bytes > capacity_ - used_) {
        throw OutOfMemory(fmt::format("out of memory: {} bytes were asked for, {} of {} are in use",
                                      grouped(size_bytes), grouped(used_), grouped(capacity_)));
    }
    if (allocations_.empty()) allocations_.emplace_back();
    Allocation allocation;
    try {
        allocation.bytes = std::make_unique_for_overwrite<std::byte[]>(size_bytes);
    } catch (const std::bad_alloc&) {
        throw OutOfMemory(fmt::format("out of memory: {} bytes could not be allocated", grouped(size_bytes)));
    }
    allocation.size = size_bytes;
    allocation.access = access;
    allocations_.push_back(std::move(allocation));
    used_ += size_bytes;
    return Address(allocations_.size() - 1) << kOffsetBits;
}

void Memory::free(Address address) {
    const Now outside{.kernel = "(none)"};
    Allocation& allocation = find(address, 0, outside, "frees");
    used_ -= allocation.size;
    allocation = {};
}

size_t Memory::n_allocations() const {
    return size_t(
        std::ranges::count_if(allocations_, [](const Allocation& a) { return a.bytes != nullptr; }));
}

Memory::Allocation& Memory::find(Address address, size_t size_bytes, const Now& now, const char* what) {
    const uint64_t number = address >> kOffsetBits;
    const uint64_t offset = address & ((uint64_t(1) << kOffsetBits) - 1);
    if (number == 0 || number >= allocations_.size() || allocations_[number].bytes == nullptr) {
        fail("{}: {} {} bytes at address {:#x}, which is no allocation", now.place(), what, size_bytes,
             address);
    }
    Allocation& allocation = allocations_[number];
    if (offset > allocation.size || size_bytes > allocation.size - offset) {
        fail("{}: {} {} bytes at byte {} of an allocation of {} bytes", now.place(), what, size_bytes, offset,
             allocation.size);
    }
    return allocation;
}

std::byte* Memory::host(Address address, size_t size_bytes) {
    const Now outside{.kernel = "(none)"};
    Allocation& allocation = find(address, size_bytes, outside, "touches");
    return allocation.bytes.get() + (address & ((uint64_t(1) << kOffsetBits) - 1));
}

// note(touch) for every granule of an access.
template <typename Note>
void Memory::note(Allocation& allocation, size_t offset, size_t size_bytes, Note note) {
    if (allocation.touches.empty() || size_bytes < allocation.granule) {
        // Finer from now on; what this launch touched so far is forgotten once.
        allocation.granule = std::min(allocation.granule, size_bytes);
        allocation.touches.assign((allocation.size + allocation.granule - 1) / allocation.granule, {});
    }
    for (size_t at = offset; at < offset + size_bytes; at += allocation.granule)
        note(allocation.touches[at / allocation.granule]);
}

const std::byte* Memory::read(Address address, size_t size_bytes, const Now& now) {
    Allocation& allocation = find(address, size_bytes, now, "reads");
    const size_t offset = address & ((uint64_t(1) << kOffsetBits) - 1);
    if (offset % size_bytes != 0)
        fail("{}: reads {} bytes at byte {}, which is not aligned", now.place(), size_bytes, offset);
    if (allocation.access != Access::Read) {
        if (!now.has_waited) fail("{}: reads memory before it waits for the last launch", now.place());
        note(allocation, offset, size_bytes,
             [&](Touch& touch) { touch.note_read(now, now.launch_begin, "memory"); });
    }
    return allocation.bytes.get() + offset;
}

std::byte* Memory::write(Address address, size_t size_bytes, const Now& now) {
    Allocation& allocation = find(address, size_bytes, now, "writes");
    const size_t offset = address & ((uint64_t(1) << kOffsetBits) - 1);
    if (offset % size_bytes != 0)
        fail("{}: writes {} bytes at byte {}, which is not aligned", now.place(), size_bytes, offset);
    if (!now.has_waited) fail("{}: writes before it waits for the last launch", now.place());
    if (allocation.access == Access::Read)
        fail("{}: writes {} bytes to memory that kernels may only read", now.place(), size_bytes);
    note(allocation, offset, size_bytes,
         [&](Touch& touch) { touch.note_write(now, now.launch_begin, "memory"); });
    return allocation.bytes.get() + offset;
}

bool Memory::is_read_only(Address address, const Now& now) {
    return find(address, 0, now, "touches").access == Access::Read;
}

// --- a group's memory ---

GroupMemory::GroupMemory()
    : memory_(kMostBytes / kAlignment),
      touches_(kMostBytes),
      fences_(kMostBytes),
      chunks_(kMostBytes / kChunk),
      n_fences_(1024) {}

void GroupMemory::note_read(const void* at, size_t size_bytes, const Now& now) {
    const size_t offset = offset_of(at);
    for (size_t i = offset; i < offset + size_bytes; ++i) {
        if (touches_[i].written < now.group_begin)
            fail("{}: reads byte {} of the group's memory, which nobody has written", now.place(), i);
        if (chunks_[i / kChunk].is_copied)
            fail("{}: reads byte {} of the group's memory, to which a copy is under way", now.place(), i);
        touches_[i].note_read(now, now.group_begin, "the group's memory");
    }
}

void GroupMemory::note_write(const void* at, size_t size_bytes, const Now& now) {
    const size_t offset = offset_of(at);
    for (size_t i = offset; i < offset + size_bytes; ++i) {
        const Chunk& chunk = chunks_[i / kChunk];
        if (chunk.n_products != 0 || chunk.is_copied) {
            fail("{}: writes byte {} of the group's memory, {}", now.place(), i,
                 chunk.is_copied ? "to which a copy is under way" : "which a product under way reads");
        }
        touches_[i].note_write(now, now.group_begin, "the group's memory");
        fences_[i] = n_fences_[now.thread];
    }
}

void GroupMemory::begin_copy(const void* at, const Now& now) {
    note_write(at, kChunk, now);
    chunks_[offset_of(at) / kChunk].is_copied = true;
    ++n_under_way_;
}

void GroupMemory::end_copy(const void* at, const Now& now) {
    chunks_[offset_of(at) / kChunk].is_copied = false;
    --n_under_way_;
    note_write(at, kChunk, now);
}

void GroupMemory::begin_product(size_t offset, const Now& now) {
    if (offset + kChunk > kMostBytes)
        fail("{}: a product reads bytes {} … of the group's {}", now.place(), offset, kMostBytes);
    Now warpgroup = now;  // whose threads must all see it
    warpgroup.thread = Touch::kMany;
    note_read(bytes() + offset, kChunk, warpgroup);
    for (size_t i = offset; i < offset + kChunk; ++i) {
        if (fences_[i] >= n_fences_[touches_[i].writer]) {
            fail(
                "{}: a product reads byte {} of the group's memory, which thread {} wrote without a fence "
                "for it",
                now.place(), i, touches_[i].writer);
        }
    }
    ++chunks_[offset / kChunk].n_products;
    ++n_under_way_;
}

const std::byte* GroupMemory::end_product(size_t offset, const Now& now) {
    --chunks_[offset / kChunk].n_products;
    --n_under_way_;
    Now warpgroup = now;
    warpgroup.thread = Touch::kMany;
    note_read(bytes() + offset, kChunk, warpgroup);
    return bytes() + offset;
}

void GroupMemory::forget() {
    if (n_under_way_ == 0) return;
    std::fill(chunks_.begin(), chunks_.end(), Chunk{});
    n_under_way_ = 0;
}

}  // namespace ingot::runtime::gpu::emulator
