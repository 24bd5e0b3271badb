#include "runtime/gpu/emulator/emulator.h"

#include <cstring>

#include "format/error.h"
#include "runtime/gpu/emulator/kernels.h"

namespace ingot::runtime::gpu {

DeviceProperties EmulatorDevice::properties() const {
    return {.name = "emulator",
            .kind = "emulator",
            .memory_bytes = memory_.capacity_bytes(),
            .free_bytes = memory_.capacity_bytes() - memory_.used_bytes(),
            .n_processors = 1,
            .group_memory = emulator::GroupMemory::kBytes,
            .has_warpgroup_products = true};
}

void EmulatorDevice::check_not_recording(const char* what) const {
    if (is_recording_) fail("emulator: {} while a sequence is recorded", what);
}

Address EmulatorDevice::allocate(size_t size_bytes, Access access) {
    check_not_recording("an allocation");
    return memory_.allocate(size_bytes, access);
}

// In two parts, where there is more than a row: what fills them has to look at the offset.
void EmulatorDevice::fill(Address destination, size_t size_bytes, size_t row_bytes, const Fill& fill) {
    check_not_recording("an upload");
    if (size_bytes == 0) return;
    const std::span bytes(memory_.host(destination, size_bytes), size_bytes);
    const size_t first = size_bytes / row_bytes / 2 * row_bytes;
    if (first != 0) fill(0, bytes.first(first));
    fill(first, bytes.subspan(first));
}

void EmulatorDevice::download(Address source, std::span<std::byte> destination) {
    check_not_recording("a download");
    if (destination.empty()) return;
    std::memcpy(destination.data(), memory_.host(source, destination.size()), destination.size());
}

void EmulatorDevice::launch(Kernel kernel, const Grid& grid, std::span<const std::byte> arguments) {
    const emulator::EmulatedKernel& entry = emulator::kernels()[size_t(kernel)];
    if (arguments.size() != entry.argument_bytes) {
        fail("kernel {}: has {} bytes of arguments; expected {}", entry.name, arguments.size(),
             entry.argument_bytes);
    }
    if (is_recording_) {
        recording_.push_back({kernel, grid, {arguments.begin(), arguments.end()}});
        return;
    }
    group_.run(entry.name, entry.body, arguments.data(), grid);
}

void EmulatorDevice::begin_sequence() {
    check_not_recording("a sequence begins");
    is_recording_ = true;
    recording_.clear();
}

Sequence EmulatorDevice::end_sequence() {
    is_recording_ = false;
    sequences_[++n_sequences_] = std::move(recording_);
    recording_.clear();
    return n_sequences_;
}

void EmulatorDevice::replay(Sequence sequence) {
    check_not_recording("a replay");
    const auto found = sequences_.find(sequence);
    if (found == sequences_.end()) fail("emulator: there is no sequence {}", sequence);
    for (const Launch& launched : found->second)
        launch(launched.kernel, launched.grid, std::span<const std::byte>(launched.arguments));
}

}  // namespace ingot::runtime::gpu
