#include "cli/conversion.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "cli/console.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "format/json_writer.h"

namespace ingot::cli {

using namespace converters;

namespace {

constexpr int kInterrupted = 130;

// --- For people --------------------------------------------------------------------------------------------

/// Tensors that differ only in their layer: "blk.*.attn_q.weight".
struct Group {
    std::string name;
    std::string source_type;
    TensorType type{};
    std::vector<uint64_t> shape;
    uint64_t n_tensors = 0;
    uint64_t size_bytes = 0;
};

std::string without_layer(const std::string& name) {
    constexpr std::string_view kPrefix = "blk.";
    if (!name.starts_with(kPrefix)) return name;
    const size_t end = name.find_first_not_of("0123456789", kPrefix.size());
    if (end == kPrefix.size() || end == std::string::npos) return name;
    return "blk.*" + name.substr(end);
}

std::vector<Group> groups_of(const ConversionPlan& plan) {
    std::vector<Group> groups;
    std::map<std::tuple<std::string, std::string, TensorType, std::vector<uint64_t>>, size_t> index;
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        const TensorPlan& tensor = plan.target(i);
        const std::string& source_type = plan.tensors[i].rows->encoding();
        const std::string group_name = without_layer(tensor.name);
        const auto [at, added] =
            index.emplace(std::tuple(group_name, source_type, tensor.type, tensor.shape), groups.size());
        if (added) groups.push_back({group_name, source_type, tensor.type, tensor.shape, 0, 0});
        ++groups[at->second].n_tensors;
        groups[at->second].size_bytes += tensor.size_bytes;
    }
    return groups;
}

std::string plan_text(const ConversionPlan& plan, const Painter& paint) {
    Table table({{"tensors", Table::kLeft, Tone::Key},
                 {"", Table::kRight},
                 {"shape", Table::kRight},
                 {"from"},
                 {"to"},
                 {"bytes", Table::kRight}});
    for (const Group& group : groups_of(plan)) {
        table.add({group.name, fmt::format("{}", group.n_tensors),
                   fmt::format("{}", fmt::join(group.shape, " × ")), group.source_type,
                   std::string(name(group.type)), human_bytes(group.size_bytes)});
    }
    return table.text(paint);
}

/// "rows of 320 are no multiple of 256: Q5_0 instead of Q4_K" -> number of tensors
std::map<std::string, uint64_t> fallbacks_of(const ConversionPlan& plan) {
    std::map<std::string, uint64_t> fallbacks;
    for (const TensorSource& tensor : plan.tensors) {
        if (!tensor.fallback_reason.empty()) ++fallbacks[tensor.fallback_reason];
    }
    return fallbacks;
}

std::string summary_text(const ConversionPlan& plan, const std::string& output,
                         const std::optional<ConversionResult>& result, const Painter& paint) {
    const uint64_t output_bytes = plan.output_bytes();
    Table facts({{"", Table::kLeft, Tone::Key}, {""}});
    facts.add({"type", fmt::format("{}, {:.2f} bits per weight", plan.recipe().name, plan.bits_per_weight())});
    facts.add({"weights",
               fmt::format("{} in {}", human_count(plan.n_elements), plural(plan.tensors.size(), "tensor"))});
    facts.add({"bytes", fmt::format("{} → {}{}", human_bytes(plan.source_bytes), human_bytes(output_bytes),
                                    plan.source_bytes == 0
                                        ? ""
                                        : fmt::format(" ({:.0f} %)", 100 * double(output_bytes) /
                                                                         double(plan.source_bytes)))});
    if (result) {
        facts.add(
            {"time", fmt::format("{} on {}, {}/s", human_seconds(result->seconds),
                                 plural(uint64_t(result->n_threads), "thread"),
                                 human_bytes(uint64_t(double(result->source_bytes) / result->seconds)))});
    }
    for (const auto& [reason, n_tensors] : fallbacks_of(plan)) {
        facts.add({"fallback", fmt::format("{}: {}", plural(n_tensors, "tensor"), reason)});
    }
    if (!plan.left_out.empty()) {
        constexpr size_t kShown = 3;
        const size_t n = std::min(plan.left_out.size(), kShown);
        facts.add(
            {"left out",
             fmt::format(
                 "{}{}", fmt::join(plan.left_out.begin(), plan.left_out.begin() + long(n), ", "),
                 plan.left_out.size() > n ? fmt::format(" and {} more", plan.left_out.size() - n) : "")});
    }
    return fmt::format("{} → {}\n{}", plan.source(), paint(Tone::Heading, output), facts.text(paint));
}

// --- For programs ------------------------------------------------------------------------------------------

/// The object that README documents. Members are added, never renamed.
std::string report_json(const ConversionPlan& plan, const std::string& output,
                        const std::optional<ConversionResult>& result) {
    JsonWriter json;
    json.begin_object();
    json.member("source", plan.source()).member("source_format", plan.checkpoint ? plan.checkpoint->format() : "none");
    json.member("output", output).member("dry_run", !result.has_value());
    json.member("type", plan.recipe().name);
    json.member("n_tensors", plan.tensors.size()).member("n_weights", plan.n_elements);
    json.member("source_bytes", plan.source_bytes).member("output_bytes", plan.output_bytes());
    json.member("bits_per_weight", plan.bits_per_weight());
    if (result) {
        json.member("seconds", result->seconds).member("threads", result->n_threads);
        json.member("bytes_per_second", double(result->source_bytes) / result->seconds);
    }
    json.key("types").begin_array();
    for (const TypeTotal& total : totals_by_type(plan)) {
        json.begin_object(JsonWriter::kOneLine).member("type", name(total.type));
        json.member("tensors", total.n_tensors).member("weights", total.n_elements);
        json.member("bytes", total.size_bytes).end_object();
    }
    json.end_array();
    json.key("fallbacks").begin_array();
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        if (plan.tensors[i].fallback_reason.empty()) continue;
        json.begin_object(JsonWriter::kOneLine).member("tensor", plan.target(i).name);
        json.member("type", name(plan.target(i).type));
        json.member("reason", plan.tensors[i].fallback_reason).end_object();
    }
    json.end_array();
    if (!result) {
        json.key("tensors").begin_array();
        for (size_t i = 0; i < plan.tensors.size(); ++i) {
            const TensorPlan& tensor = plan.target(i);
            json.begin_object(JsonWriter::kOneLine)
                .member("name", tensor.name)
                .member("type", name(tensor.type));
            json.key("shape").begin_array(JsonWriter::kOneLine);
            for (const uint64_t dimension : tensor.shape) json.value(dimension);
            json.end_array().member("offset", tensor.offset).member("bytes", tensor.size_bytes);
            json.member("source", plan.tensors[i].rows->name());
            json.end_object();
        }
        json.end_array();
    }
    json.key("left_out").begin_array();
    for (const std::string& tensor : plan.left_out) json.value(tensor);
    json.end_array();
    json.key("warnings").begin_array();
    for (const std::string& warning : plan.findings.messages(Severity::Warning)) json.value(warning);
    json.end_array().end_object();
    return json.text() + "\n";
}

}  // namespace

std::string recipe_names() {
    std::string text;
    size_t line = 0;
    for (const Recipe& recipe : recipes()) {
        if (line + recipe.name.size() > 76) {
            text += "\n ";
            line = 0;
        }
        text += fmt::format(" {}", recipe.name);
        line += recipe.name.size() + 1;
    }
    return text;
}

void add_conversion_options(CLI::App& command, ConversionOptions& options) {
    const auto known_type = [](const std::string& text) {
        if (find_recipe(text)) return std::string();
        return fmt::format("{} is no type; choose one of{}", text, recipe_names());
    };
    command.add_option("-t,--type", options.type, "What to store the weights in; see below")
        ->type_name("TYPE")
        ->check(CLI::Validator(known_type, "", "type"));
    command.add_option("--threads", options.n_threads, "Threads; all processors if not given")
        ->check(CLI::Range(1, 1024))
        ->type_name("N");
    command.add_flag("--dry-run", options.dry_run, "Show what would be written, and write nothing");
    command.add_flag("--force", options.force, "Replace the output if it exists");
    command.add_flag("--json", options.json, "Report as JSON, in the form that README describes");
}

void run_conversion(ConversionPlan plan, const ConversionOptions& options, const char* label) {
    const std::string output = options.output.empty() ? default_output_name(plan) : options.output;
    std::optional<ConversionResult> result;
    if (options.dry_run) {
        check_output(plan, output, options.force);
    } else {
        ProgressBar progress(label);
        ConvertOptions convert_options;
        convert_options.output = output;
        convert_options.overwrite = options.force;
        convert_options.n_threads = options.n_threads;
        convert_options.cancel = &interrupted;
        convert_options.progress = [&](uint64_t done, uint64_t total) { progress.update(done, total); };
        try {
            result = convert(plan, convert_options);
        } catch (const Cancelled& cancelled) {
            progress.clear();
            fmt::print(stderr, "ingot: {}\n", cancelled.what());
            throw Exit{kInterrupted};
        }
    }
    if (options.json) return print_out(report_json(plan, output, result));

    const Painter paint_error(stderr);
    for (const std::string& warning : plan.findings.messages(Severity::Warning)) {
        fmt::print(stderr, "ingot: {} {}\n", paint_error(Tone::Warning, "warning:"), warning);
    }
    const Painter paint(stdout);
    std::string text;
    if (options.dry_run) text += plan_text(plan, paint) + "\n";
    text += summary_text(plan, output, result, paint);
    if (options.dry_run) text += "\nNothing was written (--dry-run).\n";
    print_out(text);
}

}  // namespace ingot::cli
