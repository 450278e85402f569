#include "fio/base/concurrency.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/base/no_destructor.h"
#include "absl/log/log_entry.h"
#include "absl/log/log_sink.h"
#include "absl/log/log_sink_registry.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::FieldsAre;
using ::testing::HasSubstr;

// The warnings of the process: what is said once is said in whichever test, or
// repetition of it, comes first.
class Warnings final : public absl::LogSink {
 public:
  static Warnings& Get() {
    static absl::NoDestructor<Warnings> warnings;
    return *warnings;
  }

  Warnings() { absl::AddLogSink(this); }
  void Send(const absl::LogEntry& entry) override {
    if (entry.log_severity() < absl::LogSeverity::kWarning) return;
    texts_.emplace_back(entry.text_message());
  }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::vector<std::string> texts_;
};

Concurrency Resolve(int threads, int workers, int cores) {
  Warnings::Get();
  return ResolveConcurrency(threads, workers, cores);
}

// NOLINTNEXTLINE(google-readability-avoid-underscore-in-googletest-name)
TEST(Concurrency, TableFor1_2_4_8Cores) {
  struct Row {
    int threads, workers;
    Concurrency on_1, on_2, on_4, on_8;
  };
  constexpr Row kTable[] = {
      {0, 0, {1, 1}, {2, 1}, {3, 1}, {7, 1}},
      {-1, 0, {1, 1}, {2, 1}, {4, 1}, {8, 1}},
      {-2, 0, {1, 2}, {1, 2}, {2, 2}, {4, 2}},
      {0, -1, {1, 1}, {1, 2}, {1, 4}, {1, 8}},
      {0, -2, {2, 1}, {2, 1}, {2, 2}, {2, 4}},
      {-1, -1, {1, 1}, {2, 2}, {4, 4}, {8, 8}},
      {-2, -2, {1, 1}, {1, 1}, {2, 2}, {4, 4}},
      {1, -2, {1, 1}, {1, 1}, {1, 2}, {1, 4}},
      {-2, 1, {1, 1}, {1, 1}, {2, 1}, {4, 1}},
      {-4, -2, {1, 1}, {1, 1}, {1, 2}, {2, 4}},
      {-16, 0, {1, 16}, {1, 16}, {1, 16}, {1, 16}},
      {0, -16, {16, 1}, {16, 1}, {16, 1}, {16, 1}},
      {4, 0, {4, 1}, {4, 1}, {4, 1}, {4, 1}},
      {0, 4, {1, 4}, {1, 4}, {1, 4}, {1, 4}},
      {4, 1, {4, 1}, {4, 1}, {4, 1}, {4, 1}},
  };
  for (const Row& row : kTable) {
    const auto expect = [&row](int cores, const Concurrency& want) {
      EXPECT_THAT(Resolve(row.threads, row.workers, cores),
                  FieldsAre(want.threads, want.workers))
          << row.threads << "," << row.workers << " on " << cores;
    };
    expect(1, row.on_1);
    expect(2, row.on_2);
    expect(4, row.on_4);
    expect(8, row.on_8);
  }
}

TEST(Concurrency, DefaultReservesACoreOfMoreThanThree) {
  EXPECT_THAT(Resolve(0, 0, 3), FieldsAre(3, 1));
  EXPECT_THAT(Resolve(0, 0, 4), FieldsAre(3, 1));
}

TEST(Concurrency, CoresBelowOneCountAsOne) {
  for (const int cores : {0, -1, INT_MIN}) {
    EXPECT_THAT(Resolve(0, 0, cores), FieldsAre(1, 1));
    EXPECT_THAT(Resolve(-1, -1, cores), FieldsAre(1, 1));
    EXPECT_THAT(Resolve(-2, 0, cores), FieldsAre(1, 2));
  }
}

TEST(Concurrency, SmallestNumbersDoNotOverflow) {
  for (const int smallest : {int{INT16_MIN}, INT_MIN}) {
    EXPECT_THAT(Resolve(smallest, smallest, 8), FieldsAre(1, 1));
    EXPECT_THAT(Resolve(smallest, 3, 8), FieldsAre(1, 3));
    EXPECT_THAT(Resolve(3, smallest, 8), FieldsAre(3, 1));
    EXPECT_THAT(Resolve(smallest, 0, 8),
                FieldsAre(1, Concurrency::kMaxWorkers));
    EXPECT_THAT(Resolve(0, smallest, 8),
                FieldsAre(Concurrency::kMaxThreads, 1));
  }
}

TEST(Concurrency, EachIsCappedByItself) {
  EXPECT_THAT(Resolve(1025, 1024, 8), FieldsAre(1024, 1024));
  EXPECT_THAT(Resolve(2, INT_MAX, 8), FieldsAre(2, 1024));
  EXPECT_THAT(Resolve(INT_MAX, INT_MAX, 8), FieldsAre(1024, 1024));
  EXPECT_THAT(Resolve(-1, -2, INT_MAX), FieldsAre(1024, 1024));
  EXPECT_THAT(Resolve(0, 0, INT_MAX), FieldsAre(1024, 1));
}

TEST(Concurrency, CapIsLoggedOnce) {
  Resolve(0, -2000, 8);
  Resolve(0, -2000, 8);
  EXPECT_THAT(Warnings::Get().texts(),
              ElementsAre(AllOf(HasSubstr("ResolveConcurrency("),
                                HasSubstr("at most 1024"))));
}

// A kernel of `kCpus`, all of them ours.
template <size_t kCpus>
int Kernel(pid_t, size_t size, cpu_set_t* out) {
  if (size * CHAR_BIT < kCpus) {
    errno = EINVAL;
    return -1;
  }
  for (size_t cpu = 0; cpu < kCpus; ++cpu) CPU_SET_S(cpu, size, out);
  return 0;
}

template <int kError>
int FailingKernel(pid_t, size_t, cpu_set_t*) {
  errno = kError;
  return -1;
}

// A tree of cgroups in a folder.
class AvailableCoresTest : public ::testing::Test {
 protected:
  AvailableCoresTest() : folder_(::testing::TempDir() + "/cores_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr) << folder_;
    sources_ = {.sched_getaffinity = Kernel<64>,
                .cgroup_of_process = folder_ + "/self",
                .cgroup_root = folder_ + "/cgroup"};
  }

  // Remembers what it makes, for the destructor.
  void Write(std::string_view file, std::string_view text) {
    const std::string path = absl::StrCat(folder_, "/", file);
    for (size_t end = folder_.size();
         (end = path.find('/', end + 1)) != path.npos;) {
      const std::string parent = path.substr(0, end);
      if (mkdir(parent.c_str(), 0700) == 0) made_.push_back(parent);
    }
    std::ofstream(path) << text;
    made_.push_back(path);
  }

  ~AvailableCoresTest() override {
    for (; !made_.empty(); made_.pop_back()) remove(made_.back().c_str());
    EXPECT_EQ(rmdir(folder_.c_str()), 0) << folder_;
  }

  int Cores() const { return AvailableCores(sources_); }

  CoreSources sources_;

 private:
  std::string folder_;
  std::vector<std::string> made_;
};

TEST_F(AvailableCoresTest, WithoutFilesThereIsNoLimit) {
  EXPECT_EQ(Cores(), 64);
  Write("self", "0::/app\n");
  EXPECT_EQ(Cores(), 64);
  Write("self", "");
  EXPECT_EQ(Cores(), 64);
}

TEST_F(AvailableCoresTest, MaskGrowsWithTheKernel) {
  sources_.sched_getaffinity = Kernel<1024>;
  EXPECT_EQ(Cores(), 1024);
  sources_.sched_getaffinity = Kernel<5000>;
  EXPECT_EQ(Cores(), 5000);
}

TEST_F(AvailableCoresTest, WithoutMaskTheOnlineCpusCount) {
  const int64_t online = sysconf(_SC_NPROCESSORS_ONLN);
  sources_.sched_getaffinity = FailingKernel<EINVAL>;
  EXPECT_EQ(Cores(), online);
  sources_.sched_getaffinity = FailingKernel<EPERM>;
  EXPECT_EQ(Cores(), online);
}

TEST_F(AvailableCoresTest, EmptyMaskIsOneCore) {
  sources_.sched_getaffinity = Kernel<0>;
  EXPECT_EQ(Cores(), 1);
}

TEST_F(AvailableCoresTest, QuotaRoundsUp) {
  Write("self", "0::/app\n");
  Write("cgroup/app/cpu.max", "200000 100000\n");
  EXPECT_EQ(Cores(), 2);
  Write("cgroup/app/cpu.max", "200001 100000\n");
  EXPECT_EQ(Cores(), 3);
  Write("cgroup/app/cpu.max", "1000 100000\n");
  EXPECT_EQ(Cores(), 1);
}

TEST_F(AvailableCoresTest, MaskBelowTheQuotaCounts) {
  sources_.sched_getaffinity = Kernel<2>;
  Write("self", "0::/app\n");
  Write("cgroup/app/cpu.max", "300000 100000\n");
  EXPECT_EQ(Cores(), 2);
  Write("cgroup/app/cpu.max", "9223372036854775807 1\n");
  EXPECT_EQ(Cores(), 2);
}

TEST_F(AvailableCoresTest, TightestOfTheNestedQuotasCounts) {
  Write("self", "0::/slice/app\n");
  Write("cgroup/slice/app/cpu.max", "400000 100000\n");
  EXPECT_EQ(Cores(), 4);
  Write("cgroup/cpu.max", "350000 50000\n");
  EXPECT_EQ(Cores(), 4);
  Write("cgroup/slice/cpu.max", "300000 100000\n");
  EXPECT_EQ(Cores(), 3);
  Write("cgroup/cpu.max", "100000 50000\n");
  EXPECT_EQ(Cores(), 2);
  Write("cgroup/slice/app/cpu.max", "100000 100000\n");
  EXPECT_EQ(Cores(), 1);
}

TEST_F(AvailableCoresTest, SiblingsDoNotCount) {
  Write("self", "0::/app\n");
  Write("cgroup/app/cpu.max", "400000 100000\n");
  Write("cgroup/app/child/cpu.max", "100000 100000\n");
  Write("cgroup/apple/cpu.max", "100000 100000\n");
  EXPECT_EQ(Cores(), 4);
}

TEST_F(AvailableCoresTest, MaxIsNoLimit) {
  Write("self", "0::/app\n");
  Write("cgroup/app/cpu.max", "max 100000\n");
  EXPECT_EQ(Cores(), 64);
}

TEST_F(AvailableCoresTest, WhatMakesNoSenseIsNoLimit) {
  Write("self", "0::/app\n");
  for (const char* text :
       {"", "\n", " ", "100000", "100000 ", "100000 0", "0 100000", "-1 100000",
        "100000 -1", "one two", "100000 100000 100000", "1e5 100000",
        "99999999999999999999 100000"}) {
    Write("cgroup/app/cpu.max", text);
    EXPECT_EQ(Cores(), 64) << text;
  }
  Write("cgroup/app/cpu.max", "100000 100000\n");
  EXPECT_EQ(Cores(), 1);
  for (const char* text : {"garbage", "0", "0:", "0:/app", ":\n::\n", "\n\n\n",
                           "1:cpuset,cpuacct:/app", "1:name=cpu:/app"}) {
    Write("self", text);
    EXPECT_EQ(Cores(), 64) << text;
  }
}

TEST_F(AvailableCoresTest, PathOfAnotherNamespaceIsTheRoot) {
  Write("outside/cpu.max", "100000 100000\n");
  Write("cgroup/host/cpu.max", "200000 100000\n");
  Write("cgroup/cpu.max", "300000 100000\n");
  for (const char* path :
       {"/", "/host/container", "/../outside", "/host/..", "host"}) {
    Write("self", absl::StrCat("0::", path, "\n"));
    EXPECT_EQ(Cores(), 3) << path;
  }
}

TEST_F(AvailableCoresTest, DotsAndColonsMayBePartOfAName) {
  Write("self", "0::/a..b:c\n");
  Write("cgroup/a..b:c/cpu.max", "200000 100000\n");
  EXPECT_EQ(Cores(), 2);
}

TEST_F(AvailableCoresTest, Version1) {
  Write("self",
        "12:cpuset:/set\n"
        "4:cpu,cpuacct:/slice/app\n"
        "1:name=systemd:/\n"
        "0::/init.scope\n");
  Write("cgroup/cpu/slice/app/cpu.cfs_quota_us", "250000\n");
  EXPECT_EQ(Cores(), 64);
  Write("cgroup/cpu/slice/app/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Cores(), 3);
  Write("cgroup/cpu/slice/cpu.cfs_period_us", "100000\n");
  Write("cgroup/cpu/slice/cpu.cfs_quota_us", "200000\n");
  EXPECT_EQ(Cores(), 2);
  Write("cgroup/cpu/slice/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Cores(), 3);
}

TEST_F(AvailableCoresTest, Version1MountedByTheNamesOfItsControllers) {
  Write("self", "4:cpuacct,cpu:/app\n");
  Write("cgroup/cpuacct,cpu/app/cpu.cfs_quota_us", "500000\n");
  Write("cgroup/cpuacct,cpu/app/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Cores(), 5);
}

TEST_F(AvailableCoresTest, Version1PathOfAnotherNamespaceIsTheRoot) {
  Write("self", "4:cpu:/docker/0123\n");
  Write("cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  Write("cgroup/cpu/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(Cores(), 2);
}

TEST(AvailableCores, OfThisMachine) {
  const int of_mask = AvailableCores({.cgroup_of_process = "/dev/null"});
  EXPECT_GE(AvailableCores(), 1);
  EXPECT_LE(AvailableCores(), of_mask);
}

TEST(AvailableCores, ThreadOnOneCpuHasOne) {
  std::thread([] {
    const int cpu = sched_getcpu();
    ASSERT_GE(cpu, 0);
    std::vector<cpu_set_t> mask(cpu / CPU_SETSIZE + 1);
    const size_t size = mask.size() * sizeof(cpu_set_t);
    CPU_SET_S(cpu, size, mask.data());
    ASSERT_EQ(sched_setaffinity(0, size, mask.data()), 0);
    EXPECT_EQ(AvailableCores(), 1);
    EXPECT_EQ(AvailableCores({.cgroup_of_process = "/dev/null"}), 1);
  }).join();
}

}  // namespace
}  // namespace fio
