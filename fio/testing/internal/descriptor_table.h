// A DescriptorTable keeps a T for each descriptor, in pages that are allocated
// for the first descriptor of their range and freed with the table.
//
// Thread safety: none.

#ifndef FIO_TESTING_INTERNAL_DESCRIPTOR_TABLE_H_
#define FIO_TESTING_INTERNAL_DESCRIPTOR_TABLE_H_

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

namespace fio::testing_internal {

template <typename T>
class DescriptorTable {
 public:
  // Null if Get() was never called for it; `fd` may be negative.
  T* Find(int fd) {
    const size_t page = static_cast<size_t>(fd) / kPageSize;
    if (fd < 0 || page >= pages_.size() || pages_[page] == nullptr) {
      return nullptr;
    }
    return &(*pages_[page])[static_cast<size_t>(fd) % kPageSize];
  }

  // REQUIRES: `fd` is not negative.
  T& Get(int fd) {
    const size_t page = static_cast<size_t>(fd) / kPageSize;
    if (page >= pages_.size()) pages_.resize(page + 1);
    if (pages_[page] == nullptr) pages_[page] = std::make_unique<Page>();
    return (*pages_[page])[static_cast<size_t>(fd) % kPageSize];
  }

 private:
  static constexpr size_t kPageSize = 1024;
  using Page = std::array<T, kPageSize>;

  std::vector<std::unique_ptr<Page>> pages_;
};

}  // namespace fio::testing_internal

#endif  // FIO_TESTING_INTERNAL_DESCRIPTOR_TABLE_H_
