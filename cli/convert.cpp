// ingot convert: a checkpoint -> a GGUF file of any type, in one pass.
#include <memory>

#include "cli/conversion.h"

namespace ingot::cli {

void add_convert(Command& program) {
    auto options = std::make_shared<ConversionOptions>();
    Command* command = program.add_command("convert", "Turn a Hugging Face checkpoint into a GGUF file");
    command
        ->add_option("DIR", options->request.source,
                     "Folder with config.json, the weights and the tokenizer's files; or a file of llama2.c")
        ->type_name("")
        ->required();
    command
        ->add_option("-o,--output", options->output,
                     "GGUF file to write; if not given, <Name>-<Size>-<TYPE>.gguf in the current folder")
        ->type_name("FILE");
    add_recipe_options(*command, options->recipe, "Q4_K_M");
    add_conversion_options(*command, *options);
    command
        ->add_option("--as", options->request.family,
                     "Read it as this family (llama, qwen2 …), whatever config.json says")
        ->type_name("FAMILY");
    command->add_flag("--vocab-only", options->request.vocab_only, "Write the tokenizer without the weights");
    command
        ->add_option(
            "--lora", options->adapters,
            "Folder of a PEFT adapter to merge in, its strength behind a colon (1 if not given); may be "
            "given again")
        ->type_name("DIR[:SCALE]")
        ->one_value_each_time();
    command
        ->add_option(
            "--tokenizer", options->request.tokenizer,
            "Tokenizer in place of the checkpoint's own: tokenizer.model, tokenizer.json, or their folder")
        ->type_name("FILE");
    command->footer("TYPE is one of (in any case; Q4_K_M if not given)\n " + recipe_names() +
                    "\n\n"
                    "Examples:\n"
                    "  ingot convert Llama-3.2-1B/                       writes Llama-3.2-1B-Q4_K_M.gguf\n"
                    "  ingot convert Llama-3.2-1B/ -t q8_0 -o small.gguf --verify\n"
                    "  ingot convert Llama-3.2-1B/ --check               is anything in the way?\n"
                    "Interrupted or killed, the same command goes on where it stopped.");
    command->callback([options] {
        for (const std::string& adapter : options->adapters)
            options->request.adapters.push_back(converters::parse_adapter_choice(adapter));
        run_conversion(*options, "converting");
    });
}

}  // namespace ingot::cli
