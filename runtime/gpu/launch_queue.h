#pragma once
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "runtime/gpu/device.h"

namespace ingot::runtime {

/// Launches on their way to a device. They wait until flush(), before a copy; and where the same come again
/// and again, as for each token of a text, the device records them once and then does them as one sequence.
/// Not thread-safe.
class LaunchQueue {
  public:
    /// `device` must outlive it.
    explicit LaunchQueue(gpu::Device& device) : device_(device) {}

    template <typename Arguments>
    void launch(gpu::Kernel kernel, const gpu::Grid& grid, const Arguments& arguments) {
        static_assert(std::is_trivially_copyable_v<Arguments>);
        add(kernel, grid, std::as_bytes(std::span(&arguments, 1)));
    }
    /// Offers the launch that was given last, if it is one of `kernel` and still waits: where `change(grid,
    /// arguments)` is true, it becomes what that made of it. Two steps of which one reads what the other
    /// wrote become one so.
    template <typename Arguments, typename Change>
    bool amend_last(gpu::Kernel kernel, Change change) {
        if (waiting_.launches.empty() || waiting_.launches.back().kernel != kernel) return false;
        Launch& last = waiting_.launches.back();
        Arguments arguments;
        std::memcpy(&arguments, waiting_.arguments.data() + last.first, sizeof arguments);
        if (!change(last.grid, arguments)) return false;
        std::memcpy(waiting_.arguments.data() + last.first, &arguments, sizeof arguments);
        return true;
    }
    /// The kernel of that launch; none: nothing waits.
    std::optional<gpu::Kernel> last() const {
        if (waiting_.launches.empty()) return std::nullopt;
        return waiting_.launches.back().kernel;
    }
    /// Takes it back.
    void drop_last() {
        --n_given_;
        waiting_.arguments.resize(waiting_.launches.back().first);
        waiting_.launches.pop_back();
    }
    /// Gives the device all that waits. Throws Error when the device does.
    void flush();

    uint64_t n_given() const { return n_given_; }        // less those that were taken back
    uint64_t n_launched() const { return n_launched_; }  // one by one
    uint64_t n_replays() const { return n_replays_; }    // of sequences

  private:
    struct Launch {
        gpu::Kernel kernel;
        gpu::Grid grid;
        size_t first, n_bytes;  // of the arguments
    };
    struct Batch {
        std::vector<Launch> launches;
        std::vector<std::byte> arguments;
        bool is_same_as(const Batch& other) const;
    };
    struct Known {
        Batch batch;
        gpu::Sequence sequence = 0;  // 0: seen, not recorded
    };
    void add(gpu::Kernel kernel, const gpu::Grid& grid, std::span<const std::byte> arguments);
    void launch_all(const Batch& batch);

    gpu::Device& device_;
    Batch waiting_;
    std::vector<Known> known_;  // those that came last are last
    uint64_t n_given_ = 0, n_launched_ = 0, n_replays_ = 0;
};

}  // namespace ingot::runtime
