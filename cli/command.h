#pragma once
// One function per command, one file per function. Each adds its subcommand to the program; the subcommand's
// callback calls a library and prints. Errors leave as ingot::Error and are reported by main().
#include "cli/command_line.h"

namespace ingot::cli {

void add_convert(Command& program);
void add_quantize(Command& program);
void add_export(Command& program);
void add_inspect(Command& program);
void add_diff(Command& program);
void add_verify(Command& program);
void add_edit(Command& program);
void add_pack(Command& program);
void add_unpack(Command& program);
void add_split(Command& program);
void add_merge(Command& program);
void add_hash(Command& program);
void add_run(Command& program);
void add_tokenize(Command& program);
void add_perplexity(Command& program);
void add_imatrix(Command& program);
void add_measure(Command& program);
void add_bench(Command& program);
void add_plan(Command& program);

/// Thrown by a callback that wants an exit code without a message (130: interrupted).
struct Exit {
    int code;
};

}  // namespace ingot::cli
