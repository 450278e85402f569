// A line protocol: a client sends a number in each line, and is told whether it
// is prime. docs/first-server.md explains it step by step.

#ifndef FIO_EXAMPLES_FIRST_SERVER_PRIMES_H_
#define FIO_EXAMPLES_FIRST_SERVER_PRIMES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "fio/fio.h"

// Takes seconds for a large number. Any thread. Ends early, with any result,
// once `is_over` is set.
inline bool IsPrime(uint64_t number, const std::atomic<bool>& is_over) {
  for (uint64_t i = 2; i <= number / i && !is_over; ++i) {
    if (number % i == 0) return false;
  }
  return number > 1;
}

class Primes final : public fio::Protocol {
 public:
  static constexpr size_t kMaxLineBytes = 100;
  static constexpr absl::Duration kIdleTimeout = absl::Minutes(1);
  static constexpr absl::Duration kLastAnswer = absl::Seconds(30);

  // Both outlive the protocol. `is_over` ends the work that runs.
  Primes(fio::ThreadPool& pool, const std::atomic<bool>& is_over)
      : pool_(pool), is_over_(is_over) {}

  void OnOpen(fio::Connection& connection) override {
    connection.SetTimeout(kIdleTimeout);
  }

  void OnData(fio::Connection& connection) override {
    while (!is_busy_ && connection.is_open()) {
      const std::string_view bytes = connection.Unread();
      const size_t end = bytes.find('\n');
      if (end == std::string_view::npos) {
        if (bytes.size() > kMaxLineBytes) RefuseLine(connection);
        break;
      }
      connection.Consume(end + 1);
      HearLine(connection, bytes.substr(0, end));
    }
    if (is_busy_) return;
    if (is_leaving_) return SayBye(connection);
    if (has_ended_) connection.Close();
  }

  // The client sends no more, and may still wait for an answer.
  void OnEnd(fio::Connection& connection) override {
    has_ended_ = true;
    if (!is_busy_) connection.Close();
  }

  // This server is being replaced by another one: a client that is let go can
  // connect to that. What it has asked is answered first.
  void OnDrain(fio::Connection& connection) override {
    is_leaving_ = true;
    if (!is_busy_) SayBye(connection);
  }

  absl::Duration OnShutdown(fio::Connection& /*connection*/) override {
    is_stopping_ = true;
    return is_busy_ ? kLastAnswer : absl::ZeroDuration();
  }

  void OnClose(fio::Connection& connection,
               const fio::CloseReason& /*reason*/) override {
    connection.loop().Cancel(progress_);
  }

 private:
  void RefuseLine(fio::Connection& connection) {
    connection.Write("error: the line is too long\n");
    connection.Close();
  }

  void HearLine(fio::Connection& connection, std::string_view line) {
    absl::ConsumeSuffix(&line, "\r");
    uint64_t number;
    if (line == "quit") {
      SayBye(connection);
    } else if (line.size() <= kMaxLineBytes &&
               absl::SimpleAtoi(line, &number)) {
      Ask(connection, number);
    } else {
      connection.Write("error: that is no number\n");
    }
  }

  // What follows "quit", and a restart.
  void SayBye(fio::Connection& connection) {
    connection.Write("bye\n");
    connection.Close();
  }

  void Ask(fio::Connection& connection, uint64_t number) {
    is_busy_ = true;
    connection.Suspend();
    ShowProgress(connection);
    fio::Loop& loop = connection.loop();
    fio::Offload(
        pool_, loop,
        [number, &is_over = is_over_] { return IsPrime(number, is_over); },
        [this, &loop, id = connection.id(),
         number](const absl::StatusOr<bool>& prime) {
          fio::Connection* const connection = loop.Find(id);
          if (connection == nullptr) return;  // And this protocol is gone.
          Answer(*connection, number, prime);
        });
  }

  void Answer(fio::Connection& connection, uint64_t number,
              const absl::StatusOr<bool>& prime) {
    is_busy_ = false;
    connection.loop().Cancel(progress_);
    if (prime.ok()) {
      connection.Write(
          absl::StrCat(number, *prime ? " is prime\n" : " is not prime\n"));
    } else {
      connection.Write(absl::StrCat("error: ", prime.status().message(), "\n"));
    }
    if (is_stopping_) return connection.Close();
    connection.Force(fio::Connection::Callback::kData);  // And resumes.
  }

  // A dot for each second that the client has to wait.
  void ShowProgress(fio::Connection& connection) {
    progress_ = connection.loop().RunEvery(
        {.callback = [&connection] { connection.Write(".\n"); },
         .interval = absl::Seconds(1),
         .repetitions = -1});
  }

  fio::ThreadPool& pool_;
  const std::atomic<bool>& is_over_;
  bool is_busy_ = false;  // An answer is pending.
  bool has_ended_ = false;
  bool is_leaving_ = false;  // OnDrain()
  bool is_stopping_ = false;
  fio::TimerId progress_ = fio::TimerId::kNone;
};

#endif  // FIO_EXAMPLES_FIRST_SERVER_PRIMES_H_
