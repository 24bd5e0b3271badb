// ingot quantize: a GGUF file -> a GGUF file of another type.
#include <memory>

#include "cli/conversion.h"

namespace ingot::cli {

void add_quantize(Command& program) {
    auto options = std::make_shared<ConversionOptions>();
    Command* command = program.add_command("quantize", "Store the weights of a GGUF file in another type");
    command->add_option("IN", options->request.source, "GGUF file to read, or any shard")
        ->required()
        ->type_name("");
    command->add_option("-o,--output", options->output, "GGUF file to write")
        ->required()
        ->type_name("OUT.gguf");
    add_recipe_options(*command, options->recipe);
    add_conversion_options(*command, *options);
    command->add_flag("--allow-requantize", options->request.allow_requantize,
                      "Accept weights that are quantized already; their rounding errors stay");
    command->footer(
        "TYPE is one of (in any case)\n " + recipe_names() +
        "\n\n"
        "Examples:\n"
        "  ingot quantize model-F16.gguf -t Q4_K_M -o model-Q4_K_M.gguf\n"
        "  ingot quantize model-F16.gguf --target-size 4.5GiB --target-text book.txt -o best.gguf\n"
        "  ingot quantize model-Q8_0.gguf -t Q4_0 -o model-Q4_0.gguf --allow-requantize");
    command->callback([options] { run_conversion(*options, "quantizing"); });
}

}  // namespace ingot::cli
