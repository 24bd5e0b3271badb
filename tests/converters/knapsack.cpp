#include "converters/quantize/target/knapsack.h"

#include <limits>
#include <random>

#include "format/error.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::converters;

namespace {

using Items = std::vector<std::vector<Option>>;

/// Every choice there is.
double least_loss(const Items& items, uint64_t budget, size_t item = 0, uint64_t size = 0, double loss = 0) {
    if (size > budget) return std::numeric_limits<double>::infinity();
    if (item == items.size()) return loss;
    double least = std::numeric_limits<double>::infinity();
    for (const Option& option : items[item])
        least = std::min(least,
                         least_loss(items, budget, item + 1, size + option.size_bytes, loss + option.loss));
    return least;
}

/// Sizes and losses as tensors have them: more bits, less loss; or without any such order.
Items random_items(std::mt19937& random, bool ordered) {
    const auto up_to = [&](uint32_t n) { return random() % n + 1; };
    Items items(up_to(6));
    for (auto& item : items) {
        item.resize(up_to(5));
        const double importance = double(up_to(1000));
        const uint64_t n_weights = up_to(50);
        for (Option& option : item) {
            const uint64_t bits = up_to(12);
            option.size_bytes = ordered ? n_weights * bits : up_to(100);
            option.loss =
                ordered ? importance * std::ldexp(double(up_to(8)), -2 * int(bits)) : double(up_to(100));
        }
    }
    return items;
}

void check_sums(const Items& items, uint64_t budget, const Solution& solution) {
    uint64_t size = 0;
    double loss = 0;
    REQUIRE(solution.choice.size() == items.size());
    for (size_t i = 0; i < items.size(); ++i) {
        size += items[i].at(solution.choice[i]).size_bytes;
        loss += items[i].at(solution.choice[i]).loss;
    }
    CHECK(size == solution.size_bytes);
    CHECK(size <= budget);
    CHECK(loss == Approx(solution.loss));
}

}  // namespace

TEST_CASE("the knapsack finds what trying everything finds") {
    std::mt19937 random(1);
    int n_solved = 0;
    for (int round = 0; round < 3000; ++round) {
        const Items items = random_items(random, round % 2 == 0);
        const uint64_t budget = random() % 400;
        const double expected = least_loss(items, budget);
        INFO("round " << round);
        if (expected == std::numeric_limits<double>::infinity()) {
            CHECK_THROWS_AS(solve_knapsack(items, budget), Error);
            continue;
        }
        const Solution solution = solve_knapsack(items, budget);
        check_sums(items, budget, solution);
        CHECK(solution.loss == Approx(expected).epsilon(1e-9));
        CHECK(solution.gap() == Approx(0).margin(1e-9));
        ++n_solved;
    }
    CHECK(n_solved > 1000);
}

TEST_CASE("with too little memory for the proof, the gap that is named holds") {
    std::mt19937 random(2);
    int n_open = 0;
    for (int round = 0; round < 500; ++round) {
        const Items items = random_items(random, round % 2 == 0);
        const uint64_t budget = 100 + random() % 200;
        const double expected = least_loss(items, budget);
        if (expected == std::numeric_limits<double>::infinity()) continue;
        const Solution solution = solve_knapsack(items, budget, /*max_states=*/1);
        check_sums(items, budget, solution);
        CHECK(solution.loss >= expected * (1 - 1e-9));
        CHECK(solution.bound <= expected * (1 + 1e-9));
        n_open += solution.gap() > 0;
    }
    CHECK(n_open > 0);
}

TEST_CASE("a model of many layers is solved exactly") {
    // 80 layers of 7 matrices and 12 types: 12^560 choices.
    std::mt19937 random(3);
    Items items;
    uint64_t smallest = 0, largest = 0;
    for (int layer = 0; layer < 80; ++layer) {
        for (const uint64_t n_weights :
             {67108864, 8388608, 8388608, 67108864, 234881024, 234881024, 234881024}) {
            const double importance = std::exp(double(random() % 1000) / 250);
            std::vector<Option> item;
            for (const double bits : {2.625, 3.4375, 4.25, 4.5, 5.0, 5.5, 6.0, 6.5625, 8.5, 16.0})
                item.push_back({uint64_t(double(n_weights) * bits / 8),
                                importance * std::exp2(-2 * bits) * (1 + double(random() % 100) / 300)});
            smallest += item.front().size_bytes;
            largest += item.back().size_bytes;
            items.push_back(std::move(item));
        }
    }
    for (const double share : {0.05, 0.15, 0.3, 0.6}) {
        const uint64_t budget = smallest + uint64_t(share * double(largest - smallest));
        const Solution solution = solve_knapsack(items, budget);
        check_sums(items, budget, solution);
        INFO("share " << share << ", states " << solution.n_states);
        CHECK(solution.gap() < 1e-6);
    }
}

TEST_CASE("a budget for everything takes the best of everything, and none for the smallest is an error") {
    const Items items = {{{10, 5}, {20, 1}, {30, 1}}, {{7, 0}}};
    const Solution solution = solve_knapsack(items, 1000);
    CHECK(solution.choice == std::vector<size_t>{1, 0});
    CHECK(solution.gap() == 0);
    CHECK(solve_knapsack(items, 17).choice == std::vector<size_t>{0, 0});
    CHECK_THROWS_WITH(solve_knapsack(items, 16), ContainsSubstring("17 bytes, more than the 16"));
    CHECK_THROWS_AS(solve_knapsack({{}}, 16), Error);
    CHECK(solve_knapsack({}, 0).choice.empty());
}
