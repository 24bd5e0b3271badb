#include "cli/conversion_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/json_writer.h"
#include "format/name_pattern.h"

namespace ingot::cli {

using namespace converters;

namespace {

/// The numbers of the JSON forms, raised when a member changes its meaning or goes away.
constexpr int kCheckVersion = 1;

/// Tensors that differ only in their layer: "blk.*.attn_q.weight".
struct Group {
    std::string name;
    std::string source_type;
    TensorType type{};
    std::vector<uint64_t> shape;
    uint64_t n_tensors = 0;
    uint64_t size_bytes = 0;
};

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

/// "rows of 320 are no multiple of 256: Q5_0 instead of Q4_K" -> number of tensors
std::map<std::string, uint64_t> fallbacks_of(const ConversionPlan& plan) {
    std::map<std::string, uint64_t> fallbacks;
    for (const TensorSource& tensor : plan.tensors) {
        if (!tensor.fallback_reason.empty()) ++fallbacks[tensor.fallback_reason];
    }
    return fallbacks;
}

/// "2 files: out-00001-of-00002.gguf …"
std::string output_text(const ConversionPlan& plan, const std::string& output) {
    const std::vector<std::string> paths = output_paths(plan, output);
    if (paths.size() == 1) return paths[0];
    return fmt::format("{} … {} ({})", paths.front(), paths.back(), plural(paths.size(), "file"));
}

std::string types_text(const ConversionPlan& plan) {
    std::string text;
    for (const TypeTotal& total : totals_by_type(plan)) {
        text += fmt::format("{}{} {} ({})", text.empty() ? "" : ", ", plural(total.n_tensors, "tensor"),
                            name(total.type), human_bytes(total.size_bytes));
    }
    return text.empty() ? "no tensors" : text;
}

std::string_view severity_name(Severity severity) {
    switch (severity) {
        case Severity::Note:
            return "note";
        case Severity::Warning:
            return "warning";
        case Severity::Problem:
            return "problem";
    }
    return "";
}

Tone severity_tone(Severity severity) {
    return severity == Severity::Problem   ? Tone::Bad
           : severity == Severity::Warning ? Tone::Warning
                                           : Tone::Dim;
}

void write_findings(const Findings& findings, JsonWriter& json) {
    json.key("findings").begin_array();
    for (const Finding& finding : findings.all()) {
        json.begin_object(JsonWriter::kOneLine).member("severity", severity_name(finding.severity));
        json.member("subject", finding.subject).member("message", finding.message);
        json.member("action", finding.action).end_object();
    }
    json.end_array();
}

void write_types(const ConversionPlan& plan, JsonWriter& json) {
    json.key("types").begin_array();
    for (const TypeTotal& total : totals_by_type(plan)) {
        json.begin_object(JsonWriter::kOneLine).member("type", name(total.type));
        json.member("tensors", total.n_tensors).member("weights", total.n_elements);
        json.member("bytes", total.size_bytes).end_object();
    }
    json.end_array();
}

// --- --verify ----------------------------------------------------------------------------------------------

/// Tensors of one kind and type, over all layers.
struct ErrorGroup {
    std::string name;
    TensorType type{};
    uint64_t n_tensors = 0;
    double sum_relative = 0, worst_relative = -1, max_error = 0, rmse = 0;
    std::string worst;
};

std::string verification_text(const VerificationReport& report, const Painter& paint) {
    std::vector<ErrorGroup> groups;
    std::map<std::pair<std::string, TensorType>, size_t> index;
    for (const TensorError& tensor : report.tensors) {
        const auto [at, added] =
            index.emplace(std::pair(without_layer(tensor.name), tensor.type), groups.size());
        if (added) {
            groups.emplace_back();
            groups.back().name = at->first.first;
            groups.back().type = tensor.type;
        }
        ErrorGroup& group = groups[at->second];
        ++group.n_tensors;
        group.sum_relative += tensor.relative_rmse;
        group.rmse = std::max(group.rmse, tensor.rmse);
        group.max_error = std::max(group.max_error, tensor.max_error);
        if (tensor.relative_rmse > group.worst_relative) {
            group.worst_relative = tensor.relative_rmse;
            group.worst = tensor.name;
        }
    }
    Table table({{"compared with the source", Table::kLeft, Tone::Key},
                 {"", Table::kRight},
                 {"type"},
                 {"relative", Table::kRight},
                 {"worst", Table::kRight},
                 {"RMSE", Table::kRight},
                 {"largest error", Table::kRight}});
    for (const ErrorGroup& group : groups) {
        if (group.worst_relative == 0) {
            table.add({group.name, fmt::format("{}", group.n_tensors), std::string(name(group.type)), "exact",
                       "", "", ""});
            continue;
        }
        table.add({group.name, fmt::format("{}", group.n_tensors), std::string(name(group.type)),
                   fmt::format("{:.3g} %", 100 * group.sum_relative / double(group.n_tensors)),
                   fmt::format("{:.3g} %", 100 * group.worst_relative), fmt::format("{:.2e}", group.rmse),
                   fmt::format("{:.2e}", group.max_error)});
    }
    std::string text = "\n" + table.text(paint);
    for (const TensorError& tensor : report.tensors) {
        const auto say = [&](Tone tone, const std::string& what) {
            text += fmt::format("  {} {}\n", paint(tone, tensor.name), what);
        };
        if (tensor.n_not_finite)
            say(Tone::Bad, fmt::format("has {} NaN or infinite values", tensor.n_not_finite));
        if (tensor.n_beyond_rounding)
            say(Tone::Bad,
                fmt::format("has {} values farther off than rounding explains", tensor.n_beyond_rounding));
        if (tensor.source_is_zero) say(Tone::Warning, "is zero everywhere, in the source too");
        if (tensor.written_is_zero && !tensor.source_is_zero) say(Tone::Bad, "became zero everywhere");
        if (!(tensor.relative_rmse < 1)) say(Tone::Bad, "is as far off as zeros would be");
    }
    if (report.ok()) {
        text += fmt::format("{}  {} as the source has them, as far as their types can ({})\n",
                            paint(Tone::Good, "ok"), plural(report.tensors.size(), "tensor"),
                            human_seconds(report.seconds));
    } else {
        text += fmt::format(
            "{}  {} of {} are not what the source has; convert again, and if it stays, report it\n",
            paint(Tone::Bad, "damaged"), report.n_failed(), plural(report.tensors.size(), "tensor"));
    }
    return text;
}

void write_verification(const VerificationReport& report, JsonWriter& json) {
    json.key("verification").begin_object().member("ok", report.ok()).member("seconds", report.seconds);
    json.key("tensors").begin_array();
    for (const TensorError& tensor : report.tensors) {
        json.begin_object(JsonWriter::kOneLine).member("name", tensor.name).member("type", name(tensor.type));
        json.member("source_type", tensor.source_encoding).member("weights", tensor.n_elements);
        json.member("rmse", tensor.rmse).member("relative_rmse", tensor.relative_rmse);
        json.member("max_error", tensor.max_error).member("not_finite", tensor.n_not_finite);
        json.member("beyond_rounding", tensor.n_beyond_rounding);
        json.member("source_is_zero", tensor.source_is_zero)
            .member("written_is_zero", tensor.written_is_zero);
        json.member("ok", !tensor.failed()).end_object();
    }
    json.end_array().end_object();
}

}  // namespace

// --- --check -----------------------------------------------------------------------------------------------

std::string check_text(const ConversionPlan& plan, const std::string& output, const Diagnosis& diagnosis,
                       const Painter& paint) {
    Table facts({{"", Table::kLeft, Tone::Key}, {""}});
    const auto add = [&](const char* what, const std::string& text) {
        if (!text.empty()) facts.add({what, text});
    };
    add("family", plan.family.empty()
                      ? plan.architecture
                      : fmt::format("{} (general.architecture: {})", plan.family, plan.architecture));
    add("source", plan.source_form);
    if (!plan.files.empty()) {
        add("tensors", fmt::format("{}, {} weights", plural(plan.tensors.size(), "tensor"),
                                   human_count(plan.n_elements)));
        add("types", types_text(plan));
        add("output", output_text(plan, output));
        add("disk", fmt::format("{} needed, {} free", human_bytes(diagnosis.disk.needed_bytes),
                                human_bytes(diagnosis.disk.available_bytes.value_or(0))));
        add("memory",
            fmt::format("at most {} needed{}", human_bytes(diagnosis.needed_memory_bytes),
                        diagnosis.available_memory_bytes == 0
                            ? ""
                            : fmt::format(", {} available", human_bytes(diagnosis.available_memory_bytes))));
    }
    std::string text = facts.text(paint);
    if (!diagnosis.findings.all().empty()) text += "\n";
    for (const Severity severity : {Severity::Problem, Severity::Warning, Severity::Note}) {
        for (const Finding& finding : diagnosis.findings.all()) {
            if (finding.severity != severity) continue;
            const bool named = finding.message.find(finding.subject) != std::string::npos;
            text += fmt::format("  {}  {}{}{}\n",
                                paint(severity_tone(severity), pad_right(severity_name(severity), 7)),
                                named ? "" : finding.subject + ": ", finding.message,
                                finding.action.empty() ? "" : "\n           → " + finding.action);
        }
    }
    const size_t n_problems = diagnosis.findings.count(Severity::Problem);
    text += n_problems == 0
                ? fmt::format("\n{}  nothing is in the way of `{}`\n", paint(Tone::Good, "ok"), plan.source())
                : fmt::format("\n{}  {}\n", paint(Tone::Bad, "no"), plural(n_problems, "problem"));
    return text;
}

std::string check_json(const ConversionPlan& plan, const std::string& output, const Diagnosis& diagnosis) {
    JsonWriter json;
    json.begin_object().member("ingot_check", kCheckVersion).member("ok", diagnosis.ok());
    json.member("source", plan.source()).member("source_form", plan.source_form);
    json.member("family", plan.family).member("architecture", plan.architecture);
    json.member("type", plan.recipe().name);
    json.key("outputs").begin_array();
    if (!plan.files.empty()) {
        for (const std::string& path : output_paths(plan, output)) json.value(path);
    }
    json.end_array();
    json.member("n_tensors", plan.tensors.size()).member("n_weights", plan.n_elements);
    json.member("source_bytes", plan.source_bytes).member("output_bytes", plan.output_bytes());
    json.member("needed_disk_bytes", diagnosis.disk.needed_bytes);
    json.member("available_disk_bytes", diagnosis.disk.available_bytes.value_or(0));
    json.member("needed_memory_bytes", diagnosis.needed_memory_bytes);
    json.member("available_memory_bytes", diagnosis.available_memory_bytes);
    if (!plan.files.empty()) write_types(plan, json);
    write_findings(diagnosis.findings, json);
    return json.end_object().text() + "\n";
}

// --- Conversions -------------------------------------------------------------------------------------------

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
    Table types({{"types", Table::kLeft, Tone::Key},
                 {"tensors", Table::kRight},
                 {"weights", Table::kRight},
                 {"bits each", Table::kRight},
                 {"bytes", Table::kRight},
                 {"share", Table::kRight}});
    const std::vector<TypeTotal> totals = totals_by_type(plan);
    uint64_t all_bytes = 0;
    for (const TypeTotal& total : totals) all_bytes += total.size_bytes;
    for (const TypeTotal& total : totals) {
        types.add({std::string(name(total.type)), fmt::format("{}", total.n_tensors),
                   human_count(total.n_elements), fmt::format("{:.4g}", info(total.type).bits_per_element()),
                   human_bytes(total.size_bytes),
                   fmt::format("{:.1f} %", 100 * double(total.size_bytes) / double(all_bytes))});
    }
    return table.text(paint) + "\n" + types.text(paint);
}

std::string summary_text(const ConversionReport& report, const Painter& paint) {
    const ConversionPlan& plan = report.plan;
    const uint64_t output_bytes = plan.output_bytes();
    Table facts({{"", Table::kLeft, Tone::Key}, {""}});
    facts.add({"type", plan.request.vocab_only
                           ? "vocabulary only"
                           : fmt::format("{}{}, {:.2f} bits per weight", plan.mix_name(),
                                         plan.request.rules.empty()       ? ""
                                         : !plan.request.mix_name.empty() ? ", chosen tensor by tensor"
                                                                          : " with changes",
                                         plan.bits_per_weight())});
    facts.add({"weights",
               fmt::format("{} in {}", human_count(plan.n_elements), plural(plan.tensors.size(), "tensor"))});
    facts.add({"bytes", fmt::format("{} → {}{}", human_bytes(plan.source_bytes), human_bytes(output_bytes),
                                    plan.source_bytes == 0
                                        ? ""
                                        : fmt::format(" ({:.0f} %)", 100 * double(output_bytes) /
                                                                         double(plan.source_bytes)))});
    if (const auto& result = report.result) {
        facts.add(
            {"time", fmt::format("{} on {}, {}/s", human_seconds(result->seconds),
                                 plural(uint64_t(result->n_threads), "thread"),
                                 human_bytes(uint64_t(double(result->source_bytes) / result->seconds)))});
        if (result->n_resumed > 0) {
            facts.add({"resumed", fmt::format("{} of {} were there from an interrupted run",
                                              result->n_resumed, plural(plan.tensors.size(), "tensor"))});
        }
        if (plan.metadata().find(keys::kCalibration) != nullptr) {
            size_t n_quantized = 0;
            for (size_t i = 0; i < plan.tensors.size(); ++i)
                n_quantized += info(plan.target(i).type).quantized;
            facts.add(
                {"gptq", fmt::format("{}, measured on {}", plural(result->n_fed, "tensor"),
                                     std::get<std::string>(*plan.metadata().find(keys::kCalibration)))});
            if (n_quantized > result->n_fed)
                facts.add(
                    {"", fmt::format(
                             "{} more as without it: copied, of types that feedback does not know, or never "
                             "multiplied by",
                             plural(n_quantized - result->n_fed, "quantized tensor"))});
        }
        if (!result->by_diagonal.empty()) {
            facts.add({"", fmt::format("{} without feedback, by the squares of their inputs alone: {}{}",
                                       plural(result->by_diagonal.size(), "tensor"), result->by_diagonal[0],
                                       result->by_diagonal.size() > 1 ? " …" : "")});
        }
    }
    if (plan.importance) {
        uint64_t n = 0;
        for (size_t i = 0; i < plan.tensors.size(); ++i)
            n += plan.tensors[i].importance && info(plan.target(i).type).quantized;
        facts.add({"importance", fmt::format("of {}, from {}", plural(n, "tensor"),
                                             fmt::join(plan.request.importance_files, ", "))});
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
    std::string text = fmt::format("{} → {}\n{}", plan.source(),
                                   paint(Tone::Heading, output_text(plan, report.output)), facts.text(paint));
    if (report.verification) text += verification_text(*report.verification, paint);
    return text;
}

std::string report_json(const ConversionReport& report) {
    const ConversionPlan& plan = report.plan;
    const auto& result = report.result;
    JsonWriter json;
    json.begin_object();
    json.member("source", plan.source())
        .member("source_format", plan.checkpoint ? plan.checkpoint->format() : "none");
    json.member("output", report.output).member("dry_run", !result.has_value());
    json.member("type", plan.recipe().name);
    json.member("n_tensors", plan.tensors.size()).member("n_weights", plan.n_elements);
    json.member("source_bytes", plan.source_bytes).member("output_bytes", plan.output_bytes());
    json.member("bits_per_weight", plan.bits_per_weight());
    if (result) {
        json.key("outputs").begin_array();
        for (const std::string& path : result->outputs) json.value(path);
        json.end_array();
        json.member("seconds", result->seconds).member("threads", result->n_threads);
        json.member("resumed_tensors", result->n_resumed);
        if (result->n_fed > 0) {
            json.member("feedback_tensors", result->n_fed);
            json.key("feedback_by_diagonal").begin_array();
            for (const std::string& tensor : result->by_diagonal) json.value(tensor);
            json.end_array();
        }
        json.member("bytes_per_second", double(result->source_bytes) / result->seconds);
    }
    write_types(plan, json);
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
    json.end_array();
    if (report.target) write_target(plan, *report.target, json);
    if (report.verification) write_verification(*report.verification, json);
    json.end_object();
    return json.text() + "\n";
}

}  // namespace ingot::cli
