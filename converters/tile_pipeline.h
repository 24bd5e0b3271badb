#pragma once
// Tiles on their way through all threads: taken in order, worked on side by side, put away in order.
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <utility>
#include <vector>

#include "converters/tiles.h"

namespace ingot::converters {

/// Cuts the tensors into tiles. A `Work` is a Tile with room for what becomes of it; at most 2 × threads of
/// them exist. `work_on(Work&)` is called from several threads at once; `put_away(const Work&)` in the order
/// of the tiles, one after the other. False when `cancel` (may be null) became true before the end.
template <typename Work, typename WorkOn, typename PutAway>
bool for_each_tile(std::vector<const TensorRows*> tensors, int n_threads, const std::atomic<bool>* cancel,
                   const WorkOn& work_on, const PutAway& put_away) {
    TileCursor cursor(std::move(tensors));
    std::vector<Work> ring(2 * size_t(n_threads));
    size_t n_tiles = 0;
    bool cancelled = false;
    const auto take = [&](tbb::flow_control& flow) -> Work* {
        cancelled = cancelled || (cancel && cancel->load(std::memory_order_relaxed));
        // Tiles in flight have consecutive numbers, so their places in the ring differ.
        Work& work = ring[n_tiles++ % ring.size()];
        if (!cancelled && cursor.next(work)) return &work;
        flow.stop();
        return nullptr;
    };
    const auto work = [&](Work* tile) {
        work_on(*tile);
        return tile;
    };
    tbb::task_arena arena(n_threads);
    arena.execute([&] {
        tbb::parallel_pipeline(ring.size(),
                               tbb::make_filter<void, Work*>(tbb::filter_mode::serial_in_order, take) &
                                   tbb::make_filter<Work*, Work*>(tbb::filter_mode::parallel, work) &
                                   tbb::make_filter<Work*, void>(tbb::filter_mode::serial_in_order,
                                                                 [&](Work* tile) { put_away(*tile); }));
    });
    return !cancelled;
}

}  // namespace ingot::converters
