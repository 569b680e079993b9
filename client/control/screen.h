// SPDX-License-Identifier: Apache-2.0
// A terminal that shows one text at a time and may be left by a key. One at a time, one thread.
#pragma once

#include <signal.h>
#include <termios.h>

#include <chrono>
#include <string>

namespace sluice::control {

class Screen {
 public:
  // True if stdin and stdout are a terminal that can move its cursor.
  static bool Possible();

  // Takes the terminal over, and SIGINT, SIGTERM, SIGHUP and SIGWINCH; gives them back at the end.
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // As much of it as fits.
  void Show(const std::string& text);

  enum class Event : unsigned char {
    kTime,    // the time is over, or somebody pressed space
    kResize,  // show again
    kQuit,    // q, or a signal
  };
  Event Wait(std::chrono::milliseconds time);

 private:
  termios former_;
  struct sigaction former_actions_[4];
  int signals_ = -1;  // a pipe's end: the signals, a byte each
};

// The first `rows` lines of `text`, each cut to `columns`; sequences of colour take no room.
std::string Clipped(const std::string& text, size_t rows, size_t columns);

}  // namespace sluice::control
