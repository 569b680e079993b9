// SPDX-License-Identifier: Apache-2.0
#include "server/http/process.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

namespace sluice::http {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

uint64_t CountOpenFds() {
  const std::unique_ptr<DIR, CloseDir> dir(opendir("/proc/self/fd"));
  uint64_t count = 0;
  while (dir != nullptr && readdir(dir.get()) != nullptr) ++count;
  return count > 3 ? count - 3 : 0;  // less ".", ".." and the folder itself
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

uint64_t ResidentBytes() {
  uint64_t pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

ProcessSnapshot TakeProcessSnapshot() {
  ProcessSnapshot to;
  to.cpu_seconds = CpuSeconds();
  to.resident_bytes = ResidentBytes();
  to.open_fds = CountOpenFds();
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  to.max_fds = limit.rlim_cur;
  return to;
}

}  // namespace sluice::http
