// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/epochs.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace sluice::rpc {
namespace {

constexpr char kFile[] = "epochs";
constexpr uint32_t kVersion = 1;

}  // namespace

std::string RenderEpochs(const std::map<std::string, uint64_t>& epochs) {
  std::string body;
  for (const auto& [name, epoch] : epochs) {
    absl::StrAppend(&body, epoch, " \"", absl::CEscape(name), "\"\n");
  }
  return body;
}

absl::StatusOr<std::map<std::string, uint64_t>> ParseEpochs(absl::string_view body) {
  std::map<std::string, uint64_t> epochs;
  while (!body.empty()) {
    const size_t end = body.find('\n');
    const absl::string_view line = body.substr(0, end);
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    absl::string_view quoted = parts.second;
    uint64_t epoch = 0;
    std::string name;
    if (end == absl::string_view::npos || !absl::SimpleAtoi(parts.first, &epoch) ||
        !absl::ConsumePrefix(&quoted, "\"") || !absl::ConsumeSuffix(&quoted, "\"") ||
        !absl::CUnescape(quoted, &name) || !epochs.emplace(name, epoch).second) {
      return absl::DataLossError("a malformed line: put a good copy back");
    }
    body.remove_prefix(end + 1);
  }
  return epochs;
}

// Of the file; empty without one.
absl::StatusOr<std::map<std::string, uint64_t>> LoadEpochs(StateDir& folder) {
  const auto body = folder.Load(kFile, kVersion);
  if (!body.ok()) return body.status();
  auto epochs = ParseEpochs(body->value_or(""));
  if (epochs.ok()) return epochs;
  return absl::DataLossError(
      absl::StrCat(folder.path(), "/", kFile, ": ", epochs.status().message()));
}

absl::StatusOr<std::unique_ptr<DurableEpochs>> DurableEpochs::Load(StateDir& folder, Worker& worker,
                                                                   Reactor& reactor) {
  auto epochs = LoadEpochs(folder);
  if (!epochs.ok()) return epochs.status();
  std::unique_ptr<DurableEpochs> made(new DurableEpochs(folder, worker, reactor));
  made->epochs_ = *std::move(epochs);
  return made;
}

absl::Status DurableEpochs::SpendAll(StateDir& folder) {
  auto epochs = LoadEpochs(folder);
  if (!epochs.ok()) return epochs.status();
  for (auto& [name, epoch] : *epochs) ++epoch;
  return epochs->empty() ? absl::OkStatus() : folder.Save(kFile, kVersion, RenderEpochs(*epochs));
}

uint64_t DurableEpochs::Current(const std::string& export_name) const {
  const auto found = epochs_.find(export_name);
  return found == epochs_.end() ? 0 : found->second;
}

// The worker's jobs run in order, so that an older body never replaces a newer one.
void DurableEpochs::Raise(const std::map<std::string, uint64_t>& epochs, Done done) {
  for (const auto& [name, epoch] : epochs) epochs_[name] = epoch;
  worker_.Run([this, body = RenderEpochs(epochs_), done = std::move(done)]() mutable {
    absl::Status status = folder_.Save(kFile, kVersion, body);
    reactor_.Post([status = std::move(status), done = std::move(done)]() mutable {
      done(std::move(status));
    });
  });
}

}  // namespace sluice::rpc
