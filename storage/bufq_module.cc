// SPDX-License-Identifier: Apache-2.0
#include "storage/bufq_module.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "core/check.h"

namespace sluice {
namespace {

constexpr char kSymbol[] = "sluice_bufq_module";

struct Close {
  void operator()(void* library) const { dlclose(library); }
};

std::string LoaderError() {
  const char* error = dlerror();
  return error != nullptr ? error : "unknown error";
}

// Empty if the module fits, else why it does not.
std::string Misfit(const BufqModule& module, absl::string_view name) {
  if (module.abi_version != kBufqAbi) {
    return absl::StrCat("ABI version ", module.abi_version, ", needed ", kBufqAbi);
  }
  if (module.bio_size != sizeof(Bio)) {
    return absl::StrCat("built for a bio of ", module.bio_size, " bytes, needed ", sizeof(Bio));
  }
  const BufqStrategy& strategy = module.strategy;
  if (strategy.name == nullptr || strategy.summary == nullptr || strategy.make == nullptr) {
    return "its strategy lacks a name, a summary or a make function";
  }
  if (name != strategy.name) return "its strategy has another name than the file";
  return "";
}

}  // namespace

absl::StatusOr<BufqStrategy> LoadBufqModule(const std::string& folder, absl::string_view name) {
  SLUICE_CHECK(IsBufqName(name));
  if (folder.empty()) return absl::NotFoundError("no module folder is configured");
  const std::string path = absl::StrCat(folder, "/", name, ".so");
  struct stat file {};
  if (stat(path.c_str(), &file) != 0) {
    return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  const auto refused = [&](absl::string_view why) {
    return absl::FailedPreconditionError(absl::StrCat("module ", path, " refused: ", why));
  };
  if (!S_ISREG(file.st_mode)) return refused("not a regular file");

  std::unique_ptr<void, Close> library(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (library == nullptr) return refused(LoaderError());
  const auto* module = static_cast<const BufqModule*>(dlsym(library.get(), kSymbol));
  if (module == nullptr) return refused(LoaderError());
  if (const std::string why = Misfit(*module, name); !why.empty()) return refused(why);

  const BufqStrategy strategy = module->strategy;
  library.release();  // queues, and the strategy's strings, need it until exit
  return strategy;
}

}  // namespace sluice
