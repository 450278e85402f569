#include "fio/tls/tls_ticket_keys.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <latch>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/testing/manual_clock.h"
#include "fio/tls/internal/secret_file.h"
#include "fio/tls/tls_test_util.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::ManualClock;
using tls_testing::TempFile;
using tls_testing::TempPath;
using Keys = std::shared_ptr<TlsTicketKeys>;

constexpr absl::Duration kHour = absl::Hours(1);

std::string Name(const TlsTicketKeys::Key& key) {
  return std::string(key.name.begin(), key.name.end());
}

std::string CurrentName(const Keys& keys) { return Name(keys->Current()); }

bool Accepts(const Keys& keys, const std::string& name) {
  const auto found = keys->Find(name);
  return found.has_value() && Name(*found) == name;
}

Keys Make(const Clock& clock, const std::string& file = "") {
  auto keys =
      TlsTicketKeys::Create({.rotation = kHour, .file = file, .clock = &clock});
  EXPECT_TRUE(keys.ok()) << keys.status();
  return *std::move(keys);
}

std::string Contents(const std::string& file) {
  return *tls_internal::ReadFile(file, tls_internal::Readers::kAnybody);
}

mode_t ModeOf(const std::string& file) {
  struct stat of;
  EXPECT_EQ(stat(file.c_str(), &of), 0);
  return of.st_mode & 07777;
}

// The time of day may go back.
class WallClock final : public Clock {
 public:
  MonotonicTime Now() const override { return MonotonicTime(); }
  absl::Time WallNow() const override { return now; }

  absl::Time now = absl::FromUnixSeconds(1'700'000'000);
};

TEST(TlsTicketKeys, ATicketLivesForThisPeriodAndTheNext) {
  ManualClock clock;
  const Keys keys = Make(clock);
  const std::string first = CurrentName(keys);
  clock.Advance(absl::Minutes(59));
  EXPECT_EQ(CurrentName(keys), first);
  clock.Advance(absl::Minutes(1));
  const std::string second = CurrentName(keys);
  EXPECT_NE(second, first);
  EXPECT_TRUE(Accepts(keys, first));
  EXPECT_TRUE(Accepts(keys, second));
  clock.Advance(kHour);
  EXPECT_FALSE(Accepts(keys, first));
  EXPECT_TRUE(Accepts(keys, second));
  clock.Advance(2 * kHour);  // Nobody has asked in between.
  EXPECT_FALSE(Accepts(keys, second));
}

TEST(TlsTicketKeys, AllPartsOfAKeyChange) {
  ManualClock clock;
  const Keys keys = Make(clock);
  const TlsTicketKeys::Key first = keys->Current();
  clock.Advance(kHour);
  const TlsTicketKeys::Key second = keys->Current();
  EXPECT_NE(first.name, second.name);
  EXPECT_NE(first.cipher, second.cipher);
  EXPECT_NE(first.mac, second.mac);
  EXPECT_NE(first.cipher, first.mac);
  const auto found = keys->Find(Name(first));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->cipher, first.cipher);
  EXPECT_EQ(found->mac, first.mac);
}

TEST(TlsTicketKeys, UnknownNamesAreNotFound) {
  ManualClock clock;
  const Keys keys = Make(clock);
  EXPECT_FALSE(keys->Find("").has_value());
  EXPECT_FALSE(keys->Find("short").has_value());
  EXPECT_FALSE(keys->Find(std::string(16, '\0')).has_value());
  EXPECT_FALSE(keys->Find(CurrentName(keys) + "x").has_value());
  EXPECT_FALSE(keys->Find(CurrentName(Make(clock))).has_value());
}

TEST(TlsTicketKeys, TwoWithOneFileAgree) {
  ManualClock clock;
  const std::string file = TempPath("keys");
  const Keys one = Make(clock, file);
  const Keys two = Make(clock, file);
  EXPECT_EQ(CurrentName(one), CurrentName(two));
  // At any time, though only one of them was asked meanwhile.
  for (int i = 0; i < 5; ++i) {
    clock.Advance(kHour);
    CurrentName(one);
  }
  EXPECT_EQ(CurrentName(one), CurrentName(two));
  EXPECT_EQ(one->Current().cipher, two->Current().cipher);
}

TEST(TlsTicketKeys, TheNextStartGoesOn) {
  ManualClock clock;
  const std::string file = TempPath("keys");
  std::string last, current;
  {
    const Keys keys = Make(clock, file);
    last = CurrentName(keys);
    clock.Advance(kHour);
    current = CurrentName(keys);
  }
  {
    const Keys keys = Make(clock, file);
    EXPECT_EQ(CurrentName(keys), current);
    EXPECT_TRUE(Accepts(keys, last));
  }
  clock.Advance(kHour);
  {
    const Keys keys = Make(clock, file);
    EXPECT_TRUE(Accepts(keys, current));
    EXPECT_FALSE(Accepts(keys, last));
  }
}

TEST(TlsTicketKeys, TheFileIsForItsOwnerAndReplacedAtARotation) {
  ManualClock clock;
  const std::string file = TempPath("keys");
  const Keys keys = Make(clock, file);
  EXPECT_EQ(ModeOf(file), 0600u);
  const std::string before = Contents(file);
  CurrentName(keys);
  EXPECT_EQ(Contents(file), before);
  clock.Advance(kHour);
  CurrentName(keys);
  EXPECT_NE(Contents(file), before);
  EXPECT_EQ(ModeOf(file), 0600u);
}

// Who finds the file later cannot read what was sent long before.
TEST(TlsTicketKeys, TheFileHasNoEarlierSecret) {
  ManualClock clock;
  const std::string file = TempPath("keys");
  const Keys keys = Make(clock, file);
  const std::string first = CurrentName(keys);
  clock.Advance(2 * kHour);
  CurrentName(keys);
  WallClock back;
  back.now = clock.WallNow() - kHour;
  EXPECT_FALSE(Accepts(Make(back, file), first));
}

TEST(TlsTicketKeys, OthersMayNotReadTheFile) {
  ManualClock clock;
  const std::string file = TempPath("keys");
  Make(clock, file);
  ASSERT_EQ(chmod(file.c_str(), 0644), 0);
  EXPECT_EQ(
      TlsTicketKeys::Create({.rotation = kHour, .file = file}).status().code(),
      absl::StatusCode::kPermissionDenied);
}

TEST(TlsTicketKeys, ADamagedFileIsAnError) {
  ManualClock clock;
  const std::string good_file = TempPath("keys");
  Make(clock, good_file);
  const std::string good = Contents(good_file);
  std::string letter = good;
  letter[letter.size() - 3] = 'x';
  const std::string secret(64, '0');
  int i = 0;
  for (const std::string& bad :
       {std::string(), std::string("something else"), good + "more",
        good.substr(0, good.size() - 3), good.substr(1), letter,
        absl::StrCat("fio-ticket-keys-2 -1 3600 ", secret, " ", secret),
        absl::StrCat("fio-ticket-keys-2 0 60 ", secret, " ", secret),
        absl::StrCat("fio-ticket-keys-2 0 3600 ", secret)}) {
    const std::string file = TempFile(absl::StrCat("bad", i++), bad);
    const absl::Status status =
        TlsTicketKeys::Create(
            {.rotation = kHour, .file = file, .clock = &clock})
            .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_NE(status.message().find(file), std::string::npos);
    EXPECT_EQ(Contents(file), bad);  // It stays.
  }
}

TEST(TlsTicketKeys, AFileThatCannotBeWrittenIsAnError) {
  const absl::Status status =
      TlsTicketKeys::Create({.file = "/nonexistent-folder/keys"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
}

// It is logged, and the keys go on.
TEST(TlsTicketKeys, AFileThatCannotBeReplacedStays) {
  ManualClock clock;
  const std::string folder = TempPath("folder");
  ASSERT_EQ(mkdir(folder.c_str(), S_IRWXU), 0);
  const Keys keys = Make(clock, folder + "/keys");
  const std::string first = CurrentName(keys);
  ASSERT_EQ(unlink((folder + "/keys").c_str()), 0);
  ASSERT_EQ(rmdir(folder.c_str()), 0);
  clock.Advance(kHour);
  EXPECT_NE(CurrentName(keys), first);
  EXPECT_TRUE(Accepts(keys, first));
}

TEST(TlsTicketKeys, AClockThatGoesBackALittleChangesNothing) {
  WallClock clock;
  const Keys keys = Make(clock);
  const std::string first = CurrentName(keys);
  clock.now += kHour;
  const std::string second = CurrentName(keys);
  clock.now -= kHour;
  EXPECT_EQ(CurrentName(keys), second);
  EXPECT_TRUE(Accepts(keys, first));
  clock.now += kHour;
  EXPECT_EQ(CurrentName(keys), second);
}

// Otherwise they would stay until then.
TEST(TlsTicketKeys, AClockThatWasFarAheadHasThemBeginAnew) {
  WallClock clock;
  const std::string file = TempPath("keys");
  const Keys one = Make(clock, file);
  const Keys two = Make(clock, file);
  clock.now += absl::Hours(24 * 365);
  const std::string ahead = CurrentName(one);
  EXPECT_EQ(CurrentName(two), ahead);
  clock.now -= absl::Hours(24 * 365);
  const std::string anew = CurrentName(one);
  EXPECT_NE(anew, ahead);
  EXPECT_FALSE(Accepts(one, ahead));
  clock.now += kHour;
  EXPECT_NE(CurrentName(one), anew);
  EXPECT_TRUE(Accepts(one, anew));
  // Though it finds out later.
  EXPECT_EQ(CurrentName(two), CurrentName(one));
  EXPECT_EQ(CurrentName(Make(clock, file)), CurrentName(one));
}

TEST(TlsTicketKeys, AFileOfAClockThatWasFarAheadBeginsAnew) {
  WallClock clock;
  const std::string file = TempPath("keys");
  clock.now += absl::Hours(24 * 365);
  const std::string ahead = CurrentName(Make(clock, file));
  const std::string before = Contents(file);
  clock.now -= absl::Hours(24 * 365);
  const Keys keys = Make(clock, file);
  const std::string anew = CurrentName(keys);
  EXPECT_NE(anew, ahead);
  EXPECT_NE(Contents(file), before);
  EXPECT_EQ(CurrentName(Make(clock, file)), anew);
  clock.now += kHour;
  EXPECT_NE(CurrentName(keys), anew);
  EXPECT_TRUE(Accepts(Make(clock, file), anew));
}

// However long nobody asks.
TEST(TlsTicketKeys, WhoIsFarBehindCatchesUp) {
  WallClock clock;
  const std::string file = TempPath("keys");
  const Keys busy = Make(clock, file);
  const Keys idle = Make(clock, file);
  for (int i = 0; i < 7; ++i) {
    clock.now += 3000 * kHour;
    busy->Current();
  }
  const std::string last = CurrentName(busy);
  clock.now += kHour;
  EXPECT_TRUE(Accepts(idle, last));
  EXPECT_EQ(CurrentName(idle), CurrentName(busy));
  EXPECT_EQ(idle->Current().cipher, busy->Current().cipher);
}

// A file of long ago, or a clock that is wrong, costs no long calculation.
TEST(TlsTicketKeys, ManyYearsAreSkipped) {
  WallClock clock;
  auto keys =
      TlsTicketKeys::Create({.rotation = absl::Seconds(1), .clock = &clock});
  ASSERT_TRUE(keys.ok());
  const std::string first = CurrentName(*keys);
  for (const absl::Time then :
       {clock.now + absl::Hours(24 * 365 * 50), absl::InfiniteFuture(),
        absl::InfinitePast(), clock.now}) {
    clock.now = then;
    const std::string later = CurrentName(*keys);
    EXPECT_NE(later, first);
    EXPECT_TRUE(Accepts(*keys, later));
    EXPECT_FALSE(Accepts(*keys, first));
  }
}

TEST(TlsTicketKeys, RotationsThatMakeNoSense) {
  for (const absl::Duration rotation :
       {absl::ZeroDuration(), -kHour, absl::Milliseconds(999),
        absl::Hours(7 * 24) + absl::Seconds(1), absl::InfiniteDuration()}) {
    EXPECT_EQ(TlsTicketKeys::Create({.rotation = rotation}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(TlsTicketKeys::Create({.rotation = absl::Seconds(1)}).ok());
  EXPECT_TRUE(TlsTicketKeys::Create({.rotation = absl::Hours(7 * 24)}).ok());
}

// Of several that begin at once, the first counts, and all agree.
TEST(TlsTicketKeys, AllThatBeginAtOnceAgree) {
  ManualClock clock;
  constexpr int kThreads = 4;
  for (int round = 0; round < 20; ++round) {
    const std::string file = TempPath(absl::StrCat("keys", round));
    std::vector<Keys> keys(kThreads);
    std::latch begin(kThreads);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        begin.arrive_and_wait();
        keys[i] = Make(clock, file);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Keys& each : keys) {
      EXPECT_EQ(CurrentName(each), CurrentName(keys[0]));
    }
  }
}

// Each replaces the file, and none leaves half of it.
TEST(TlsTicketKeys, AllThatRotateAtOnceLeaveAGoodFile) {
  ManualClock clock;
  constexpr int kThreads = 4;
  const std::string file = TempPath("keys");
  std::vector<Keys> keys;
  for (int i = 0; i < kThreads; ++i) keys.push_back(Make(clock, file));
  for (int round = 0; round < 20; ++round) {
    clock.Advance(kHour);
    std::latch begin(kThreads);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        begin.arrive_and_wait();
        CurrentName(keys[i]);
        EXPECT_EQ(CurrentName(Make(clock, file)), CurrentName(keys[i]));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace fio
