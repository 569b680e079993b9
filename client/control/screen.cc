// SPDX-License-Identifier: Apache-2.0
#include "client/control/screen.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/check.h"

namespace sluice::control {
namespace {

constexpr char kEnter[] = "\033[?1049h\033[?25l";  // the other screen, no cursor
constexpr char kLeave[] = "\033[?25h\033[?1049l";

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};

int told = -1;  // the other end of Screen's pipe

// gRPC's threads, which are older than the screen, would take a signal that only ours holds back.
void OnSignal(int signal) {
  const int error = errno;
  const auto byte = static_cast<char>(signal);
  if (write(told, &byte, 1) != 1) {
    // The pipe is full of signals: one more says nothing new.
  }
  errno = error;
}

void Put(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

}  // namespace

bool Screen::Possible() {
  const char* const terminal = std::getenv("TERM");
  return terminal != nullptr && std::strcmp(terminal, "dumb") != 0 && isatty(STDIN_FILENO) != 0 &&
         isatty(STDOUT_FILENO) != 0;
}

Screen::Screen() {
  int ends[2] = {-1, -1};
  SLUICE_CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  signals_ = ends[0];
  told = ends[1];
  struct sigaction action {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < 4; ++i) sigaction(kSignals[i], &action, &former_actions_[i]);
  tcgetattr(STDIN_FILENO, &former_);
  termios raw = former_;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  raw.c_cc[VSUSP] = _POSIX_VDISABLE;  // stopped, it would leave the terminal as it is now
  tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  Put(kEnter);
}

Screen::~Screen() {
  Put(kLeave);
  tcsetattr(STDIN_FILENO, TCSANOW, &former_);
  for (size_t i = 0; i < 4; ++i) sigaction(kSignals[i], &former_actions_[i], nullptr);
  close(signals_);
  close(told);
}

void Screen::Show(const std::string& text) {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
    size.ws_row = 24;
    size.ws_col = 80;
  }
  std::string out = "\033[H";
  for (const char c : Clipped(text, size.ws_row, size.ws_col)) {
    if (c == '\n') out += "\033[K\r";
    out += c;
  }
  Put(out + "\033[K\033[J");
}

Screen::Event Screen::Wait(std::chrono::milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd waited[2] = {{STDIN_FILENO, POLLIN, 0}, {signals_, POLLIN, 0}};
    const int ready = poll(waited, 2, left.count() > 0 ? static_cast<int>(left.count()) : 0);
    if (ready == 0) return Event::kTime;
    if (ready < 0) continue;
    if (waited[1].revents != 0) {
      char signal = 0;
      const bool whole = read(signals_, &signal, 1) == 1;
      return whole && signal == SIGWINCH ? Event::kResize : Event::kQuit;
    }
    char key = 'q';  // at the end of its input too
    if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q') return Event::kQuit;
    if (key == ' ') return Event::kTime;
  }
}

std::string Clipped(const std::string& text, size_t rows, size_t columns) {
  std::string out;
  size_t row = 0;
  size_t column = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      // No newline behind the last row: it would scroll.
      if (++row == rows) break;
      column = 0;
      out += c;
    } else if (c == '\033') {
      const size_t end = text.find('m', i);
      if (end == std::string::npos) break;
      out += text.substr(i, end - i + 1);
      i = end;
    } else {
      const bool continues = (static_cast<unsigned char>(c) & 0xc0) == 0x80;
      if (!continues) ++column;
      if (column <= columns) out += c;
    }
  }
  return out;
}

}  // namespace sluice::control
