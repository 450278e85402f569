// An Environment links objects to the life of something: a Socket has one. Each
// object has a key, and a callback that says good-bye to it when the
// environment ends, when another takes its key, or when it is removed.
//
// Callbacks run once, in the caller, when the change they report is visible
// already; they may use the environment, but not destroy it.
//
// Thread safety: none.

#ifndef FIO_SOCK_ENVIRONMENT_H_
#define FIO_SOCK_ENVIRONMENT_H_

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

namespace fio {

class Environment {
 public:
  // Type and name together. The name may be empty and hold any byte; types
  // below 0 are reserved.
  struct Key {
    int64_t type = 0;
    std::string_view name = {};
  };

  // May be null.
  using OnClose = absl::AnyInvocable<void(void* object) &&>;

  Environment() = default;
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { Close(); }

  // Links `object`, which stays the caller's; copies the key. An object that
  // had the key before is told by its own callback.
  //
  // Errors: kInvalidArgument for a reserved type; `on_close` runs then, too.
  absl::Status Set(Key key, void* object, OnClose on_close);

  // Null if the key has none.
  void* Get(Key key) const;

  // Ends the link without the callback. Errors: kNotFound.
  absl::Status Unset(Key key);

  // Ends the link with the callback. Errors: kNotFound.
  absl::Status Remove(Key key);

  bool empty() const { return links_.empty(); }

  // Ends all links with their callbacks, the newest first; those that a
  // callback makes, too.
  void Close();

 private:
  struct Link {
    void TellClosed() {
      if (on_close != nullptr) std::move(on_close)(object);
    }

    int64_t type;
    std::string name;
    void* object;
    OnClose on_close;
  };
  using Links = std::list<Link>;
  using Index = std::map<std::pair<int64_t, std::string_view>, Links::iterator>;

  // Takes the link out; an empty list if there is none.
  Links Take(Key key);

  Links links_;  // The newest last.
  Index index_;
};

}  // namespace fio

#endif  // FIO_SOCK_ENVIRONMENT_H_
