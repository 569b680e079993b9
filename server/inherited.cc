// SPDX-License-Identifier: Apache-2.0
#include "server/inherited.h"

#include <sys/socket.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/socket.h"
#include "server/text.h"

namespace sluice {
namespace {

int OptionOf(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof(value);
  return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

absl::Status Refused(const InheritedFd& from, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("the service manager's socket ", Quote(from.name),
                                                 " (descriptor ", from.fd, ") ", why));
}

}  // namespace

absl::Status UseInherited(const std::vector<InheritedFd>& inherited, Config& config) {
  if (inherited.empty()) return absl::OkStatus();
  const std::map<std::string, std::vector<Address>*> doors = {
      {"nbd", &config.nbd.listen}, {"grpc", &config.grpc.listen}, {"http", &config.http.listen}};
  std::map<std::string, std::vector<Address>> given;
  for (const InheritedFd& from : inherited) {
    if (doors.count(from.name) == 0) {
      return Refused(from,
                     "is named for no door: write FileDescriptorName=nbd, grpc or http into its "
                     "unit");
    }
    if (OptionOf(from.fd, SO_TYPE) != SOCK_STREAM || OptionOf(from.fd, SO_ACCEPTCONN) != 1) {
      return Refused(from,
                     "is no stream socket that listens: write ListenStream= and Accept=no into "
                     "its unit");
    }
    auto address = AddressOf(from.fd);
    if (!address.ok()) return Refused(from, address.status().message());
    given[from.name].push_back(*std::move(address));
  }
  for (auto& [name, addresses] : given) *doors.at(name) = std::move(addresses);
  if (auto problem = CompleteAndCheck(config)) {
    return absl::InvalidArgumentError(
        absl::StrCat("with the service manager's sockets: ", problem->key, ": ", problem->text));
  }
  return absl::OkStatus();
}

}  // namespace sluice
