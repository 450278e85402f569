// A ScriptedTransport follows a script, without system calls: it determines
// what reads return and how much writes take. All calls are recorded.
//
//   ScriptedTransport::Script script;
//   script.reads.push_back(ScriptedTransport::Bytes("hello"));
//   script.writes.push_back({.error = EAGAIN});
//   socket.SetTransport(std::make_unique<ScriptedTransport>(script));
//
// Thread safety: none.

#ifndef FIO_TESTING_SCRIPTED_TRANSPORT_H_
#define FIO_TESTING_SCRIPTED_TRANSPORT_H_

#include <sys/uio.h>

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"

namespace fio::testing {

class ScriptedTransport final : public Transport {
 public:
  struct Input {
    std::string bytes;  // Empty, without an error: end of stream.
    int error = 0;
  };
  static Input Bytes(std::string_view bytes) { return {std::string(bytes)}; }
  static Input End() { return {}; }
  static Input Error(int error) { return {.bytes = {}, .error = error}; }

  struct Script {
    // What Read() returns, in order; then EAGAIN. Bytes that do not fit are
    // returned by the next call.
    std::deque<Input> reads = {};
    // What Write() does, in order: takes at most `bytes`, or fails. After the
    // last one it takes all.
    std::deque<IoResult> writes = {};
    // What Flush() returns, in order; then 0 bytes left.
    std::deque<IoResult> flushes = {};
    // What BeforeClose() returns.
    bool delays_close = false;

    // Called inside each call, before the script is used.
    absl::AnyInvocable<void(Socket& socket, std::string_view call)> on_call =
        nullptr;

    // The calls so far: "read", "write", "flush", "before_close", "destroyed".
    std::vector<std::string> calls = {};
    // All bytes that Write() took.
    std::string written = {};
  };

  // `script` must outlive the transport.
  explicit ScriptedTransport(Script& script) : script_(script) {}
  ~ScriptedTransport() override { script_.calls.emplace_back("destroyed"); }

  IoResult Read(Socket& socket, absl::Span<char> out) override;
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override;
  IoResult Flush(Socket& socket) override;
  bool BeforeClose(Socket& socket) override;

 private:
  void Called(Socket& socket, std::string_view call);

  Script& script_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_SCRIPTED_TRANSPORT_H_
