#pragma once
// The dialect in C++ on the emulator: pointers that check what they point to, threads that are fibres.
#include <math.h>

#include <bit>
#include <cstring>

#include "format/half.h"
#include "runtime/gpu/emulator/group.h"

#define FUNCTION inline
#define GLOBAL(T) ::ingot::runtime::gpu::emulator::Global<T>
#define GROUP(T) ::ingot::runtime::gpu::emulator::Shared<T>
#define GROUP_ARRAY(T, name, n) alignas(16)::ingot::runtime::gpu::emulator::SharedArray<T, n> name
#define LOCAL(T) T&
#define ARGUMENTS(T) const T&
#define TABLE(T, name, n) static constexpr T name[n]
#define UNROLLED
#define KERNEL(name, Arguments)                                 \
    inline void name##_body(ARGUMENTS(Arguments) a, Thread me); \
    inline void name(ARGUMENTS(Arguments) a, Thread me) {       \
        me.wait_for_last_launch();                              \
        name##_body(a, me);                                     \
    }                                                           \
    inline void name##_body([[maybe_unused]] ARGUMENTS(Arguments) a, [[maybe_unused]] Thread me)
#define GROUP_KERNEL(name, Arguments, Members)                                                  \
    inline void name##_body(ARGUMENTS(Arguments) a, Thread me, Members& shared);                \
    inline void name(ARGUMENTS(Arguments) a, Thread me) {                                       \
        static_assert(sizeof(Members) <= ::ingot::runtime::gpu::emulator::GroupMemory::kBytes); \
        me.wait_for_last_launch();                                                              \
        name##_body(a, me, *reinterpret_cast<Members*>(me.group->shared().bytes()));            \
    }                                                                                           \
    inline void name##_body([[maybe_unused]] ARGUMENTS(Arguments) a, Thread me, Members& shared)
#define BOUNDED_KERNEL(name, Arguments, n_threads, n_groups) KERNEL(name, Arguments)
#define EARLY_KERNEL(name, Arguments, n_threads, n_groups) \
    inline void name([[maybe_unused]] ARGUMENTS(Arguments) a, [[maybe_unused]] Thread me)
#define BOUNDED_GROUP_KERNEL(name, Arguments, Members, n_threads, n_groups) \
    GROUP_KERNEL(name, Arguments, Members)

namespace ingot::runtime::gpu::emulator {

using Where = std::source_location;

/// An index, and the place in the source where it is given.
struct Index {
    template <typename Integer>
    Index(const Integer& i, const Where& at = Where::current()) : value(int64_t(i)), where(at) {}
    int64_t value;
    Where where;
};

/// A value in the device's memory: reads and writes are accesses of the running thread.
template <typename T>
class GlobalReference {
  public:
    GlobalReference(Address address, const Where& where) : address_(address), where_(where) {}
    operator T() const {
        T value;
        std::memcpy(&value, running_group->read(address_, sizeof(T), where_), sizeof(T));
        return value;
    }
    const GlobalReference& operator=(T value) const {
        std::memcpy(running_group->write(address_, sizeof(T), where_), &value, sizeof(T));
        return *this;
    }
    const GlobalReference& operator=(const GlobalReference& other) const { return *this = T(other); }
    const GlobalReference& operator+=(T value) const { return *this = T(*this) + value; }
    const GlobalReference& operator*=(T value) const { return *this = T(*this) * value; }

  private:
    Address address_;
    Where where_;
};

/// A pointer to the device's memory; on the host, an address in a kernel's arguments.
template <typename T>
class Global {
  public:
    Global() = default;
    explicit Global(Address address) : address_(address) {}
    operator Global<const T>() const { return Global<const T>(address_); }
    explicit operator bool() const { return address_ != 0; }
    Address address() const { return address_; }

    GlobalReference<T> operator[](Index i) const {
        return GlobalReference<T>(address_ + uint64_t(i.value) * sizeof(T), i.where);
    }
    Global operator+(int64_t n) const { return Global(address_ + uint64_t(n) * sizeof(T)); }

  private:
    Address address_ = 0;
};
template <typename T>
class Global<const T> {
  public:
    Global() = default;
    explicit Global(Address address) : address_(address) {}
    explicit operator bool() const { return address_ != 0; }
    Address address() const { return address_; }

    T operator[](Index i) const {
        return GlobalReference<T>(address_ + uint64_t(i.value) * sizeof(T), i.where);
    }
    Global operator+(int64_t n) const { return Global(address_ + uint64_t(n) * sizeof(T)); }

  private:
    Address address_ = 0;
};

/// A value in the group's memory.
template <typename T>
class SharedReference {
  public:
    SharedReference(T* at, const Where& where) : at_(at), where_(where) {}
    operator T() const {
        running_group->read_shared(at_, sizeof(T), where_);
        return *at_;
    }
    const SharedReference& operator=(T value) const {
        running_group->write_shared(at_, sizeof(T), where_);
        *at_ = value;
        return *this;
    }
    const SharedReference& operator=(const SharedReference& other) const { return *this = T(other); }
    const SharedReference& operator+=(T value) const { return *this = T(*this) + value; }

  private:
    T* at_;
    Where where_;
};

/// An array in the group's memory, and a pointer into it.
template <typename T>
class Shared {
  public:
    Shared(T* array, int64_t n, int64_t offset) : array_(array), n_(n), offset_(offset) {}
    SharedReference<T> operator[](Index i) const { return {(*this + i.value).at(), i.where}; }
    Shared operator+(int64_t n) const { return Shared(array_, n_, offset_ + n); }
    int64_t offset() const { return offset_; }
    /// For n elements from here on.
    T* at(int64_t n = 1) const {
        if (offset_ < 0 || offset_ + n > n_) out_of_bounds(offset_ + n - 1, n_);
        return array_ + offset_;
    }
    /// In the group's memory.
    int64_t byte() const { return reinterpret_cast<std::byte*>(at()) - running_group->shared().bytes(); }

    [[noreturn]] static void out_of_bounds(int64_t i, int64_t n);

  private:
    T* array_;
    int64_t n_, offset_;  // elements
};
template <typename T, int64_t n>
class SharedArray {
  public:
    SharedReference<T> operator[](Index i) { return Shared<T>(elements_, n, 0)[i]; }
    Shared<T> operator+(int64_t offset) { return Shared<T>(elements_, n, offset); }
    operator Shared<T>() { return Shared<T>(elements_, n, 0); }

  private:
    T elements_[n];
};

[[noreturn]] void group_array_out_of_bounds(int64_t i, int64_t n);
[[noreturn]] void group_array_not_aligned(int64_t i);
template <typename T>
void Shared<T>::out_of_bounds(int64_t i, int64_t n) {
    group_array_out_of_bounds(i, n);
}

}  // namespace ingot::runtime::gpu::emulator

namespace ingot::runtime::gpu {

struct uint2 {
    uint32_t x, y;
};
struct uint4 {
    uint32_t x, y, z, w;
};

struct Product {
    int32_t of[4];
};
struct ProductSums {
    float of[4];
};

struct Thread {
    uint32_t x, y, z;
    uint32_t index, n_threads;
    emulator::Group* group;

    explicit Thread(emulator::Group& of)
        : x(of.now().x),
          y(of.now().y),
          z(of.now().z),
          index(of.now().thread),
          n_threads(of.n_threads()),
          group(&of) {}
    uint32_t lane() const { return index % 32; }
    uint32_t warp() const { return index / 32; }
    uint32_t n_warps() const { return n_threads / 32; }

    using Where = std::source_location;
    void barrier(const Where& where = Where::current()) const { group->barrier(where); }
    void end_copies() const {
        group->commit_copies();
        group->wait_for_copies(0);
    }
    void wait_for_last_launch() const { group->wait_for_last_launch(); }
    template <typename T>
    T shuffle(T value, uint32_t from, const Where& where = Where::current()) const {
        return exchange(emulator::Exchange::Shuffle, value, from, where);
    }
    template <typename T>
    T shuffle_xor(T value, uint32_t mask, const Where& where = Where::current()) const {
        return exchange(emulator::Exchange::ShuffleXor, value, mask, where);
    }
    float lane_sum(float value, const Where& where = Where::current()) const {
        return exchange(emulator::Exchange::Sum, value, 0, where);
    }
    float lane_max(float value, const Where& where = Where::current()) const {
        return exchange(emulator::Exchange::Max, value, 0, where);
    }
    void add_product(uint32_t a0, uint32_t a1, uint32_t b, Product& product,
                     const Where& where = Where::current()) const {
        auto elements = __builtin_bit_cast(emulator::Group::Elements, product);
        group->product(emulator::Exchange::Product, {a0, a1, b}, elements, where);
        product = __builtin_bit_cast(Product, elements);
    }
    void add_product_f16(uint4 a, uint2 b, ProductSums& sums, const Where& where = Where::current()) const {
        add_product(emulator::Exchange::ProductF16, a, b, sums, where);
    }
    void add_product_bf16(uint4 a, uint2 b, ProductSums& sums, const Where& where = Where::current()) const {
        add_product(emulator::Exchange::ProductBf16, a, b, sums, where);
    }
    uint4 rows_of(GROUP(uint32_t) words, int at, const Where& where = Where::current()) const {
        check_aligned(words + at);
        uint32_t of[4];
        for (uint32_t i = 0; i < 4; ++i) of[i] = words[shuffle(at, 8 * i + lane() / 4, where) + lane() % 4];
        return {of[0], of[1], of[2], of[3]};
    }
    uint4 columns_of(GROUP(uint32_t) words, int at, const Where& where = Where::current()) const {
        check_aligned(words + at);
        uint32_t of[4];
        for (uint32_t i = 0; i < 4; ++i) {
            const uint32_t first = 8 * i + 2 * (lane() % 4), shift = lane() / 4 % 2 * 16;
            const uint32_t even = words[shuffle(at, first, where) + lane() / 8];
            const uint32_t odd = words[shuffle(at, first + 1, where) + lane() / 8];
            of[i] = ((even >> shift) & 0xffffu) | ((odd >> shift) & 0xffffu) << 16;
        }
        return {of[0], of[1], of[2], of[3]};
    }

  private:
    static void check_aligned(GROUP(uint32_t) words) {
        if (words.offset() % 4 != 0) emulator::group_array_not_aligned(words.offset());
    }
    template <typename T>
    T exchange(emulator::Exchange kind, T value, uint32_t parameter, const Where& where) const {
        static_assert(sizeof(T) == 4);
        return __builtin_bit_cast(
            T, group->exchange(kind, __builtin_bit_cast(uint32_t, value), parameter, where));
    }
    void add_product(emulator::Exchange kind, uint4 a, uint2 b, ProductSums& sums, const Where& where) const {
        auto elements = __builtin_bit_cast(emulator::Group::Elements, sums);
        group->product(kind, {a.x, a.y, a.z, a.w, b.x, b.y}, elements, where);
        sums = __builtin_bit_cast(ProductSums, elements);
    }
};

template <typename T, typename Element>
T load(GLOBAL(const Element) bytes, const emulator::Where& where = emulator::Where::current()) {
    T value;
    std::memcpy(&value, emulator::running_group->read(bytes.address(), sizeof(T), where), sizeof(T));
    return value;
}
template <typename T>
T load_once(GLOBAL(const uint8_t) bytes, const emulator::Where& where = emulator::Where::current()) {
    return load<T>(bytes, where);
}
template <typename T, typename Element>
void store(GLOBAL(Element) bytes, T value, const emulator::Where& where = emulator::Where::current()) {
    std::memcpy(emulator::running_group->write(bytes.address(), sizeof(T), where), &value, sizeof(T));
}

inline void store_four(GROUP(uint32_t) words, uint4 value,
                       const emulator::Where& where = emulator::Where::current()) {
    if (words.offset() % 4 != 0) emulator::group_array_not_aligned(words.offset());
    emulator::running_group->write_shared(words.at(4), sizeof value, where);
    std::memcpy(words.at(4), &value, sizeof value);
}
inline void begin_copy(GROUP(uint32_t) words, GLOBAL(const uint8_t) bytes,
                       const emulator::Where& where = emulator::Where::current()) {
    if (words.offset() % 4 != 0) emulator::group_array_not_aligned(words.offset());
    const auto value = load<uint4>(bytes, where);
    emulator::running_group->begin_copy(words.at(4), &value, where);
}
inline void under_way() {}
constexpr bool has_bf16_products() {
    return true;
}
inline void prefetch_line(GLOBAL(const uint8_t) bytes) {
    emulator::running_group->prefetch(bytes.address());
}
inline uint32_t halves_of(float low, float high) {
    return uint32_t(float_to_half(low)) | uint32_t(float_to_half(high)) << 16;
}
inline int dot4(uint32_t a, uint32_t b, int sum) {
    for (int i = 0; i < 4; ++i) sum += int(int8_t(a >> (8 * i))) * int(int8_t(b >> (8 * i)));
    return sum;
}
inline uint2 look_up(uint4 table, uint32_t word) {
    const uint32_t words[] = {table.x, table.y, table.z, table.w};
    const auto entry = [&](uint32_t i) { return (words[i / 4] >> (8 * (i % 4))) & 0xffu; };
    uint2 bytes = {0, 0};
    for (int shift = 0; shift < 32; shift += 8) {
        bytes.x |= entry((word >> shift) & 0xfu) << shift;
        bytes.y |= entry((word >> (shift + 4)) & 0xfu) << shift;
    }
    return bytes;
}
inline uint32_t rotated(uint32_t word, int n) {
    return std::rotr(word, n);
}
template <typename T>
T min(T a, T b) {
    return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
    return a < b ? b : a;
}

}  // namespace ingot::runtime::gpu
