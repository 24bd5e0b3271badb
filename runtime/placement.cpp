#include "runtime/placement.h"

#include <algorithm>
#include <charconv>
#include <regex>

#include "format/error.h"
#include "runtime/forward.h"
#include "runtime/gpu/counting.h"
#include "runtime/gpu/gpu_backend.h"

namespace ingot::runtime {
namespace {

bool is_expert(std::string_view name) {
    return name.find("_exps.") != std::string_view::npos;
}

bool is_embedding(std::string_view name) {
    return name.starts_with("token_embd") || name.starts_with("position_embd") ||
           name.starts_with("per_layer_token_embd");
}

int64_t n_on_gpus(const std::vector<size_t>& devices) {
    return std::ranges::count_if(devices, [](size_t device) { return device != Placement::kCpu; });
}

/// The largest n of 0 … n_most with which `fits`, which is so with all smaller ones; 0 is not asked about.
template <typename Fits>
int64_t most_that_fit(int64_t n_most, Fits fits) {
    if (n_most == 0 || fits(n_most)) return n_most;
    int64_t fitting = 0, too_many = n_most;
    while (too_many - fitting > 1) {
        const int64_t middle = fitting + (too_many - fitting) / 2;
        (fits(middle) ? fitting : too_many) = middle;
    }
    return fitting;
}

}  // namespace

PlacementOptions::Rule parse_placement_rule(const std::string& text) {
    const size_t at = text.rfind('=');
    const std::string device = at == std::string::npos ? "" : text.substr(at + 1);
    size_t index = 0;
    bool known = device == "cpu" || device == "gpu";
    if (device == "gpu") index = Placement::kGpu;
    if (device.starts_with("gpu:")) {
        const char* const end = device.data() + device.size();
        const auto [rest, error] = std::from_chars(device.data() + 4, end, index);
        known = error == std::errc() && rest == end && index < 256;
        index += Placement::kGpu;
    }
    if (at == 0 || !known) fail("--tensor-placement {}: expected REGEX=cpu, REGEX=gpu or REGEX=gpu:1", text);
    try {
        const std::regex checked(text.substr(0, at));
    } catch (const std::regex_error& error) {
        fail("--tensor-placement {}: {} is no regular expression: {}", text, text.substr(0, at),
             error.what());
    }
    return {text.substr(0, at), index};
}

// --- Placement ---

Placement Placement::on(size_t device, int64_t n_layers, int64_t n_layers_there, int64_t n_experts_there) {
    Placement placement;
    placement.layers.resize(size_t(n_layers), kCpu);
    placement.experts = placement.layers;
    std::fill_n(placement.layers.rbegin(), n_layers_there, device);
    std::fill_n(placement.experts.rbegin(), n_experts_there, device);
    if (n_layers_there == n_layers) placement.output = device;
    if (n_layers_there == n_layers && n_experts_there == n_layers) placement.embedding = device;
    return placement;
}

int64_t Placement::n_gpu_layers() const {
    return n_on_gpus(layers);
}

int64_t Placement::n_gpu_expert_layers() const {
    return n_on_gpus(experts);
}

PlacedBackend::Place Placement::place() const {
    std::vector<std::pair<std::regex, size_t>> matchers;
    for (const auto& rule : rules) matchers.emplace_back(std::regex(rule.regex), rule.device);
    return [placement = *this, matchers = std::move(matchers)](std::string_view name) {
        for (const auto& [matcher, device] : matchers) {
            if (std::regex_search(name.begin(), name.end(), matcher)) return device;
        }
        const int64_t layer = Model::part_of(name);
        if (layer < 0) return is_embedding(name) ? placement.embedding : placement.output;
        const std::vector<size_t>& devices = is_expert(name) ? placement.experts : placement.layers;
        // A second model (which guesses what the first will say) may have more layers.
        return devices[std::min(size_t(layer), devices.size() - 1)];
    };
}

// --- PlacementPlan ---

std::string PlacementPlan::text() const {
    const int64_t n_layers = int64_t(placement.layers.size());
    const int64_t n_there = placement.n_gpu_layers(), n_experts = placement.n_gpu_expert_layers();
    std::string text = fmt::format("{} of {} layers", n_there, n_layers);
    if (has_experts && n_experts < n_there) text += fmt::format(", the experts of {}", n_experts);
    return text;
}

bool PlacementPlan::fits(const std::vector<uint64_t>& device_memory) const {
    for (size_t i = Placement::kGpu; i < devices.size(); ++i) {
        if (devices[i].sum.total() > device_memory[i - Placement::kGpu]) return false;
    }
    return true;
}

// --- Planner ---

Planner::Planner(std::shared_ptr<const GgufModel> file, TypeOf type_of)
    : file_(std::move(file)), type_of_(std::move(type_of)), hyperparameters_([&] {
          try {
              return Hyperparameters::from_header(file_->header());
          } catch (const Error& error) {
              fail("{}: {}", file_->path().string(), error.what());
          }
      }()) {}

PlacementPlan Planner::count(const Placement& placement, size_t n_gpus, const RunShape& run) const {
    for (const auto& rule : placement.rules) {
        if (rule.device > n_gpus)
            fail("--tensor-placement {}=gpu:{}: there is no such GPU; they count from 0, and are {}",
                 rule.regex, rule.device - Placement::kGpu, n_gpus);
    }
    std::vector<std::unique_ptr<Backend>> devices;
    devices.push_back(std::make_unique<CountingBackend>());
    for (size_t i = 0; i < n_gpus; ++i)
        devices.push_back(std::make_unique<GpuBackend>(std::make_unique<CountingDevice>()));
    PlacedBackend backend(std::move(devices), placement.place(), type_of_);
    const Model model(file_, backend, nullptr, {.mode = LoadMode::Header});
    ForwardPass forward(model, run.n_context, ForwardPass::kDefaultBatch, run.cache_type, run.n_sequences);

    forward.keep_largest(1);  // as many take the same scratch

    PlacementPlan plan{.placement = placement, .run = run, .devices = {}, .has_experts = has_experts()};
    const int64_t n_positions = forward.n_context();
    plan.run.n_context = n_positions;
    const int64_t n_batch = std::min(n_positions, ForwardPass::kDefaultBatch);
    const int64_t n_last = std::min(n_positions, run.n_logits);
    const std::vector<Token> tokens(size_t(std::max(n_batch, n_last)), 0);
    const auto begin = [&](int64_t position) {
        for (int64_t i = 0; i < run.n_sequences; ++i) {
            forward.cache(i).truncate(0);
            forward.cache(i).advance(position);
        }
    };
    // The largest batch, and a step at the end of the context: the most that scratch grows to. The buffers
    // that a forward pass swaps when it keeps the last rows are two: after some rounds each has been
    // everywhere.
    std::vector<uint64_t> read_before(backend.n_devices());
    for (int round = 0; round < 4; ++round) {
        begin(0);
        forward.run(std::span(tokens).first(size_t(n_batch)), 1);
        begin(n_positions - n_last);
        std::vector<Segment> step;
        for (int64_t i = 0; i < run.n_sequences; ++i)
            step.push_back({i, std::span(tokens).first(size_t(n_last)), n_last});
        for (size_t i = 0; i < read_before.size(); ++i) read_before[i] = backend.read_bytes(i);
        forward.run(step);
    }
    for (size_t i = 0; i < backend.n_devices(); ++i) {
        PlacementPlan::Device device{backend.usage_of_parts(i), backend.usage(i),
                                     backend.read_bytes(i) - read_before[i]};
        if (i >= Placement::kGpu) {
            const uint64_t all_bytes = static_cast<GpuBackend&>(backend.device(i)).allocated_bytes();
            const uint64_t scratch = all_bytes - device.sum.total();
            device.sum.buffers += scratch;
            if (scratch != 0) device.parts[Model::kBeginning].buffers += scratch;
        }
        plan.devices.push_back(std::move(device));
    }
    return plan;
}

/// Moves parts of the model to GPUs as long as they fit.
class Planner::Search {
  public:
    Search(const Planner& planner, const PlacementOptions& options, const RunShape& run)
        : planner_(planner), options_(options), run_(run) {
        placement_ = Placement::on(Placement::kCpu, planner.hyperparameters_.n_layers, 0, 0);
        placement_.rules = options.rules;
        plan_ = count(placement_);
        if (!plan_.fits(options.device_memory)) {
            const uint64_t n_bytes = plan_.devices[Placement::kGpu].sum.total();
            fail("{}: what --tensor-placement puts on the GPU takes {} bytes; --device-memory allows {}",
                 planner.file_->path().string(), grouped(n_bytes), grouped(options.device_memory[0]));
        }
    }

    PlacementPlan run() {
        const int64_t n_layers = planner_.hyperparameters_.n_layers;
        const bool is_tied = planner_.file_->header().find_tensor("output.weight") == nullptr;
        const int64_t n_most =
            options_.n_gpu_layers < 0 ? n_layers : std::min(options_.n_gpu_layers, n_layers);
        const bool all = n_most == n_layers;
        size_t output_on = Placement::kGpu;
        // Layers from the last, and behind the first of them what makes logits.
        int64_t first = 0;
        const int64_t n_units = n_most + (all ? 1 : 0);
        for (size_t gpu = Placement::kGpu; gpu <= n_gpus() && first < n_units; ++gpu) {
            first += move(n_units - first, [&](Placement& placement, int64_t i) {
                const int64_t unit = first + i;
                if (unit == n_layers) {
                    placement.output = gpu;
                    if (is_tied) placement.embedding = gpu;
                    output_on = gpu;
                } else {
                    placement.layers[size_t(n_layers - 1 - unit)] = gpu;
                    if (!planner_.has_experts()) placement.experts[size_t(n_layers - 1 - unit)] = gpu;
                }
            });
        }
        // Experts where their layer is, then wherever there is room.
        for (const bool own : {true, false}) {
            for (size_t gpu = Placement::kGpu; gpu <= n_gpus() && planner_.has_experts(); ++gpu)
                move_experts(gpu, own);
        }
        const bool complete = std::ranges::count(placement_.experts, Placement::kCpu) == 0;
        if (all && complete && placement_.output != Placement::kCpu)
            move(1, [&](Placement& placement, int64_t) { placement.embedding = output_on; });
        return plan_;
    }

  private:
    void move_experts(size_t gpu, bool own) {
        std::vector<size_t> layers;  // from the last, of those on this GPU or on any
        for (size_t layer = placement_.layers.size(); layer-- > 0;) {
            const size_t device = placement_.layers[layer];
            const bool may = own ? device == gpu : device != Placement::kCpu;
            if (may && placement_.experts[layer] == Placement::kCpu) layers.push_back(layer);
        }
        move(int64_t(layers.size()),
             [&](Placement& placement, int64_t i) { placement.experts[layers[size_t(i)]] = gpu; });
    }

    size_t n_gpus() const { return options_.device_memory.size(); }
    PlacementPlan count(const Placement& placement) const {
        return planner_.count(placement, n_gpus(), run_);
    }

    // Does `assign(placement, i)` for i = 0 … as long as the plan fits; how often.
    template <typename Assign>
    int64_t move(int64_t n_units, Assign assign) {
        const auto with = [&](int64_t n) {
            Placement placement = placement_;
            for (int64_t i = 0; i < n; ++i) assign(placement, i);
            return placement;
        };
        std::map<int64_t, PlacementPlan> fitting;
        const int64_t n = most_that_fit(n_units, [&](int64_t n_moved) {
            PlacementPlan plan = count(with(n_moved));
            const bool fits = plan.fits(options_.device_memory);
            if (fits) fitting[n_moved] = std::move(plan);
            return fits;
        });
        if (n == 0) return 0;
        plan_ = std::move(fitting.at(n));
        placement_ = plan_.placement;
        return n;
    }

    const Planner& planner_;
    const PlacementOptions& options_;
    const RunShape& run_;
    Placement placement_;
    PlacementPlan plan_;
};

PlacementPlan Planner::plan(const PlacementOptions& options, const RunShape& run) const {
    return Search(*this, options, run).run();
}

int64_t Planner::longest_context(const Placement& placement, const std::vector<uint64_t>& device_memory,
                                 const RunShape& run) const {
    return most_that_fit(hyperparameters_.n_context, [&](int64_t n_context) {
        RunShape longer = run;
        longer.n_context = n_context;
        return count(placement, device_memory.size(), longer).fits(device_memory);
    });
}

}  // namespace ingot::runtime
