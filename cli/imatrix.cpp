// ingot imatrix: a model and a text -> which columns of its matrices matter.
#include "format/imatrix.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include "cli/console.h"
#include "cli/model_options.h"
#include "cli/signals.h"
#include "cli/text_input.h"
#include "format/error.h"
#include "format/json_writer.h"
#include "runtime/importance.h"
#include "runtime/own_text.h"
#include "runtime/perplexity.h"

namespace ingot::cli {
namespace {

constexpr int kInterrupted = 130;

struct Options {
    std::string file;
    std::string text_file;
    std::string ids_file;
    std::string output;
    std::vector<std::string> inputs;  // importance matrices to be added
    int64_t n_chunks = 0;             // 0: all
    int64_t n_context = 0;            // 0: kDefaultChunk, or the model's when that is less
    bool force = false;
    bool json = false;
    DeviceOptions device;
};

/// What was done, for the report.
struct Outcome {
    ImportanceMatrix matrix;
    double perplexity = 0;  // 0: nothing was run
    uint64_t n_run = 0;     // chunks
    double seconds = 0;
    bool interrupted = false;
};

void run_model(const Options& options, Outcome& outcome) {
    const bool has_text = !options.text_file.empty() || !options.ids_file.empty();
    runtime::RunShape shape{.n_context = options.n_context};
    if (!has_text) shape.n_sequences = runtime::OwnTextOptions{}.n_at_once;
    shape.n_logits = runtime::kScoredBatch / shape.n_sequences;  // at once, of all
    const auto device = open_device(options.device, options.file, shape, kDefaultChunk);
    runtime::ObservedBackend backend(*device);
    const runtime::Model model(options.file, backend);
    runtime::ImportanceOptions measure;
    measure.n_context = chunk_length(model, options.n_context);
    const TextInput input = has_text ? read_text_input(model, options.text_file, options.ids_file)
                                     : write_text_input(model, options.n_chunks, measure.n_context);
    measure.n_chunks = options.n_chunks;
    measure.bos = input.bos;
    measure.cancel = &interrupted;
    const auto start = std::chrono::steady_clock::now();
    const bool shows_progress = is_terminal(stderr);
    if (shows_progress) {
        measure.on_progress = [&](int64_t done, int64_t n_chunks, double perplexity) {
            const double seconds =
                std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
            fmt::print(stderr, "\r{}/{} chunks, perplexity {:.4f}, {} left\x1b[K", done, n_chunks, perplexity,
                       human_seconds(seconds / double(done) * double(n_chunks - done)));
        };
    }
    runtime::MeasuredImportance result = runtime::measure_importance(model, backend, input.tokens, measure);
    if (shows_progress) fmt::print(stderr, "\r\x1b[K");
    result.matrix.datasets = {!options.ids_file.empty()    ? options.ids_file
                              : !options.text_file.empty() ? options.text_file
                                                           : kOwnText};
    outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    outcome.perplexity = result.perplexity;
    outcome.n_run = result.matrix.n_chunks;
    outcome.interrupted = result.cancelled;
    outcome.matrix.add(result.matrix);
}

/// "blk.0.ffn_up_exps.weight (3 of 64)": matrices that no input came to.
std::vector<std::string> without_input(const ImportanceMatrix& matrix) {
    std::vector<std::string> names;
    for (const auto& [tensor, entry] : matrix.entries()) {
        const auto n = std::ranges::count(entry.counts, uint64_t(0));
        if (n > 0) names.push_back(fmt::format("{} ({} of {})", printable(tensor), n, entry.counts.size()));
    }
    return names;
}

std::string json_text(const Options& options, const Outcome& outcome) {
    JsonWriter json;
    json.begin_object().member("output", options.output).member("entries", outcome.matrix.entries().size());
    json.member("chunks", outcome.matrix.n_chunks).member("chunk_size", outcome.matrix.chunk_size);
    json.key("datasets").begin_array();
    for (const std::string& dataset : outcome.matrix.datasets) json.value(dataset);
    json.end_array();
    if (outcome.n_run > 0) {
        json.member("chunks_run", outcome.n_run).member("perplexity", outcome.perplexity);
        json.member("seconds", outcome.seconds);
    }
    json.key("without_input").begin_array();
    for (const std::string& tensor : without_input(outcome.matrix)) json.value(tensor);
    json.end_array().member("interrupted", outcome.interrupted);
    return json.end_object().text() + "\n";
}

std::string summary_text(const Options& options, const Outcome& outcome) {
    const Painter paint(stdout);
    const ImportanceMatrix& matrix = outcome.matrix;
    Table facts({{"", Table::kLeft, Tone::Key}, {""}});
    facts.add({"entries", plural(matrix.entries().size(), "tensor")});
    facts.add({"text", fmt::format("{} of {} tokens: {}", plural(matrix.n_chunks, "chunk"), matrix.chunk_size,
                                   fmt::join(matrix.datasets, ", "))});
    if (outcome.n_run > 0)
        facts.add({"run", fmt::format("{}, perplexity {:.4f}, {}", plural(outcome.n_run, "chunk"),
                                      outcome.perplexity, human_seconds(outcome.seconds))});
    std::string text = fmt::format("{}\n{}", paint(Tone::Heading, options.output), facts.text(paint));
    const std::vector<std::string> unseen = without_input(matrix);
    constexpr size_t kShown = 8;
    for (size_t i = 0; i < std::min(unseen.size(), kShown); ++i)
        text += fmt::format("  {} no token came to {}\n", paint(Tone::Warning, "note"), unseen[i]);
    if (unseen.size() > kShown)
        text += fmt::format("  {} nor to some of {} more; a longer text would help\n",
                            paint(Tone::Warning, "note"), plural(unseen.size() - kShown, "tensor"));
    return text;
}

void run_imatrix(const Options& options) {
    const bool has_text = !options.text_file.empty() || !options.ids_file.empty();
    const bool has_model = !options.file.empty();
    if (has_text && !has_model) fail_usage("a text is given, but no model to run on it");
    if (!has_model && options.inputs.empty()) fail_required("FILE, or --in");
    if (!options.force && std::filesystem::exists(options.output))
        fail("{}: exists already; use --force to replace it, or another name", options.output);

    Outcome outcome;
    for (const std::string& path : options.inputs) {
        const ImportanceMatrix matrix = ImportanceMatrix::read(path);
        try {
            outcome.matrix.add(matrix);
        } catch (const Error& error) {
            fail("{}: {}", path, error.what());
        }
    }
    if (has_model) run_model(options, outcome);
    outcome.matrix.write(options.output, options.force);
    print_out(options.json ? json_text(options, outcome) : summary_text(options, outcome));
    if (outcome.interrupted) {
        fmt::print(stderr, "ingot: interrupted; {} has the {} until then\n", options.output,
                   plural(outcome.n_run, "chunk"));
        throw Exit{kInterrupted};
    }
}

}  // namespace

void add_imatrix(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command(
        "imatrix",
        "Measure which columns of a model's matrices matter, for --imatrix of convert and quantize");
    command->add_option("FILE", options->file, "GGUF file: the model before it is quantized")->type_name("");
    Option* text =
        command->add_option("-f,--text", options->text_file,
                            "Text of the kind that the model is for, - is standard input; without one the "
                            "model writes its own");
    Option* ids = command->add_option("--token-ids", options->ids_file,
                                      "Its token ids instead, as numbers; - likewise");
    text->type_name("FILE");
    ids->type_name("FILE")->excludes(text);
    command->add_option("-o,--output", options->output, "Importance matrix to write")
        ->required()
        ->type_name("OUT.gguf");
    command
        ->add_option("--in", options->inputs,
                     "Importance matrix to add, this program's or llama.cpp's; may be given again")
        ->type_name("FILE")
        ->one_value_each_time();
    command->add_option("--chunks", options->n_chunks, "Run only so many chunks of the text")
        ->check(in_range(1, INT32_MAX))
        ->type_name("N");
    command->add_option("--context", options->n_context, "Tokens of a chunk (512, or the model's if less)")
        ->check(in_range(4, INT32_MAX))
        ->type_name("N");
    command->add_flag("--force", options->force, "Replace the output if it exists");
    command->add_flag("--json", options->json, "Report as JSON");
    add_device_options(*command, options->device);
    command->footer(
        "The matrix holds, for each column of each matrix, the mean square of what it is multiplied by; for\n"
        "experts, of each one. llama.cpp's quantizer reads the file, too.\n"
        "Interrupted, the command ends its chunk and writes what it has; interrupted again, nothing.\n\n"
        "Examples:\n"
        "  ingot imatrix model-BF16.gguf -f calibration.txt -o imatrix.gguf\n"
        "  ingot imatrix model-BF16.gguf -o imatrix.gguf\n"
        "  ingot quantize model-BF16.gguf -t Q4_K_M --imatrix imatrix.gguf -o model-Q4_K_M.gguf\n"
        "  ingot imatrix --in prose.gguf --in code.gguf -o both.gguf");
    command->callback([options] { run_imatrix(*options); });
}

}  // namespace ingot::cli
