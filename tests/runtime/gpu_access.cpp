// What a GPU would do for the accesses of kernels: that the emulator counts it right, and that the kernels do
// well.
#include "runtime/gpu/emulator/emulator.h"
#include "runtime/gpu/kernels/arguments.h"
#include "tests/runtime/gpu_devices.h"

namespace ingot::runtime::gpu {
namespace {

struct AccessArguments {
    GLOBAL(float) y;
    GLOBAL(const float) x;
    int stride;
};
struct Words {
    GROUP_ARRAY(uint32_t, of, 1024);
};

KERNEL(strided, AccessArguments) {
    a.y[me.index] = a.x[int(me.index) * a.stride];
}
// Lanes that go another way, and come as often as they like.
KERNEL(diverging, AccessArguments) {
    float sum = 0.0f;
    if (me.lane() % 2 == 1) sum += a.x[me.lane()];
    sum += a.x[32 + me.lane()];
    for (uint32_t i = 0; i <= me.lane() / 16; ++i) sum += a.x[64 + 32 * i];
    me.lane_sum(sum);
    if (me.lane() == 0) a.y[0] = a.x[me.lane()];
}
GROUP_KERNEL(words_apart, AccessArguments, Words) {
    shared.of[int(me.lane()) * a.stride % 1024] = 1u;
    me.barrier();
    a.y[me.index] = float(uint32_t(shared.of[0]));
}
GROUP_KERNEL(fours_apart, AccessArguments, Words) {
    store_four(shared.of + int(me.lane()) * a.stride, uint4{1, 2, 3, 4});
}
GROUP_KERNEL(copies, AccessArguments, Words) {
    begin_copy(shared.of + 4 * int(me.lane()),
               GLOBAL(const uint8_t)(a.x.address()) + 4 * a.stride * int(me.lane()));
}

}  // namespace
}  // namespace ingot::runtime::gpu

using namespace gpu_tests;
using namespace ingot::runtime::gpu;
using emulator::AccessCounts;
using emulator::Counter;
using emulator::KernelCounts;

namespace {

// What a launch of `kernel` counts, with n_groups groups of a warp and x of 8 KiB that is only read.
template <void (*kernel)(const AccessArguments&, Thread)>
KernelCounts count(int stride, uint32_t n_groups = 1) {
    EmulatorDevice device;
    Counter counter;
    const Address x = device.allocate(8192, Access::Read), y = device.allocate(8192, Access::ReadAndWrite);
    const AccessArguments a{emulator::Global<float>(y), emulator::Global<const float>(x), stride};
    const auto run = [&](const char* name) {
        device.launch(
            name,
            [](const void* arguments, emulator::Group& group) {
                kernel(*static_cast<const AccessArguments*>(arguments), Thread(group));
            },
            {.x = n_groups, .n_threads = 32}, &a);
    };
    device.count(&counter);
    run("counted");
    device.count(nullptr);
    run("not counted");
    CHECK(counter.kernels().size() == 1);
    CHECK(counter.of("counted").n_launches == 1);
    return counter.of("counted");
}

void check(const AccessCounts& counts, uint64_t n_instructions, uint64_t n_bytes, uint64_t n_steps,
           uint64_t n_least) {
    CHECK(counts.n_instructions == n_instructions);
    CHECK(counts.n_bytes == n_bytes);
    CHECK(counts.n_steps == n_steps);
    CHECK(counts.n_least == n_least);
}

}  // namespace

TEST_CASE("emulator: sectors of 32 bytes that a warp touches are counted") {
    const KernelCounts in_a_row = count<strided>(1);
    check(in_a_row.loads, 1, 128, 4, 4);
    check(in_a_row.stores, 1, 128, 4, 4);
    check(in_a_row.weights, 1, 128, 4, 4);
    CHECK(in_a_row.weight_bytes == 128);
    check(count<strided>(0).loads, 1, 4, 1, 1);     // one word for all
    check(count<strided>(2).loads, 1, 128, 8, 4);   // half of each sector
    check(count<strided>(8).loads, 1, 128, 32, 4);  // an eighth
    check(count<strided>(64).loads, 1, 128, 32, 4);
    CHECK(count<strided>(8).loads.efficiency() == 0.125);
    CHECK(count<strided>(8).weight_bytes == 32 * 32);
}

TEST_CASE("emulator: lanes that go another way are counted for themselves") {
    const KernelCounts counts = count<diverging>(0);
    // x[1], x[3] … x[31]; x[32] … x[63]; x[64] of all; x[96] of half of them; x[0] of one lane.
    check(counts.loads, 5, 64 + 128 + 4 + 4 + 4, 4 + 4 + 1 + 1 + 1, 2 + 4 + 1 + 1 + 1);
    check(counts.stores, 1, 4, 1, 1);
    CHECK(counts.n_exchanges == 1);
    CHECK(counts.n_barriers == 0);
    // Three groups ask thrice; what memory has to give is the same.
    CHECK(count<strided>(8).weight_bytes == 32 * 32);
    const KernelCounts thrice = count<copies>(4, 3);
    CHECK(thrice.weights.n_steps == 3 * 16);
    CHECK(thrice.weight_bytes == 512);
}

TEST_CASE("emulator: lanes that want different words of a bank wait for each other") {
    const auto passes = [](int stride) { return count<words_apart>(stride).group; };
    // The store, and a load of one word for all.
    check(passes(1), 2, 128 + 4, 1 + 1, 2);
    check(passes(2), 2, 128 + 4, 2 + 1, 2);
    check(passes(8), 2, 128 + 4, 8 + 1, 2);
    check(passes(20), 2, 128 + 4, 4 + 1, 2);
    check(passes(31), 2, 128 + 4, 1 + 1, 2);
    CHECK(passes(2).repeats() == 1.5);
    CHECK(count<words_apart>(1).n_barriers == 1);
    // Sixteen bytes are served to eight lanes at a time.
    check(count<fours_apart>(4).group, 1, 512, 4, 4);
    check(count<fours_apart>(20).group, 1, 512, 4, 4);
    check(count<fours_apart>(8).group, 1, 512, 8, 4);
    check(count<fours_apart>(24).group, 1, 512, 8, 4);
    check(count<fours_apart>(16).group, 1, 512, 16, 4);
    // A copy is a load and a store.
    check(count<copies>(4).loads, 1, 512, 16, 16);
    check(count<copies>(8).loads, 1, 512, 32, 16);
    check(count<copies>(8).group, 1, 512, 4, 4);
}
