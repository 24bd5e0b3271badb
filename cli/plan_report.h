#pragma once
// What `ingot plan` found out, and how it is shown.
#include <optional>
#include <string>
#include <vector>

#include "runtime/placement.h"

namespace ingot::cli {

struct PlanReport {
    std::string file;
    runtime::PlacementPlan plan;
    std::vector<uint64_t> device_memory;  // of each GPU
    bool is_limited = false;              // whether the user named a limit

    struct CacheSize {
        int64_t n_context;  // positions
        runtime::CacheType type;
        uint64_t size_bytes;  // of one sequence
    };
    std::vector<CacheSize> caches;  // by context, then type

    // With a limit: the longest context as placed, and with all layers on GPUs.
    int64_t longest_context = 0, longest_context_of_all = 0;

    /// The model in another type.
    struct TypeSize {
        std::string name;
        uint64_t weights = 0;      // bytes, on all devices
        uint64_t gpu_bytes = 0;    // if all is on GPUs
        int64_t n_gpu_layers = 0;  // that fit
        bool fits = false;         // all of it
    };
    std::vector<TypeSize> types;

    /// Memory of a device: what it reads in a second.
    struct Bandwidth {
        double bytes_per_second = 0;
        bool is_measured = false;
    };
    std::vector<std::optional<Bandwidth>> bandwidths;  // of each device
    /// At most, at the end of the context; nothing where a bandwidth isn't known.
    std::optional<double> tokens_per_second() const;
};

/// `every_layer`: in a row of its own.
std::string plan_text(const PlanReport& report, bool every_layer);
std::string plan_json(const PlanReport& report);

}  // namespace ingot::cli
