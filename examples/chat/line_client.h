// A client that talks in lines: nc, telnet. What it types goes to the others of
// its room; a line that begins with a slash is a command.
//
// Thread safety: none; that of its connection's loop.

#ifndef FIO_EXAMPLES_CHAT_LINE_CLIENT_H_
#define FIO_EXAMPLES_CHAT_LINE_CLIENT_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "examples/chat/hall.h"
#include "fio/fio.h"

namespace chat {

// What is kept in history, as fio::Broker::KeepHistory().
inline constexpr std::string_view kKept = "say/*";

class LineClient final : public fio::Protocol {
 public:
  // `hall` outlives it.
  explicit LineClient(Hall& hall) : hall_(hall) {}

  void OnOpen(fio::Connection& connection) override;
  void OnData(fio::Connection& connection) override;
  void OnDrain(fio::Connection& connection) override;
  absl::Duration OnShutdown(fio::Connection& connection) override;
  void OnClose(fio::Connection& connection,
               const fio::CloseReason& reason) override;

 private:
  void OnLine(fio::Connection& connection, std::string_view line);
  void OnCommand(fio::Connection& connection, std::string_view line);
  void Say(fio::Connection& connection, std::string_view text);
  void Note(std::string_view text);
  void Join(fio::Connection& connection, std::string_view room);
  void Rename(fio::Connection& connection, std::string_view name);
  void TellWho(fio::Connection& connection);
  void ShowHistory(fio::Connection& connection, std::string_view count);
  absl::Status Publish(const std::string& channel, std::string_view line);
  absl::Status Listen(fio::Connection& connection, size_t last);
  void Hear(fio::Connection& connection, std::string_view body) const;
  void StopListening(fio::Connection& connection);

  Hall& hall_;
  std::string id_;  // Of this client among those of all servers.
  std::string name_;
  std::string room_;
  size_t history_ = 0;        // Lines that it wants when it joins.
  bool skips_line_ = false;   // The rest of one that is too long.
  fio::Subscription replay_;  // Of /history.
};

}  // namespace chat

#endif  // FIO_EXAMPLES_CHAT_LINE_CLIENT_H_
