// Lagrangian bound, then dynamic programming over what the bound leaves.
//
// With a price λ on each byte the items come apart: min over all choices of Σ loss + λ (Σ size - budget)
// takes of each item the option with the least loss + λ size. For every λ that is a lower bound of the
// problem; the best λ is the slope at which the budget runs out when the steps along all items' lower convex
// hulls are taken in order of their gain per byte (Sinha and Zoltners, 1979). An option's reduced cost, what
// it costs above its item's least at that price, adds to the bound: a partial choice whose reduced costs
// exceed the distance from the bound to the best known solution need not be followed (Nemhauser and Ullmann,
// 1969, for the lists of states without dominated ones).
#include "converters/quantize/target/knapsack.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "format/error.h"

namespace ingot::converters {
namespace {

using Items = std::vector<std::vector<Option>>;

/// The options of an item that some budget may want, by rising size and falling loss: positions in `item`.
std::vector<size_t> undominated(const std::vector<Option>& item) {
    std::vector<size_t> order(item.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, {},
                             [&](size_t i) { return std::pair(item[i].size_bytes, item[i].loss); });
    std::vector<size_t> kept;
    for (const size_t i : order)
        if (kept.empty() || item[i].loss < item[kept.back()].loss) kept.push_back(i);
    return kept;
}

/// What one more byte saves between two options, the second larger and better.
double slope(const Option& a, const Option& b) {
    return (a.loss - b.loss) / double(b.size_bytes - a.size_bytes);
}

/// Of those, the corners of the lower convex hull: along them the gain per byte falls.
std::vector<size_t> hull_of(const std::vector<Option>& item, const std::vector<size_t>& kept) {
    std::vector<size_t> hull;
    for (const size_t i : kept) {
        while (hull.size() >= 2 &&
               slope(item[hull[hull.size() - 2]], item[hull.back()]) <= slope(item[hull.back()], item[i]))
            hull.pop_back();
        hull.push_back(i);
    }
    return hull;
}

/// From one corner of an item's hull to the next.
struct Step {
    size_t item, from, to;  // options
    double gain_per_byte;
};

class Solver {
  public:
    Solver(const Items& items, uint64_t budget, size_t max_states)
        : items_(items), budget_(budget), max_states_(max_states) {
        for (const auto& item : items) {
            if (item.empty()) fail("knapsack: an item without options");
            kept_.push_back(undominated(item));
        }
    }

    Solution run() {
        take_smallest();
        follow_hulls();
        if (price_ > 0 && best_.loss > bound_) {
            reduce();
            search();
        } else {
            bound_ = best_.loss;  // every item has its best option
        }
        best_.bound = std::min(bound_, best_.loss);
        best_.n_states = n_states_;
        return best_;
    }

  private:
    /// Choices for the items so far. `parent` and `option` lead back through the stages.
    struct State {
        uint64_t size_bytes;
        double reduced;  // sum of reduced costs: the lower bound is bound_ + this
        uint32_t parent;
        uint32_t option;  // of the item, into `open_`
    };
    struct Open {
        size_t option;
        uint64_t size_bytes;
        double reduced;
    };
    struct Origin {
        uint32_t parent, option;
    };

    const Option& option(size_t item, size_t i) const { return items_[item][i]; }

    void take_smallest() {
        for (size_t item = 0; item < items_.size(); ++item) {
            best_.choice.push_back(kept_[item].front());
            best_.size_bytes += option(item, kept_[item].front()).size_bytes;
        }
        if (best_.size_bytes > budget_)
            fail("the smallest choice takes {} bytes, more than the {} there are", grouped(best_.size_bytes),
                 grouped(budget_));
    }

    /// The Lagrangian bound, its price, and a first solution: every step that still fits, best first.
    void follow_hulls() {
        std::vector<Step> steps;
        for (size_t item = 0; item < items_.size(); ++item) {
            const std::vector<size_t> hull = hull_of(items_[item], kept_[item]);
            for (size_t i = 1; i < hull.size(); ++i)
                steps.push_back(
                    {item, hull[i - 1], hull[i], slope(option(item, hull[i - 1]), option(item, hull[i]))});
        }
        std::ranges::stable_sort(steps, std::greater<>(), &Step::gain_per_byte);
        for (const Step& step : steps) {
            const uint64_t more =
                option(step.item, step.to).size_bytes - option(step.item, step.from).size_bytes;
            const bool reachable = best_.choice[step.item] == step.from;
            if (reachable && best_.size_bytes + more <= budget_) {
                best_.choice[step.item] = step.to;
                best_.size_bytes += more;
            } else if (price_ == 0) {
                price_ = step.gain_per_byte;  // the step that is taken in part
            }
        }
        best_.loss = loss_of(best_.choice);
        bound_ = -price_ * double(budget_);
        for (size_t item = 0; item < items_.size(); ++item) bound_ += least_cost(item);
    }

    double cost(size_t item, size_t i) const {
        return option(item, i).loss + price_ * double(option(item, i).size_bytes);
    }

    double least_cost(size_t item) const {
        double least = std::numeric_limits<double>::infinity();
        for (const size_t i : kept_[item]) least = std::min(least, cost(item, i));
        return least;
    }

    double loss_of(const std::vector<size_t>& choice) const {
        double total = 0;
        for (size_t item = 0; item < items_.size(); ++item) total += option(item, choice[item]).loss;
        return total;
    }

    /// Leaves each item the options whose reduced cost alone does not rule them out; items with the fewest
    /// come first, so that lists grow late.
    void reduce() {
        open_.resize(items_.size());
        for (size_t item = 0; item < items_.size(); ++item) {
            const double least = least_cost(item);
            for (const size_t i : kept_[item]) {
                const double reduced = std::max(0.0, cost(item, i) - least);
                if (bound_ + reduced < best_.loss)
                    open_[item].push_back({i, option(item, i).size_bytes, reduced});
            }
            order_.push_back(item);
        }
        std::ranges::stable_sort(order_, {}, [&](size_t item) { return open_[item].size(); });
    }

    void search() {
        // Of the items after each stage: the least they take, and what they take at no reduced cost.
        std::vector<uint64_t> least_rest(items_.size() + 1), free_rest(items_.size() + 1);
        for (size_t stage = items_.size(); stage-- > 0;) {
            const auto& open = open_[order_[stage]];
            least_rest[stage] =
                least_rest[stage + 1] + std::ranges::min(open, {}, &Open::size_bytes).size_bytes;
            free_rest[stage] = free_rest[stage + 1] + std::ranges::min(open, {}, &Open::reduced).size_bytes;
        }
        double ruled_out = std::numeric_limits<double>::infinity();  // least bound of states not followed
        std::vector<State> states{{0, 0, 0, 0}}, next;
        for (size_t stage = 0; stage < order_.size(); ++stage) {
            const auto& open = open_[order_[stage]];
            next.clear();
            for (size_t parent = 0; parent < states.size(); ++parent) {
                for (size_t i = 0; i < open.size(); ++i) {
                    const uint64_t size_bytes = states[parent].size_bytes + open[i].size_bytes;
                    const double reduced = states[parent].reduced + open[i].reduced;
                    if (size_bytes + least_rest[stage + 1] > budget_ || bound_ + reduced >= best_.loss)
                        continue;
                    next.push_back({size_bytes, reduced, uint32_t(parent), uint32_t(i)});
                }
            }
            n_states_ += next.size();
            drop_dominated(next);
            if (next.size() > max_states_) ruled_out = std::min(ruled_out, bound_ + keep_best(next));
            origins_.emplace_back();
            for (const State& state : next) origins_.back().push_back({state.parent, state.option});
            states.swap(next);
            // The best state whose items to come can all be free is a solution; what is worse goes.
            const State* complete = nullptr;
            for (const State& state : states)
                if (state.size_bytes + free_rest[stage + 1] <= budget_) complete = &state;
            if (complete) offer(stage, size_t(complete - states.data()));
        }
        bound_ = std::min(best_.loss, ruled_out);
    }

    /// Compared by what states have lost so far: reduced cost without the price of their bytes. Both lists of
    /// survivors are the same, since all states of a stage stand for the same items.
    void drop_dominated(std::vector<State>& states) const {
        const auto lost = [&](const State& state) {
            return state.reduced - price_ * double(state.size_bytes);
        };
        std::ranges::stable_sort(
            states, {}, [&](const State& state) { return std::pair(state.size_bytes, state.reduced); });
        size_t n_kept = 0;
        for (const State& state : states)
            if (n_kept == 0 || lost(state) < lost(states[n_kept - 1])) states[n_kept++] = state;
        states.resize(n_kept);
    }

    /// The least reduced cost among those that go.
    double keep_best(std::vector<State>& states) const {
        const auto middle = states.begin() + long(max_states_);
        std::ranges::nth_element(states, middle, {}, &State::reduced);
        const double least = middle->reduced;
        states.erase(middle, states.end());
        std::ranges::sort(states, {}, &State::size_bytes);
        return least;
    }

    /// The state's choices, and free ones for the items to come, if that is the best so far.
    void offer(size_t stage, size_t state) {
        std::vector<size_t> choice(items_.size());
        for (size_t later = stage + 1; later < order_.size(); ++later) {
            const auto& open = open_[order_[later]];
            choice[order_[later]] = std::ranges::min(open, {}, &Open::reduced).option;
        }
        for (size_t earlier = stage + 1; earlier-- > 0;) {
            const Origin origin = origins_[earlier][state];
            choice[order_[earlier]] = open_[order_[earlier]][origin.option].option;
            state = origin.parent;
        }
        const double loss = loss_of(choice);
        if (loss >= best_.loss) return;
        best_.choice = std::move(choice);
        best_.loss = loss;
        best_.size_bytes = 0;
        for (size_t item = 0; item < items_.size(); ++item)
            best_.size_bytes += option(item, best_.choice[item]).size_bytes;
    }

    const Items& items_;
    uint64_t budget_;
    size_t max_states_;
    std::vector<std::vector<size_t>> kept_;  // by item: options that are not dominated
    Solution best_;
    double price_ = 0;  // λ, loss per byte
    double bound_ = 0;
    std::vector<std::vector<Open>> open_;       // by item
    std::vector<size_t> order_;                 // items by stage
    std::vector<std::vector<Origin>> origins_;  // by stage and state
    size_t n_states_ = 0;
};

}  // namespace

Solution solve_knapsack(const Items& items, uint64_t budget_bytes, size_t max_states) {
    return Solver(items, budget_bytes, std::max<size_t>(max_states, 1)).run();
}

}  // namespace ingot::converters
