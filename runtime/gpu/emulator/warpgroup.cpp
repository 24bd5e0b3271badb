#include "runtime/gpu/emulator/warpgroup.h"

#include <algorithm>
#include <cstring>

#include "format/error.h"
#include "format/half.h"
#include "runtime/gpu/emulator/group.h"

namespace ingot::runtime::gpu::emulator {
namespace {

constexpr uint32_t kDepth = 16;      // elements of a row of A and B
constexpr uint32_t kRowBytes = 128;  // of B, in the only swizzle that is known here

/// Where a row of B lies. A descriptor's bits (PTX ISA, "Matrix Descriptor"), addresses in units of 16 bytes:
///
///     63 62   swizzle: 1 is that of 128 bytes       45 … 32  from 8 rows to the next 8
///     51 … 49 base offset                            29 … 16  not used with a swizzle where rows are K-major
///                                                    13 … 0   address of the first element
struct Descriptor {
    uint32_t address, stride;  // bytes

    Descriptor(uint64_t bits, const Now& now)
        : address(uint32_t(bits & 0x3fff) * 16), stride(uint32_t(bits >> 32 & 0x3fff) * 16) {
        if (bits >> 62 != 1 || (bits >> 49 & 7) != 0 || (bits & ~0xc00e3fff3fff3fffu) != 0) {
            fail(
                "{}: descriptor {:#x} of a product; the emulator knows K-major rows swizzled by 128 bytes "
                "whose "
                "pattern begins at a multiple of 1024",
                now.place(), bits);
        }
    }
    /// Sixteen bytes, half 0 or 1 of a row's: their number within 128 bytes is swapped by the row's within
    /// eight, as bits 7 … 9 of the address say.
    uint32_t at(uint32_t row, uint32_t half) const {
        const uint32_t plain = address + row / 8 * stride + row % 8 * kRowBytes + half * 16;
        return plain ^ (plain >> 3 & 0x70);
    }
};

}  // namespace

void fail_under_way(const char* verb) {
    fail("{}: {} a register of a product that is under way; wait for it first", running_group->now().place(),
         verb);
}
uint64_t n_fences_of_thread() {
    return running_group->under_way().n_fences;
}

void Group::add_warpgroup_product(WarpgroupProduct product) {
    UnderWay& mine = under_way();
    const auto check = [&](const auto& reg, const char* what) {
        if (reg.changed_ == reg.kNever) fail("{}: a product's {} was never set", now_.place(), what);
        if (reg.changed_ >= mine.n_fences)
            fail("{}: a product's {} was changed and not ordered before it", now_.place(), what);
    };
    for (uint32_t i = 0; i < 4; ++i) {
        check(product.a_registers[i], "A");
        product.a[i] = product.a_registers[i].value_;
        ++product.a_registers[i].n_products_;
    }
    for (uint32_t i = 0; i < product.n / 2; ++i) {
        if (product.adds) check(product.sums[i], "sum");
        if (!product.adds && product.sums[i].changed_ == product.sums[i].kNever) product.sums[i].changed_ = 0;
        ++product.sums[i].n_products_;
    }
    // The first thread of a warpgroup gets here first, and has the memory read from now on.
    if (now_.thread % kWarpgroup == 0) {
        const Descriptor b(product.b, now_);
        for (uint32_t row = 0; row < product.n; ++row) {
            for (uint32_t half = 0; half < 2; ++half) shared_.begin_product(b.at(row, half), now_);
        }
    }
    mine.products.back().push_back(product);
}

void Group::commit_products() {
    under_way().products.emplace_back();
}

void Group::wait_for_products(uint32_t n_left, const std::source_location& where) {
    Lane& me = lane(now_.thread);
    me.where = where;
    me.under_way.n_left = n_left;
    me.state = State::AtProducts;
    me.fibre.stop();
}

bool Group::complete_products() {
    bool any = false;
    for (uint32_t first = 0; first < n_threads_; first += kWarpgroup) {
        const uint32_t end = std::min(first + kWarpgroup, n_threads_);
        const Lane* one = nullptr;
        for (uint32_t i = first; i < end; ++i) {
            if (lane(i).state == State::AtProducts && one == nullptr) one = &lane(i);
        }
        if (one == nullptr) continue;
        for (uint32_t i = first; i < first + kWarpgroup; ++i) {
            now_.thread = i;
            if (i >= end || lane(i).state != State::AtProducts || !same_place(lane(i).where, one->where) ||
                lane(i).under_way.products.size() != one->under_way.products.size()) {
                fail("{}: does not wait for the products of its warpgroup at line {}", now_.place(),
                     one->where.line());
            }
        }
        const uint32_t n_left = one->under_way.n_left;
        while (one->under_way.products.size() > n_left + 1) {
            const size_t n_products = one->under_way.products.front().size();
            for (size_t i = 0; i < n_products; ++i) complete_product_of(first, i);
            for (uint32_t i = first; i < end; ++i) {
                auto& groups = lane(i).under_way.products;
                if (groups.front().size() != n_products) {
                    now_.thread = i;
                    fail("{}: has not all products of its warpgroup", now_.place());
                }
                groups.erase(groups.begin());
            }
        }
        for (uint32_t i = first; i < end; ++i) lane(i).state = State::Runs;
        any = true;
    }
    return any;
}

// Product `number` of the oldest group. Of A (64, 16), warp w has rows 16w …: lane l rows l / 4 and 8 + l / 4
// of them, in the order of add_product_f16. Of A · Bᵀ (64, n) it has the same rows: sums 4c … 4c + 3 are
// elements 8c + 2 (l % 4) and the next of the first row, and these of the second.
void Group::complete_product_of(uint32_t first, size_t number) {
    const auto part = [&](uint32_t i) -> const WarpgroupProduct& {
        const auto& products = lane(first + i).under_way.products.front();
        if (number >= products.size()) {
            now_.thread = first + i;
            fail("{}: has not all products of its warpgroup", now_.place());
        }
        return products[number];
    };
    const WarpgroupProduct& one = part(0);
    const auto float_of = [&](uint32_t bits) {
        return one.is_f16 ? half_to_float(uint16_t(bits)) : bf16_to_float(uint16_t(bits));
    };
    float a[64][kDepth];
    for (uint32_t i = 0; i < kWarpgroup; ++i) {
        const WarpgroupProduct& product = part(i);
        if (!same_place(product.where, one.where) || product.b != one.b || product.n != one.n ||
            product.is_f16 != one.is_f16 || product.adds != one.adds) {
            now_.thread = first + i;
            fail("{}: has another product at line {} than thread {} has at line {}", now_.place(),
                 product.where.line(), first, one.where.line());
        }
        const uint32_t row = i / 32 * 16 + i % 32 / 4, column = 2 * (i % 4);
        for (uint32_t operand = 0; operand < 4; ++operand) {
            for (uint32_t j = 0; j < 2; ++j) {
                a[row + 8 * (operand % 2)][column + 8 * (operand / 2) + j] =
                    float_of(product.a[operand] >> (16 * j) & 0xffff);
            }
            --product.a_registers[operand].n_products_;
        }
    }
    now_.thread = first;
    const Descriptor descriptor(one.b, now_);
    std::vector<float> b(one.n * kDepth);
    for (uint32_t row = 0; row < one.n; ++row) {
        for (uint32_t half = 0; half < 2; ++half) {
            uint16_t elements[8];
            std::memcpy(elements, shared_.end_product(descriptor.at(row, half), now_), sizeof elements);
            for (uint32_t i = 0; i < 8; ++i) b[row * kDepth + 8 * half + i] = float_of(elements[i]);
        }
    }
    for (uint32_t i = 0; i < kWarpgroup; ++i) {
        const WarpgroupProduct& product = part(i);
        for (uint32_t s = 0; s < product.n / 2; ++s) {
            const float* const row = a[i / 32 * 16 + i % 32 / 4 + 8 * (s / 2 % 2)];
            const float* const column = &b[(s / 4 * 8 + 2 * (i % 4) + s % 2) * kDepth];
            float sum = product.adds ? product.sums[s].value_ : 0.0f;
            for (uint32_t k = 0; k < kDepth; ++k) sum += row[k] * column[k];
            product.sums[s].value_ = sum;
            --product.sums[s].n_products_;
        }
    }
}

// --- copies ---

void Group::begin_copy(void* to, const void* sixteen_bytes, const std::source_location& where) {
    if (counter_ != nullptr) count(AccessKind::GroupStore, shared_.offset_of(to), 16, where);
    PendingCopy copy{.to = to, .words = {}};
    std::memcpy(copy.words, sixteen_bytes, sizeof copy.words);
    shared_.begin_copy(to, now_);
    under_way().copies.back().push_back(copy);
}

void Group::commit_copies() {
    under_way().copies.emplace_back();
}

void Group::wait_for_copies(size_t n_left) {
    auto& groups = under_way().copies;
    while (groups.size() > n_left + 1) {
        for (const PendingCopy& copy : groups.front()) {
            shared_.end_copy(copy.to, now_);
            std::memcpy(copy.to, copy.words, sizeof copy.words);
        }
        groups.erase(groups.begin());
    }
}

}  // namespace ingot::runtime::gpu::emulator
