#pragma once
// --method gptq: the runtime streams a text through the model, the converter quantizes each layer with what
// it sees. Here the two meet.
#include <memory>

#include "cli/conversion.h"
#include "converters/convert.h"
#include "converters/plan.h"

namespace ingot::cli {

/// Adds --method, --calibration, --calibration-chunks and --calibration-context.
void add_feedback_options(Command& command, ConversionOptions& options);

/// Throws Error when the plan has nothing that feedback could be used for.
void check_takes_feedback(const converters::ConversionPlan& plan);

/// The model that is calibrated on, with its text. Memory: see runtime::LayerStream and LayerQuantizer.
class Calibration {
  public:
    /// Opens the file `model` (RunnableModel), reads the text and records it in the plan's metadata.
    Calibration(converters::ConversionPlan& plan, const std::string& model, const ConversionOptions& options);
    ~Calibration();

    /// See ConvertOptions::feed.
    void feed(converters::LayerQuantizer& quantizer);

  private:
    struct Running;
    std::unique_ptr<Running> running_;
};

}  // namespace ingot::cli
