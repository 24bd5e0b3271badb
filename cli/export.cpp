// ingot export: a GGUF file -> a Hugging Face checkpoint.
#include "converters/export/export.h"

#include <memory>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/conversion.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "converters/convert.h"
#include "format/error.h"
#include "format/json_writer.h"

namespace ingot::cli {

using namespace converters;

namespace {

struct Options {
    ExportRequest request;
    std::string type, shard_size;
    int n_threads = 0;
    bool json = false;
};

std::string json_text(const ExportPlan& plan, const ExportResult& result) {
    JsonWriter json;
    json.begin_object().member("source", plan.request.source).member("output", plan.request.folder);
    json.member("family", plan.family).member("type", name(plan.type));
    json.member("n_tensors", plan.tensors.size()).member("output_bytes", plan.output_bytes());
    json.member("seconds", result.seconds).member("threads", result.n_threads);
    json.key("files").begin_array();
    for (const SafetensorsLayout::File& file : plan.layout.files) json.value(file.name);
    for (const auto& [file, content] : plan.files) json.value(file);
    json.end_array().key("warnings").begin_array();
    for (const std::string& warning : plan.findings.messages(Severity::Warning)) json.value(warning);
    return json.end_array().end_object().text() + "\n";
}

std::string summary_text(const ExportPlan& plan, const ExportResult& result, const Painter& paint) {
    Table facts({{"", Table::kLeft, Tone::Key}, {""}});
    facts.add({"family", plan.family});
    facts.add({"weights", fmt::format("{} as {} in {}", plural(plan.tensors.size(), "tensor"),
                                      name(plan.type), plural(plan.layout.files.size(), "file"))});
    std::vector<std::string> small;
    for (const auto& [file, content] : plan.files) small.push_back(file);
    facts.add({"beside", fmt::format("{}", fmt::join(small, ", "))});
    facts.add({"bytes", human_bytes(plan.output_bytes())});
    facts.add({"time", fmt::format("{} on {}", human_seconds(result.seconds),
                                   plural(uint64_t(result.n_threads), "thread"))});
    return fmt::format("{} → {}\n{}", plan.request.source, paint(Tone::Heading, plan.request.folder),
                       facts.text(paint));
}

void run_export(const Options& options) {
    ExportRequest request = options.request;
    if (!options.type.empty()) request.type = parse_tensor_type(options.type);
    if (!options.shard_size.empty()) request.max_file_bytes = parse_size(options.shard_size);
    const ExportPlan plan = plan_export(request);
    plan.findings.throw_if_problems(request.source);
    ExportResult result;
    {
        ProgressBar progress("exporting");
        ExportOptions export_options;
        export_options.n_threads = options.n_threads;
        export_options.cancel = &interrupted;
        export_options.progress = [&](uint64_t done, uint64_t total) { progress.update(done, total); };
        try {
            result = export_checkpoint(plan, export_options);
        } catch (const Cancelled& cancelled) {
            progress.clear();
            fmt::print(stderr, "ingot: {}\n", cancelled.what());
            throw Exit{130};
        }
    }
    if (options.json) return print_out(json_text(plan, result));
    const Painter paint_error(stderr);
    for (const std::string& warning : plan.findings.messages(Severity::Warning))
        fmt::print(stderr, "ingot: {} {}\n", paint_error(Tone::Warning, "warning:"), warning);
    print_out(summary_text(plan, result, Painter(stdout)));
}

}  // namespace

void add_export(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command("export", "Turn a GGUF file into a Hugging Face checkpoint");
    command->add_option("FILE", options->request.source, "GGUF file to read, or any shard")
        ->required()
        ->type_name("");
    command->add_option("DIR", options->request.folder, "Folder to write the checkpoint to")
        ->required()
        ->type_name("");
    command
        ->add_option("-t,--type", options->type,
                     "F32, F16 or BF16; if not given, the file's own, and BF16 for quantized weights")
        ->type_name("TYPE")
        ->check(one_of({"F32", "F16", "BF16"}));
    command->add_option("--max-shard-size", options->shard_size, "Largest safetensors file: 5GB if not given")
        ->type_name("SIZE")
        ->check(parsed_by(parse_size));
    command
        ->add_option("--config", options->request.config_file,
                     "The model's config.json, for files made elsewhere that do not hold it")
        ->type_name("FILE");
    command->add_option("--threads", options->n_threads, "Threads; all processors if not given")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command->add_flag("--force", options->request.overwrite, "Write into a folder that is not empty");
    command->add_flag("--json", options->json, "Report as JSON, in the form that README describes");
    command->footer(
        "Writes *.safetensors with the names and the layout that transformers loads, config.json,\n"
        "generation_config.json and the tokenizer. Weights that were quantized keep their rounding "
        "errors.\n\n"
        "Example:\n"
        "  ingot export Llama-3.2-1B-Q8_0.gguf Llama-3.2-1B-again/ -t bf16");
    command->callback([options] { run_export(*options); });
}

}  // namespace ingot::cli
