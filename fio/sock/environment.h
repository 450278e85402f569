// An Environment links objects to the lifetime of its owner, such as a Socket.
// Each object has a key and a callback. The callback runs when the environment
// is closed or destroyed, when another object takes the key, or in Remove().
//
// A callback runs at most once, inside the call that ends the link, after the
// link is gone. It may use the environment, but must not destroy it.
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
  // Type and name together identify an object. The name may be empty and may
  // have any byte. Types below 0 are reserved.
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

  // Links `object`, which stays the caller's; copies the key. If another object
  // had the key, its link ends and its callback runs.
  //
  // Errors: kInvalidArgument for a reserved type; then `on_close` runs at once.
  absl::Status Set(Key key, void* object, OnClose on_close);

  // Null if no object has the key.
  void* Get(Key key) const;

  // Ends the link without running the callback. Errors: kNotFound.
  absl::Status Unset(Key key);

  // Ends the link and runs the callback. Errors: kNotFound.
  absl::Status Remove(Key key);

  bool empty() const { return links_.empty(); }

  // Ends all links and runs their callbacks, the newest first. Also ends links
  // that a callback adds meanwhile.
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

  // Removes and returns the link; an empty list if there is none.
  Links Take(Key key);

  Links links_;  // The newest last.
  Index index_;
};

}  // namespace fio

#endif  // FIO_SOCK_ENVIRONMENT_H_
