// A MoveOnlyFunction holds a callable, which need not be copyable. It is
// C++23's std::move_only_function with a guarantee about memory: a callable of
// up to `kInlineBytes` is stored inside, without an allocation.
//
// A callable that is larger, needs more alignment than a pointer or may throw
// when it is moved costs one allocation. A null function pointer, std::function
// or the like makes a null MoveOnlyFunction.
//
// Thread safety: that of its callable.

#ifndef FIO_BASE_MOVE_ONLY_FUNCTION_H_
#define FIO_BASE_MOVE_ONLY_FUNCTION_H_

#include <concepts>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace fio {

template <typename Signature, size_t kInlineBytes = 64>
class MoveOnlyFunction;

template <typename R, typename... Args, size_t kInlineBytes>
class MoveOnlyFunction<R(Args...), kInlineBytes> {
 public:
  MoveOnlyFunction() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): as std::function.
  MoveOnlyFunction(std::nullptr_t) {}

  template <typename F>
  requires(!std::same_as<std::remove_cvref_t<F>, MoveOnlyFunction> &&
           std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
      // NOLINTNEXTLINE(google-explicit-constructor,bugprone-forwarding-reference-overload)
      MoveOnlyFunction(F&& callable) {  // As std::function's.
    if (IsNull(callable)) return;
    using Callable = std::decay_t<F>;
    if constexpr (kFits<Callable>) {
      std::construct_at(reinterpret_cast<Callable*>(storage_),
                        std::forward<F>(callable));
    } else {
      std::construct_at(reinterpret_cast<Callable**>(storage_),
                        new Callable(std::forward<F>(callable)));
    }
    operations_ = &kOperations<Callable>;
  }

  MoveOnlyFunction(MoveOnlyFunction&& other) noexcept { TakeFrom(other); }
  MoveOnlyFunction& operator=(MoveOnlyFunction&& other) noexcept {
    if (this == &other) return *this;
    if (operations_ == nullptr) {
      TakeFrom(other);
    } else {
      // Dies last, since its destructor may assign to this, too.
      const MoveOnlyFunction former(std::move(*this));
      TakeFrom(other);
    }
    return *this;
  }
  ~MoveOnlyFunction() { Reset(); }

  // REQUIRES: not null.
  R operator()(Args... args) {
    return operations_->call(storage_, std::forward<Args>(args)...);
  }

  explicit operator bool() const { return operations_ != nullptr; }
  friend bool operator==(const MoveOnlyFunction& function, std::nullptr_t) {
    return function.operations_ == nullptr;
  }

 private:
  struct Operations {
    R (*call)(void* self, Args&&... args);
    // Null if copying the bytes is enough.
    void (*relocate)(void* from, void* to) noexcept;
    // Null if there is nothing to do.
    void (*destroy)(void* self) noexcept;
  };

  template <typename Callable>
  static constexpr bool kFits = sizeof(Callable) <= kInlineBytes &&
                                alignof(Callable) <= alignof(void*) &&
                                std::is_nothrow_move_constructible_v<Callable>;

  template <typename Callable>
  static constexpr bool kIsBytes =
      std::is_trivially_copyable_v<Callable> || !kFits<Callable>;

  template <typename Callable>
  static Callable& In(void* storage) {
    if constexpr (kFits<Callable>) {
      return *static_cast<Callable*>(storage);
    } else {
      return **static_cast<Callable**>(storage);
    }
  }

  template <typename Callable>
  static R Call(void* self, Args&&... args) {
    return std::invoke(In<Callable>(self), std::forward<Args>(args)...);
  }

  template <typename Callable>
  static void Relocate(void* from, void* to) noexcept {
    Callable& callable = In<Callable>(from);
    std::construct_at(static_cast<Callable*>(to), std::move(callable));
    std::destroy_at(&callable);
  }

  template <typename Callable>
  static void Destroy(void* self) noexcept {
    if constexpr (kFits<Callable>) {
      std::destroy_at(&In<Callable>(self));
    } else {
      delete &In<Callable>(self);
    }
  }

  template <typename Callable>
  static constexpr Operations MakeOperations() {
    Operations operations = {&Call<Callable>, nullptr, nullptr};
    if constexpr (!kIsBytes<Callable>) {
      operations.relocate = &Relocate<Callable>;
    }
    if constexpr (!kFits<Callable> ||
                  !std::is_trivially_destructible_v<Callable>) {
      operations.destroy = &Destroy<Callable>;
    }
    return operations;
  }

  template <typename Callable>
  static constexpr Operations kOperations = MakeOperations<Callable>();

  template <typename F>
  static bool IsNull(const F& callable) {
    if constexpr (std::is_pointer_v<F> || std::is_member_pointer_v<F>) {
      return callable == nullptr;
    } else if constexpr (requires { callable.operator bool(); }) {
      return !callable;
    } else {
      return false;
    }
  }

// memcpy copies all bytes of storage_; the callable may initialize fewer.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
  void TakeFrom(MoveOnlyFunction& other) noexcept {
    operations_ = std::exchange(other.operations_, nullptr);
    if (operations_ == nullptr) return;
    if (operations_->relocate == nullptr) {
      std::memcpy(storage_, other.storage_, kInlineBytes);
    } else {
      operations_->relocate(other.storage_, storage_);
    }
  }
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

  void Reset() {
    const Operations* const operations = std::exchange(operations_, nullptr);
    if (operations != nullptr && operations->destroy != nullptr) {
      operations->destroy(storage_);
    }
  }

  const Operations* operations_ = nullptr;
  alignas(void*) std::byte storage_[kInlineBytes];
};

}  // namespace fio

#endif  // FIO_BASE_MOVE_ONLY_FUNCTION_H_
