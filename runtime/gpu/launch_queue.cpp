#include "runtime/gpu/launch_queue.h"

#include <algorithm>
#include <utility>

namespace ingot::runtime {
namespace {

constexpr size_t kLeastRecorded = 8;  // launches; fewer are as quick one by one
constexpr size_t kMostKnown = 16;     // batches: of one token, of some contexts' lengths, of several guesses

}  // namespace

bool LaunchQueue::Batch::is_same_as(const Batch& other) const {
    return arguments == other.arguments &&
           std::ranges::equal(launches, other.launches, [](const Launch& a, const Launch& b) {
               return a.kernel == b.kernel && a.grid.x == b.grid.x && a.grid.y == b.grid.y &&
                      a.grid.z == b.grid.z && a.grid.n_threads == b.grid.n_threads;
           });
}

void LaunchQueue::add(gpu::Kernel kernel, const gpu::Grid& grid, std::span<const std::byte> arguments) {
    ++n_given_;
    waiting_.launches.push_back({kernel, grid, waiting_.arguments.size(), arguments.size()});
    waiting_.arguments.insert(waiting_.arguments.end(), arguments.begin(), arguments.end());
}

void LaunchQueue::launch_all(const Batch& batch) {
    for (const Launch& launch : batch.launches) {
        device_.launch(launch.kernel, launch.grid,
                       std::span(batch.arguments).subspan(launch.first, launch.n_bytes));
    }
}

void LaunchQueue::flush() {
    if (waiting_.launches.empty()) return;
    const Batch batch = std::exchange(waiting_, {});  // gone, also where the device fails
    if (batch.launches.size() < kLeastRecorded) {
        n_launched_ += batch.launches.size();
        return launch_all(batch);
    }
    const auto found =
        std::ranges::find_if(known_, [&](const Known& known) { return known.batch.is_same_as(batch); });
    if (found == known_.end()) {
        if (known_.size() == kMostKnown) {
            if (known_.front().sequence != 0) device_.forget(known_.front().sequence);
            known_.erase(known_.begin());
        }
        n_launched_ += batch.launches.size();
        launch_all(batch);
        known_.push_back({batch, 0});
        return;
    }
    std::rotate(found, found + 1, known_.end());
    Known& known = known_.back();
    if (known.sequence == 0) {
        device_.begin_sequence();
        launch_all(known.batch);
        known.sequence = device_.end_sequence();
    }
    ++n_replays_;
    device_.replay(known.sequence);
}

}  // namespace ingot::runtime
