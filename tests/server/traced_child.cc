// SPDX-License-Identifier: Apache-2.0
#include "tests/server/traced_child.h"

#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "core/check.h"

namespace sluice {
namespace {

user_regs_struct RegistersOf(pid_t child) {
  user_regs_struct registers{};
  SLUICE_CHECK(ptrace(PTRACE_GETREGS, child, nullptr, &registers) == 0);
  return registers;
}

void MakeItFail(pid_t child, bool entering) {
  user_regs_struct registers = RegistersOf(child);
  if (entering) {
    registers.orig_rax = ~0ull;  // no call has this number
  } else {
    registers.rax = static_cast<unsigned long long>(-EIO);
  }
  SLUICE_CHECK(ptrace(PTRACE_SETREGS, child, nullptr, &registers) == 0);
}

int RunTraced(const std::function<void()>& prepare, const std::function<int()>& body) {
  prepare();
  if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) return 125;
  raise(SIGSTOP);
  const int status = body();
  raise(SIGTRAP);
  return status;
}

}  // namespace

TracedChild TracedChild::Run(const std::function<void()>& prepare, const std::function<int()>& body,
                             At at, int step) {
  const pid_t child = fork();
  SLUICE_CHECK(child >= 0);
  if (child == 0) _exit(RunTraced(prepare, body));
  TracedChild result;
  int status = 0;
  SLUICE_CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
  SLUICE_CHECK(
      ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) == 0);
  // raise() returns through system calls of its own: they count as the body's first.
  int count = -1;
  bool inside = false;
  bool over = false;
  long number = 0;
  while (!WIFEXITED(status) && !WIFSIGNALED(status)) {
    const bool call = WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80);
    if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP) over = true;
    if (call && !over) {
      inside = !inside;
      if (inside) ++count;
      const bool here = count == step;
      result.reached |= here;
      if (inside) {
        number = static_cast<long>(RegistersOf(child).orig_rax);
      } else {
        result.completed.push_back(number);
      }
      if (here && at == At::kKill) kill(child, SIGKILL);
      if (here && at == At::kFail) MakeItFail(child, inside);
    }
    ptrace(over ? PTRACE_CONT : PTRACE_SYSCALL, child, nullptr, nullptr);
    SLUICE_CHECK(waitpid(child, &status, 0) == child);
  }
  if (WIFEXITED(status)) result.exit_status = WEXITSTATUS(status);
  return result;
}

}  // namespace sluice
