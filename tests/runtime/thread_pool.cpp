#include "runtime/cpu/thread_pool.h"

#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "format/error.h"
#include "runtime/cpu/cpu_topology.h"
#include "tests/catch.h"
#include "tests/files.h"

using ingot::runtime::ThreadPool;
namespace fs = std::filesystem;

TEST_CASE("run calls the job once for each thread and waits for all of them") {
    for (const int n_threads : {1, 2, 3, 8}) {
        ThreadPool pool(n_threads);
        REQUIRE(pool.size() == n_threads);
        std::vector<int> calls(size_t(n_threads), 0);  // not atomic: the pool's barrier has to order it
        for (int round = 0; round < 200; ++round) {
            pool.run([&](int thread) { ++calls[size_t(thread)]; });
            for (const int n : calls) REQUIRE(n == round + 1);
        }
    }
}

TEST_CASE("each thread number is a thread of its own") {
    ThreadPool pool(3);
    std::vector<std::thread::id> ids(3);
    pool.run([&](int thread) { ids[size_t(thread)] = std::this_thread::get_id(); });
    CHECK(ids[0] == std::this_thread::get_id());
    CHECK(ids[1] != ids[0]);
    CHECK(ids[2] != ids[0]);
    CHECK(ids[2] != ids[1]);
}

TEST_CASE("threads that fell asleep wake up for the next job") {
    ThreadPool pool(2);
    std::atomic<int> n_calls = 0;
    for (int round = 0; round < 5; ++round) {
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
        pool.run([&](int thread) {
            if (thread == 1)
                std::this_thread::sleep_for(std::chrono::milliseconds(2));  // the caller sleeps, too
            ++n_calls;
        });
    }
    CHECK(n_calls == 10);
}

TEST_CASE("shared work is done by whoever comes, each thread once, and all are waited for") {
    for (const int n_threads : {1, 2, 3, 16}) {
        ThreadPool pool(n_threads);
        std::vector<int> calls(size_t(n_threads), 0);  // not atomic: the pool has to order it
        std::vector<int> done(1000, 0);
        for (int round = 0; round < 300; ++round) {
            const std::vector<int> before = calls;
            std::atomic<int> next = 0, n_inside = 0;
            pool.share([&](int thread) {
                ++n_inside;
                ++calls[size_t(thread)];
                for (int i = next++; i < 1000; i = next++) ++done[size_t(i)];
                --n_inside;
            });
            CHECK(n_inside == 0);
            REQUIRE(calls[0] == round + 1);
            for (size_t thread = 1; thread < calls.size(); ++thread)
                REQUIRE(calls[thread] - before[thread] <= 1);
            // Whoever missed it does not miss a job of all.
            if (round % 10 != 0) continue;
            std::vector<int> ran(size_t(n_threads), 0);
            pool.run([&](int thread) { ++ran[size_t(thread)]; });
            REQUIRE(std::ranges::all_of(ran, [](int n) { return n == 1; }));
        }
        CHECK(std::ranges::all_of(done, [](int n) { return n == 300; }));
    }
}

TEST_CASE("a worker that has begun shared work is waited for, one that has not is left out") {
    ThreadPool pool(2);
    // The worker begins, and ends only after the caller has: share() must not return before.
    bool has_ended = false;
    std::atomic<bool> has_begun = false, caller_ended = false;
    pool.share([&](int thread) {
        if (thread == 1) {
            has_begun = true;
            while (!caller_ended) std::this_thread::yield();
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            has_ended = true;
        } else {
            while (!has_begun) std::this_thread::yield();
            caller_ended = true;
        }
    });
    CHECK(has_ended);
    // Jobs that are over at once, with many more threads than processors: few of them can come in time.
    ThreadPool crowd(64);
    std::atomic<int> n_calls = 0;
    for (int round = 0; round < 200; ++round) crowd.share([&](int) { ++n_calls; });
    CHECK(n_calls >= 200);
    CHECK(n_calls < 200 * 64);
    CHECK_THROWS_WITH(crowd.share([](int thread) {
        if (thread == 0) throw std::runtime_error("thrown by the caller");
    }),
                      ContainsSubstring("thrown by the caller"));
}

TEST_CASE("an exception of any thread reaches the caller, and the pool stays usable") {
    ThreadPool pool(3);
    for (int thrower = 0; thrower < 3; ++thrower) {
        CHECK_THROWS_WITH(pool.run([&](int thread) {
            if (thread == thrower) throw std::runtime_error("thrown by a job");
        }),
                          ContainsSubstring("thrown by a job"));
    }
    CHECK_THROWS_WITH(pool.run([](int) { throw std::runtime_error("by all"); }), ContainsSubstring("by all"));
    std::atomic<int> n_calls = 0;
    pool.run([&](int) { ++n_calls; });
    CHECK(n_calls == 3);
}

TEST_CASE("parallel_for covers each number once, in ranges that begin at multiples of the grain") {
    for (const int n_threads : {1, 2, 5}) {
        ThreadPool pool(n_threads);
        for (const int64_t n : {0, 1, 2, 7, 64, 100, 1001}) {
            for (const int64_t grain : {1, 3, 64, 5000}) {
                CAPTURE(n_threads, n, grain);
                std::vector<std::atomic<int>> touched(static_cast<size_t>(n));
                std::atomic<int> n_misplaced = 0, n_ranges = 0;
                pool.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
                    ++n_ranges;
                    if (begin % grain != 0 || begin >= end || (end != n && end % grain != 0)) ++n_misplaced;
                    for (int64_t i = begin; i < end; ++i) ++touched[size_t(i)];
                });
                CHECK(n_misplaced == 0);
                CHECK(n_ranges <= n_threads);
                CHECK(std::all_of(touched.begin(), touched.end(), [](const auto& t) { return t == 1; }));
            }
        }
    }
}

TEST_CASE("many more threads than processors make progress") {
    ThreadPool pool(32);
    std::atomic<int> n_calls = 0;
    for (int round = 0; round < 50; ++round) pool.run([&](int) { ++n_calls; });
    CHECK(n_calls == 32 * 50);
}

TEST_CASE("a negative number of threads is an error, 0 means the default") {
    CHECK_THROWS_WITH(ThreadPool(-1), ContainsSubstring("-1 threads"));
    CHECK(ThreadPool(0).size() == ThreadPool::default_threads());
    CHECK(ThreadPool::default_threads() >= 1);
    CHECK(ThreadPool::default_threads() <= ingot::runtime::cpu::allowed_cores());
    CHECK(ingot::runtime::cpu::allowed_cores() <= ingot::runtime::cpu::allowed_processors());
}

namespace {

// A folder with cgroup files.
class FakeCgroups {
  public:
    void write(const std::string& path, const std::string& text) const {
        fs::create_directories(fs::path(root_ / path).parent_path());
        std::ofstream(root_ / path) << text;
    }
    int limit() const { return ingot::runtime::cpu::cgroup_cpu_limit(root_ / "membership", root_.path()); }

  private:
    ingot::test::TemporaryFolder root_;
};

}  // namespace

TEST_CASE("the CPU limit of control groups, version 2: the tightest of all levels, rounded up") {
    const FakeCgroups groups;
    CHECK(groups.limit() == 0);  // no membership file
    groups.write("membership", "0::/a/b\n");
    CHECK(groups.limit() == 0);
    groups.write("a/b/cpu.max", "max 100000\n");
    CHECK(groups.limit() == 0);
    groups.write("a/cpu.max", "350000 100000\n");
    CHECK(groups.limit() == 4);
    groups.write("a/b/cpu.max", "150000 100000\n");
    CHECK(groups.limit() == 2);
    groups.write("cpu.max", "10000 100000\n");
    CHECK(groups.limit() == 1);
    groups.write("cpu.max", "rubbish");
    CHECK(groups.limit() == 2);
}

TEST_CASE("the CPU limit of control groups, version 1") {
    const FakeCgroups groups;
    groups.write("membership", "5:memory:/x\n4:cpu,cpuacct:/docker/1\n");
    groups.write("cpu,cpuacct/docker/1/cpu.cfs_quota_us", "-1\n");
    groups.write("cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n");
    CHECK(groups.limit() == 0);
    groups.write("cpu,cpuacct/docker/1/cpu.cfs_quota_us", "200000\n");
    CHECK(groups.limit() == 2);
}
