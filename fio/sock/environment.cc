#include "fio/sock/environment.h"

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace fio {
namespace {

std::string Describe(Environment::Key key) {
  return absl::StrCat("environment key (", key.type, ", '",
                      absl::CHexEscape(key.name.substr(0, 100)), "')");
}

}  // namespace

absl::Status Environment::Set(Key key, void* object, OnClose on_close) {
  Link link = {.type = key.type,
               .name = std::string(key.name),
               .object = object,
               .on_close = std::move(on_close)};
  if (key.type < 0) {
    link.TellClosed();
    return absl::InvalidArgumentError(
        absl::StrCat(Describe(key), ": types below 0 are reserved"));
  }
  Links replaced = Take(key);
  links_.push_back(std::move(link));
  index_[{key.type, links_.back().name}] = std::prev(links_.end());
  if (!replaced.empty()) replaced.front().TellClosed();
  return absl::OkStatus();
}

void* Environment::Get(Key key) const {
  const auto found = index_.find({key.type, key.name});
  return found == index_.end() ? nullptr : found->second->object;
}

absl::Status Environment::Unset(Key key) {
  if (!Take(key).empty()) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(Describe(key), " is not linked"));
}

absl::Status Environment::Remove(Key key) {
  Links removed = Take(key);
  if (removed.empty()) {
    return absl::NotFoundError(absl::StrCat(Describe(key), " is not linked"));
  }
  removed.front().TellClosed();
  return absl::OkStatus();
}

void Environment::Close() {
  while (!links_.empty()) {
    const Link& newest = links_.back();
    Links closed = Take({.type = newest.type, .name = newest.name});
    closed.front().TellClosed();
  }
}

Environment::Links Environment::Take(Key key) {
  Links taken;
  const auto found = index_.find({key.type, key.name});
  if (found == index_.end()) return taken;
  const Links::iterator link = found->second;
  index_.erase(found);
  taken.splice(taken.begin(), links_, link);
  return taken;
}

}  // namespace fio
