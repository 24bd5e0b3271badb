#include "runtime/gpu/emulator/group.h"

#include <cmath>
#include <utility>

#include "format/error.h"
#include "format/half.h"

namespace ingot::runtime::gpu::emulator {

void Group::run(const char* kernel, Body body, const void* arguments, const Grid& grid) {
    if (grid.n_threads == 0 || grid.n_threads % kLanes != 0 || grid.n_threads > 1024)
        fail("kernel {}: groups of {} threads; expected a multiple of {} up to 1024", kernel, grid.n_threads,
             kLanes);
    n_threads_ = grid.n_threads;
    body_ = body;
    arguments_ = arguments;
    while (lanes_.size() < n_threads_) lanes_.push_back(std::make_unique<Lane>());
    now_.kernel = kernel;
    now_.launch_begin = ++now_.interval;
    struct Running {
        explicit Running(Group* group) { running_group = group; }
        ~Running() { running_group = nullptr; }
    } const running(this);
    if (counter_ != nullptr) counter_->begin_launch(kernel);
    for (now_.z = 0; now_.z < grid.z; ++now_.z) {
        for (now_.y = 0; now_.y < grid.y; ++now_.y) {
            for (now_.x = 0; now_.x < grid.x; ++now_.x) run_group();
        }
    }
    if (counter_ != nullptr) counter_->end_launch();
}

void Group::count(AccessKind kind, uint64_t place, size_t size_bytes, const std::source_location& where) {
    const bool is_weight = kind == AccessKind::Load && memory_.is_read_only(place, now_);
    counter_->note(kind, now_.thread % kLanes, place, size_bytes, is_weight, where);
}

// The body of a fibre. An error ends the launch: fibres that are still waiting are never resumed.
void Group::run_lane(void* of) {
    Lane& lane = *static_cast<Lane*>(of);
    try {
        lane.group->body_(lane.group->arguments_, *lane.group);
        if (lane.under_way.has_products())
            fail("{}: ends while products are under way", lane.group->now_.place());
    } catch (...) {
        lane.group->error_ = std::current_exception();
    }
    lane.state = State::Done;
}

void Group::run_group() {
    now_.group_begin = ++now_.interval;
    shared_.forget();
    for (uint32_t i = 0; i < n_threads_; ++i) {
        lane(i).group = this;
        lane(i).state = State::Runs;
        lane(i).has_waited = false;
        if (lane(i).under_way.has_products() || lane(i).under_way.has_copies()) lane(i).under_way = {};
        lane(i).fibre.start(run_lane, &lane(i));
    }
    for (;;) {
        do {
            for (uint32_t first = 0; first < n_threads_; first += kLanes) run_warp(first);
        } while (complete_products());
        // Every thread is done or waits at a barrier: at the same one, or it is a mistake.
        uint32_t n_waiting = 0;
        for (uint32_t i = 0; i < n_threads_; ++i) n_waiting += lane(i).state == State::AtBarrier;
        if (n_waiting == 0) return;
        const Lane* one = nullptr;
        for (uint32_t i = 0; i < n_threads_; ++i) {
            now_.thread = i;
            if (lane(i).state != State::AtBarrier) {
                fail("{}: ends without the barrier at which {} of the group's {} threads wait", now_.place(),
                     n_waiting, n_threads_);
            }
            if (one == nullptr) one = &lane(i);
            if (!same_place(one->where, lane(i).where)) {
                fail("{}: waits at the barrier of line {}, thread 0 at that of line {}", now_.place(),
                     lane(i).where.line(), one->where.line());
            }
        }
        ++now_.interval;
        for (uint32_t i = 0; i < n_threads_; ++i) lane(i).state = State::Runs;
    }
}

// Until all its lanes are done, at a barrier or wait for products.
void Group::run_warp(uint32_t first) {
    for (;;) {
        for (uint32_t i = first; i < first + kLanes; ++i) {
            if (lane(i).state != State::Runs) continue;
            now_.thread = i;
            now_.has_waited = lane(i).has_waited;
            lane(i).fibre.resume();
            if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
            if (lane(i).state == State::Done && !lane(i).has_waited)
                fail("{}: ends without waiting for the last launch", now_.place());
        }
        uint32_t n_exchanging = 0;
        for (uint32_t i = first; i < first + kLanes; ++i) n_exchanging += lane(i).state == State::AtExchange;
        if (counter_ != nullptr) {
            const Lane& one = lane(first);
            using enum Counter::Meeting;
            counter_->meet(one.state == State::AtBarrier    ? Barrier
                           : one.state == State::AtProducts ? Product
                           : n_exchanging == 0              ? End
                           : one.kind >= Exchange::Product  ? Product
                                                            : Exchange);
        }
        if (n_exchanging == 0) return;
        complete_exchange(first);
    }
}

void Group::complete_exchange(uint32_t first) {
    const Lane& one = lane(first);
    for (uint32_t i = first; i < first + kLanes; ++i) {
        now_.thread = i;
        const Lane& other = lane(i);
        if (other.state != State::AtExchange || other.kind != one.kind ||
            !same_place(other.where, one.where)) {
            fail("{}: is not at the exchange of line {} with the other lanes of its warp", now_.place(),
                 (one.state == State::AtExchange ? one : other).where.line());
        }
    }
    uint32_t values[kLanes];
    for (uint32_t i = 0; i < kLanes; ++i) values[i] = lane(first + i).value;
    if (one.kind == Exchange::Sum || one.kind == Exchange::Max) {
        // The order in which hardware without an instruction for it would add: halves, quarters …
        float reduced[kLanes];
        for (uint32_t i = 0; i < kLanes; ++i) reduced[i] = __builtin_bit_cast(float, values[i]);
        for (uint32_t n = kLanes / 2; n > 0; n /= 2) {
            for (uint32_t i = 0; i < n; ++i) {
                reduced[i] = one.kind == Exchange::Sum ? reduced[i] + reduced[i + n]
                                                       : std::fmax(reduced[i], reduced[i + n]);
            }
        }
        for (uint32_t i = 0; i < kLanes; ++i)
            lane(first + i).result = __builtin_bit_cast(uint32_t, reduced[0]);
    } else if (one.kind == Exchange::Product) {
        complete_product(first);
    } else if (one.kind == Exchange::ProductF16 || one.kind == Exchange::ProductBf16) {
        complete_float_product(first);
    } else {
        for (uint32_t i = 0; i < kLanes; ++i) {
            Lane& to = lane(first + i);
            const uint32_t from = one.kind == Exchange::Shuffle ? to.parameter : i ^ to.parameter;
            now_.thread = first + i;
            if (from >= kLanes) fail("{}: asks for the value of lane {}", now_.place(), from);
            to.result = values[from];
        }
    }
    for (uint32_t i = first; i < first + kLanes; ++i) lane(i).state = State::Runs;
}

void Group::complete_product(uint32_t first) {
    // Four lanes have the 16 bytes of a row.
    const auto dot = [&](uint32_t row_of_a, size_t operand, uint32_t row_of_b) {
        int32_t sum = 0;
        for (uint32_t t = 0; t < 4; ++t) {
            const uint32_t a = lane(first + 4 * row_of_a + t).operands[operand];
            const uint32_t b = lane(first + 4 * row_of_b + t).operands[2];
            for (uint32_t i = 0; i < 32; i += 8) sum += int32_t(int8_t(a >> i)) * int32_t(int8_t(b >> i));
        }
        return sum;
    };
    for (uint32_t i = 0; i < kLanes; ++i) {
        for (uint32_t element = 0; element < 4; ++element)
            lane(first + i).elements[element] += uint32_t(dot(i / 4, element / 2, 2 * (i % 4) + element % 2));
    }
}

void Group::complete_float_product(uint32_t first) {
    const bool is_f16 = lane(first).kind == Exchange::ProductF16;
    float a[16][16], b[8][16];
    // Lane 4r + t has elements 2t and 2t + 1 of two rows of A and of one of B, and those 8 behind.
    for (uint32_t i = 0; i < kLanes; ++i) {
        const uint32_t row = i / 4;
        float* const rows[] = {a[row], a[row + 8], a[row] + 8, a[row + 8] + 8, b[row], b[row] + 8};
        for (size_t operand = 0; operand < 6; ++operand) {
            for (uint32_t j = 0; j < 2; ++j) {
                const auto bits = uint16_t(lane(first + i).operands[operand] >> (16 * j));
                rows[operand][2 * (i % 4) + j] = is_f16 ? half_to_float(bits) : bf16_to_float(bits);
            }
        }
    }
    for (uint32_t i = 0; i < kLanes; ++i) {
        for (uint32_t element = 0; element < 4; ++element) {
            const float* const row = a[i / 4 + 8 * (element / 2)];
            const float* const column = b[2 * (i % 4) + element % 2];
            uint32_t& bits = lane(first + i).elements[element];
            auto sum = __builtin_bit_cast(float, bits);
            for (int k = 0; k < 16; ++k) sum += row[k] * column[k];
            bits = __builtin_bit_cast(uint32_t, sum);
        }
    }
}

void Group::wait_for_last_launch() {
    lane(now_.thread).has_waited = true;
    now_.has_waited = true;
}

void Group::barrier(const std::source_location& where) {
    Lane& me = lane(now_.thread);
    me.where = where;
    me.state = State::AtBarrier;
    me.fibre.stop();
}

uint32_t Group::exchange(Exchange kind, uint32_t value, uint32_t parameter,
                         const std::source_location& where) {
    Lane& me = lane(now_.thread);
    me.value = value;
    me.parameter = parameter;
    meet(kind, where);
    return me.result;
}

void Group::product(Exchange kind, const Operands& operands, Elements& elements,
                    const std::source_location& where) {
    Lane& me = lane(now_.thread);
    me.operands = operands;
    me.elements = elements;
    meet(kind, where);
    elements = me.elements;
}

void Group::meet(Exchange kind, const std::source_location& where) {
    Lane& me = lane(now_.thread);
    me.where = where;
    me.kind = kind;
    me.state = State::AtExchange;
    me.fibre.stop();
}

}  // namespace ingot::runtime::gpu::emulator
