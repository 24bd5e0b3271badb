// ingot bench: speed of prompt and generation, of a file or of random weights in a given shape.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <numeric>

#include "cli/console.h"
#include "cli/model_options.h"
#include "cli/signals.h"
#include "converters/quantize/recipe.h"
#include "format/error.h"
#include "format/json_writer.h"
#include "runtime/forward.h"
#include "runtime/synthetic.h"

namespace ingot::cli {
namespace {

constexpr int kInterrupted = 130;

struct Options {
    std::string file;
    std::string shape;
    std::string type = "Q4_K_M";
    std::string keep;
    bool force = false;
    int64_t n_prompt = 512;
    int64_t n_generate = 128;
    int64_t n_repetitions = 5;
    bool json = false;
    DeviceOptions device;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// --- Random weights ---

/// A file that is removed when the benchmark ends, unless it is to be kept.
struct SyntheticFile {
    std::filesystem::path path;
    bool is_temporary;
    SyntheticFile(std::filesystem::path where, bool temporary)
        : path(std::move(where)), is_temporary(temporary) {}
    ~SyntheticFile() {
        std::error_code ignored;
        if (is_temporary) std::filesystem::remove(path, ignored);
    }
    SyntheticFile(const SyntheticFile&) = delete;
    SyntheticFile& operator=(const SyntheticFile&) = delete;
};

std::unique_ptr<SyntheticFile> make_synthetic(const Options& options) {
    const runtime::SyntheticShape& shape = *runtime::find_synthetic_shape(options.shape);
    const converters::Recipe& recipe = *converters::find_recipe(options.type);
    std::vector<TensorPlan> tensors = runtime::synthetic_tensors(shape);

    // The same mixes of types as convert and quantize give.
    const converters::ModelShape model{.architecture = "llama",
                                       .n_layers = shape.n_layers,
                                       .n_heads = shape.n_heads,
                                       .n_kv_heads = shape.n_kv_heads,
                                       .tied_output = shape.tied_output};
    std::vector<converters::TensorShape> tensor_shapes;
    for (const TensorPlan& tensor : tensors) {
        const uint64_t n_rows = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
        tensor_shapes.push_back({tensor.name, uint32_t(tensor.shape.size()), tensor.shape[0], n_rows});
    }
    const std::vector<converters::TypeChoice> types = converters::choose_types(recipe, model, tensor_shapes);
    for (size_t i = 0; i < tensors.size(); ++i) tensors[i].type = types[i].type;

    const std::filesystem::path path =
        options.keep.empty() ? std::filesystem::temp_directory_path() /
                                   fmt::format("ingot-{}-{}-{}.gguf", shape.name, recipe.name, ::getpid())
                             : std::filesystem::path(options.keep);
    auto file = std::make_unique<SyntheticFile>(path, options.keep.empty());
    if (!runtime::write_synthetic(shape, std::move(tensors), recipe.file_type, path, options.force, 1,
                                  &interrupted)) {
        throw Exit{kInterrupted};
    }
    return file;
}

// --- Measuring ---

/// Tokens per second of each repetition.
struct Rates {
    int64_t n_tokens = 0;
    std::vector<double> runs;

    double median() const {
        std::vector<double> sorted = runs;
        std::ranges::sort(sorted);
        const size_t half = sorted.size() / 2;
        return sorted.size() % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    }
    double least() const { return *std::ranges::min_element(runs); }
    double most() const { return *std::ranges::max_element(runs); }
};

struct Measurement {
    Rates prompt, generate;
};

// A prompt from an empty context in batches; then, again from an empty one, token after token.
Measurement measure(const runtime::Model& model, int64_t n_prompt, int64_t n_generate,
                    int64_t n_repetitions) {
    const int64_t n_vocab = model.hyperparameters().n_vocab;
    runtime::ForwardPass forward(model, std::max<int64_t>({n_prompt, n_generate, 1}));
    std::vector<runtime::Token> tokens(size_t(std::max(n_prompt, n_generate)));
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = runtime::Token(i * 7919 % uint64_t(n_vocab));

    const auto timed = [&](std::span<const runtime::Token> sequence, size_t n_at_once) {
        forward.cache().truncate(0);
        const auto start = std::chrono::steady_clock::now();
        for (size_t at = 0; at < sequence.size(); at += n_at_once) {
            if (!forward.run(sequence.subspan(at, n_at_once), 1, &interrupted)) throw Exit{kInterrupted};
        }
        return double(sequence.size()) / seconds_since(start);
    };
    const std::span<const runtime::Token> all = tokens;
    const auto prompt = all.first(size_t(n_prompt));
    const auto generated = all.first(size_t(n_generate));
    // Pages of the file, the caches and the clock settle before anything counts.
    if (n_prompt > 0) timed(prompt, prompt.size());
    if (n_generate > 0) timed(generated.first(std::min<size_t>(4, generated.size())), 1);

    Measurement result{{n_prompt, {}}, {n_generate, {}}};
    for (int64_t i = 0; i < n_repetitions; ++i) {
        if (n_prompt > 0) result.prompt.runs.push_back(timed(prompt, prompt.size()));
        if (n_generate > 0) result.generate.runs.push_back(timed(generated, 1));
    }
    return result;
}

// --- Telling ---

struct Facts {
    std::string file;
    uint64_t size_bytes = 0;
    uint64_t n_parameters = 0;
    std::string architecture;
    std::string device;
    double load_seconds = 0;
};

void add_rates(JsonWriter& json, const char* name, const Rates& rates) {
    if (rates.runs.empty()) return;
    json.key(name).begin_object().member("tokens", rates.n_tokens);
    json.key("tokens_per_second")
        .begin_object()
        .member("median", rates.median())
        .member("least", rates.least())
        .member("most", rates.most());
    json.key("runs").begin_array(JsonWriter::kOneLine);
    for (const double run : rates.runs) json.value(run);
    json.end_array().end_object().end_object();
}

void print_json(const Facts& facts, const Measurement& result) {
    JsonWriter json;
    json.begin_object()
        .member("file", facts.file)
        .member("size_bytes", facts.size_bytes)
        .member("architecture", facts.architecture)
        .member("parameters", facts.n_parameters)
        .member("device", facts.device)
        .member("load_seconds", facts.load_seconds);
    add_rates(json, "prompt", result.prompt);
    add_rates(json, "generate", result.generate);
    if (!result.prompt.runs.empty()) json.member("prompt_tokens_per_second", result.prompt.median());
    if (!result.generate.runs.empty()) json.member("generate_tokens_per_second", result.generate.median());
    json.end_object();
    print_out(json.text() + "\n");
}

void print_table(const Facts& facts, const Measurement& result) {
    const Painter paint(stdout);
    std::string text = paint(Tone::Heading, facts.file) + "\n\n";
    const auto fact = [&](const char* key, const std::string& value) {
        text += fmt::format("  {}{}\n", paint(Tone::Key, pad_right(key, 14)), value);
    };
    fact("model", fmt::format("{}, {} weights, {}", facts.architecture, human_count(facts.n_parameters),
                              human_bytes(facts.size_bytes)));
    fact("device", facts.device);
    fact("load", human_seconds(facts.load_seconds));
    text += "\n";
    Table table({{"", Table::kLeft, Tone::Key},
                 {"tokens", Table::kRight},
                 {"tokens/s", Table::kRight, Tone::Accent},
                 {"least", Table::kRight},
                 {"most", Table::kRight}});
    const auto row = [&](const char* name, const Rates& rates) {
        if (rates.runs.empty()) return;
        table.add({name, grouped(uint64_t(rates.n_tokens)), fmt::format("{:.1f}", rates.median()),
                   fmt::format("{:.1f}", rates.least()), fmt::format("{:.1f}", rates.most())});
    };
    row("prompt", result.prompt);
    row("generate", result.generate);
    print_out(text + table.text(paint));
}

void run_bench(const Options& options) {
    if (options.file.empty() == options.shape.empty()) {
        throw CLI::ValidationError("bench", "give either FILE or --shape");
    }
    const std::unique_ptr<SyntheticFile> synthetic =
        options.shape.empty() ? nullptr : make_synthetic(options);
    const std::filesystem::path path = synthetic ? synthetic->path : std::filesystem::path(options.file);

    const auto backend = open_device(options.device);
    const auto start = std::chrono::steady_clock::now();
    const runtime::Model model(path, *backend);
    Facts facts;
    facts.load_seconds = seconds_since(start);
    facts.file = path.string();
    facts.size_bytes = model.file().size_bytes();
    facts.architecture = model.hyperparameters().family->name;
    facts.device = backend->description();
    for (const TensorInfo& tensor : model.file().header().tensors()) facts.n_parameters += tensor.n_elements;

    const int64_t n_context = model.hyperparameters().n_context;
    const auto within_context = [&](int64_t n, const char* option) {
        if (n > n_context) {
            fmt::print(stderr, "ingot: {} {} {} is cut to the model's context, {}\n",
                       Painter(stderr)(Tone::Warning, "note:"), option, n, n_context);
        }
        return std::min(n, n_context);
    };
    const int64_t n_prompt = within_context(options.n_prompt, "--prompt");
    const int64_t n_generate = within_context(options.n_generate, "--generate");
    const Measurement result = measure(model, n_prompt, n_generate, options.n_repetitions);
    options.json ? print_json(facts, result) : print_table(facts, result);
}

}  // namespace

void add_bench(CLI::App& program) {
    auto options = std::make_shared<Options>();
    CLI::App* command = program.add_subcommand("bench", "Measure the speed of prompt and generation");
    command->add_option("FILE", options->file, "GGUF file, or any shard")->type_name("");
    const auto count = [&](const char* name, int64_t& value, const char* help, int64_t least) {
        command->add_option(name, value, help)->check(in_range(least, 1 << 20))->type_name("N");
    };
    count("--prompt", options->n_prompt, "Tokens of the prompt (512); 0: don't measure it", 0);
    count("--generate", options->n_generate, "Tokens to generate (128); 0: don't measure it", 0);
    count("--repetitions", options->n_repetitions, "Times that each is measured (5)", 1);

    std::vector<std::string> shapes;
    for (const runtime::SyntheticShape& shape : runtime::synthetic_shapes()) shapes.emplace_back(shape.name);
    command->add_option("--shape", options->shape, "Random weights in this shape instead of FILE")
        ->check(CLI::IsMember(shapes).description(""))
        ->type_name("NAME");
    command->add_option("--type", options->type, "Type or mix of the random weights (Q4_K_M)")
        ->check([](const std::string& name) {
            return converters::find_recipe(name) ? std::string()
                                                 : fmt::format("there is no type \"{}\"", name);
        })
        ->type_name("TYPE");
    command->add_option("--keep", options->keep, "Where to write and leave the random file")
        ->type_name("FILE");
    command->add_flag("--force", options->force, "Overwrite the file of --keep");
    command->add_flag("--json", options->json, "JSON");
    add_device_options(*command, options->device);
    command->footer(
        fmt::format("Shapes: {}\n\n"
                    "Examples:\n"
                    "  ingot bench model.gguf --threads 8\n"
                    "  ingot bench --shape llama-1.1b --type Q4_0 --keep random.gguf",
                    fmt::join(shapes, ", ")));
    command->callback([options] { run_bench(*options); });
}

}  // namespace ingot::cli
