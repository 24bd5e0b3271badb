#include "cli/bench_report.h"

#include <algorithm>

#include "cli/console.h"
#include "format/json_writer.h"

namespace ingot::cli {
namespace {

using runtime::BenchmarkResult;
using runtime::BenchmarkTest;

bool is_prompt(const BenchmarkTest& test) {
    return test.part == BenchmarkTest::Part::Prompt;
}

const char* part_name(const BenchmarkTest& test) {
    return is_prompt(test) ? "prompt" : "generate";
}

std::string test_name(const BenchmarkTest& test) {
    return fmt::format("{} {}{}{}", part_name(test), test.n_tokens,
                       test.depth > 0 ? fmt::format(" after {}", test.depth) : "",
                       test.n_sequences > 1 ? fmt::format(" × {}", test.n_sequences) : "");
}

const char* limit_name(runtime::Limit limit) {
    switch (limit) {
        case runtime::Limit::Reading:
            return "reading";
        case runtime::Limit::Int8:
            return "int8";
        case runtime::Limit::Float:
            return "float";
        case runtime::Limit::Matrix:
            return "matrix";
    }
    return "";
}

std::string limit_cell(const BenchmarkResult& result) {
    const auto share = runtime::share_of_limit(result);
    return share ? fmt::format("{:.0f} % of {}", 100 * share->share, limit_name(share->limit)) : "";
}

std::string model_of(const BenchReport& report) {
    return fmt::format("{}{}{}, {} weights, {}", report.architecture, report.type.empty() ? "" : " ",
                       report.type, human_count(report.n_parameters), human_bytes(report.size_bytes));
}

std::string limits_of(const BenchReport& report) {
    const auto& limits = report.limits;
    const std::string reading =
        limits.read_bytes > 0 ? fmt::format("reading {:.1f} GB/s, ", limits.read_bytes / 1e9) : "";
    const auto& loops = runtime::cpu::limit_loops();
    const std::string matrix = limits.matrix_operations > 0
                                   ? fmt::format(", matrix {:.0f} GOP/s ({})", limits.matrix_operations / 1e9,
                                                 loops.matrix_instruction)
                                   : "";
    return fmt::format("{}int8 {:.0f} GOP/s ({}), float {:.0f} GOP/s{}", reading,
                       limits.int8_operations / 1e9, loops.int8_instruction, limits.float_operations / 1e9,
                       matrix);
}

// --- cost of each kind of work ---

struct ProfileRow {
    std::string kind;
    double share;    // of the time
    double seconds;  // of a token
    int64_t n_calls;
    double bytes_per_second;  // of weights and cache; 0: it reads none
    double operations_per_second;
};

std::vector<ProfileRow> profile_rows(const BenchmarkResult& result) {
    const double all = runtime::sum_of(result.profile).seconds;
    std::vector<ProfileRow> rows;
    for (const auto& [kind, cost] : runtime::by_seconds(result.profile)) {
        const uint64_t n_bytes = cost.weight_bytes + (is_prompt(result.test) ? 0 : cost.cache_bytes);
        rows.push_back({kind, cost.seconds / all, cost.seconds / double(result.test.n_all_tokens()),
                        cost.n_calls, double(n_bytes) / cost.seconds,
                        double(cost.int8_operations + cost.float_operations) / cost.seconds});
    }
    return rows;
}

std::string short_time(double seconds) {
    return seconds < 1e-3 ? fmt::format("{:.1f} µs", seconds * 1e6) : human_seconds(seconds);
}

std::string or_empty(double value, const char* unit) {
    return value > 0 ? fmt::format("{:.1f} {}", value / 1e9, unit) : "";
}

std::vector<std::string> cells_of(const ProfileRow& row) {
    return {row.kind,
            fmt::format("{:.1f} %", 100 * row.share),
            short_time(row.seconds),
            grouped(uint64_t(row.n_calls)),
            or_empty(row.bytes_per_second, "GB/s"),
            or_empty(row.operations_per_second, "GOP/s")};
}

std::string markdown_row(const std::vector<std::string>& cells) {
    std::string line = "|";
    for (const std::string& cell : cells) line += " " + cell + " |";
    return line + "\n";
}

// RFC 4180: quoted where a comma, a quote or a line end is inside.
std::string csv_field(const std::string& text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + "\"";
}

// --- JSON ---

void add_rates(JsonWriter& json, const BenchmarkResult& result) {
    json.key("tokens_per_second")
        .begin_object()
        .member("median", result.median())
        .member("least", result.least())
        .member("most", result.most());
    json.key("runs").begin_array(JsonWriter::kOneLine);
    for (const double run : result.tokens_per_second) json.value(run);
    json.end_array().end_object();
}

void add_profile(JsonWriter& json, const BenchmarkResult& result) {
    json.key("profile").begin_array();
    for (const ProfileRow& row : profile_rows(result)) {
        json.begin_object(JsonWriter::kOneLine)
            .member("kind", row.kind)
            .member("share", row.share)
            .member("seconds_per_token", row.seconds)
            .member("calls", row.n_calls)
            .member("bytes_per_second", row.bytes_per_second)
            .member("operations_per_second", row.operations_per_second)
            .end_object();
    }
    json.end_array();
}

void add_report(JsonWriter& json, const BenchReport& report, bool with_profile) {
    json.begin_object()
        .member("file", report.file)
        .member("size_bytes", report.size_bytes)
        .member("architecture", report.architecture)
        .member("type", report.type)
        .member("parameters", report.n_parameters)
        .member("device", report.device)
        .member("load_seconds", report.load_seconds);
    // The first prompt and the first generation once more, where one number is wanted.
    for (const char* part : {"prompt", "generate"}) {
        const auto first = std::ranges::find_if(report.results, [&](const BenchmarkResult& result) {
            return part_name(result.test) == std::string(part);
        });
        if (first == report.results.end()) continue;
        json.key(part).begin_object().member("tokens", first->test.n_tokens);
        add_rates(json, *first);
        json.end_object();
        json.member(fmt::format("{}_tokens_per_second", part), first->median());
    }
    json.key("results").begin_array();
    for (const BenchmarkResult& result : report.results) {
        json.begin_object()
            .member("test", part_name(result.test))
            .member("tokens", result.test.n_tokens)
            .member("depth", result.test.depth)
            .member("parallel", result.test.n_sequences);
        add_rates(json, result);
        if (const auto share = runtime::share_of_limit(result)) {
            json.member("limit", limit_name(share->limit)).member("share_of_limit", share->share);
            if (share->limit == runtime::Limit::Matrix)
                json.member("share_of_vector_limit", share->of_vectors);
        }
        if (with_profile) add_profile(json, result);
        json.end_object();
    }
    json.end_array();
    json.key("limits")
        .begin_object()
        .member("read_bytes_per_second", report.limits.read_bytes)
        .member("int8_operations_per_second", report.limits.int8_operations)
        .member("float_operations_per_second", report.limits.float_operations)
        .member("matrix_operations_per_second", report.limits.matrix_operations)
        .end_object();
    json.end_object();
}

}  // namespace

std::string bench_table(const std::vector<BenchReport>& reports, bool with_profile) {
    const Painter paint(stdout);
    std::string text;
    for (const BenchReport& report : reports) {
        if (!text.empty()) text += "\n";
        text += paint(Tone::Heading, report.file) + "\n\n";
        const auto fact = [&](const char* key, const std::string& value) {
            text += fmt::format("  {}{}\n", paint(Tone::Key, pad_right(key, 14)), value);
        };
        fact("model", model_of(report));
        fact("device", report.device);
        fact("limits", limits_of(report));
        fact("load", human_seconds(report.load_seconds));
        text += "\n";
        Table table({{"", Table::kLeft, Tone::Key},
                     {"tokens", Table::kRight},
                     {"after", Table::kRight},
                     {"at once", Table::kRight},
                     {"tokens/s", Table::kRight, Tone::Accent},
                     {"least", Table::kRight},
                     {"most", Table::kRight},
                     {"of limit", Table::kRight}});
        for (const BenchmarkResult& result : report.results) {
            table.add({part_name(result.test), grouped(uint64_t(result.test.n_tokens)),
                       grouped(uint64_t(result.test.depth)), grouped(uint64_t(result.test.n_sequences)),
                       fmt::format("{:.1f}", result.median()), fmt::format("{:.1f}", result.least()),
                       fmt::format("{:.1f}", result.most()), limit_cell(result)});
        }
        text += table.text(paint);
        for (const BenchmarkResult& result : report.results) {
            if (!with_profile) break;
            text += "\n  " + paint(Tone::Heading, test_name(result.test)) + "\n";
            Table profile({{"", Table::kLeft, Tone::Key},
                           {"time", Table::kRight, Tone::Accent},
                           {"a token", Table::kRight},
                           {"calls", Table::kRight},
                           {"reading", Table::kRight},
                           {"multiplying", Table::kRight}});
            for (const ProfileRow& row : profile_rows(result)) profile.add(cells_of(row));
            text += profile.text(paint);
        }
    }
    return text;
}

std::string bench_markdown(const std::vector<BenchReport>& reports, bool with_profile) {
    std::string text =
        "| model | device | test | tokens/s | least – most | of limit |\n"
        "| --- | --- | --- | ---: | ---: | ---: |\n";
    for (const BenchReport& report : reports) {
        for (const BenchmarkResult& result : report.results) {
            text += markdown_row({model_of(report), report.device, test_name(result.test),
                                  fmt::format("{:.1f}", result.median()),
                                  fmt::format("{:.1f} – {:.1f}", result.least(), result.most()),
                                  limit_cell(result)});
        }
    }
    for (const BenchReport& report : reports)
        text += fmt::format("\nLimits of {}: {}\n", report.device, limits_of(report));
    if (!with_profile) return text;
    for (const BenchReport& report : reports) {
        for (const BenchmarkResult& result : report.results) {
            text += fmt::format("\n{}, {}:\n\n", model_of(report), test_name(result.test));
            text +=
                "| work | time | a token | calls | reading | multiplying |\n| --- | ---: | ---: | ---: | "
                "---: | ---: |\n";
            for (const ProfileRow& row : profile_rows(result)) text += markdown_row(cells_of(row));
        }
    }
    return text;
}

std::string bench_csv(const std::vector<BenchReport>& reports) {
    std::string text =
        "file,architecture,type,size_bytes,parameters,device,test,tokens,depth,parallel,median,least,most,"
        "limit,share_of_limit,load_seconds\n";
    for (const BenchReport& report : reports) {
        for (const BenchmarkResult& result : report.results) {
            const auto share = runtime::share_of_limit(result);
            text +=
                fmt::format("{},{},{},{},{},{},{},{},{},{},{:.3f},{:.3f},{:.3f},{},{},{:.3f}\n",
                            csv_field(report.file), report.architecture, report.type, report.size_bytes,
                            report.n_parameters, csv_field(report.device), part_name(result.test),
                            result.test.n_tokens, result.test.depth, result.test.n_sequences, result.median(),
                            result.least(), result.most(), share ? limit_name(share->limit) : "",
                            share ? fmt::format("{:.4f}", share->share) : "", report.load_seconds);
        }
    }
    return text;
}

std::string bench_json(const std::vector<BenchReport>& reports, bool with_profile) {
    JsonWriter json;
    if (reports.size() != 1) json.begin_array();
    for (const BenchReport& report : reports) add_report(json, report, with_profile);
    if (reports.size() != 1) json.end_array();
    return json.text() + "\n";
}

}  // namespace ingot::cli
