// Many clients of a chat, by one thread: each is read whenever it has
// something, so that none is slow.

#ifndef FIO_TESTS_CHAT_ROOM_H_
#define FIO_TESTS_CHAT_ROOM_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio::testing {

// One client, and the lines that it has got.
class ChatClient {
 public:
  // Waits for the greeting, which says its name.
  explicit ChatClient(const SocketAddress& address);

  const std::string& name() const { return name_; }
  int fd() const { return socket_.fd(); }
  bool ended() const { return ended_; }

  void Say(std::string_view line);

  // Takes what has arrived. Waits for it if there is nothing.
  void Read();
  // The next line, which it waits for; empty at the end.
  std::string NextLine();
  // Waits for a line that begins so.
  std::string WaitFor(std::string_view beginning);

  // Lines that were read and not taken.
  std::deque<std::string>& lines() { return lines_; }

 private:
  Socket socket_;
  std::string name_;
  std::string rest_;  // A line without its end.
  std::deque<std::string> lines_;
  bool ended_ = false;
};

// Reads of all of them until `done`, which is asked after each read.
void ReadUntil(std::vector<ChatClient>& clients,
               const std::function<bool()>& done);

}  // namespace fio::testing

#endif  // FIO_TESTS_CHAT_ROOM_H_
