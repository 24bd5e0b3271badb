// What the emulator is for: mistakes that a GPU would not notice, or notice by hanging.
#include "runtime/gpu/emulator/emulator.h"

#include "format/error.h"
#include "format/half.h"
#include "runtime/gpu/kernels/arguments.h"
#include "tests/catch.h"

// Kernels with and without mistakes, in the kernels' language.
namespace ingot::runtime::gpu {
namespace {

struct Arguments {
    GLOBAL(float) y;
    GLOBAL(const float) x;
    GLOBAL(uint8_t) bytes;
    int n;
};
struct Array {
    GROUP_ARRAY(float, of, 64);
};

GROUP_KERNEL(reverse, Arguments, Array) {
    const int i = int(me.index);
    shared.of[i] = a.x[me.x * 64 + i];
    me.barrier();
    a.y[me.x * 64 + i] = shared.of[63 - i];
}
KERNEL(exchange_lanes, Arguments) {
    const float mine = float(me.index);
    a.y[me.index] = me.lane_sum(mine) + 1000.0f * me.lane_max(mine);
    a.y[64 + me.index] = me.shuffle(mine, (me.lane() + 3) % 32) + 1000.0f * me.shuffle_xor(mine, 5);
}
// A (16, 16) and B (8, 16) numbers in two bytes, at y A · Bᵀ (16, 8), to which it is added.
template <bool kIsF16>
FUNCTION void multiply(ARGUMENTS(Arguments) a, Thread me) {
    const int row = int(me.lane() / 4), two = int(me.lane() % 4);
    GLOBAL(const uint8_t) of_a = a.bytes + (row * 16 + 2 * two) * 2;
    GLOBAL(const uint8_t) of_b = of_a + 16 * 16 * 2;
    const uint4 elements = {load<uint32_t>(of_a), load<uint32_t>(of_a + 8 * 16 * 2),
                            load<uint32_t>(of_a + 8 * 2), load<uint32_t>(of_a + (8 * 16 + 8) * 2)};
    const uint2 others = {load<uint32_t>(of_b), load<uint32_t>(of_b + 8 * 2)};
    GLOBAL(float) y = a.y + row * 8 + 2 * two;
    ProductSums sums = {{y[0], y[1], y[64], y[65]}};
    if (kIsF16) {
        me.add_product_f16(elements, others, sums);
    } else {
        me.add_product_bf16(elements, others, sums);
    }
    y[0] = sums.of[0];
    y[1] = sums.of[1];
    y[64] = sums.of[2];
    y[65] = sums.of[3];
}
KERNEL(multiply_f16, Arguments) {
    multiply<true>(a, me);
}
KERNEL(multiply_bf16, Arguments) {
    multiply<false>(a, me);
}
// The same of bytes: A (16, 16) and B (8, 16).
KERNEL(multiply_bytes, Arguments) {
    const int row = int(me.lane() / 4), four = int(me.lane() % 4);
    GLOBAL(const uint8_t) of_a = a.bytes + row * 16 + 4 * four;
    Product product = {{0, 0, 0, 0}};
    me.add_product(load<uint32_t>(of_a), load<uint32_t>(of_a + 8 * 16), load<uint32_t>(of_a + 16 * 16),
                   product);
    for (int i = 0; i < 4; ++i) a.y[(row + i / 2 * 8) * 8 + 2 * four + i % 2] = float(product.of[i]);
}
KERNEL(barrier_for_some, Arguments) {
    if (me.index < 40) me.barrier();
}
KERNEL(two_barriers, Arguments) {
    if (me.warp() == 0) {
        me.barrier();
    } else {
        me.barrier();
    }
}
KERNEL(exchange_of_some, Arguments) {
    if (me.lane() < 7) a.y[me.index] = me.lane_sum(1.0f);
}
KERNEL(stray_lane, Arguments) {
    a.y[me.index] = me.shuffle(1.0f, me.lane() + 1);
}
KERNEL(read_beyond, Arguments) {
    a.y[me.index] = a.x[me.index + 65];
}
KERNEL(write_before, Arguments) {
    a.y[int(me.index) - 1] = 1.0f;
}
KERNEL(write_to_weights, Arguments) {
    store<uint8_t>(a.bytes + me.index, uint8_t(1));
}
KERNEL(unaligned, Arguments) {
    store<uint32_t>(a.bytes + 4 * me.index + 2, 1u);
}
KERNEL(null, Arguments) {
    a.y[me.index] = a.x ? 1.0f : float(a.x[me.index]);
}
GROUP_KERNEL(undefined, Arguments, Array) {
    if (me.index < 63) shared.of[me.index] = 1.0f;
    me.barrier();
    a.y[me.index] = shared.of[me.index];
}
GROUP_KERNEL(undefined_in_second_group, Arguments, Array) {
    if (me.x == 0) shared.of[me.index] = 1.0f;
    me.barrier();
    a.y[me.index] = shared.of[me.index];
}
GROUP_KERNEL(beyond_the_array, Arguments, Array) {
    shared.of[me.index + 1] = 1.0f;
}
GROUP_KERNEL(no_barrier, Arguments, Array) {
    shared.of[me.index] = 1.0f;
    a.y[me.index] = shared.of[63 - me.index];
}
GROUP_KERNEL(written_while_read, Arguments, Array) {
    shared.of[me.index] = 1.0f;
    me.barrier();
    const float x = shared.of[(me.index + 1) % 64];
    shared.of[me.index] = x;
}
KERNEL(same_element, Arguments) {
    a.y[me.index / 2] = 1.0f;
}
KERNEL(sum_of_threads, Arguments) {
    a.y[0] += 1.0f;
}
KERNEL(read_of_other_group, Arguments) {
    if (me.x == 1) a.y[64 + me.index] = a.y[me.index];
    if (me.x == 0) a.y[me.index] = 1.0f;
}
KERNEL(written_after_other_group_read, Arguments) {
    if (me.x == 0) a.y[64 + me.index] = a.y[me.index];
    if (me.x == 1) a.y[me.index] = 1.0f + a.y[me.index];
}
KERNEL(through_memory, Arguments) {  // fine: a barrier orders the group's own accesses
    a.y[me.index] = float(me.index);
    me.barrier();
    const float other = a.y[63 - me.index];
    me.barrier();
    a.y[me.index] = other;
}

EARLY_KERNEL(early, Arguments, 64, 1) {  // fine: nobody writes a.x
    const float x = a.x[63 - me.index];
    me.wait_for_last_launch();
    a.y[me.index] = x + a.y[me.index];
}
struct Words {
    GROUP_ARRAY(uint32_t, of, 128);
};
/// Four matrices (8, 8), whose elements are numbered through, as lanes get them: of the rows, which lie
/// about, or of the columns. Lane l's word i at y[32 * i + l]: the low number, and a thousand times the high
/// one.
template <bool kOfRows>
FUNCTION void take_matrices(ARGUMENTS(Arguments) a, Thread me, GROUP(uint32_t) words) {
    const int lane = int(me.lane()), place = 4 * (5 * lane % 32);
    for (int i = 0; i < 4; ++i)
        words[place + i] = uint32_t(8 * lane + 2 * i) | uint32_t(8 * lane + 2 * i + 1) << 16;
    me.barrier();
    const uint4 found = kOfRows ? me.rows_of(words, place) : me.columns_of(words, place);
    const uint32_t of[] = {found.x, found.y, found.z, found.w};
    for (int i = 0; i < 4; ++i) a.y[32 * i + lane] = float(of[i] & 0xffffu) + 1000.0f * float(of[i] >> 16);
}
GROUP_KERNEL(take_rows, Arguments, Words) {
    take_matrices<true>(a, me, shared.of + 0);
}
GROUP_KERNEL(take_columns, Arguments, Words) {
    take_matrices<false>(a, me, shared.of + 0);
}
EARLY_KERNEL(read_too_early, Arguments, 64, 1) {
    const float y = a.y[me.index];
    me.wait_for_last_launch();
    a.y[me.index] = y;
}
EARLY_KERNEL(written_too_early, Arguments, 64, 1) {
    if (me.index >= 32) me.wait_for_last_launch();
    me.barrier();
    a.y[me.index] = 1.0f;
    me.wait_for_last_launch();
}
EARLY_KERNEL(wait_of_some, Arguments, 64, 1) {
    if (me.index != 7) me.wait_for_last_launch();
}

}  // namespace
}  // namespace ingot::runtime::gpu

using namespace ingot;
using namespace ingot::runtime;
using namespace ingot::runtime::gpu;

namespace {

using KernelFunction = void (*)(const Arguments&, Thread);

struct Fixture {
    EmulatorDevice device;
    Address x = device.allocate(128 * sizeof(float), Access::Read);
    Address y = device.allocate(128 * sizeof(float), Access::ReadAndWrite);

    Fixture() {
        std::vector<float> values(128);
        for (size_t i = 0; i < values.size(); ++i) values[i] = float(i);
        device.upload(std::as_bytes(std::span(values)), x);
        device.upload(std::as_bytes(std::span(values)), y);
    }
    template <KernelFunction kernel>
    void run(uint32_t n_groups, Address bytes = 0, uint32_t n_threads = 64) {
        const Arguments a{Global<float>(y), Global<const float>(x), Global<uint8_t>(bytes), 64};
        device.launch(
            "test",
            [](const void* arguments, emulator::Group& group) {
                kernel(*static_cast<const Arguments*>(arguments), Thread(group));
            },
            {.x = n_groups, .n_threads = n_threads}, &a);
    }
    std::vector<float> result() {
        std::vector<float> values(128);
        device.download(y, std::as_writable_bytes(std::span(values)));
        return values;
    }
    template <typename T>
    using Global = emulator::Global<T>;
};

template <KernelFunction kernel>
std::string error_of(uint32_t n_groups = 1, bool weights = false) {
    Fixture fixture;
    try {
        fixture.run<kernel>(n_groups, weights ? fixture.x : fixture.y);
    } catch (const Error& error) {
        // A launch that failed leaves a device that works.
        fixture.run<reverse>(2);
        CHECK(fixture.result()[0] == 63);
        return error.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("emulator: groups share memory, and barriers order it") {
    Fixture fixture;
    fixture.run<reverse>(2);
    const std::vector<float> y = fixture.result();
    for (size_t i = 0; i < 64; ++i) {
        CHECK(y[i] == float(63 - i));
        CHECK(y[64 + i] == float(127 - i));
    }
    fixture.run<through_memory>(1);
    CHECK(fixture.result()[5] == 58);
}

TEST_CASE("emulator: 32 lanes exchange values, each warp for itself") {
    Fixture fixture;
    fixture.run<exchange_lanes>(1);
    const std::vector<float> y = fixture.result();
    CHECK(y[0] == 496 + 31000);
    CHECK(y[31] == 496 + 31000);
    CHECK(y[32] == 1520 + 63000);
    CHECK(y[64] == 3 + 5000);
    CHECK(y[64 + 31] == 2 + 26000);
    CHECK(y[64 + 32] == 35 + 37000);
}

TEST_CASE("emulator: a warp multiplies matrices, of which each lane has what the dialect says") {
    const auto element = [](int row, int column) { return (row * 5 + column * 3) % 23 - 11; };
    const auto expected = [&](int row, int column) {
        int sum = 0;
        for (int k = 0; k < 16; ++k) sum += element(row, k) * element(16 + column, k);
        return float(sum);
    };
    for (const bool is_f16 : {true, false}) {
        Fixture fixture;
        std::vector<uint16_t> halves;
        for (int i = 0; i < 24 * 16; ++i) {
            const float value = float(element(i / 16, i % 16)) / 8;
            halves.push_back(is_f16 ? float_to_half(value) : float_to_bf16(value));
        }
        const Address bytes = fixture.device.allocate(halves.size() * 2, Access::Read);
        fixture.device.upload(std::as_bytes(std::span(halves)), bytes);
        if (is_f16) {
            fixture.run<multiply_f16>(1, bytes, 32);
        } else {
            fixture.run<multiply_bf16>(1, bytes, 32);
        }
        const std::vector<float> y = fixture.result();
        for (int i = 0; i < 128; ++i) CHECK(y[size_t(i)] == float(i) + expected(i / 8, i % 8) / 64);
    }
    Fixture fixture;
    std::vector<int8_t> integers;
    for (int i = 0; i < 24 * 16; ++i) integers.push_back(int8_t(element(i / 16, i % 16)));
    const Address bytes = fixture.device.allocate(integers.size(), Access::Read);
    fixture.device.upload(std::as_bytes(std::span(integers)), bytes);
    fixture.run<multiply_bytes>(1, bytes, 32);
    const std::vector<float> y = fixture.result();
    for (int i = 0; i < 128; ++i) CHECK(y[size_t(i)] == expected(i / 8, i % 8));
}

TEST_CASE("emulator: barriers and exchanges that not all threads reach") {
    CHECK_THAT(
        error_of<barrier_for_some>(),
        ContainsSubstring("thread 40: ends without the barrier at which 40 of the group's 64 threads wait"));
    CHECK_THAT(error_of<two_barriers>(), ContainsSubstring("thread 32: waits at the barrier of line"));
    CHECK_THAT(error_of<exchange_of_some>(), ContainsSubstring("thread 7: is not at the exchange of line"));
    CHECK_THAT(error_of<stray_lane>(), ContainsSubstring("thread 31: asks for the value of lane 32"));
}

TEST_CASE("emulator: accesses outside of an allocation, or of what they may touch") {
    CHECK_THAT(error_of<read_beyond>(),
               ContainsSubstring("thread 63: reads 4 bytes at byte 512 of an allocation of 512 bytes"));
    CHECK_THAT(error_of<write_before>(), ContainsSubstring("thread 0: writes 4 bytes at"));
    CHECK_THAT(error_of<write_to_weights>(1, true), ContainsSubstring("memory that kernels may only read"));
    CHECK_THAT(error_of<unaligned>(), ContainsSubstring("writes 4 bytes at byte 2, which is not aligned"));
    CHECK_THAT(error_of<beyond_the_array>(), ContainsSubstring("touches element 64 of an array of 64"));

    Fixture fixture;
    fixture.device.free(fixture.x);
    CHECK_THROWS_WITH(fixture.run<reverse>(1), ContainsSubstring("which is no allocation"));
    CHECK_THROWS_WITH(fixture.device.free(fixture.x), ContainsSubstring("which is no allocation"));
    std::vector<std::byte> bytes(513);
    CHECK_THROWS_WITH(fixture.device.download(fixture.y, bytes), ContainsSubstring("513 bytes at byte 0"));
    CHECK_THROWS_WITH(fixture.device.launch(Kernel::add, {}, std::as_bytes(std::span(bytes))),
                      ContainsSubstring("kernel add: has 513 bytes of arguments; expected 24"));
}

TEST_CASE("emulator: group memory that nobody has written") {
    CHECK_THAT(error_of<undefined>(), ContainsSubstring("thread 63: reads byte 252 of the group's memory"));
    CHECK_THAT(
        error_of<undefined_in_second_group>(2),
        ContainsSubstring("group (1, 0, 0), thread 0: reads byte 0 of the group's memory, which nobody"));
}

TEST_CASE("emulator: races between barriers, and between groups") {
    CHECK_THAT(error_of<no_barrier>(), ContainsSubstring("reads byte") || ContainsSubstring("race"));
    CHECK_THAT(
        error_of<written_while_read>(),
        ContainsSubstring("race: writes the group's memory that another thread read since the last barrier"));
    CHECK_THAT(error_of<same_element>(), ContainsSubstring("race: writes memory that thread 0 wrote"));
    CHECK_THAT(error_of<sum_of_threads>(), ContainsSubstring("race: reads memory that thread 0 wrote"));
    CHECK_THAT(error_of<read_of_other_group>(2), ContainsSubstring("race: reads memory that another group"));
    CHECK_THAT(error_of<written_after_other_group_read>(2),
               ContainsSubstring("race: writes memory that another group"));
    CHECK(error_of<read_of_other_group>(1) == "no error");
    // Launches are ordered: what one wrote the next may read.
    Fixture fixture;
    fixture.run<read_of_other_group>(1);
    fixture.run<exchange_lanes>(1);
    fixture.run<through_memory>(1);
}

TEST_CASE("emulator: a kernel that begins early waits before it touches what others write") {
    Fixture fixture;
    fixture.run<early>(1);
    CHECK(fixture.result()[5] == 58 + 5);
    CHECK_THAT(error_of<read_too_early>(),
               ContainsSubstring("thread 0: reads memory before it waits for the last launch"));
    CHECK_THAT(error_of<written_too_early>(),
               ContainsSubstring("thread 0: writes before it waits for the last launch"));
    CHECK_THAT(error_of<wait_of_some>(),
               ContainsSubstring("thread 7: ends without waiting for the last launch"));
}

TEST_CASE("emulator: lanes take rows and columns of matrices") {
    Fixture of_rows, of_columns;
    of_rows.run<take_rows>(1, 0, 32);
    of_columns.run<take_columns>(1, 0, 32);
    const auto rows = of_rows.result(), columns = of_columns.result();
    for (size_t matrix = 0; matrix < 4; ++matrix) {
        for (size_t lane = 0; lane < 32; ++lane) {
            const auto element = [&](size_t row, size_t column) {
                return float(64 * matrix + 8 * row + column);
            };
            const size_t line = lane / 4, two = lane % 4 * 2;
            CHECK(rows[32 * matrix + lane] == element(line, two) + 1000 * element(line, two + 1));
            CHECK(columns[32 * matrix + lane] == element(two, line) + 1000 * element(two + 1, line));
        }
    }
}

TEST_CASE("emulator: a recorded sequence is done when it is replayed, with what then lies in memory") {
    Fixture fixture;
    EmulatorDevice& device = fixture.device;
    const AddArguments add{emulator::Global<const float>(fixture.x), emulator::Global<float>(fixture.y), 128};
    device.begin_sequence();
    device.launch(Kernel::add, {.x = 4, .n_threads = 32}, add);
    device.launch(Kernel::add, {.x = 4, .n_threads = 32}, add);
    CHECK_THROWS_WITH(device.allocate(1, Access::Read), ContainsSubstring("while a sequence is recorded"));
    const Sequence sequence = device.end_sequence();
    CHECK(fixture.result()[5] == 5);
    device.replay(sequence);
    CHECK(fixture.result()[5] == 15);
    const std::vector<float> ones(128, 1.0f);
    device.upload(std::as_bytes(std::span(ones)), fixture.x);
    device.replay(sequence);
    CHECK(fixture.result()[5] == 17);
    device.forget(sequence);
    CHECK_THROWS_WITH(device.replay(sequence), ContainsSubstring("there is no sequence"));
    device.wait(device.event());
}
