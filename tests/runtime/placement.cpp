// Models on two devices: the same logits wherever the border is, and bytes that are known before.
#include "runtime/placement.h"

#include <cmath>

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/forward.h"
#include "runtime/gpu/emulator/emulator.h"
#include "runtime/gpu/gpu_backend.h"
#include "tests/catch.h"
#include "tests/runtime/gpu.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace family_tests;

namespace {

constexpr int64_t kPositions = 8;

struct Result {
    std::vector<float> logits;  // after a batch, and after the context's last token
    uint64_t n_copies = 0;      // of the last token
};

std::vector<Token> some_tokens(int64_t n) {
    std::vector<Token> tokens(static_cast<size_t>(n));
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = Token(i * 37 % kVocabulary);
    return tokens;
}

// The context is filled but for one position, then a single token.
Result run(Backend& backend, const SmallFile& file) {
    Result result;
    const Model model(file.path(), backend);
    ForwardPass forward(model, kPositions);
    forward.keep_largest(7);  // and all of them after these
    const std::vector<Token> tokens = some_tokens(kPositions);
    const auto keep = [&] {
        result.logits.insert(result.logits.end(), forward.logits().begin(), forward.logits().end());
    };
    auto* const placed = dynamic_cast<PlacedBackend*>(&backend);
    forward.run(std::span(tokens).first(kPositions - 1), 1);
    keep();
    const uint64_t n_before = placed != nullptr ? placed->n_copies() : 0;
    forward.run(std::span(tokens).last(1), 1);
    keep();
    if (placed != nullptr) result.n_copies = placed->n_copies() - n_before;
    return result;
}

std::unique_ptr<PlacedBackend> with_gpus(const Placement& placement, int n_gpus = 1) {
    std::vector<std::unique_ptr<Backend>> devices;
    devices.push_back(std::make_unique<CpuBackend>(1, cpu::scalar_kernels()));
    for (int i = 0; i < n_gpus; ++i)
        devices.push_back(std::make_unique<GpuBackend>(gpu::open_device(tested_device())));
    return std::make_unique<PlacedBackend>(std::move(devices), placement.place());
}

Placement on_gpu(int64_t n_layers, int64_t n_experts) {
    return Placement::on(Placement::kGpu, kLayers, n_layers, n_experts);
}

Planner planner_of(const SmallFile& file) {
    return Planner(std::make_shared<GgufModel>(file.path()));
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
    REQUIRE(a.size() == b.size());
    double differences = 0, squares = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        differences += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
        squares += double(b[i]) * double(b[i]);
    }
    return std::sqrt(differences / squares);
}

}  // namespace

TEST_CASE("placement: wherever the border between two devices is, the logits are the CPU's") {
    for (const char* family : {"llama", "gemma2", "qwen3moe", "deepseek2", "qwen3next", "gemma4"}) {
        INFO(family);
        const SmallFile file(small_model(family));
        CpuBackend cpu(1, cpu::scalar_kernels());
        const std::vector<float> expected = run(cpu, file).logits;
        for (int64_t n = 0; n <= kLayers; n += 2) {
            for (const int64_t n_experts : {int64_t(0), n}) {
                CAPTURE(n, n_experts);
                const auto backend = with_gpus(on_gpu(n, n_experts));
                const Result result = run(*backend, file);
                // Keys and values are halves, which round what is next to nothing to one of two.
                CHECK(difference(result.logits, expected) < 2e-3);
                if (n == 0) CHECK(backend->usage(Placement::kGpu).total() == 0);
            }
        }
    }
}

TEST_CASE("placement: what is counted is what is allocated, to the byte") {
    const auto check_parts = [](const PlacementPlan::Device& plan, const PlacedBackend& backend, size_t i,
                                uint64_t scratch) {
        std::map<int64_t, PlacedBackend::Usage> real = backend.usage_of_parts(i);
        real[Model::kBeginning].buffers += scratch;
        for (const auto& [part, usage] : real) {
            CAPTURE(i, part);
            const auto found = plan.parts.find(part);
            const PlacedBackend::Usage counted =
                found != plan.parts.end() ? found->second : PlacedBackend::Usage{};
            CHECK(counted.weights == usage.weights);
            CHECK(counted.cache == usage.cache);
            CHECK(counted.buffers == usage.buffers);
        }
    };
    const RunShape shapes[] = {{.n_context = kPositions},
                               {.n_context = kPositions, .cache_type = CacheType::F32, .n_sequences = 2},
                               {.n_context = 100, .n_logits = 3}};  // prompts by warpgroups
    for (const char* family : {"gpt2", "gemma2", "qwen3moe", "deepseek2", "qwen3next", "gemma4"}) {
        const SmallFile file(small_model(family));
        for (const int64_t n : {1, int(kLayers)}) {
            RunShape shape = shapes[size_t(family[0] + n) % 3];
            if (family == std::string_view("gpt2") && shape.n_context > 64)
                shape.n_context = 64;  // all it has
            CAPTURE(family, n, shape.n_context, shape.n_sequences);
            Placement placement = on_gpu(n, n / 2);
            placement.rules = {{"attn_output", Placement::kGpu}};
            const PlacementPlan plan = planner_of(file).count(placement, 1, shape);

            // What may come in such a run, in another order and more than once.
            const auto backend = with_gpus(placement);
            const Model model(file.path(), *backend);
            ForwardPass forward(model, shape.n_context, ForwardPass::kDefaultBatch, shape.cache_type,
                                shape.n_sequences);
            forward.keep_largest(7);
            const std::vector<Token> tokens = some_tokens(shape.n_context);
            const auto all = std::span(tokens);
            for (int round = 0; round < 3; ++round) {
                for (int64_t i = 0; i < shape.n_sequences; ++i) {
                    forward.cache(i).truncate(0);
                    forward.run({{Segment{i, all.first(all.size() - size_t(shape.n_logits)), round % 2}}});
                }
                std::vector<Segment> step;
                for (int64_t i = 0; i < shape.n_sequences; ++i)
                    step.push_back({i, all.last(size_t(shape.n_logits)), shape.n_logits});
                forward.run(step);
                for (int64_t i = 0; i < shape.n_sequences; ++i) forward.cache(i).truncate(0);
                forward.run(all, 1);
            }
            const auto& gpu = static_cast<const GpuBackend&>(backend->device(Placement::kGpu));
            CHECK(plan.devices[Placement::kGpu].sum.total() == gpu.allocated_bytes());
            check_parts(plan.devices[Placement::kCpu], *backend, Placement::kCpu, 0);
            check_parts(plan.devices[Placement::kGpu], *backend, Placement::kGpu,
                        gpu.allocated_bytes() - backend->usage(Placement::kGpu).total());
        }
    }
}

TEST_CASE("placement: a border costs a few copies of one token's rows, and caches stay where they are") {
    const SmallFile file(small_model("llama"));
    const auto backend = with_gpus(on_gpu(2, 2));
    const Model model(file.path(), *backend);
    ForwardPass forward(model, kPositions);
    const std::vector<Token> tokens = some_tokens(3);
    forward.run(std::span(tokens).first(2), 1);
    const uint64_t n_before = backend->n_copies();
    forward.run(std::span(tokens).last(1), 1);
    CHECK(backend->n_copies() - n_before <= 3);
    const PlacedBackend::Usage cpu = backend->usage(Placement::kCpu), gpu = backend->usage(Placement::kGpu);
    CHECK(cpu.cache == gpu.cache);
    CHECK(cpu.cache + gpu.cache == KvCache::size_bytes(model.hyperparameters(), kPositions, CacheType::F16));
}

TEST_CASE("placement: as many layers as fit in a budget, then the output, then experts") {
    const RunShape shape{.n_context = kPositions};
    for (const char* family : {"llama", "qwen3moe"}) {
        INFO(family);
        const SmallFile file(small_model(family));
        const Planner planner = planner_of(file);
        const bool has_experts = std::string(family) == "qwen3moe";
        const PlacementPlan all = planner.plan({}, shape);
        CHECK(all.placement.n_gpu_layers() == kLayers);
        CHECK(all.placement.n_gpu_expert_layers() == kLayers);
        CHECK(all.devices[Placement::kCpu].sum.weights == 0);
        const uint64_t all_bytes = all.devices[Placement::kGpu].sum.total();
        PlacementOptions options;
        uint64_t last = all_bytes;
        for (uint64_t budget = all_bytes; budget > all_bytes / 8; budget -= all_bytes / 16) {
            CAPTURE(budget);
            options.device_memory = {budget};
            const PlacementPlan plan = planner.plan(options, shape);
            CHECK(plan.fits({budget}));
            CHECK(plan.devices[Placement::kGpu].sum.total() <= last);
            last = plan.devices[Placement::kGpu].sum.total();
            // One more would not have fit.
            Placement more = plan.placement;
            const size_t n_there = size_t(more.n_gpu_layers()),
                         n_experts = size_t(more.n_gpu_expert_layers());
            if (n_there < kLayers) {
                CHECK(more.output == Placement::kCpu);
                more.layers[kLayers - 1 - n_there] = Placement::kGpu;
                if (has_experts) CHECK(n_experts == 0);
            } else if (more.output == Placement::kCpu) {
                more.output = Placement::kGpu;
            } else if (n_experts < kLayers) {
                more.experts[kLayers - 1 - n_experts] = Placement::kGpu;
            } else if (more.embedding == Placement::kCpu) {
                more.embedding = Placement::kGpu;
            } else {
                CHECK(budget == all_bytes);
                continue;
            }
            CHECK_FALSE(planner.count(more, 1, shape).fits({budget}));
        }
        options = {};
        options.n_gpu_layers = 3;
        CHECK(planner.plan(options, shape).placement.n_gpu_layers() == 3);
        options.n_gpu_layers = -1;
        options.device_memory = {100};
        options.rules = {{"attn_q", Placement::kGpu}};
        CHECK_THROWS_WITH(planner.plan(options, shape),
                          ContainsSubstring("--tensor-placement") && ContainsSubstring("allows 100"));
        options.rules = {{"attn_q", 2}};
        CHECK_THROWS_WITH(planner.plan(options, shape), ContainsSubstring("no such GPU"));
    }
}

TEST_CASE("placement: several GPUs share the layers by their memory") {
    const RunShape shape{.n_context = kPositions};
    for (const char* family : {"llama", "qwen3moe"}) {
        const SmallFile file(small_model(family));
        const Planner planner = planner_of(file);
        const uint64_t all_bytes = planner.plan({}, shape).devices[Placement::kGpu].sum.total();
        CpuBackend cpu(1, cpu::scalar_kernels());
        const std::vector<float> expected = run(cpu, file).logits;
        PlacementOptions options;
        for (const auto& budgets : {std::vector<uint64_t>{all_bytes * 3 / 4, all_bytes * 3 / 4},
                                    std::vector<uint64_t>{all_bytes / 2, all_bytes / 3},
                                    std::vector<uint64_t>{all_bytes / 3, all_bytes / 2, all_bytes * 3 / 4}}) {
            CAPTURE(family, budgets.size(), budgets[0], all_bytes);
            options.device_memory = budgets;
            const PlacementPlan plan = planner.plan(options, shape);
            CHECK(plan.fits(budgets));
            CHECK(plan.devices.size() == budgets.size() + 1);
            // What has no place on one is on the next.
            if (budgets[1] == all_bytes * 3 / 4) CHECK(plan.devices[0].read_bytes == 0);
            CHECK(plan.devices[1].sum.weights > 0);
            CHECK(plan.devices[2].sum.weights > 0);
            // Layers of one GPU are neighbours: activations pass each border once.
            CHECK(std::ranges::is_sorted(plan.placement.layers, [](size_t a, size_t b) {
                return (a == Placement::kCpu ? SIZE_MAX : a) > (b == Placement::kCpu ? SIZE_MAX : b);
            }));
            const auto backend = with_gpus(plan.placement, int(budgets.size()));
            CHECK(difference(run(*backend, file).logits, expected) < 2e-3);
            for (size_t i = 1; i < plan.devices.size(); ++i) {
                CHECK(plan.devices[i].sum.total() >=
                      static_cast<const GpuBackend&>(backend->device(i)).allocated_bytes());
            }
        }
    }
}

TEST_CASE("placement: the longest context that fits is that") {
    const SmallFile file(small_model("llama"));
    const Planner planner = planner_of(file);
    const Placement all = on_gpu(kLayers, kLayers);
    for (const int64_t n : {1, 7, 33, int(kContext)}) {
        const uint64_t budget = planner.count(all, 1, {.n_context = n}).devices[1].sum.total();
        CHECK(planner.longest_context(all, {budget}, {}) == n);
        CHECK(planner.longest_context(all, {budget - 1}, {}) == n - 1);
    }
    CHECK(planner.longest_context(all, {UINT64_MAX}, {}) == kContext);
}

TEST_CASE("placement: plans look at nothing but the header") {
    const SmallFile file(small_model("gemma4"));
    const PlacementPlan plan = planner_of(file).count(on_gpu(2, 2), 1, {});
    // Tensors that could not be loaded: all bytes behind the header are gone.
    const GgufModel whole(file.path());
    const uint64_t n_bytes = std::filesystem::file_size(file.path());
    std::filesystem::resize_file(file.path(), whole.header().data_offset());
    std::filesystem::resize_file(file.path(), n_bytes);
    const PlacementPlan again = planner_of(file).count(on_gpu(2, 2), 1, {});
    CHECK(again.devices[0].sum.total() == plan.devices[0].sum.total());
    CHECK(again.devices[1].sum.total() == plan.devices[1].sum.total());
    // In other types: as those take on the device.
    const Planner halves(std::make_shared<GgufModel>(file.path()),
                         [](std::string_view, TensorType) { return TensorType::F16; });
    const uint64_t as_halves = halves.count(on_gpu(2, 2), 1, {}).devices[0].sum.weights;
    CHECK(as_halves < plan.devices[0].sum.weights * 6 / 10);
    CHECK(as_halves > plan.devices[0].sum.weights * 5 / 10);
}

TEST_CASE("placement: rules are a regular expression and a device") {
    Placement placement = on_gpu(2, 2);
    placement.rules = {parse_placement_rule("ffn_(up|down)=cpu"), parse_placement_rule("attn=gpu"),
                       parse_placement_rule("output=gpu:1")};
    CHECK(placement.place()("blk.3.ffn_up.weight") == Placement::kCpu);
    CHECK(placement.place()("blk.0.attn_q.weight") == Placement::kGpu);
    CHECK(placement.place()("blk.0.ffn_gate.weight") == Placement::kCpu);
    CHECK(placement.place()("output.weight") == 2);
    const Placement plain = Placement::on(Placement::kGpu, 12, 2, 1);
    CHECK(plain.place()("blk.9.attn_q.weight") == Placement::kCpu);
    CHECK(plain.place()("blk.10.attn_q.weight") == Placement::kGpu);
    CHECK(plain.place()("blk.10.ffn_up_exps.weight") == Placement::kCpu);
    CHECK(plain.place()("blk.11.ffn_up_exps.weight") == Placement::kGpu);
    CHECK(plain.place()("output.weight") == Placement::kCpu);
    CHECK(plain.place()("blk.99.attn_q.weight") == Placement::kGpu);
    for (const char* wrong : {"attn", "attn=", "attn=tpu", "a(b=cpu", "a=gpu:", "a=gpu:x", "a=gpu:999"})
        CHECK_THROWS_WITH(parse_placement_rule(wrong), ContainsSubstring("--tensor-placement"));
}

TEST_CASE("placement: out of memory is an error with the numbers, and nothing stays allocated") {
    const SmallFile file(small_model("llama"));
    const uint64_t n_bytes =
        planner_of(file).plan({}, {.n_context = kPositions}).devices[Placement::kGpu].sum.total();
    for (const uint64_t capacity : {n_bytes / 4, n_bytes / 2, n_bytes - 1}) {
        auto device = std::make_unique<gpu::EmulatorDevice>(capacity);
        const gpu::EmulatorDevice& emulator = *device;
        GpuBackend backend(std::move(device));
        CHECK_THROWS_WITH(run(backend, file), ContainsSubstring("bytes were asked for") &&
                                                  ContainsSubstring(grouped(capacity)) &&
                                                  ContainsSubstring("--device-memory"));
        // What is left is the back end's own scratch.
        CHECK(emulator.used_bytes() == backend.allocated_bytes());
        CHECK(backend.weight_bytes() == 0);
    }
    std::vector<std::unique_ptr<Backend>> devices;
    devices.push_back(std::make_unique<CpuBackend>(1, cpu::scalar_kernels()));
    devices.push_back(std::make_unique<GpuBackend>(std::make_unique<gpu::EmulatorDevice>(n_bytes)));
    PlacedBackend enough(std::move(devices), on_gpu(kLayers, kLayers).place());
    CHECK_FALSE(run(enough, file).logits.empty());
}

namespace {

/// A GPU that is lost after some calls: from then on every call throws.
class LosableDevice final : public gpu::Device {
  public:
    explicit LosableDevice(int64_t n_calls) : n_left_(n_calls) {}
    gpu::DeviceProperties properties() const override { return emulator_.properties(); }
    gpu::Address allocate(size_t n, gpu::Access access) override { return use().allocate(n, access); }
    void free(gpu::Address address) override { emulator_.free(address); }
    void fill(gpu::Address to, size_t n, size_t row_bytes, const gpu::Fill& fill) override {
        use().fill(to, n, row_bytes, fill);
    }
    void download(gpu::Address from, std::span<std::byte> to) override { use().download(from, to); }
    void launch(gpu::Kernel kernel, const gpu::Grid& grid, std::span<const std::byte> arguments) override {
        use().launch(kernel, grid, arguments);
    }
    void begin_sequence() override { use().begin_sequence(); }
    gpu::Sequence end_sequence() override { return use().end_sequence(); }
    void replay(gpu::Sequence sequence) override { use().replay(sequence); }
    void forget(gpu::Sequence sequence) override { emulator_.forget(sequence); }
    gpu::Event event() override { return use().event(); }
    void wait(gpu::Event event) override { use().wait(event); }

  private:
    gpu::EmulatorDevice& use() {
        if (n_left_ == 0) fail("the device is lost");
        --n_left_;
        return emulator_;
    }
    gpu::EmulatorDevice emulator_;
    int64_t n_left_;
};

}  // namespace

TEST_CASE("placement: a lost device is an error, whenever it is lost") {
    const SmallFile file(small_model("llama"));
    const auto with_calls = [&](int64_t n_calls) {
        std::vector<std::unique_ptr<Backend>> devices;
        devices.push_back(std::make_unique<CpuBackend>(1, cpu::scalar_kernels()));
        devices.push_back(std::make_unique<GpuBackend>(std::make_unique<LosableDevice>(n_calls)));
        PlacedBackend backend(std::move(devices), on_gpu(2, 2).place());
        return run(backend, file).logits;
    };
    int64_t n_enough = 1;
    for (;; n_enough *= 2) {
        try {
            with_calls(n_enough);
            break;
        } catch (const Error& error) {
            CHECK_THAT(error.what(), ContainsSubstring("the device is lost"));
        }
    }
    for (int64_t n_calls = 0; n_calls < n_enough / 2; n_calls += 1 + n_calls / 16)
        CHECK_THROWS_WITH(with_calls(n_calls), ContainsSubstring("the device is lost"));
}
