// Objects that a loop has one of each: a cache of dates, a pool of parsers, a
// deflate stream. Loop::Local<T>() finds them, and makes them when they are
// first asked for:
//
//   struct Dates {
//     explicit Dates(fio::Loop& loop);  // Or Dates().
//     std::string_view Now();
//   };
//   ... connection.loop().Local<Dates>().Now() ...
//
// Thread safety: none; those of a loop belong to its thread.

#ifndef FIO_CORE_LOOP_LOOP_LOCALS_H_
#define FIO_CORE_LOOP_LOOP_LOCALS_H_

#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace fio {

class Loop;

class LoopLocals {
 public:
  LoopLocals() = default;
  LoopLocals(const LoopLocals&) = delete;
  LoopLocals& operator=(const LoopLocals&) = delete;
  // Newest first. What a destructor asks for meanwhile is made, and destroyed
  // too.
  ~LoopLocals() { Clear(); }

  // The object of type T; the first call makes it, of `loop` if it can be made
  // of a Loop&. A look at each of those that there are.
  template <typename T>
  T& Get(Loop& loop) {
    for (const std::unique_ptr<Object>& object : objects_) {
      if (object->type == &kType<T>) {
        return static_cast<Typed<T>&>(*object).value;
      }
    }
    auto made = std::make_unique<Typed<T>>(loop);
    T& value = made->value;
    objects_.push_back(std::move(made));
    return value;
  }

  void Clear() {
    while (!objects_.empty()) {
      const std::unique_ptr<Object> newest = std::move(objects_.back());
      objects_.pop_back();
    }
  }

 private:
  // Its address stands for the type.
  template <typename T>
  static inline constexpr char kType = 0;

  struct Object {
    explicit Object(const void* type) : type(type) {}
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;
    virtual ~Object() = default;

    const void* const type;
  };
  template <typename T>
  struct Typed final : Object {
    explicit Typed(Loop& loop) : Object(&kType<T>), value(Make(loop)) {}

    static T Make([[maybe_unused]] Loop& loop) {
      if constexpr (std::is_constructible_v<T, Loop&>) {
        return T(loop);
      } else {
        return T();
      }
    }

    T value;
  };

  std::vector<std::unique_ptr<Object>> objects_;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_LOOP_LOCALS_H_
