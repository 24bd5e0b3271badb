#include "cli/plan_report.h"

#include <map>
#include <numeric>

#include "cli/console.h"
#include "format/json_writer.h"
#include "runtime/model.h"

namespace ingot::cli {
namespace {

using runtime::Model;
using Usage = runtime::PlacedBackend::Usage;

std::string device_name(size_t device, size_t n_devices) {
    if (device == runtime::Placement::kCpu) return "CPU";
    return n_devices > 2 ? fmt::format("GPU {}", device - 1) : "GPU";
}

std::string type_name(runtime::CacheType type) {
    return std::string(name(runtime::tensor_type(type)));
}

// --- Text ---

/// Consecutive parts of a model on one device.
struct Group {
    int64_t first, last;
    Usage usage;
};

// In the order in which a pass uses them: tables, layers, output.
std::vector<Group> groups_of(const std::map<int64_t, Usage>& parts, bool every_layer) {
    std::vector<Group> groups;
    const auto add = [&](int64_t part, const Usage& usage) {
        if (usage.total() == 0) return;
        const bool joins = !every_layer && part > 0 && !groups.empty() && groups.back().last == part - 1;
        if (!joins) return groups.push_back({part, part, usage});
        groups.back().last = part;
        groups.back().usage.weights += usage.weights;
        groups.back().usage.cache += usage.cache;
        groups.back().usage.buffers += usage.buffers;
    };
    for (const auto& [part, usage] : parts)
        if (part == Model::kBeginning) add(part, usage);
    for (const auto& [part, usage] : parts)
        if (part >= 0) add(part, usage);
    for (const auto& [part, usage] : parts)
        if (part == Model::kEnd) add(part, usage);
    return groups;
}

std::string part_name(const Group& group) {
    if (group.first == Model::kBeginning) return "tables, scratch";
    if (group.first == Model::kEnd) return "output";
    if (group.first == group.last) return fmt::format("layer {}", group.first);
    return fmt::format("layers {} to {}", group.first, group.last);
}

std::string memory_table(const PlanReport& report, bool every_layer, const Painter& paint) {
    Table table({{"device", Table::kLeft},
                 {"part", Table::kLeft},
                 {"weights", Table::kRight},
                 {"cache", Table::kRight},
                 {"scratch", Table::kRight},
                 {"bytes", Table::kRight},
                 {"", Table::kRight, Tone::Dim}});
    const auto& devices = report.plan.devices;
    for (size_t i = devices.size(); i-- > 0;) {
        const auto& device = devices[i];
        if (device.sum.total() == 0) continue;
        const auto row = [&](const std::string& part, const Usage& usage) {
            table.add({device_name(i, devices.size()), part, grouped(usage.weights), grouped(usage.cache),
                       grouped(usage.buffers), grouped(usage.total()), human_bytes(usage.total())});
        };
        for (const Group& group : groups_of(device.parts, every_layer)) row(part_name(group), group.usage);
        row("all", device.sum);
        for (size_t column = 1; column < 7; ++column) table.tint(column, Tone::Heading);
    }
    return table.text(paint);
}

std::string cache_table(const PlanReport& report, const Painter& paint) {
    std::vector<Table::Column> columns{{"keys and values", Table::kLeft}};
    std::map<int64_t, std::vector<std::string>> rows;
    for (const auto& cache : report.caches) {
        if (cache.n_context == report.caches.front().n_context)
            columns.push_back({type_name(cache.type), Table::kRight});
        std::vector<std::string>& row = rows[cache.n_context];
        if (row.empty()) row.push_back(plural(uint64_t(cache.n_context), "token"));
        row.push_back(human_bytes(cache.size_bytes));
    }
    Table table(std::move(columns));
    for (auto& [n_context, row] : rows) table.add(std::move(row));
    return table.text(paint);
}

std::string type_table(const PlanReport& report, const Painter& paint) {
    Table table({{"as", Table::kLeft, Tone::Key},
                 {"weights", Table::kRight},
                 {"all on the GPU", Table::kRight},
                 {"layers that fit", Table::kRight}});
    for (const auto& type : report.types) {
        table.add({type.name, human_bytes(type.weights), human_bytes(type.gpu_bytes),
                   type.fits
                       ? "all"
                       : fmt::format("{} of {}", type.n_gpu_layers, report.plan.placement.layers.size())});
        table.tint(3, type.fits ? Tone::Good : Tone::Plain);
    }
    return table.text(paint);
}

std::string context_line(const PlanReport& report) {
    const int64_t as_placed = report.longest_context, of_all = report.longest_context_of_all;
    std::string line =
        fmt::format("The longest context that fits so: {}", plural(uint64_t(as_placed), "token"));
    if (of_all == as_placed) return line + ".\n";
    if (of_all == 0) return line + "; with all layers on the GPU, none does.\n";
    return line + fmt::format("; with all layers on the GPU: {}.\n", grouped(uint64_t(of_all)));
}

std::string speed_line(const PlanReport& report) {
    std::string line = "A token at the end of the context reads ";
    const char* separator = "";
    for (size_t i = report.plan.devices.size(); i-- > 0;) {
        const uint64_t n_bytes = report.plan.devices[i].read_bytes;
        if (n_bytes == 0) continue;
        line += fmt::format("{}{} on the {}", separator, human_bytes(n_bytes),
                            device_name(i, report.plan.devices.size()));
        if (const auto& bandwidth = report.bandwidths[i]) {
            line += fmt::format(" ({} {:.1f} GB/s)", bandwidth->is_measured ? "measured:" : "at",
                                bandwidth->bytes_per_second / 1e9);
        }
        separator = ", ";
    }
    const auto speed = report.tokens_per_second();
    return line + (speed ? fmt::format(": at most {:.1f} tokens/s.\n", *speed)
                         : ". --bandwidth 900GB/s, the GPU's, tells how many tokens/s that allows.\n");
}

}  // namespace

std::optional<double> PlanReport::tokens_per_second() const {
    double seconds = 0;
    for (size_t i = 0; i < plan.devices.size(); ++i) {
        if (plan.devices[i].read_bytes == 0) continue;
        if (!bandwidths[i]) return std::nullopt;
        seconds += double(plan.devices[i].read_bytes) / bandwidths[i]->bytes_per_second;
    }
    if (seconds <= 0) return std::nullopt;
    return double(plan.run.n_sequences) / seconds;
}

std::string plan_text(const PlanReport& report, bool every_layer) {
    const Painter paint(stdout);
    std::string text = fmt::format("{} on the GPU{}, a context of {}, keys and values as {}\n\n",
                                   report.plan.text(), report.plan.devices.size() > 2 ? "s" : "",
                                   plural(uint64_t(report.plan.run.n_context), "token"),
                                   type_name(report.plan.run.cache_type));
    text += memory_table(report, every_layer, paint) + "\n" + cache_table(report, paint) + "\n";
    if (report.is_limited) text += context_line(report);
    text += speed_line(report);
    if (!report.types.empty()) text += "\n" + type_table(report, paint);
    return text;
}

// --- JSON ---

namespace {

void write_usage(JsonWriter& json, const Usage& usage) {
    json.member("weights", usage.weights).member("cache", usage.cache).member("scratch", usage.buffers);
    json.member("total", usage.total());
}

void write_devices(JsonWriter& json, const PlanReport& report) {
    json.key("devices").begin_array();
    for (size_t i = 0; i < report.plan.devices.size(); ++i) {
        const auto& device = report.plan.devices[i];
        json.begin_object().member("name", i == 0 ? std::string("cpu") : fmt::format("gpu:{}", i - 1));
        if (i > 0 && report.device_memory[i - 1] != runtime::PlacementOptions::kNoLimit)
            json.member("memory", report.device_memory[i - 1]);
        write_usage(json, device.sum);
        json.member("read_by_last_token", device.read_bytes);
        if (const auto& bandwidth = report.bandwidths[i])
            json.member("bandwidth", bandwidth->bytes_per_second)
                .member("bandwidth_is_measured", bandwidth->is_measured);
        json.key("parts").begin_array();
        for (const Group& group : groups_of(device.parts, true)) {
            json.begin_object(JsonWriter::kOneLine);
            if (group.first >= 0) {
                json.member("layer", group.first);
            } else {
                json.member("part", group.first == Model::kEnd ? "output" : "tables");
            }
            write_usage(json, group.usage);
            json.end_object();
        }
        json.end_array().end_object();
    }
    json.end_array();
}

}  // namespace

std::string plan_json(const PlanReport& report) {
    const runtime::PlacementPlan& plan = report.plan;
    JsonWriter json;
    json.begin_object().member("file", report.file).member("context", plan.run.n_context);
    json.member("sequences", plan.run.n_sequences).member("cache_type", type_name(plan.run.cache_type));
    json.member("layers", plan.placement.layers.size()).member("gpu_layers", plan.placement.n_gpu_layers());
    if (plan.has_experts) json.member("gpu_expert_layers", plan.placement.n_gpu_expert_layers());
    write_devices(json, report);
    json.key("caches").begin_array();
    for (const auto& cache : report.caches) {
        json.begin_object(JsonWriter::kOneLine).member("context", cache.n_context);
        json.member("type", type_name(cache.type)).member("bytes", cache.size_bytes).end_object();
    }
    json.end_array();
    if (report.is_limited)
        json.member("longest_context", report.longest_context)
            .member("longest_context_all_layers", report.longest_context_of_all);
    if (const auto speed = report.tokens_per_second()) json.member("tokens_per_second_at_most", *speed);
    if (!report.types.empty()) {
        json.key("types").begin_array();
        for (const auto& type : report.types) {
            json.begin_object(JsonWriter::kOneLine).member("type", type.name);
            json.member("weights", type.weights).member("all_on_gpu", type.gpu_bytes);
            json.member("fits", type.fits).member("gpu_layers", type.n_gpu_layers).end_object();
        }
        json.end_array();
    }
    json.end_object();
    return json.text() + "\n";
}

}  // namespace ingot::cli
