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

namespace {

// Runs through a back end of its own, whose launches are counted.
struct Counted {
    Counter counter;
    EmulatorDevice* device;  // the back end's
    GpuBackend backend;

    explicit Counted(std::unique_ptr<EmulatorDevice> emulator = std::make_unique<EmulatorDevice>())
        : device(emulator.get()), backend(std::move(emulator)) {
        device->count(&counter);
        backend.use_warpgroup_products(false);
    }
    void multiply(TensorType type, int64_t n_in, int64_t n_out, int64_t n_tokens) {
        const auto bytes = rows_of(type, n_out, n_in, 1);
        const auto weight = backend.load_weight(type, n_in, n_out, std::as_bytes(std::span(bytes)));
        const auto x = on(backend, random_floats(size_t(n_tokens * n_in), 2));
        const auto y = on(backend, std::vector<float>(size_t(n_tokens * n_out)));
        const Projection projection[] = {{weight.get(), nullptr, y.get()}};
        backend.matmul(*x, n_tokens, projection);
        from(backend, *y, 1);
    }
    KernelCounts of(const char* kind, TensorType type) const {
        return counter.of(std::string(kind) + "_" + std::string(name(type)));
    }
};

}  // namespace

TEST_CASE("gpu: a token's product asks for whole sectors of weights, and for each byte once") {
    for (const TensorType type : device_layouts()) {
        INFO(name(type));
        constexpr int64_t kIn = 4096, kOut = 16;
        Counted counted;
        counted.multiply(type, kIn, kOut, 1);
        const KernelCounts counts = counted.of("matvec", type);
        const auto n_bytes = uint64_t(kOut) * device_row_bytes(*find_layout(type), kIn);
        CHECK(counts.weights.n_bytes == n_bytes);
        CHECK(counts.weight_bytes == n_bytes);  // rows of these begin with a sector
        // A warp has four blocks of 256 elements at a time, or eight of MXFP4: their smallest planes, of 1 …
        // 12 bytes a block, fill no sector, which is then asked for again with the next blocks. Of Q3_K's
        // twelve bytes a lane wants eight, which takes two loads.
        const double least = type == TensorType::Q3_K ? 0.8 : type == TensorType::MXFP4 ? 0.84 : 0.94;
        CHECK(counts.weights.efficiency() >= least);
    }
}

TEST_CASE("gpu: tiles find what they multiply without waiting for banks") {
    for (const TensorType type : device_layouts()) {
        for (const int64_t n_tokens : {32, 128}) {
            INFO(name(type));
            CAPTURE(n_tokens);
            Counted counted;
            counted.multiply(type, 512, 64, n_tokens);
            const KernelCounts counts = counted.of(n_tokens == 32 ? "tile" : "wide", type);
            CHECK(counts.group.n_instructions > 0);
            CHECK(counts.group.repeats() <= 1.02);
            const bool is_number = type == TensorType::F16 || type == TensorType::BF16;
            if (is_number) CHECK(counts.weights.efficiency() == 1);
        }
    }
}

TEST_CASE("gpu: activations are read and written sixteen bytes at a time") {
    Counted counted;
    counted.multiply(TensorType::Q4_K, 4096, 2, 1);
    const KernelCounts quantize = counted.counter.of("quantize");
    CHECK(quantize.loads.n_instructions == 2 * 16);  // of eight floats a lane
    CHECK(quantize.loads.n_bytes == 4 * 4096);
    const auto x = on(counted.backend, random_floats(4096, 1)),
               weight = on(counted.backend, random_floats(4096, 2));
    const auto y = on(counted.backend, std::vector<float>(4096));
    counted.backend.norm({NormKind::Rms, 1e-5f, 4096, weight.get()}, *x, 1, *y);
    from(counted.backend, *y, 1);
    std::vector<TokenLogit> found(3);
    counted.backend.largest(*x, 1, 4096, 3, found);
    CHECK(counted.counter.of("choose_largest").loads.n_bytes >= 4 * 4096);
    CHECK(counted.counter.of("choose_largest").loads.n_instructions < 40 + 12);  // eight for 1,024 numbers
    const KernelCounts norm = counted.counter.of("norm");
    CHECK(norm.loads.n_instructions == 3 * 32);  // x twice, and the weights
    CHECK(norm.loads.efficiency() == 1);
    CHECK(norm.stores.efficiency() == 1);
}
