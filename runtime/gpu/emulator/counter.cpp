#include "runtime/gpu/emulator/counter.h"

#include <algorithm>

namespace ingot::runtime::gpu::emulator {
namespace {

constexpr uint64_t kSectorBytes = 32, kBanks = 32, kWordBytes = 4;
constexpr uint32_t kWarp = 32;  // lanes

}  // namespace

AccessCounts& AccessCounts::operator+=(const AccessCounts& other) {
    n_instructions += other.n_instructions;
    n_bytes += other.n_bytes;
    n_steps += other.n_steps;
    n_least += other.n_least;
    return *this;
}

KernelCounts Counter::of(const std::string& kernel) const {
    const auto found = kernels_.find(kernel);
    return found == kernels_.end() ? KernelCounts{} : found->second;
}

void Counter::clear() {
    kernels_.clear();
    sites_.clear();
}

void Counter::begin_launch(const char* kernel) {
    kernel_ = kernel;
    counts_ = &kernels_[kernel_];
    ++counts_->n_launches;
    pending_.clear();  // of a launch that failed
    weight_sectors_.clear();
}

void Counter::end_launch() {
    counts_->weight_bytes += kSectorBytes * weight_sectors_.size();
}

void Counter::note(AccessKind kind, uint32_t lane, uint64_t place, size_t size_bytes, bool is_weight,
                   const std::source_location& where) {
    Pending& pending = pending_[{{}, where.file_name(), where.line(), where.column(), kind}];
    if (pending.n_used == 0 || pending.lane != lane) {
        pending.lane = lane;
        pending.n_of_lane = 0;
    }
    const size_t number = pending.n_of_lane++;
    if (number >= pending.instructions.size()) pending.instructions.emplace_back();
    Instruction& instruction = pending.instructions[number];
    if (number >= pending.n_used) {
        pending.n_used = number + 1;
        instruction.accesses.clear();
        instruction.size_bytes = size_bytes;
        instruction.is_weight = is_weight;
    }
    // One place, but as a template for several types: the widest counts.
    instruction.size_bytes = std::max(instruction.size_bytes, size_bytes);
    instruction.accesses.push_back({lane, place});
}

AccessCounts Counter::count_sectors(const Instruction& instruction) {
    AccessCounts counts{.n_instructions = 1};
    places_.clear();
    for (const Access& access : instruction.accesses) places_.push_back(access.place);
    std::sort(places_.begin(), places_.end());
    uint64_t end = 0, next_sector = 0;  // what comes before has been counted
    for (const uint64_t place : places_) {
        const uint64_t last = place + instruction.size_bytes;
        if (last > end) counts.n_bytes += last - std::max(place, end);
        end = std::max(end, last);
        for (uint64_t s = std::max(place / kSectorBytes, next_sector); s * kSectorBytes < last; ++s) {
            ++counts.n_steps;
            if (instruction.is_weight) weight_sectors_.insert(s);
            next_sector = s + 1;
        }
    }
    counts.n_least = (counts.n_bytes + kSectorBytes - 1) / kSectorBytes;
    return counts;
}

AccessCounts Counter::count_passes(const Instruction& instruction) {
    AccessCounts counts{.n_instructions = 1};
    const uint64_t n_words = std::max<uint64_t>(1, instruction.size_bytes / kWordBytes);  // of a lane
    const auto n_lanes = uint32_t(kWarp / n_words);  // that are served together
    for (uint32_t first = 0; first < kWarp; first += n_lanes) {
        places_.clear();  // words
        for (const Access& access : instruction.accesses) {
            if (access.lane < first || access.lane >= first + n_lanes) continue;
            for (uint64_t w = 0; w < n_words; ++w) places_.push_back(access.place / kWordBytes + w);
        }
        if (places_.empty()) continue;
        std::sort(places_.begin(), places_.end());
        places_.erase(std::unique(places_.begin(), places_.end()), places_.end());
        uint64_t of_bank[kBanks] = {};
        for (const uint64_t word : places_) ++of_bank[word % kBanks];
        counts.n_steps += *std::max_element(of_bank, of_bank + kBanks);
        ++counts.n_least;
        counts.n_bytes += places_.size() * std::min<uint64_t>(kWordBytes, instruction.size_bytes);
    }
    return counts;
}

void Counter::meet(Meeting meeting) {
    for (auto& [site, pending] : pending_) {
        const bool is_of_group = site.kind == AccessKind::GroupLoad || site.kind == AccessKind::GroupStore;
        AccessCounts all, weights;
        for (size_t i = 0; i < pending.n_used; ++i) {
            const Instruction& instruction = pending.instructions[i];
            const AccessCounts counts = is_of_group ? count_passes(instruction) : count_sectors(instruction);
            all += counts;
            if (instruction.is_weight) weights += counts;
        }
        if (pending.n_used == 0) continue;
        pending.n_used = 0;
        (is_of_group                     ? counts_->group
         : site.kind == AccessKind::Load ? counts_->loads
                                         : counts_->stores) += all;
        counts_->weights += weights;
        Site of_kernel = site;
        of_kernel.kernel = kernel_;
        sites_[of_kernel] += all;
    }
    counts_->n_exchanges += meeting == Meeting::Exchange;
    counts_->n_products += meeting == Meeting::Product;
    counts_->n_barriers += meeting == Meeting::Barrier;
}

}  // namespace ingot::runtime::gpu::emulator
