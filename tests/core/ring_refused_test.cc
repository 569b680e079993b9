// SPDX-License-Identifier: Apache-2.0
// Where io_uring is refused the error names the cure. A forked child refuses it to itself by a
// seccomp filter, as container runtimes do.
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "core/ring.h"

namespace sluice {
namespace {

void Refuse(unsigned syscall_number, unsigned error) {
  std::array<sock_filter, 4> code = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, syscall_number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program = {static_cast<unsigned short>(code.size()), code.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    _exit(99);
  }
}

// What RingPoller::Create() says in a child to which io_uring_setup() fails with `error`.
std::string ErrorUnder(unsigned error) {
  int fds[2];
  EXPECT_EQ(pipe(fds), 0);
  const pid_t child = fork();
  if (child == 0) {
    Refuse(SYS_io_uring_setup, error);
    const auto ring = RingPoller::Create();
    const std::string text = ring.ok() ? "it works" : std::string(ring.status().message());
    _exit(write(fds[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 98);
  }
  close(fds[1]);
  std::string text;
  char buffer[512];
  for (ssize_t n; (n = read(fds[0], buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(n));
  }
  close(fds[0]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  return text;
}

class RingRefused : public ::testing::TestWithParam<unsigned> {};

TEST_P(RingRefused, SaysSoAndNamesTheCures) {
  const std::string text = ErrorUnder(GetParam());
  EXPECT_NE(text.find(strerror(static_cast<int>(GetParam()))), std::string::npos) << text;
  EXPECT_NE(text.find("seccomp profile"), std::string::npos) << text;
  EXPECT_NE(text.find("sysctl kernel.io_uring_disabled"), std::string::npos) << text;
}

INSTANTIATE_TEST_SUITE_P(Errors, RingRefused, ::testing::Values(ENOSYS, EPERM));

TEST(RingRefusal, AnotherErrorIsReportedAsItIs) {
  const std::string text = ErrorUnder(EMFILE);
  EXPECT_EQ(text, std::string("io_uring_setup: ") + strerror(EMFILE));
}

}  // namespace
}  // namespace sluice
