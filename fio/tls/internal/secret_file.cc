#include "fio/tls/internal/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "fio/base/errno_status.h"
#include "fio/base/unique_fd.h"
#include "fio/tls/internal/boringssl.h"

namespace fio::tls_internal {
namespace {

constexpr size_t kMostBytes = size_t{4} << 20;

absl::Status Failed(std::string_view call, const std::string& path) {
  return ErrnoToStatus(errno, absl::StrCat(call, " ", path));
}

// Returns how many bytes the file has.
absl::StatusOr<size_t> Check(int fd, const std::string& path, Readers readers) {
  struct stat file;
  if (fstat(fd, &file) != 0) return Failed("fstat", path);
  if (!S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("read ", path, ": it is no regular file"));
  }
  if (readers == Readers::kNotEverybody && (file.st_mode & S_IRWXO) != 0) {
    return absl::PermissionDeniedError(absl::StrFormat(
        "read %s: everybody may use it (mode %04o); chmod o= it", path,
        file.st_mode & 07777));
  }
  return static_cast<size_t>(file.st_size);
}

ssize_t ReadOnce(int fd, char* out, size_t size) {
  ssize_t bytes;
  do {
    bytes = read(fd, out, size);
  } while (bytes < 0 && errno == EINTR);
  return bytes;
}

absl::Status WriteAll(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t bytes = write(fd, text.data(), text.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return Failed("write", path);
    text.remove_prefix(static_cast<size_t>(bytes));
  }
  return absl::OkStatus();
}

// One that nobody else writes.
std::string NameBeside(const std::string& path) {
  char random[8];
  RAND_bytes(reinterpret_cast<uint8_t*>(random), sizeof(random));
  return absl::StrCat(path, ".",
                      absl::BytesToHexString({random, sizeof(random)}), ".new");
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, Readers readers) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return Failed("open", path);
  const absl::StatusOr<size_t> size = Check(fd.get(), path, readers);
  if (!size.ok()) return size.status();
  char piece[4096];
  std::string text;
  // A string that grows leaves copies of the secret behind.
  text.reserve(std::min(*size, kMostBytes) + sizeof(piece));
  ssize_t bytes;
  while ((bytes = ReadOnce(fd.get(), piece, sizeof(piece))) > 0) {
    text.append(piece, static_cast<size_t>(bytes));
    if (text.size() > kMostBytes) break;
  }
  absl::Status status;
  if (bytes < 0) {
    status = Failed("read", path);
  } else if (text.size() > kMostBytes) {
    status = absl::InvalidArgumentError(
        absl::StrCat("read ", path, ": it has more than 4 MiB"));
  }
  OPENSSL_cleanse(piece, sizeof(piece));
  if (status.ok()) return text;
  Wipe(text);
  return status;
}

absl::Status WriteSecretFile(const std::string& path, std::string_view text,
                             IfThere if_there) {
  const std::string beside = NameBeside(path);
  const UniqueFd fd(open(beside.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                         S_IRUSR | S_IWUSR));
  if (!fd) return Failed("open", beside);
  absl::Status status = WriteAll(fd.get(), text, beside);
  if (status.ok() && fsync(fd.get()) != 0) status = Failed("fsync", beside);
  if (status.ok() && if_there == IfThere::kReplace &&
      rename(beside.c_str(), path.c_str()) == 0) {
    return status;
  }
  if (status.ok() && if_there == IfThere::kReplace) {
    status = Failed("rename", path);
  } else if (status.ok() && link(beside.c_str(), path.c_str()) != 0) {
    status = Failed("link", path);
  }
  unlink(beside.c_str());
  return status;
}

void Wipe(std::string& secret) {
  OPENSSL_cleanse(secret.data(), secret.size());
  secret.clear();
}

}  // namespace fio::tls_internal
