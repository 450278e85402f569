// A RunGuard knows whether its owner is inside of Run(), for the owner's
// destructor: if exit(3) destroys a static object whose Run() is on the
// caller's stack, the object must be left as it is, because the caller and
// other threads still use it.
//
// Thread safety: any thread may call is_inside() and ProcessExits(). Call the
// rest on the thread of Run().

#ifndef FIO_CORE_INTERNAL_RUN_GUARD_H_
#define FIO_CORE_INTERNAL_RUN_GUARD_H_

#include <atomic>

namespace fio::core_internal {

class RunGuard {
 public:
  // Around Run().
  void Enter();
  void Leave() { inside_ = false; }

  bool is_inside() const { return inside_; }

  // Whether exit(3) has begun. Known only after an Enter(), which must come
  // after the constructor of the static object: exit handlers and destructors
  // run in the reverse order.
  static bool ProcessExits();

  // Keeps a reference to an object that is never destroyed, for leak checkers.
  static void LeaveForEver(void* object);

 private:
  bool notes_exit_ = false;  // A function for atexit(3) is registered.
  std::atomic<bool> inside_{false};
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_RUN_GUARD_H_
