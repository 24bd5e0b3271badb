#pragma once
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace ingot::cli {

/// One line on stderr that is redrawn: a bar, the rate, the time left. Silent unless stderr is a terminal.
/// The destructor removes the line.
class ProgressBar {
  public:
    explicit ProgressBar(std::string label);
    ~ProgressBar();
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    /// Cheap: draws at most ten times a second. Workers may call it at once: one draws, the others go on.
    void update(uint64_t done_bytes, uint64_t total_bytes);
    void clear();

  private:
    using Clock = std::chrono::steady_clock;
    std::string label_;
    bool enabled_;
    std::mutex drawing_;
    bool drawn_ = false;
    Clock::time_point start_ = Clock::now();
    Clock::time_point last_ = start_;
};

}  // namespace ingot::cli
