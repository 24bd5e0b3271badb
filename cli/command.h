#pragma once
// One function per command, one file per function. Each adds its subcommand to the program; the subcommand's
// callback calls a library and prints. Errors leave as ingot::Error and are reported by main().
#include <CLI/CLI.hpp>

namespace ingot::cli {

void add_convert(CLI::App& program);
void add_quantize(CLI::App& program);
void add_export(CLI::App& program);
void add_inspect(CLI::App& program);
void add_diff(CLI::App& program);
void add_verify(CLI::App& program);
void add_edit(CLI::App& program);
void add_pack(CLI::App& program);
void add_unpack(CLI::App& program);
void add_split(CLI::App& program);
void add_merge(CLI::App& program);
void add_hash(CLI::App& program);
void add_run(CLI::App& program);
void add_tokenize(CLI::App& program);
void add_perplexity(CLI::App& program);
void add_imatrix(CLI::App& program);
void add_measure(CLI::App& program);
void add_bench(CLI::App& program);

/// Thrown by a callback that wants an exit code without a message (130: interrupted).
struct Exit {
    int code;
};

}  // namespace ingot::cli
