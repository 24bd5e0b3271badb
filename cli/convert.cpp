// ingot convert: a Hugging Face folder -> a GGUF file of any type, in one pass.
#include <memory>

#include "cli/conversion.h"

namespace ingot::cli {

void add_convert(CLI::App& program) {
    auto options = std::make_shared<ConversionOptions>();
    CLI::App* command = program.add_subcommand("convert", "Turn a Hugging Face checkpoint into a GGUF file");
    command
        ->add_option("DIR", options->input,
                     "Folder with config.json, *.safetensors and the tokenizer's files")
        ->type_name("")
        ->required();
    command
        ->add_option("-o,--output", options->output,
                     "GGUF file to write; if not given, <Name>-<Size>-<TYPE>.gguf in the current folder")
        ->type_name("FILE");
    add_conversion_options(*command, *options);
    command->footer("TYPE is one of (in any case; Q4_K_M if not given)\n " + recipe_names() +
                    "\n\n"
                    "Examples:\n"
                    "  ingot convert Llama-3.2-1B/                       writes Llama-3.2-1B-Q4_K_M.gguf\n"
                    "  ingot convert Llama-3.2-1B/ -t q8_0 -o small.gguf\n"
                    "  ingot convert Llama-3.2-1B/ --dry-run             what would be written");
    command->callback([options] {
        const auto& recipe = *converters::find_recipe(options->type);
        run_conversion(converters::plan_checkpoint(options->input, recipe), *options, "converting");
    });
}

}  // namespace ingot::cli
