// Keeps freed pieces of memory of one size for reuse, so that a server in a
// steady state allocates nothing. Each thread has its own list. A piece in a
// list is poisoned.
//
//   struct Node {
//     void* operator new(size_t) { return FreeList<sizeof(Node)>::Take(); }
//     void operator delete(void* p) { FreeList<sizeof(Node)>::Give(p); }
//   };
//
// Thread safety: any thread; a piece may be taken on one thread and given back
// on another.

#ifndef FIO_BASE_FREE_LIST_H_
#define FIO_BASE_FREE_LIST_H_

#include <cstddef>
#include <new>

#include "fio/base/poison.h"

namespace fio {

template <size_t kBytes>
class FreeList {
 public:
  static void* Take() {
    Piece* piece = list_.head;
    if (piece == nullptr) return ::operator new(kBytes);
    Unpoison(piece, kBytes);
    list_.head = piece->next;
    --list_.size;
    return piece;
  }

  static void Give(void* memory) {
    if (list_.size == list_.room && !Open()) {
      ::operator delete(memory);
      return;
    }
    list_.head = new (memory) Piece{list_.head};
    ++list_.size;
    Poison(memory, kBytes);
  }

 private:
  // The most that a thread keeps of each size; further pieces are freed.
  static constexpr size_t kKeptBytes = size_t{1} << 20;

  struct Piece {
    Piece* next;
  };
  static_assert(sizeof(Piece) <= kBytes && kBytes <= kKeptBytes);

  // Trivially destructible, so that it can be used after the Janitor is
  // destroyed.
  struct List {
    Piece* head;
    size_t size;
    size_t room;  // 0 before the thread's first use and after its end.
    bool closed;
  };

  // Frees the pieces in the list at the end of the thread.
  struct Janitor {
    ~Janitor() {
      list_.room = 0;
      list_.closed = true;
      while (list_.head != nullptr) ::operator delete(Take());
    }
  };

  // True the first time in a thread.
  static bool Open() {
    if (list_.room != 0 || list_.closed) return false;
    static thread_local Janitor janitor;
    static_cast<void>(janitor);
    list_.room = kKeptBytes / kBytes;
    return true;
  }

  static constinit inline thread_local List list_ = {};
};

}  // namespace fio

#endif  // FIO_BASE_FREE_LIST_H_
