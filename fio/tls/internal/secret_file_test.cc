#include "fio/tls/internal/secret_file.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/tls/tls_test_util.h"
#include "gtest/gtest.h"

namespace fio::tls_internal {
namespace {

using tls_testing::TempFile;
using tls_testing::TempPath;

absl::StatusCode CodeOf(const std::string& path, Readers readers) {
  return ReadFile(path, readers).status().code();
}

std::string NewFolder() {
  std::string folder = TempPath("folder");
  EXPECT_EQ(mkdir(folder.c_str(), S_IRWXU), 0);
  return folder;
}

std::set<std::string> FilesIn(const std::string& folder) {
  std::set<std::string> files;
  DIR* const open = opendir(folder.c_str());
  while (const dirent* const entry = readdir(open)) {
    if (entry->d_name[0] != '.') files.insert(entry->d_name);
  }
  closedir(open);
  return files;
}

TEST(SecretFile, ReadsWhole) {
  const std::string large(300'000, 'x');
  EXPECT_EQ(*ReadFile(TempFile("large", large), Readers::kAnybody), large);
  EXPECT_EQ(*ReadFile(TempFile("empty", ""), Readers::kNotEverybody), "");
  const std::string most(size_t{4} << 20, 'x');
  EXPECT_EQ(*ReadFile(TempFile("most", most), Readers::kAnybody), most);
}

TEST(SecretFile, ErrorsNameTheFile) {
  EXPECT_EQ(CodeOf(TempPath("missing"), Readers::kAnybody),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(CodeOf(TempFile("file", "") + "/below", Readers::kAnybody),
            absl::StatusCode::kFailedPrecondition);
  const std::string folder = NewFolder();
  EXPECT_EQ(ReadFile(folder, Readers::kAnybody).status(),
            absl::InvalidArgumentError(
                absl::StrCat("read ", folder, ": it is no regular file")));
  const std::string pipe = TempPath("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), S_IRWXU), 0);
  EXPECT_EQ(CodeOf(pipe, Readers::kAnybody),  // It does not wait for a writer.
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf("/dev/zero", Readers::kAnybody),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(TempFile("more", std::string((size_t{4} << 20) + 1, 'x')),
                   Readers::kAnybody),
            absl::StatusCode::kInvalidArgument);
}

TEST(SecretFile, EverybodyMayNotReadASecret) {
  const std::string file = TempFile("secret", "a", 0640);
  EXPECT_TRUE(ReadFile(file, Readers::kNotEverybody).ok());
  ASSERT_EQ(chmod(file.c_str(), 0644), 0);
  EXPECT_EQ(
      ReadFile(file, Readers::kNotEverybody).status(),
      absl::PermissionDeniedError(absl::StrCat("read ", file,
                                               ": everybody may use it (mode "
                                               "0644); chmod o= it")));
  EXPECT_TRUE(ReadFile(file, Readers::kAnybody).ok());
}

TEST(SecretFile, WritesForTheOwnerAlone) {
  const mode_t before = umask(0);
  const std::string folder = NewFolder();
  const std::string file = folder + "/secret";
  EXPECT_TRUE(WriteSecretFile(file, "one", IfThere::kKeep).ok());
  EXPECT_EQ(*ReadFile(file, Readers::kNotEverybody), "one");
  EXPECT_EQ(WriteSecretFile(file, "two", IfThere::kKeep).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadFile(file, Readers::kNotEverybody), "one");
  EXPECT_TRUE(WriteSecretFile(file, "three", IfThere::kReplace).ok());
  EXPECT_EQ(*ReadFile(file, Readers::kNotEverybody), "three");
  umask(before);
  struct stat of;
  ASSERT_EQ(stat(file.c_str(), &of), 0);
  EXPECT_EQ(of.st_mode & 07777, 0600u);
  EXPECT_EQ(FilesIn(folder), (std::set<std::string>{"secret"}));
}

// Such as one that somebody has put there, to read what is written into it.
TEST(SecretFile, AFileThatWasThereIsNotUsed) {
  const std::string folder = NewFolder();
  const std::string file = folder + "/secret";
  const std::string beside = absl::StrCat(file, ".", getpid(), ".new");
  ASSERT_EQ(symlink(TempFile("known", "", 0644).c_str(), beside.c_str()), 0);
  EXPECT_TRUE(WriteSecretFile(file, "one", IfThere::kReplace).ok());
  EXPECT_EQ(*ReadFile(file, Readers::kNotEverybody), "one");
  EXPECT_EQ(FilesIn(folder).size(), 2u);
}

// A link stays a link's target: the file beside it takes its place.
TEST(SecretFile, ReplacesALinkItself) {
  const std::string target = TempFile("target", "kept");
  const std::string link = TempPath("link");
  ASSERT_EQ(symlink(target.c_str(), link.c_str()), 0);
  EXPECT_TRUE(WriteSecretFile(link, "new", IfThere::kReplace).ok());
  EXPECT_EQ(*ReadFile(target, Readers::kAnybody), "kept");
  EXPECT_EQ(*ReadFile(link, Readers::kAnybody), "new");
}

TEST(SecretFile, WhatCannotBeWrittenLeavesNothing) {
  EXPECT_EQ(
      WriteSecretFile("/nonexistent-folder/a", "x", IfThere::kKeep).code(),
      absl::StatusCode::kNotFound);
  // A folder has the name: neither rename(2) nor link(2) replaces it.
  const std::string folder = NewFolder();
  ASSERT_EQ(mkdir((folder + "/taken").c_str(), S_IRWXU), 0);
  EXPECT_FALSE(WriteSecretFile(folder + "/taken", "x", IfThere::kReplace).ok());
  EXPECT_EQ(WriteSecretFile(folder + "/taken", "x", IfThere::kKeep).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(FilesIn(folder), (std::set<std::string>{"taken"}));
}

// A full disk, as far as one can be had: files may not have more than so many
// bytes.
TEST(SecretFile, AFullDiskLeavesTheOldFile) {
  const std::string folder = NewFolder();
  const std::string file = folder + "/secret";
  ASSERT_TRUE(WriteSecretFile(file, "old", IfThere::kKeep).ok());
  struct sigaction before;
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  ASSERT_EQ(sigaction(SIGXFSZ, &ignore, &before), 0);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small = {.rlim_cur = 10, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status =
      WriteSecretFile(file, "new, but too long", IfThere::kReplace);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  ASSERT_EQ(sigaction(SIGXFSZ, &before, nullptr), 0);
  EXPECT_NE(status.message().find("write "), std::string::npos) << status;
  EXPECT_EQ(*ReadFile(file, Readers::kAnybody), "old");
  EXPECT_EQ(FilesIn(folder), (std::set<std::string>{"secret"}));
}

TEST(SecretFile, WipeLeavesZeros) {
  std::string secret(100, 's');
  const char* const bytes = secret.data();
  Wipe(secret);
  EXPECT_TRUE(secret.empty());
  EXPECT_EQ(std::string(bytes + 1, 99), std::string(99, '\0'));
}

}  // namespace
}  // namespace fio::tls_internal
