// SPDX-License-Identifier: Apache-2.0
// `sluice attach`, `sluice detach` and `sluice attached`
#include "client/attach/commands.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "client/cli/tree.h"

namespace sluice::cli {
namespace {

constexpr char kGroup[] = "Exports as block devices of this machine";
constexpr uint64_t kMaxSeconds = 365 * 86400;

using AttachOptions = std::shared_ptr<attach::Options>;

void FinishAttach(Tree& tree, CLI::App& app, const AttachOptions& options,
                  int (*run)(const attach::Options&)) {
  tree.Finish(app, [&tree, options, run] {
    options->server = tree.command().server;
    // A name alone is an export of that server; of a URI's, whoever names one says that it is.
    options->watch = !absl::StrContains(options->what, "://") ||
                     options->server.address != control::kDefaultAddress;
    tree.command().kind = ClientCommand::Kind::kLocal;
    tree.command().local = [options, run] { return run(*options); };
    return absl::OkStatus();
  });
}

void AddSeconds(CLI::App& app, const char* name, const char* shape, const char* help,
                uint64_t least, const AttachOptions& options, uint32_t attach::Options::*into) {
  AddNumber(app, name, shape, help, least, kMaxSeconds, [options, into](uint64_t seconds) {
    (*options).*into = static_cast<uint32_t>(seconds);
  });
}

void DeclareAttaching(Tree& tree) {
  CLI::App& app = tree.Add(tree.root(), "attach", "an NBD export as a block device");
  app.group(kGroup);
  auto options = std::make_shared<attach::Options>();
  AddPlace(app, "EXPORT", "an NBD URI, or an export of this machine's server",
           [options](const std::string& text) { options->what = text; });
  app.add_option_function<std::string>(
      "DEVICE", [options](const std::string& name) { options->device = name; },
      "nbd0 or /dev/nbd0; without it: one that is free");
  AddNumber(app, "--connections", "N [as many as pay]", "to the server", 1, 64,
            [options](uint64_t n) { options->connections = static_cast<uint32_t>(n); });
  AddSize(app, "--block-size", "SIZE [the export's]", "of the device", [options](uint64_t bytes) {
    options->block_bytes = static_cast<uint32_t>(std::min<uint64_t>(bytes, UINT32_MAX));
  });
  AddSeconds(app, "--timeout", "S [15]",
             "of a request without an answer; then its connection is\n"
             "made again",
             1, options, &attach::Options::timeout_s);
  AddSeconds(app, "--give-up", "S [600]", "a server that is gone for so long; 0: never", 0, options,
             &attach::Options::give_up_s);
  AddSeconds(app, "--wait", "S [0]", "for a server that is not there yet", 0, options,
             &attach::Options::wait_s);
  AddSeconds(app, "--poll", "S [10]", "how often growth of the export is looked for", 1, options,
             &attach::Options::poll_s);
  app.add_flag_callback(
      "--read-only", [options] { options->read_only = true; }, "refuse writes");
  app.add_flag_callback(
      "--foreground", [options] { options->foreground = true; },
      "do not go into the background, as service managers want it");
  app.footer(
      "A keeper stays behind: it makes lost connections again, unless the export has shrunk or "
      "can\n"
      "do less than before, and passes growth on, of which it hears from the gRPC door of the\n"
      "server that --server names. Needs root and the kernel's driver: modprobe nbd max_part=8.\n\n"
      "Examples:\n  sluice attach nbd://127.0.0.1/disk\n  sluice attach disk /dev/nbd0 --wait 60");
  FinishAttach(tree, app, options, attach::Attach);
}

}  // namespace

void DeclareAttach(Tree& tree) {
  DeclareAttaching(tree);
  CLI::App& detach = tree.Add(tree.root(), "detach", "a device that is no longer used");
  detach.group(kGroup);
  auto detached = std::make_shared<attach::Options>();
  AddPlace(detach, "DEVICE", "nbd0 or /dev/nbd0",
           [detached](const std::string& name) { detached->device = name; });
  detach.add_flag_callback(
      "--force", [detached] { detached->force = true; },
      "even if it is in use: what uses it gets errors");
  FinishAttach(tree, detach, detached, attach::Detach);

  CLI::App& list = tree.Add(tree.root(), "attached", "the devices, and how they are");
  list.group(kGroup);
  auto listed = std::make_shared<attach::Options>();
  list.add_flag_callback(
      "--json", [listed] { listed->json = true; }, "print JSON instead of text");
  FinishAttach(tree, list, listed, attach::Attached);
}

}  // namespace sluice::cli
