#pragma once
// What goes on which GPU and what stays on the CPU, and how many bytes that takes.
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/gguf_model.h"
#include "runtime/backend.h"
#include "runtime/gpu/placed_backend.h"
#include "runtime/hyperparameters.h"

namespace ingot::runtime {

/// A run of a model, as far as its memory goes.
struct RunShape {
    int64_t n_context = 0;  // positions of each sequence; 0: the model's
    CacheType cache_type = CacheType::F16;
    int64_t n_sequences = 1;
    int64_t n_logits = 1;  // tokens of a sequence that are computed at once after the prompt
};

/// A choice of the user's.
struct PlacementOptions {
    static constexpr uint64_t kNoLimit = UINT64_MAX;

    int64_t n_gpu_layers = -1;                      // the last so many layers at most; -1: no limit
    std::vector<uint64_t> device_memory{kNoLimit};  // bytes, of each GPU
    struct Rule {
        std::string regex;  // found in a tensor's name
        size_t device;      // 0: the CPU, 1: the first GPU …
    };
    std::vector<Rule> rules;  // stand above the rest; the first that matches decides
};
/// "blk\..*exps=cpu", "=gpu" or "=gpu:1" -> a rule. Throws Error with what was expected.
PlacementOptions::Rule parse_placement_rule(const std::string& text);

/// The device of each part of a model: 0 is the CPU, 1 the first GPU.
struct Placement {
    static constexpr size_t kCpu = 0, kGpu = 1;

    std::vector<size_t> layers;   // without their experts …
    std::vector<size_t> experts;  // … and those
    size_t output = kCpu;         // what makes logits, and all else that is of no layer
    size_t embedding = kCpu;      // the tables that tokens are looked up in
    std::vector<PlacementOptions::Rule> rules;

    /// All on one device; or the last n_layers_there layers, of n_experts_there the experts, and the rest of
    /// the model if these are all.
    static Placement on(size_t device, int64_t n_layers, int64_t n_layers_there, int64_t n_experts_there);
    int64_t n_gpu_layers() const;
    int64_t n_gpu_expert_layers() const;
    /// For PlacedBackend.
    PlacedBackend::Place place() const;
};

struct PlacementPlan {
    Placement placement;
    RunShape run;  // its context is the one that was meant
    struct Device {
        std::map<int64_t, PlacedBackend::Usage> parts;  // see Model::part_of()
        PlacedBackend::Usage sum;  // `buffers` with the scratch of a GPU's kernels, in Model::kBeginning
        uint64_t read_bytes = 0;   // of weights, keys and values, to compute a token at the context's end
    };
    std::vector<Device> devices;  // the CPU, then the GPUs

    bool has_experts = false;
    std::string text() const;  // "22 of 32 layers"
    bool fits(const std::vector<uint64_t>& device_memory) const;
};

/// Plans for one model. Looks at nothing but its header: the code that allocates and computes runs on devices
/// without memory. Throws Error, prefixed with the path.
class Planner {
  public:
    using TypeOf = PlacedBackend::TypeOf;
    /// `type_of`: as if the tensors had these types; empty: their own.
    explicit Planner(std::shared_ptr<const GgufModel> file, TypeOf type_of = {});

    /// What a placement takes.
    PlacementPlan count(const Placement& placement, size_t n_gpus, const RunShape& run) const;
    /// The placement that the options ask for: on each GPU in turn as many layers as they say or as fit,
    /// counted from the last, and the output matrix; then of these layers the experts; then the embedding.
    /// Throws Error with the numbers when not even that fits which has to be there.
    PlacementPlan plan(const PlacementOptions& options, const RunShape& run) const;
    /// The longest context, up to the model's, with which what is placed so fits; 0: none does.
    int64_t longest_context(const Placement& placement, const std::vector<uint64_t>& device_memory,
                            const RunShape& run) const;

    const Hyperparameters& hyperparameters() const { return hyperparameters_; }
    bool has_experts() const { return hyperparameters_.routing.n_used != 0; }

  private:
    class Search;
    std::shared_ptr<const GgufModel> file_;
    TypeOf type_of_;
    Hyperparameters hyperparameters_;
};

}  // namespace ingot::runtime
