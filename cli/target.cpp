#include "cli/target.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>

#include "cli/conversion.h"
#include "cli/model_options.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "converters/convert.h"
#include "converters/quantize/importance.h"
#include "format/error.h"
#include "format/name_pattern.h"
#include "runtime/divergence.h"

namespace ingot::cli {

using namespace converters;

namespace {

constexpr int kInterrupted = 130;
constexpr int64_t kDefaultTokens = 4096;

/// Runs the model on the text, and then with one tensor after the other replaced.
class ModelRunner {
  public:
    ModelRunner(const std::string& path, const TargetOptions& options, int n_threads)
        : backend_(open_device({"auto", n_threads, {}})) {
        runtime::DivergenceOptions measure;
        measure.n_tokens = options.n_tokens > 0 ? options.n_tokens : kDefaultTokens;
        measure.cancel = &interrupted;
        std::vector<runtime::Token> tokens;
        {
            const runtime::Model model(path, *backend_);
            const auto tokenizer = model.load_tokenizer();
            if (tokenizer->add_bos) measure.bos = tokenizer->bos;
            tokens = tokenizer->encode(read_text(options.text_file), false, false);
            if (measure.bos) tokens.insert(tokens.begin(), *measure.bos);
        }
        meter_.emplace(path, *backend_, tokens, measure);
    }

    double measure(const std::string& tensor, TensorType type, std::span<const std::byte> encoded) {
        const std::optional<double> divergence = meter_->measure({tensor, type, encoded});
        if (!divergence) throw Cancelled("interrupted; nothing was written");
        return *divergence;
    }

  private:
    std::unique_ptr<runtime::Backend> backend_;
    std::optional<runtime::DivergenceMeter> meter_;
};

}  // namespace

void add_target_options(Command& command, TargetOptions& options) {
    Option* size = command.add_option(
        "--target-size", options.file_size,
        "Choose each tensor's type (of --target-types TYPE,TYPE): the best mix for this size");
    size->type_name("SIZE")->check(parsed_by(parse_size));
    Option* bits =
        command.add_option("--target-bpw", options.bits_per_weight, "The same for so many bits per weight");
    bits->type_name("N")->check(positive())->excludes(size);
    command.add_option("--target-types", options.types, "Choose from these types only: Q4_K,Q6_K")
        ->type_name("TYPE,TYPE")
        ->hidden()  // in the text above
        ->delimiter(',')
        ->check(parsed_by(parse_target_type));
    command
        .add_option("--target-text", options.text_file,
                    "Measure what each tensor does to the predictions of this text (--target-tokens N of it)")
        ->type_name("FILE");
    command.add_option("--target-tokens", options.n_tokens, "Tokens of it (4096)")
        ->type_name("N")
        ->hidden()  // in the text above
        ->check(in_range(16, INT32_MAX));
}

TargetChoice choose_types_for(const TargetOptions& options, ConversionPlan& plan, const PlanAgain& plan_again,
                              const std::string& model, int n_threads) {
    Target target;
    if (!options.file_size.empty()) target.file_bytes = parse_size(options.file_size);
    target.bits_per_weight = options.bits_per_weight;

    SensitivityOptions sensitivity;
    sensitivity.types = default_target_types();
    if (!options.types.empty()) {
        sensitivity.types.clear();
        for (const std::string& type : options.types) sensitivity.types.push_back(parse_target_type(type));
    }
    sensitivity.importance = [&](size_t tensor, uint64_t row) {
        return importance_of_row(plan, tensor, row);
    };
    sensitivity.n_threads = n_threads;
    sensitivity.cancel = &interrupted;
    std::optional<ModelRunner> runner;
    if (!options.text_file.empty()) {
        runner.emplace(model, options, n_threads);
        sensitivity.divergence = [&](const std::string& tensor, TensorType type,
                                     std::span<const std::byte> encoded) {
            return runner->measure(tensor, type, encoded);
        };
    }
    ProgressBar progress("measuring");
    sensitivity.progress = [&](uint64_t done, uint64_t total) { progress.update(done, total); };
    try {
        return choose_for_target(plan, target, sensitivity, plan_again);
    } catch (const Cancelled& cancelled) {
        progress.clear();
        fmt::print(stderr, "ingot: {}\n", cancelled.what());
        throw Exit{kInterrupted};
    }
}

std::string target_text(const ConversionPlan& plan, const TargetChoice& choice, const Painter& paint) {
    struct Part {
        std::string name;
        std::map<TensorType, uint64_t> types;  // number of tensors
        uint64_t n_tensors = 0, n_elements = 0, size_bytes = 0;
        double loss = 0;
    };
    std::vector<Part> parts;
    for (size_t i = 0; i < choice.costs.size(); ++i) {
        const TensorPlan& tensor = plan.target(choice.costs[i].tensor);
        const std::string part_name = without_layer(tensor.name);
        auto part = std::ranges::find(parts, part_name, &Part::name);
        if (part == parts.end()) part = parts.insert(part, Part{part_name, {}, 0, 0, 0, 0});
        ++part->types[tensor.type];
        ++part->n_tensors;
        part->n_elements += tensor.n_elements;
        part->size_bytes += tensor.size_bytes;
        part->loss += choice.costs[i].loss(choice.solution.choice[i]);
    }
    const Solution& solution = choice.solution;
    const char* const unit = choice.is_divergence ? "divergence" : "loss";
    Table table({{"chosen", Table::kLeft, Tone::Key},
                 {"", Table::kRight},
                 {"types"},
                 {"bits each", Table::kRight},
                 {"bytes", Table::kRight},
                 {unit, Table::kRight},
                 {"share", Table::kRight}});
    for (const Part& part : parts) {
        std::vector<std::pair<TensorType, uint64_t>> types(part.types.begin(), part.types.end());
        std::ranges::sort(types, {}, [](const auto& each) { return info(each.first).bits_per_element(); });
        std::string text;
        for (const auto& [type, n] : types)
            text += fmt::format("{}{}{}", text.empty() ? "" : " + ",
                                part.n_tensors > 1 ? fmt::format("{} ", n) : "", name(type));
        table.add({part.name, fmt::format("{}", part.n_tensors), text,
                   fmt::format("{:.3f}", 8.0 * double(part.size_bytes) / double(part.n_elements)),
                   human_bytes(part.size_bytes), fmt::format("{:.3g}", part.loss),
                   fmt::format("{:.1f} %", solution.loss > 0 ? 100 * part.loss / solution.loss : 0.0)});
    }
    std::string text = table.text(paint);
    text += fmt::format("\n  {} {:.4g} in all, {}\n", unit, solution.loss,
                        solution.gap() > 0
                            ? fmt::format("at most {:.2g} % above the least there is", 100 * solution.gap())
                            : "proven to be the least for these bytes");
    Table curve({{"bits per weight", Table::kRight, Tone::Key},
                 {"tensors", Table::kRight},
                 {unit, Table::kRight},
                 {"", Table::kLeft, Tone::Accent},
                 {""}});
    double most = 0;
    for (const CurvePoint& point : choice.curve) most = std::max(most, point.loss);
    for (const CurvePoint& point : choice.curve) {
        constexpr size_t kColumns = 32;
        const bool chosen = point.loss == solution.loss;
        // Losses span decades: a bar's length is their logarithm, four of them.
        const double length = most > 0 && point.loss > 0 ? 1 + std::log10(point.loss / most) / 4 : 0;
        curve.add({fmt::format("{:.3f}", point.bits_per_weight), human_bytes(point.tensor_bytes),
                   fmt::format("{:.3g}", point.loss), bar(std::clamp(length, 0.0, 1.0), kColumns),
                   chosen ? "chosen" : ""});
    }
    return text + "\n" + curve.text(paint);
}

void write_target(const ConversionPlan& plan, const TargetChoice& choice, JsonWriter& json) {
    json.key("target").begin_object().member("measured", choice.is_divergence ? "divergence" : "error");
    json.member("loss", choice.solution.loss).member("bound", choice.solution.bound);
    json.key("tensors").begin_array();
    for (size_t i = 0; i < choice.costs.size(); ++i) {
        const TensorCosts& costs = choice.costs[i];
        json.begin_object(JsonWriter::kOneLine).member("name", plan.target(costs.tensor).name);
        json.member("type", name(choice.type_of(i))).member("weight", costs.weight);
        json.key("losses").begin_object(JsonWriter::kOneLine);
        for (size_t type = 0; type < costs.types.size(); ++type)
            json.member(name(costs.types[type]), costs.loss(type));
        json.end_object().end_object();
    }
    json.end_array().key("curve").begin_array();
    for (const CurvePoint& point : choice.curve) {
        json.begin_object(JsonWriter::kOneLine).member("bits_per_weight", point.bits_per_weight);
        json.member("tensor_bytes", point.tensor_bytes).member("loss", point.loss).end_object();
    }
    json.end_array().end_object();
}

}  // namespace ingot::cli
