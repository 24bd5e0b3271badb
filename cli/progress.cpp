#include "cli/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "cli/console.h"

namespace ingot::cli {

ProgressBar::ProgressBar(std::string label) : label_(std::move(label)), enabled_(is_terminal(stderr)) {}

ProgressBar::~ProgressBar() {
    clear();
}

void ProgressBar::update(uint64_t done_bytes, uint64_t total_bytes) {
    if (!enabled_) return;
    const std::unique_lock lock(drawing_, std::try_to_lock);
    if (!lock) return;
    const auto now = Clock::now();
    if (now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double share = total_bytes == 0 ? 1 : double(done_bytes) / double(total_bytes);
    const double rate = double(done_bytes) / seconds;  // bytes per second
    const double left = rate > 0 ? double(total_bytes - std::min(done_bytes, total_bytes)) / rate : 0;

    const std::string figures = fmt::format(
        "{:3.0f} %  {} of {}  {}/s  {:.0f}:{:02.0f} left", 100 * share, human_bytes(done_bytes),
        human_bytes(total_bytes), human_bytes(uint64_t(rate)), std::floor(left / 60), std::fmod(left, 60));
    const size_t used = display_columns(label_) + display_columns(figures) + 5;
    const size_t columns = terminal_columns(stderr);
    const size_t bar_columns = columns > used + 10 ? std::min<size_t>(columns - used, 40) : 0;
    const Painter paint(stderr);
    const std::string drawing = paint(Tone::Accent, pad_right(bar(share, bar_columns), bar_columns));
    fmt::print(stderr, "\r\x1b[K{}  {}  {}", label_, drawing, figures);
    std::fflush(stderr);
    drawn_ = true;
}

void ProgressBar::clear() {
    if (!drawn_) return;
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
    drawn_ = false;
}

}  // namespace ingot::cli
