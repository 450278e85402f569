// A RepeatedCallback is the callback of a repeated timer. It is made from a
// callable without arguments that returns TimerNext, or void, which means
// TimerNext::kContinue:
//
//   loop.RunEvery({.callback = [] { Report(); },
//                  .interval = absl::Seconds(1)});
//   loop.RunEvery({.callback = [&left] {
//                    return --left > 0 ? TimerNext::kContinue
//                                      : TimerNext::kStop;
//                  },
//                  .interval = absl::Seconds(1)});
//
// Thread safety: that of its callable.

#ifndef FIO_CORE_TIMER_REPEATED_CALLBACK_H_
#define FIO_CORE_TIMER_REPEATED_CALLBACK_H_

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace fio {

// Whether a repeated timer continues.
enum class TimerNext { kContinue, kStop };

// `Function` stores the callable: a MoveOnlyFunction or a std::function of
// TimerNext().
template <typename Function>
class RepeatedCallback {
 public:
  // Null.
  RepeatedCallback() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): as std::function.
  RepeatedCallback(std::nullptr_t) {}

  template <typename F>
  requires(!std::same_as<std::remove_cvref_t<F>, RepeatedCallback> &&
           std::same_as<std::invoke_result_t<std::decay_t<F>&>, TimerNext>)
      // NOLINTNEXTLINE(google-explicit-constructor,bugprone-forwarding-reference-overload)
      RepeatedCallback(F&& callable)
      : function_(std::forward<F>(callable)) {}

  template <typename F>
  requires(std::is_void_v<std::invoke_result_t<std::decay_t<F>&>>)
      // NOLINTNEXTLINE(google-explicit-constructor,bugprone-forwarding-reference-overload)
      RepeatedCallback(F&& callable) {
    if (IsNull(callable)) return;
    function_ = ThenContinue<std::decay_t<F>>{std::forward<F>(callable)};
  }

  // REQUIRES: not null.
  TimerNext operator()() { return function_(); }

  explicit operator bool() const { return static_cast<bool>(function_); }
  friend bool operator==(const RepeatedCallback& callback, std::nullptr_t) {
    return !callback;
  }

 private:
  template <typename Callable>
  struct ThenContinue {
    Callable callable;
    TimerNext operator()() {
      callable();
      return TimerNext::kContinue;
    }
  };

  template <typename F>
  static bool IsNull(const F& callable) {
    if constexpr (std::is_pointer_v<F>) {
      return callable == nullptr;
    } else if constexpr (requires { callable.operator bool(); }) {
      return !callable;
    } else {
      return false;
    }
  }

  Function function_;
};

}  // namespace fio

#endif  // FIO_CORE_TIMER_REPEATED_CALLBACK_H_
