// Products of warpgroups on the emulator: what they compute, and the mistakes that it finds in how they are
// asked for.
#include "format/error.h"
#include "format/half.h"
#include "runtime/gpu/emulator/emulator.h"
#include "runtime/gpu/kernels/dialect_warpgroup.h"
#include "tests/catch.h"

namespace ingot::runtime::gpu {
namespace {

constexpr int kRowsOfB = 16, kColumns = 64;
constexpr int kWords = kRowsOfB * kColumns / 2;

struct Arguments {
    GLOBAL(const uint8_t) a;  // (64, 16)
    GLOBAL(const uint8_t) b;  // (kRowsOfB, kColumns)
    GLOBAL(float) y;          // (64, kRowsOfB)
};
struct Shared {
    GROUP_ARRAY(uint32_t, rows, kWords);
    GROUP_ARRAY(uint32_t, more, kWords);
};

/// A kernel's steps, of which a wrong one leaves one out or has one too many.
struct Steps {
    Thread me;
    Shared& shared;
    WarpgroupNumbers a = {};
    WarpgroupSums<kRowsOfB> sums = {};

    void copy(ARGUMENTS(Arguments) arguments) {
        for (int i = int(me.index); i < kRowsOfB * 8; i += int(me.n_threads)) {
            const int row = i / 8, place = i % 8 ^ row % 8;
            begin_copy(shared.rows + (row * 32 + 4 * place), arguments.b + 16 * i);
        }
    }
    void set_a(ARGUMENTS(Arguments) arguments) {
        const int row = 16 * int(me.warp() % 4) + int(me.lane()) / 4, column = 2 * int(me.lane() % 4);
        for (int i = 0; i < 4; ++i) {
            const int at = (row + 8 * (i % 2)) * 16 + column + 8 * (i / 2);
            a.of[i] = load<uint32_t>(arguments.a + 2 * at);
        }
    }
    void make_ready(ARGUMENTS(Arguments) arguments) {
        copy(arguments);
        me.end_copies();
        show_to_products(me);
        me.barrier();
        set_a(arguments);
        begin_products(me);
    }
    template <typename Type>
    void multiply(Type type, int k = 0, bool adds = false) {
        add_warpgroup_product(type, me, a, columns_from(swizzled_rows(shared.rows + 0), k), sums, adds);
    }
    void wait() {
        end_products(me);
        wait_for_products<0>(me, sums);
    }
    void write(ARGUMENTS(Arguments) arguments) {
        const int row = 16 * int(me.warp() % 4) + int(me.lane()) / 4, column = 2 * int(me.lane() % 4);
        for (int i = 0; i < kRowsOfB / 2; ++i)
            arguments.y[(row + 8 * (i / 2 % 2)) * kRowsOfB + i / 4 * 8 + column + i % 2] = sums.of[i];
    }
};

/// Twice columns 16 … 31 of B, in two sets, and columns 48 … 63.
template <typename Type>
void multiply(ARGUMENTS(Arguments) a, Thread me, Shared& shared) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(Type{}, 16);
    end_products(me);
    steps.multiply(Type{}, 16, true);
    steps.multiply(Type{}, 48, true);
    steps.wait();
    steps.write(a);
}
WARPGROUP_KERNEL(multiply_f16, Arguments, Shared, 128) {
    multiply<F16>(a, me, shared);
}
WARPGROUP_KERNEL(multiply_bf16, Arguments, Shared, 128) {
    multiply<BF16>(a, me, shared);
}
WARPGROUP_KERNEL(read_before_it_is_done, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{});
    end_products(me);
    wait_for_products<1>(me, steps.sums);
    steps.write(a);
}
WARPGROUP_KERNEL(a_changes, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{});
    steps.a.of[2] = 0;
    steps.wait();
}
WARPGROUP_KERNEL(b_changes, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{});
    me.barrier();
    shared.rows[me.index] = 0;
    steps.wait();
}
WARPGROUP_KERNEL(b_changes_by_a_copy, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{});
    me.barrier();
    steps.copy(a);
    steps.wait();
}
WARPGROUP_KERNEL(b_changes_before_others_have_waited, Arguments, Shared, 256) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{});
    steps.wait();
    shared.rows[me.index] = 0;
}
WARPGROUP_KERNEL(beside_b, Arguments, Shared, 128) {  // fine: nothing reads that
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{});
    shared.more[me.index] = 0;
    steps.wait();
}
WARPGROUP_KERNEL(a_is_not_ordered, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.a.of[0] = 0;
    steps.multiply(F16{});
    steps.wait();
}
WARPGROUP_KERNEL(sums_are_not_ordered, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{});
    steps.wait();
    steps.sums.of[3] = 1.0f;
    steps.multiply(F16{}, 0, true);
    steps.wait();
}
WARPGROUP_KERNEL(sums_are_undefined, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{}, 0, true);
    steps.wait();
}
WARPGROUP_KERNEL(b_is_not_shown, Arguments, Shared, 128) {
    Steps steps{me, shared};
    show_to_products(me);  // too early
    steps.copy(a);
    me.end_copies();
    me.barrier();
    steps.set_a(a);
    begin_products(me);
    steps.multiply(F16{});
    steps.wait();
}
WARPGROUP_KERNEL(b_without_barrier, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.copy(a);
    me.end_copies();
    show_to_products(me);
    steps.set_a(a);
    begin_products(me);
    steps.multiply(F16{});
    steps.wait();
}
WARPGROUP_KERNEL(copy_is_under_way, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.copy(a);
    end_copies_of_set(me);
    wait_for_copies<1>(me);
    show_to_products(me);
    me.barrier();
    steps.set_a(a);
    begin_products(me);
    steps.multiply(F16{});
    steps.wait();
}
WARPGROUP_KERNEL(one_warp_is_elsewhere, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    if (me.warp() != 2) steps.multiply(F16{});
    steps.wait();
}
WARPGROUP_KERNEL(one_warp_does_not_wait, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    if (me.warp() == 2) return;
    steps.multiply(F16{});
    steps.wait();
}
WARPGROUP_KERNEL(half_a_warpgroup, Arguments, Shared, 64) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{});
    steps.wait();
}
WARPGROUP_KERNEL(other_rows_each, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{}, me.warp() == 1 ? 16 : 0);
    steps.wait();
}
WARPGROUP_KERNEL(ends_without_waiting, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    steps.multiply(F16{});
}
WARPGROUP_KERNEL(pattern_begins_elsewhere, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    const uint64_t base_offset = uint64_t(1) << 49;
    add_warpgroup_product(F16{}, me, steps.a, swizzled_rows(shared.rows + 32) | base_offset, steps.sums,
                          false);
    steps.wait();
}
WARPGROUP_KERNEL(beyond_what_was_written, Arguments, Shared, 128) {
    Steps steps{me, shared};
    steps.make_ready(a);
    add_warpgroup_product(F16{}, me, steps.a, swizzled_rows(shared.rows + kWords / 2), steps.sums, false);
    steps.wait();
}

}  // namespace
}  // namespace ingot::runtime::gpu

using namespace ingot;
using namespace ingot::runtime::gpu;

namespace {

// Small integers: exact in both kinds of numbers.
int a_at(int row, int column) {
    return (row * 5 + column * 3) % 23 - 11;
}
int b_at(int row, int column) {
    return (row * 7 + column * 2) % 19 - 9;
}

using KernelFunction = void (*)(const Arguments&, Thread);

struct Fixture {
    EmulatorDevice device;
    Address y = device.allocate(64 * kRowsOfB * sizeof(float), Access::ReadAndWrite);

    template <KernelFunction kernel>
    void run(bool is_f16, uint32_t n_threads) {
        const auto put = [&](int n_rows, int n_columns, int (*at)(int, int)) {
            std::vector<uint16_t> numbers;
            for (int i = 0; i < n_rows * n_columns; ++i) {
                const float value = float(at(i / n_columns, i % n_columns));
                numbers.push_back(is_f16 ? float_to_half(value) : float_to_bf16(value));
            }
            const Address address = device.allocate(numbers.size() * 2, Access::Read);
            device.upload(std::as_bytes(std::span(numbers)), address);
            return emulator::Global<const uint8_t>(address);
        };
        const Arguments a{put(64, 16, a_at), put(kRowsOfB, kColumns, b_at), emulator::Global<float>(y)};
        device.launch(
            "test",
            [](const void* arguments, emulator::Group& group) {
                kernel(*static_cast<const Arguments*>(arguments), Thread(group));
            },
            {.n_threads = n_threads}, &a);
    }
    void check_product() {
        std::vector<float> values(64 * kRowsOfB);
        device.download(y, std::as_writable_bytes(std::span(values)));
        for (int i = 0; i < 64 * kRowsOfB; ++i) {
            const int row = i / kRowsOfB, column = i % kRowsOfB;
            int sum = 0;
            for (int k = 0; k < 16; ++k)
                sum += a_at(row, k) * (2 * b_at(column, 16 + k) + b_at(column, 48 + k));
            CAPTURE(row, column);
            CHECK(values[size_t(i)] == float(sum));
        }
    }
};

template <KernelFunction kernel>
std::string error_of(uint32_t n_threads = 128) {
    Fixture fixture;
    try {
        fixture.run<kernel>(true, n_threads);
    } catch (const Error& error) {
        fixture.run<multiply_f16>(true, 128);  // a launch that failed leaves a device that works
        fixture.check_product();
        return error.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE(
    "emulator: a warpgroup multiplies by rows in the group's memory, swizzled as the hardware has them") {
    Fixture fixture;
    fixture.run<multiply_f16>(true, 128);
    fixture.check_product();
    fixture.run<multiply_bf16>(false, 128);
    fixture.check_product();
}

TEST_CASE("emulator: registers of products that are under way") {
    CHECK_THAT(error_of<read_before_it_is_done>(),
               ContainsSubstring("thread 0: reads a register of a product that is under way"));
    CHECK_THAT(error_of<a_changes>(), ContainsSubstring("changes a register of a product that is under way"));
    CHECK_THAT(error_of<a_is_not_ordered>(), ContainsSubstring("A was changed and not ordered before it"));
    CHECK_THAT(error_of<sums_are_not_ordered>(),
               ContainsSubstring("sum was changed and not ordered before it"));
    CHECK_THAT(error_of<sums_are_undefined>(), ContainsSubstring("sum was never set"));
}

TEST_CASE("emulator: the group's memory while products read it") {
    CHECK_THAT(error_of<b_changes>(), ContainsSubstring("which a product under way reads"));
    CHECK_THAT(error_of<b_changes_by_a_copy>(), ContainsSubstring("which a product under way reads"));
    CHECK_THAT(error_of<b_changes_before_others_have_waited>(256),
               ContainsSubstring("since the last barrier"));
    CHECK(error_of<beside_b>() == "no error");
    CHECK_THAT(error_of<b_is_not_shown>(), ContainsSubstring("wrote without a fence for it"));
    CHECK_THAT(error_of<b_without_barrier>(),
               ContainsSubstring("nobody has written") || ContainsSubstring("race"));
    CHECK_THAT(error_of<copy_is_under_way>(), ContainsSubstring("to which a copy is under way"));
    CHECK_THAT(error_of<beyond_what_was_written>(), ContainsSubstring("which nobody has written"));
    CHECK_THAT(error_of<pattern_begins_elsewhere>(),
               ContainsSubstring("whose pattern begins at a multiple of 1024"));
}

TEST_CASE("emulator: all of a warpgroup have to have the same products") {
    CHECK_THAT(error_of<one_warp_is_elsewhere>(), ContainsSubstring("has not all products of its warpgroup"));
    CHECK_THAT(error_of<one_warp_does_not_wait>(),
               ContainsSubstring("thread 64: does not wait for the products"));
    CHECK_THAT(error_of<half_a_warpgroup>(64),
               ContainsSubstring("thread 64: does not wait for the products"));
    CHECK_THAT(error_of<other_rows_each>(), ContainsSubstring("thread 32: has another product"));
    CHECK_THAT(error_of<ends_without_waiting>(), ContainsSubstring("ends while products are under way"));
}
