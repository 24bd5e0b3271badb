#pragma once
// How many cores this process may use. Everything here that depends on the operating system is in the .cpp.
#include <string>

namespace ingot::runtime::cpu {

/// Logical processors that the scheduler may place this process on (its affinity mask). At least 1.
int allowed_processors();
/// Physical cores among them: hyper-threads of one core count once. At least 1.
int allowed_cores();
/// CPUs' worth of time that control groups grant, rounded up; 0 when there is no limit. Reads version 2
/// (cpu.max) and version 1 (cpu.cfs_quota_us), of this process's group and of every group above it.
/// The arguments are for tests: the file that names the groups, and where their hierarchy is mounted.
int cgroup_cpu_limit(const std::string& membership_file = "/proc/self/cgroup",
                     const std::string& mount = "/sys/fs/cgroup");

}  // namespace ingot::runtime::cpu
