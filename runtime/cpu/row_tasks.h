#pragma once
// How the rows of a matrix become tasks of threads.
#include <algorithm>
#include <cstdint>

#include "runtime/cpu/kernels.h"

namespace ingot::runtime::cpu {

/// n rows from `first` on; with a spacing, as many of each of kStreams streams that lie so many rows apart.
struct Rows {
    int64_t first, n, spacing;
};

class RowTasks {
  public:
    /// A task is so many rows that are neighbours.
    static RowTasks in_chunks(int64_t n_rows, int64_t n_each) { return {n_rows, n_rows, 1, n_each}; }
    /// Each of n_spans spans of neighbouring rows is read in kStreams streams, and a task is n_each rows of
    /// all of them. A stream goes on where the task before ended: what a thread reads is a few long pieces of
    /// memory, and yet there is little to wait for when all but one are done.
    static RowTasks in_streams(int64_t n_rows, int64_t n_spans, int64_t n_each) {
        return {n_rows, divide_up(n_rows, n_spans), kStreams, n_each};
    }

    int64_t count() const { return n_spans_ * n_steps_; }

    /// job(Rows) for the rows of a task. A span's last task also has those that its streams leave over, so
    /// there may be two pieces, or none.
    template <typename Job>
    void each(int64_t task, Job&& job) const {
        const int64_t first = task / n_steps_ * span_, step = task % n_steps_;
        const int64_t n_span = std::min(span_, n_rows_ - first);
        const int64_t n_stream = n_span / n_streams_, n_left = n_span % n_streams_;
        const int64_t n = std::min(n_each_, n_stream - step * n_each_);
        if (n > 0) job(Rows{first + step * n_each_, n, n_streams_ > 1 ? n_stream : 0});
        if (n_left > 0 && step == n_steps_ - 1) job(Rows{first + n_span - n_left, n_left, 0});
    }

  private:
    RowTasks(int64_t n_rows, int64_t span, int64_t n_streams, int64_t n_each)
        : n_rows_(n_rows),
          span_(std::max<int64_t>(1, span)),
          n_streams_(n_streams),
          n_each_(n_each),
          n_spans_(divide_up(n_rows, span_)),
          n_steps_(std::max<int64_t>(1, divide_up(span_ / n_streams, n_each))) {}
    static int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

    int64_t n_rows_;
    int64_t span_;       // rows, but of the last one
    int64_t n_streams_;  // of a span
    int64_t n_each_;     // rows of a stream in a task
    int64_t n_spans_, n_steps_;
};

}  // namespace ingot::runtime::cpu
