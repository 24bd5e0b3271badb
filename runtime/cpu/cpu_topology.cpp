#include "runtime/cpu/cpu_topology.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace ingot::runtime::cpu {
namespace {

// The time limit that one cgroup folder states, in CPUs; 0 when it states none.
double limit_of_folder(const std::string& folder) {
    double quota = 0;                                     // microseconds of CPU time per period
    double period = 0;                                    // microseconds
    if (std::ifstream file(folder + "/cpu.max"); file) {  // "max 100000" when unlimited
        file >> quota >> period;
    } else {
        std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;  // -1 when unlimited
        std::ifstream(folder + "/cpu.cfs_period_us") >> period;
    }
    return quota > 0 && period > 0 ? quota / period : 0;
}

// The tightest limit of the group at mount/path and of all groups above it; 0 when there is none.
double tightest_limit(const std::string& mount, std::string path) {
    double tightest = 0;
    while (true) {
        const double limit = limit_of_folder(mount + path);
        if (limit > 0 && (tightest == 0 || limit < tightest)) tightest = limit;
        const size_t slash = path.find_last_of('/');
        if (slash == std::string::npos) return tightest;
        path.resize(slash);
    }
}

#if defined(__linux__)
int read_int(const std::string& path, int otherwise) {
    std::ifstream file(path);
    int value;
    return file >> value ? value : otherwise;
}

// The numbers of the processors in the affinity mask, however many the kernel was built for.
std::set<int> affinity() {
    for (int n_processors = 1024; n_processors <= 1 << 20; n_processors *= 2) {
        cpu_set_t* const mask = CPU_ALLOC(n_processors);
        if (!mask) break;
        const size_t size_bytes = CPU_ALLOC_SIZE(n_processors);
        CPU_ZERO_S(size_bytes, mask);
        const bool ok = sched_getaffinity(0, size_bytes, mask) == 0;
        std::set<int> processors;
        for (int i = 0; ok && i < n_processors; ++i) {
            if (CPU_ISSET_S(i, size_bytes, mask)) processors.insert(i);
        }
        CPU_FREE(mask);
        if (ok) return processors;
    }
    return {};
}
#endif

}  // namespace

int allowed_processors() {
#if defined(__linux__)
    if (const auto processors = affinity(); !processors.empty()) return int(processors.size());
#endif
    return std::max(1, int(std::thread::hardware_concurrency()));
}

int allowed_cores() {
#if defined(__linux__)
    std::set<std::pair<int, int>> cores;  // (package, core)
    for (const int processor : affinity()) {
        const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(processor) + "/topology/";
        // Where the kernel says nothing, each processor counts as a core of its own.
        cores.emplace(read_int(folder + "physical_package_id", -1), read_int(folder + "core_id", processor));
    }
    if (!cores.empty()) return int(cores.size());
#elif defined(__APPLE__)
    int n_cores = 0;
    size_t size_bytes = sizeof n_cores;
    if (sysctlbyname("hw.physicalcpu", &n_cores, &size_bytes, nullptr, 0) == 0 && n_cores > 0) return n_cores;
#endif
    return allowed_processors();
}

int cgroup_cpu_limit(const std::string& membership_file, const std::string& mount) {
    // Lines are "0::/path" (version 2) or "4:cpu,cpuacct:/path" (version 1). Inside a container the path may
    // name a folder that is not visible; the root of the mount is then the container's own group.
    double tightest = 0;
    const auto consider = [&](double limit) {
        if (limit > 0 && (tightest == 0 || limit < tightest)) tightest = limit;
    };
    std::ifstream file(membership_file);
    for (std::string line; std::getline(file, line);) {
        const size_t first = line.find(':');
        const size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string path = line.substr(second + 1);
        std::istringstream controllers(line.substr(first + 1, second - first - 1));
        if (first + 1 == second) consider(tightest_limit(mount, path));
        for (std::string controller; std::getline(controllers, controller, ',');) {
            if (controller != "cpu") continue;
            consider(tightest_limit(mount + "/cpu", path));
            consider(tightest_limit(mount + "/cpu,cpuacct", path));
        }
    }
    return int(std::ceil(tightest - 1e-9));
}

}  // namespace ingot::runtime::cpu
