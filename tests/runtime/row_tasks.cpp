// Every row of a matrix is in one task, however it is divided.
#include "runtime/cpu/row_tasks.h"

#include <vector>

#include "tests/catch.h"

using namespace ingot::runtime::cpu;

namespace {

// How often each row is multiplied; beyond the last row: how often that happens.
std::vector<int> times_of_rows(const RowTasks& tasks, int64_t n_rows) {
    std::vector<int> times(size_t(n_rows) + 1);
    for (int64_t task = 0; task < tasks.count(); ++task) {
        tasks.each(task, [&](const Rows& rows) {
            const int n_streams = rows.spacing != 0 ? kStreams : 1;
            for (int64_t i = 0; i < n_streams * rows.n; ++i) {
                const int64_t row = rows.first + i / rows.n * rows.spacing + i % rows.n;
                ++times[size_t(std::min(row, n_rows))];
            }
        });
    }
    return times;
}

}  // namespace

TEST_CASE("Row tasks cover every row once") {
    for (const int64_t n_rows : {1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 63, 64, 100, 257, 1000}) {
        std::vector<int> once(size_t(n_rows), 1);
        once.push_back(0);
        for (const int64_t n_each : {1, 2, 3, 8, 14, 100, 2000}) {
            CAPTURE(n_rows, n_each);
            CHECK(times_of_rows(RowTasks::in_chunks(n_rows, n_each), n_rows) == once);
            for (const int64_t n_spans : {1, 2, 3, 16, 300}) {
                CAPTURE(n_spans);
                CHECK(times_of_rows(RowTasks::in_streams(n_rows, n_spans, n_each), n_rows) == once);
            }
        }
    }
}

TEST_CASE("A stream goes on where the task before ended") {
    const RowTasks tasks = RowTasks::in_streams(200, 2, 10);  // spans of 100 rows, streams of 25
    REQUIRE(tasks.count() == 2 * 3);
    const auto first_of = [&](int64_t task) {
        int64_t first = -1;
        tasks.each(task, [&](const Rows& rows) {
            CHECK(rows.spacing == 25);
            CHECK(rows.n == (task % 3 == 2 ? 5 : 10));
            first = rows.first;
        });
        return first;
    };
    CHECK(first_of(0) == 0);
    CHECK(first_of(1) == 10);
    CHECK(first_of(2) == 20);
    CHECK(first_of(3) == 100);
}
