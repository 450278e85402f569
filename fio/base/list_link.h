// A ListLink is a node of a circular list inside another object, so that lists
// of such objects need no memory of their own. The head of a list is a node,
// too.
//
// Thread safety: none.

#ifndef FIO_BASE_LIST_LINK_H_
#define FIO_BASE_LIST_LINK_H_

namespace fio {

// A node that is in no list links to itself.
struct ListLink {
  ListLink() = default;
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;

  bool alone() const { return next == this; }
  void LinkBefore(ListLink& other) {
    next = &other;
    previous = other.previous;
    previous->next = this;
    other.previous = this;
  }
  void Unlink() {
    previous->next = next;
    next->previous = previous;
    next = previous = this;
  }
  // Moves all nodes of `other`, in order, to the end of this list.
  void Append(ListLink& other) {
    if (other.alone()) return;
    other.next->previous = previous;
    previous->next = other.next;
    other.previous->next = this;
    previous = other.previous;
    other.next = other.previous = &other;
  }

  ListLink* next = this;
  ListLink* previous = this;
};

}  // namespace fio

#endif  // FIO_BASE_LIST_LINK_H_
