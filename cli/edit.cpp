// ingot edit: other metadata for a file that is there.
#include "format/gguf_edit.h"

#include <memory>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/diff_view.h"
#include "converters/metadata_file.h"
#include "format/gguf_model.h"
#include "format/name_pattern.h"
#include "format/patch.h"
#include "inspect/diff.h"
#include "inspect/lint.h"
#include "inspect/value_text.h"
#include "runtime/hyperparameters.h"

namespace ingot::cli {
namespace {

using inspect::escaped;

constexpr std::string_view kTemplate = "tokenizer.chat_template";

struct Options {
    std::string file;
    std::vector<std::string> set, erased, renamed;  // "KEY=VALUE", "KEY", "OLD=NEW"
    std::string type, template_file;
    bool dry_run = false, rewrite = false, recover = false, force = false;
};

/// "a=b=c" -> "a", "b=c".
std::pair<std::string, std::string> split_pair(const std::string& text, const char* option) {
    const size_t equals = text.find('=');
    if (equals == text.npos || equals == 0)
        fail("{} {}: expected {}", option, printable(text),
             option == std::string("--set") ? "KEY=VALUE" : "OLD=NEW");
    return {text.substr(0, equals), text.substr(equals + 1)};
}

MetadataChanges changes_of(const GgufHeader& header, const Options& options) {
    MetadataChanges changes;
    for (const std::string& text : options.renamed) changes.renamed.push_back(split_pair(text, "--rename"));
    changes.erased = options.erased;
    for (const std::string& text : options.set) {
        const auto [key, value] = split_pair(text, "--set");
        try {
            const auto type = options.type.empty() ? std::nullopt : std::optional(options.type);
            changes.set.emplace_back(key, converters::metadata_value(value, header.find(key), type));
        } catch (const Error& error) {
            fail("--set {}: {}", printable(key), error.what());
        }
    }
    if (!options.template_file.empty()) {
        const MappedFile file{std::filesystem::path(options.template_file)};
        std::string text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
        changes.set.emplace_back(std::string(kTemplate), std::move(text));
    }
    if (changes.set.empty() && changes.erased.empty() && changes.renamed.empty())
        fail("nothing to change; give --set, --delete, --rename or --chat-template");
    return changes;
}

/// Says which keys would be new that look like one that the file has: a slip, most likely.
void note_slips(const GgufHeader& before, const MetadataChanges& changes) {
    constexpr size_t kSlip = 2;       // letters, as two that have changed places
    constexpr size_t kLeastKey = 10;  // in shorter keys that is not so little
    for (const auto& [key, value] : changes.set) {
        if (before.find(key) != nullptr || key.size() < kLeastKey) continue;
        for (const KeyValue& entry : before.metadata()) {
            if (edit_distance(key, entry.key) > kSlip) continue;
            fmt::print(stderr, "ingot: {} {} is a new key; the file has {}\n",
                       Painter(stderr)(Tone::Warning, "note:"), printable(key), printable(entry.key));
        }
    }
}

std::string hyperparameter_problem(const GgufHeader& header) {
    try {
        runtime::Hyperparameters::from_header(header);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

/// What no longer works after the edit, and did before.
void check_sense(const GgufHeader& before, const GgufHeader& after) {
    constexpr const char* kForce = "; --force writes it all the same";
    for (const KeyValue& entry : after.metadata()) {
        if (!entry.key.starts_with(kTemplate) || entry.value.type() != ValueType::String) continue;
        const Value* old = before.find(entry.key);
        if (old && inspect::same_value(*old, entry.value)) continue;
        if (const std::string problem = inspect::template_problem(entry.value.as_string()); !problem.empty())
            fail("{}: {}{}", printable(entry.key), problem, kForce);
    }
    if (before.tensors().empty() || !hyperparameter_problem(before).empty()) return;
    if (const std::string problem = hyperparameter_problem(after); !problem.empty())
        fail("after this edit Ingot could not run the model: {}{}", problem, kForce);
}

void run_edit(const Options& options) {
    if (options.recover) {
        const bool finished = finish_patch(options.file);
        return print_out(
            fmt::format("{}: {}\n", options.file,
                        finished ? "the edit that was cut short is finished" : "nothing to finish"));
    }
    // Metadata is in the first shard, whichever was given.
    const GgufModel model(options.file);
    const GgufFile& file = model.files().front();
    const MetadataChanges changes = changes_of(file.header(), options);
    const EditedHeader edited = edit_header(file, changes, options.rewrite);
    const uint64_t data_bytes = file.bytes().size() - edited.before.size();
    const GgufHeader after = GgufHeader::parse(edited.bytes, edited.bytes.size() + data_bytes);
    if (!options.force) check_sense(file.header(), after);
    note_slips(file.header(), changes);

    uint64_t n_same = 0;
    const auto changed = inspect::diff_metadata(file.header(), after, {}, n_same);
    const Painter paint(stdout);
    const std::string path = file.path().string();
    std::string text = key_changes_view(changed, n_same, paint, terminal_columns(stdout));
    const std::string how =
        edited.in_place ? fmt::format("in place: {} of header", human_bytes(edited.bytes.size()))
                        : fmt::format("as a new file: {}", human_bytes(edited.bytes.size() + data_bytes));
    if (options.dry_run)
        return print_out(text + fmt::format("{}: would be written {} (--dry-run)\n", path, how));
    if (changed.empty() && !options.rewrite)
        return print_out(fmt::format("{}: is like that already\n", path));
    write_header(file, edited);
    print_out(text + fmt::format("{}: written {}\n", path, how));
}

}  // namespace

void add_edit(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command("edit", "Change metadata of a file, in place where it fits");
    command->add_option("FILE", options->file, "GGUF file, or any shard of a split model")->required();
    command
        ->add_option("--set", options->set, "A key's value; of the type that it has, or that it looks like")
        ->one_value_each_time()
        ->type_name("KEY=VALUE");
    command
        ->add_option("--type", options->type, "Of the keys that are set: uint32, string … (arrays: elements)")
        ->type_name("TYPE");
    command->add_option("--delete", options->erased, "Remove a key")->one_value_each_time()->type_name("KEY");
    command->add_option("--rename", options->renamed, "Another name for a key")
        ->one_value_each_time()
        ->type_name("OLD=NEW");
    command
        ->add_option("--chat-template", options->template_file,
                     "The text of a file as tokenizer.chat_template")
        ->type_name("FILE");
    command->add_flag("--dry-run", options->dry_run, "Only show what would change");
    command->add_flag("--rewrite", options->rewrite, "Write the whole file anew, with fresh spare bytes");
    command->add_flag("--force", options->force, "Even if the model does not work afterwards");
    command->add_flag("--recover", options->recover, "Finish an edit that was cut short");
    command->footer(
        "Files that Ingot wrote have some 4,000 spare bytes in their header: an edit that fits there writes "
        "the "
        "header\n"
        "alone, whatever the file's size. Otherwise the file is written anew beside the old one. A crash "
        "leaves "
        "the old\n"
        "file or the new one.\n\n"
        "Examples:\n"
        "  ingot edit model.gguf --chat-template template.jinja\n"
        "  ingot edit model.gguf --set general.name='My model' --delete general.url --dry-run");
    command->callback([options] { run_edit(*options); });
}

}  // namespace ingot::cli
