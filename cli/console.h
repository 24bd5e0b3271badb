#pragma once
// What all commands share when they print for people: colours, units, tables.
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/error.h"
#include "format/tensor_type.h"

namespace ingot::cli {

// --- Colours -----------------------------------------------------------------------------------------------

/// --color: Auto means on a terminal, unless NO_COLOR is set (https://no-color.org) or TERM is "dumb".
enum class ColorChoice { Auto, Always, Never };
void set_color_choice(ColorChoice choice);

enum class Tone { Plain, Heading, Key, Dim, Accent, Good, Warning, Bad, Magenta };
/// A tensor type's colour, by its bits per element: wide types are cool, narrow ones warm.
Tone tone_of(TensorType type);

bool is_terminal(FILE* stream);
bool is_colored(FILE* stream);
/// Columns of the terminal behind `stream`; `otherwise` when there is none.
size_t terminal_columns(FILE* stream, size_t otherwise = 100);

/// Text for one stream: with the tone's colour where the stream is coloured, as it is elsewhere.
class Painter {
  public:
    explicit Painter(FILE* stream) : colored_(is_colored(stream)) {}
    std::string operator()(Tone tone, std::string_view text) const;

  private:
    bool colored_;
};

/// Prints to stdout. Throws Error when it cannot be written (a full disk).
void print_out(std::string_view text);

/// Prints "ingot: error: …" to stderr, after what was printed to stdout.
void report_error(std::string_view message);

// --- Units (whole numbers: grouped() of format/error.h) ----------------------------------------------------

std::string human_bytes(uint64_t size_bytes);               // 2.91 MiB, 512 bytes
std::string human_count(uint64_t count);                    // 5.24 M, 999
std::string human_seconds(double seconds);                  // 12.3 ms, 4.21 s, 3 min 12 s
std::string plural(uint64_t count, std::string_view noun);  // 1 tensor, 56 tensors

// --- Tables ------------------------------------------------------------------------------------------------

/// Columns that `text` takes on a terminal.
size_t display_columns(std::string_view text);
/// `text`, its middle replaced by "…" where it takes more than `columns` columns.
std::string cut_middle(std::string_view text, size_t columns);
std::string pad_left(std::string_view text, size_t columns);   // right-aligned
std::string pad_right(std::string_view text, size_t columns);  // left-aligned

/// Rows of cells in aligned columns, two spaces apart; no trailing spaces.
class Table {
  public:
    enum Align { kLeft, kRight };
    struct Column {
        std::string title;  // the title row is left out when all titles are empty
        Align align = kLeft;
        Tone tone = Tone::Plain;
    };
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    void add(std::vector<std::string> cells) { rows_.push_back({std::move(cells), {}}); }
    /// Another tone than its column's for one cell of the row that was added last.
    void tint(size_t column, Tone tone) { rows_.back().tints.emplace_back(column, tone); }
    /// Every line starts with `indent` spaces.
    std::string text(const Painter& paint, size_t indent = 2) const;

  private:
    struct Row {
        std::vector<std::string> cells;
        std::vector<std::pair<size_t, Tone>> tints;
    };
    std::vector<Column> columns_;
    std::vector<Row> rows_;
};

/// A bar of `columns` columns, filled to `share` (0 … 1) in eighths of a column; any share above zero shows.
std::string bar(double share, size_t columns);

}  // namespace ingot::cli
