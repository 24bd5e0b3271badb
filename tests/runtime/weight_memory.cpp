// Where the weights are must not change what is computed with them; and what goes wrong on the way is said.
#include "runtime/weight_memory.h"

#include <unistd.h>
#if defined(__linux__)
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <fstream>

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/forward.h"
#include "runtime/synthetic.h"
#include "tests/catch.h"
#include "tests/files.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;
using namespace ingot::test;
using family_tests::SmallFile;

namespace {

constexpr LoadMode kModes[] = {LoadMode::Map, LoadMode::Read, LoadMode::Direct};

// About 20 MiB: several pieces.
std::string large_model(const TemporaryFolder& folder) {
    SyntheticShape shape = *find_synthetic_shape("llama-tiny");
    shape.n_layers = 8;
    auto tensors = synthetic_tensors(shape);
    const std::string path = folder / "large.gguf";
    REQUIRE(write_synthetic(shape, std::move(tensors), 0, path, true, 1));
    REQUIRE(std::filesystem::file_size(path) > (size_t(17) << 20));
    return path;
}

}  // namespace

TEST_CASE("weights have the file's bytes wherever they are, and the logits are the same") {
    const TemporaryFolder folder;
    const std::string path = large_model(folder);
    const std::vector<Token> tokens = {3, 1, 4, 1, 5};
    std::vector<float> expected;
    for (const LoadMode mode : kModes) {
        INFO(int(mode));
        for (const int n_readers : {1, 4}) {
            CpuBackend backend(1);
            const Model model(path, backend, {.mode = mode, .lock = false, .n_readers = n_readers});
            ForwardPass forward(model, 16);
            REQUIRE(forward.run(tokens, 1));  // waits for each layer's bytes
            const std::vector<float> logits(forward.logits().begin(), forward.logits().end());
            if (expected.empty()) expected = logits;
            CHECK(logits == expected);
            bool all_same = true;
            for (const TensorInfo& tensor : model.file().header().tensors())
                all_same = all_same &&
                           std::ranges::equal(model.tensor_bytes(tensor), model.file().tensor_bytes(tensor));
            CHECK(all_same);
            const TensorInfo& any = model.file().header().tensors().front();
            CHECK((model.tensor_bytes(any).data() == model.file().tensor_bytes(any).data()) ==
                  (mode == LoadMode::Map));
        }
    }
}

TEST_CASE("every family runs from memory of its own") {
    for (const auto& small : family_tests::small_models()) {
        INFO(small.family);
        const SmallFile file(small);
        std::vector<float> expected;
        for (const LoadMode mode : kModes) {
            CpuBackend backend(1);
            const Model model(file.path(), backend, {.mode = mode});
            ForwardPass forward(model, 16);
            const std::vector<Token> tokens = {3, 1, 4};
            REQUIRE(forward.run(tokens, 1));
            const std::vector<float> logits(forward.logits().begin(), forward.logits().end());
            if (expected.empty()) expected = logits;
            CHECK(logits == expected);
        }
    }
}

TEST_CASE("a file that shrinks while it is read is said to, by whoever waits for it") {
    const TemporaryFolder folder;
    const std::string path = large_model(folder);
    const GgufModel model(path);
    std::filesystem::resize_file(path, size_t(9) << 20);  // the last piece of what is left is cut, too
    const WeightMemory memory(model, {.mode = LoadMode::Read});
    const auto& tensors = model.header().tensors();
    const auto wait_for_all = [&] {
        for (const TensorInfo& tensor : tensors) memory.wait_for(tensor);
    };
    CHECK_THROWS_WITH(wait_for_all(),
                      ContainsSubstring(path) && ContainsSubstring("shrank while it was read"));
    CHECK_FALSE(memory.is_complete());
}

TEST_CASE("loading that nobody waits for ends with the model") {
    const TemporaryFolder folder;
    const std::string path = large_model(folder);
    for (int i = 0; i < 20; ++i) {
        const GgufModel model(path);
        const WeightMemory memory(model, {.mode = LoadMode::Direct});
    }
}

TEST_CASE("locked weights are in memory, or the error says how much is allowed") {
    const SmallFile file(family_tests::small_model("llama"));
    for (const LoadMode mode : kModes) {
        try {
            const GgufModel model(file.path());
            const WeightMemory memory(model, {.mode = mode, .lock = true});
        } catch (const Error& error) {
            CHECK_THAT(error.what(), ContainsSubstring("cannot be locked in memory"));
        }
    }
}

#if defined(__linux__)
TEST_CASE("memory is dealt to the nodes of a machine in turn, where there are as many") {
    const LargeMemory memory(size_t(4) << 20);
    CHECK_FALSE(spread_over_nodes(memory.bytes(), 1025));  // more than any machine's
    if (!spread_over_nodes(memory.bytes(), 1)) {
        WARN("the system does not allow it here");
        return;
    }
    int policy = -1;
    REQUIRE(::syscall(SYS_get_mempolicy, &policy, nullptr, 0, memory.bytes().data(), MPOL_F_ADDR) == 0);
    CHECK(policy == MPOL_INTERLEAVE);
}
#endif
