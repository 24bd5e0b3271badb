#include "cli/feedback.h"

#include <algorithm>
#include <deque>
#include <filesystem>

#include "cli/console.h"
#include "cli/model_options.h"
#include "cli/signals.h"
#include "cli/text_input.h"
#include "format/checksum.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "runtime/layer_stream.h"

namespace ingot::cli {

using namespace converters;

namespace {

/// What the runtime shows goes to the quantizer.
class Bridge : public runtime::ProductObserver {
  public:
    explicit Bridge(LayerQuantizer& quantizer) : quantizer_(quantizer) {}
    bool on_product(const runtime::ProductInput& input) override {
        return quantizer_.add_inputs(input.tensor, input.x, uint64_t(input.n_in), uint64_t(input.n_matrices),
                                     input.matrices);
    }

  private:
    LayerQuantizer& quantizer_;
};

/// And what it would show, were nothing quantized.
class ReferenceBridge : public runtime::ProductObserver {
  public:
    explicit ReferenceBridge(LayerQuantizer& quantizer) : quantizer_(quantizer) {}
    bool on_product(const runtime::ProductInput& input) override {
        return quantizer_.add_reference(input.tensor, input.x, input.matrices);
    }

  private:
    LayerQuantizer& quantizer_;
};

}  // namespace

struct Calibration::Running {
    std::unique_ptr<runtime::Backend> device;
    runtime::ObservedBackend backend;
    runtime::Model model;
    int64_t n_context;
    TextInput input;

    Running(const std::string& path, const ConversionOptions& options)
        : device(open_device({"auto", options.n_threads, {}})),
          backend(*device),
          model(path, backend),
          n_context(chunk_length(model, options.calibration_context)),
          input(options.calibration.empty() ? write_text_input(model, options.calibration_chunks, n_context)
                                            : read_text_input(model, options.calibration, "")) {
        const size_t most = size_t(options.calibration_chunks) * size_t(n_context);
        if (most != 0 && input.tokens.size() > most) input.tokens.resize(most);
    }
};

Calibration::Calibration(ConversionPlan& plan, const std::string& model, const ConversionOptions& options)
    : running_(std::make_unique<Running>(model, options)) {
    StreamingChecksum checksum;
    checksum.update(std::as_bytes(std::span(running_->input.tokens)));
    const int64_t n_chunks = int64_t(running_->input.tokens.size()) / running_->n_context;
    plan.set_metadata(std::string(keys::kMethod), std::string("gptq"));
    plan.set_metadata(std::string(keys::kCalibration),
                      fmt::format("{}, {} of {} tokens, xxh3_128 of the tokens {}",
                                  options.calibration.empty()
                                      ? kOwnText
                                      : std::filesystem::path(options.calibration).filename().string(),
                                  plural(uint64_t(n_chunks), "chunk"), running_->n_context, checksum.hex()));
}

Calibration::~Calibration() = default;

void Calibration::feed(LayerQuantizer& quantizer) {
    runtime::LayerStream stream(running_->model, running_->backend, running_->input.tokens,
                                running_->n_context, running_->input.bos);
    Bridge bridge(quantizer);
    ReferenceBridge reference(quantizer);
    std::deque<EncodedTensor> replaced;  // the backend looks at their bytes
    const bool shows_progress = is_terminal(stderr);
    for (int64_t step = 0; step < stream.n_steps(); ++step) {
        do {
            if (shows_progress)
                fmt::print(stderr, "\rlayer {} of {}, {} of {} matrices quantized\x1b[K", step + 1,
                           stream.n_steps(), quantizer.n_done(), quantizer.n_tensors());
            if (!stream.show(reference, bridge, &interrupted)) throw Cancelled("interrupted");
            for (EncodedTensor& tensor : quantizer.finish_pass()) {
                replaced.push_back(std::move(tensor));
                const EncodedTensor& kept = replaced.back();
                running_->backend.replace(running_->model, kept.name, kept.type, kept.bytes);
            }
        } while (quantizer.has_more());
        if (!stream.advance(&interrupted)) throw Cancelled("interrupted");
        if (stream.restarts()) continue;
        running_->backend.restore();
        replaced.clear();
    }
    running_->backend.restore();
    if (shows_progress) fmt::print(stderr, "\r\x1b[K");
}

void check_takes_feedback(const ConversionPlan& plan) {
    for (size_t i = 0; i < plan.tensors.size(); ++i)
        if (takes_feedback(plan, i)) return;
    fail(
        "--method gptq: found no tensor to become one of Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K "
        "IQ4_NL "
        "IQ4_XS, the types that error feedback works on, when {} becomes {}; choose another type, or leave "
        "--method away",
        plan.source(), plan.request.recipe->name);
}

void add_feedback_options(Command& command, ConversionOptions& options) {
    Option* method =
        command.add_option("--method", options.method, "fit, or gptq: error feedback, measured on a text")
            ->check(one_of({"fit", "gptq"}))
            ->type_name("NAME");
    command
        .add_option(
            "--calibration", options.calibration,
            "Its text (--calibration-chunks N of it, of --calibration-context N tokens); without one the "
            "model writes its own")
        ->type_name("FILE")
        ->needs(method);
    command.add_option("--calibration-chunks", options.calibration_chunks, "Use only so many chunks of it")
        ->check(in_range(1, INT32_MAX))
        ->type_name("N")
        ->hidden()  // in the text above
        ->needs(method);
    command
        .add_option("--calibration-context", options.calibration_context,
                    "Tokens of a chunk (512, or the model's if less)")
        ->check(in_range(4, INT32_MAX))
        ->type_name("N")
        ->hidden()
        ->needs(method);
}

}  // namespace ingot::cli
