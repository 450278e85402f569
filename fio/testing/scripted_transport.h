// A ScriptedTransport does what a test tells it, without touching the kernel:
// reads give what the script says, writes take as much as it says, and all of
// it is recorded.
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
    std::string bytes;  // Empty, without an error: the end.
    int error = 0;
  };
  static Input Bytes(std::string_view bytes) { return {std::string(bytes)}; }
  static Input End() { return {}; }
  static Input Error(int error) { return {.bytes = {}, .error = error}; }

  struct Script {
    // What Read() gives, in order; then EAGAIN. What a call has no room for,
    // the next one gives.
    std::deque<Input> reads = {};
    // What Write() does, in order: takes at most `bytes`, or fails; then it
    // takes all.
    std::deque<IoResult> writes = {};
    // What Flush() answers, in order; then that nothing is left.
    std::deque<IoResult> flushes = {};
    // What BeforeClose() answers.
    bool delays_close = false;

    // Called inside each call, before the script is looked at.
    absl::AnyInvocable<void(Socket& socket, std::string_view call)> on_call =
        nullptr;

    // What happened: "read", "write", "flush", "before_close", "destroyed".
    std::vector<std::string> calls = {};
    // All bytes that Write() took.
    std::string written = {};
  };

  // `script` outlives the transport.
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
