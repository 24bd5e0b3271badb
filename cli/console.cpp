#include "cli/console.h"

#include <fmt/color.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "format/error.h"
#include "format/utf8.h"

namespace ingot::cli {

namespace {

ColorChoice color_choice = ColorChoice::Auto;

fmt::text_style style_of(Tone tone) {
    switch (tone) {
        case Tone::Plain:
            break;
        case Tone::Heading:
            return fmt::emphasis::bold;
        case Tone::Key:
            return fmt::fg(fmt::terminal_color::cyan);
        case Tone::Dim:
            return fmt::emphasis::faint;
        case Tone::Accent:
            return fmt::fg(fmt::terminal_color::blue);
        case Tone::Good:
            return fmt::fg(fmt::terminal_color::green);
        case Tone::Warning:
            return fmt::fg(fmt::terminal_color::yellow);
        case Tone::Bad:
            return fmt::emphasis::bold | fmt::fg(fmt::terminal_color::red);
        case Tone::Magenta:
            return fmt::fg(fmt::terminal_color::magenta);
    }
    return {};
}

}  // namespace

void set_color_choice(ColorChoice choice) {
    color_choice = choice;
}

Tone tone_of(TensorType type) {
    const double bits = info(type).bits_per_element();
    if (bits >= 16) return Tone::Accent;
    if (bits >= 8) return Tone::Key;
    if (bits >= 5) return Tone::Good;
    if (bits >= 4) return Tone::Warning;
    return Tone::Magenta;
}

bool is_terminal(FILE* stream) {
    return ::isatty(::fileno(stream)) == 1;
}

bool is_colored(FILE* stream) {
    if (color_choice != ColorChoice::Auto) return color_choice == ColorChoice::Always;
    const char* no_color = std::getenv("NO_COLOR");
    if (no_color && *no_color) return false;
    const char* terminal = std::getenv("TERM");
    return is_terminal(stream) && terminal && std::string_view(terminal) != "dumb";
}

size_t terminal_columns(FILE* stream, size_t otherwise) {
    winsize size{};
    if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return otherwise;
    return size.ws_col;
}

std::string Painter::operator()(Tone tone, std::string_view text) const {
    if (!colored_ || tone == Tone::Plain || text.empty()) return std::string(text);
    return fmt::format(style_of(tone), "{}", text);
}

void print_out(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
        fail("cannot write to standard output: {}", std::strerror(errno));
    }
}

void report_error(std::string_view message) {
    std::fflush(stdout);
    const Painter paint(stderr);
    fmt::print(stderr, "ingot: {} {}\n", paint(Tone::Bad, "error:"), message);
}

namespace {

/// Three significant digits or all of the integer part: 2.91, 29.1, 291, 1023.
std::string three_digits(double number) {
    const int decimals = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
    return fmt::format("{:.{}f}", number, decimals);
}

std::string scaled(uint64_t number, double step, std::string_view small_unit,
                   std::initializer_list<std::string_view> units) {
    if (double(number) < step) return fmt::format("{}{}", number, small_unit);
    double scaled_number = double(number);
    std::string_view unit;
    for (const std::string_view candidate : units) {
        scaled_number /= step;
        unit = candidate;
        if (scaled_number < step - 0.5) break;
    }
    return fmt::format("{} {}", three_digits(scaled_number), unit);
}

}  // namespace

std::string human_bytes(uint64_t size_bytes) {
    return scaled(size_bytes, 1024, size_bytes == 1 ? " byte" : " bytes",
                  {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"});
}

std::string human_count(uint64_t count) {
    return scaled(count, 1000, "", {"K", "M", "B", "T"});
}

std::string human_seconds(double seconds) {
    if (seconds < 0.9995) return fmt::format("{} ms", three_digits(seconds * 1000));
    if (seconds < 99.95) return fmt::format("{} s", three_digits(seconds));
    const auto whole = uint64_t(std::llround(seconds));
    if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
    return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

std::string plural(uint64_t count, std::string_view noun) {
    return fmt::format("{} {}{}", grouped(count), noun, count == 1 ? "" : "s");
}

size_t display_columns(std::string_view text) {
    size_t columns = 0;
    while (!text.empty()) {
        const Utf8Step step = utf8_step(text);
        columns += size_t(std::max(0, utf8proc_charwidth(utf8proc_int32_t(step.code_point))));
        text.remove_prefix(step.length_bytes);
    }
    return columns;
}

std::string cut_middle(std::string_view text, size_t columns) {
    if (display_columns(text) <= columns) return std::string(text);
    std::vector<std::string_view> points;
    for (std::string_view rest = text; !rest.empty();) {
        points.push_back(rest.substr(0, utf8_step(rest).length_bytes));
        rest.remove_prefix(points.back().size());
    }
    const size_t kept = columns > 0 ? columns - 1 : 0, front = (kept + 1) / 2;
    std::string out;  // wide characters may leave it a little wider
    for (size_t i = 0; i < front; ++i) out += points[i];
    out += "…";
    for (size_t i = points.size() - (kept - front); i < points.size(); ++i) out += points[i];
    return out;
}

std::string pad_left(std::string_view text, size_t columns) {
    const size_t width = display_columns(text);
    return std::string(width < columns ? columns - width : 0, ' ').append(text);
}

std::string pad_right(std::string_view text, size_t columns) {
    const size_t width = display_columns(text);
    return std::string(text).append(width < columns ? columns - width : 0, ' ');
}

std::string Table::text(const Painter& paint, size_t indent) const {
    std::vector<size_t> widths;
    for (const Column& column : columns_) widths.push_back(display_columns(column.title));
    for (const Row& row : rows_) {
        for (size_t i = 0; i < row.cells.size(); ++i)
            widths[i] = std::max(widths[i], display_columns(row.cells[i]));
    }

    std::string out;
    const auto append_row = [&](const Row& row, bool is_title) {
        const std::vector<std::string>& cells = row.cells;
        size_t last = cells.size();  // one past the last cell that shows anything
        while (last > 0 && cells[last - 1].empty()) --last;
        out.append(indent, ' ');
        for (size_t i = 0; i < last; ++i) {
            if (i > 0) out += "  ";
            const bool right = columns_[i].align == kRight;
            const size_t width = i + 1 == last && !right ? 0 : widths[i];  // nothing after the last cell
            const std::string cell = right ? pad_left(cells[i], width) : pad_right(cells[i], width);
            Tone tone = is_title ? Tone::Dim : columns_[i].tone;
            for (const auto& [column, tint] : row.tints)
                if (column == i) tone = tint;
            out += paint(tone, cell);
        }
        out += '\n';
    };

    std::vector<std::string> titles;
    for (const Column& column : columns_) titles.push_back(column.title);
    if (std::any_of(titles.begin(), titles.end(), [](const auto& title) { return !title.empty(); })) {
        append_row({titles, {}}, true);
    }
    for (const Row& row : rows_) append_row(row, false);
    return out;
}

std::string bar(double share, size_t columns) {
    static constexpr std::array<const char*, 8> kEighths = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    const double clamped = std::clamp(share, 0.0, 1.0);
    auto eighths = size_t(std::lround(clamped * double(columns) * 8));
    if (clamped > 0) eighths = std::max<size_t>(eighths, 1);
    std::string out;
    for (size_t i = 0; i < eighths / 8; ++i) out += "█";
    return out + kEighths[eighths % 8];
}

}  // namespace ingot::cli
