#include "examples/chat/line_client.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "examples/chat/hall.h"
#include "fio/fio.h"

namespace chat {
namespace {

constexpr size_t kLongestLine = 1000;
constexpr size_t kLongestName = 32;
constexpr size_t kMostHistory = 1000;

constexpr char kHelp[] =
    "* /nick NAME, /join ROOM, /who, /history N, /quit; all else is said\n";

// What may wait for a client that reads slowly.
constexpr fio::SlowOptions kSlow = {.policy = fio::SlowPolicy::kClose,
                                    .max_messages = 4096,
                                    .max_bytes = size_t{256} << 10};

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c >= 0x80;
         });
}

// A terminal obeys control characters. So none passes.
std::string Printable(std::string_view text) {
  std::string printable(text);
  for (char& c : printable) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\t') {
      c = '?';
    }
  }
  return printable;
}

std::string SayChannel(std::string_view room) {
  return absl::StrCat("say/", room);
}
std::string NoteChannel(std::string_view room) {
  return absl::StrCat("note/", room);
}

}  // namespace

void LineClient::OnOpen(fio::Connection& connection) {
  id_ = hall_.NewId();
  name_ = hall_.NewGuest();
  connection.Write(
      absl::StrCat("* You are ", name_, " in lobby. /help helps.\n"));
  Join(connection, "lobby");
}

void LineClient::OnData(fio::Connection& connection) {
  for (;;) {
    const std::string_view unread = connection.Unread();
    const size_t end = unread.find('\n');
    if (end == std::string_view::npos) {
      if (unread.size() <= kLongestLine) return;
      if (!std::exchange(skips_line_, true)) {
        connection.Write("* That line is too long.\n");
      }
      connection.Consume(unread.size());
      continue;
    }
    // The view dies when something is read, and a command may close.
    std::string line(unread.substr(0, end));
    connection.Consume(end + 1);
    if (std::exchange(skips_line_, false)) continue;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.size() > kLongestLine) {
      connection.Write("* That line is too long.\n");
    } else if (!line.empty()) {
      OnLine(connection, line);
    }
    if (!connection.is_open()) return;
  }
}

void LineClient::OnLine(fio::Connection& connection, std::string_view line) {
  if (line.front() == '/') {
    OnCommand(connection, line.substr(1));
  } else {
    Say(connection, line);
  }
}

void LineClient::OnCommand(fio::Connection& connection, std::string_view line) {
  const std::pair<std::string_view, std::string_view> parts =
      absl::StrSplit(line, absl::MaxSplits(' ', 1));
  const std::string_view argument = absl::StripAsciiWhitespace(parts.second);
  if (parts.first == "nick") {
    Rename(connection, argument);
  } else if (parts.first == "join") {
    if (!IsName(argument)) {
      connection.Write("* /join ROOM: 1 to 32 letters, digits, - and _\n");
    } else {
      Join(connection, argument);
    }
  } else if (parts.first == "who") {
    TellWho(connection);
  } else if (parts.first == "history") {
    ShowHistory(connection, argument);
  } else if (parts.first == "quit") {
    connection.Write("* Good bye.\n");
    connection.Close();
  } else {
    connection.Write(kHelp);
  }
}

// What is published has its sender in front, so that it is not sent back to it:
// an engine returns messages to all.
absl::Status LineClient::Publish(const std::string& channel,
                                 std::string_view line) {
  return hall_.pubsub().Publish(channel, absl::StrCat(id_, " ", line));
}

void LineClient::Hear(fio::Connection& connection,
                      std::string_view body) const {
  const std::pair<std::string_view, std::string_view> parts =
      absl::StrSplit(body, absl::MaxSplits(' ', 1));
  if (parts.first != id_) connection.Write(parts.second);
}

void LineClient::Say(fio::Connection& connection, std::string_view text) {
  const absl::Status said = Publish(
      SayChannel(room_), absl::StrCat(name_, ": ", Printable(text), "\n"));
  if (said.ok()) return;
  connection.Write("* Not said: the server is busy. Try again.\n");
}

void LineClient::Note(std::string_view text) {
  Publish(NoteChannel(room_), absl::StrCat("* ", text, "\n")).IgnoreError();
}

void LineClient::Join(fio::Connection& connection, std::string_view room) {
  if (room == room_) return;
  if (!room_.empty()) {
    StopListening(connection);
    Note(absl::StrCat(name_, " has left"));
    hall_.Leave(room_, name_);
    connection.Write(absl::StrCat("* You are in ", room, " now.\n"));
  }
  room_ = room;
  const absl::Status listens = Listen(connection, history_);
  if (!listens.ok()) {
    connection.Write(absl::StrCat("* ", listens.message(), "\n"));
    return connection.Close();
  }
  hall_.Enter(room_, name_);
  Note(absl::StrCat(name_, " has joined"));
}

// With the last lines that were said.
absl::Status LineClient::Listen(fio::Connection& connection, size_t last) {
  const auto options = [&connection](std::string_view channel) {
    return fio::SubscribeOptions{
        .channel = channel, .slow = kSlow, .on_slow = [&connection] {
          connection.Write("* You read too slowly. Good bye.\n");
          connection.Close();
        }};
  };
  const auto hear = [this](fio::Connection& listener, fio::Delivery& delivery) {
    Hear(listener, delivery.body());
  };
  const std::string say = SayChannel(room_);
  fio::SubscribeOptions what_is_said = options(say);
  if (last > 0) what_is_said.replay = fio::ReplayFrom{.last = last};
  absl::Status listens =
      hall_.pubsub().Subscribe(connection, std::move(what_is_said), hear);
  if (!listens.ok()) return listens;
  const std::string notes = NoteChannel(room_);
  return hall_.pubsub().Subscribe(connection, options(notes), hear);
}

void LineClient::StopListening(fio::Connection& connection) {
  hall_.pubsub().Unsubscribe(connection, SayChannel(room_));
  hall_.pubsub().Unsubscribe(connection, NoteChannel(room_));
  replay_.Unsubscribe();
}

void LineClient::Rename(fio::Connection& connection, std::string_view name) {
  if (!IsName(name)) {
    connection.Write("* /nick NAME: 1 to 32 letters, digits, - and _\n");
    return;
  }
  Note(absl::StrCat(name_, " is now ", name));
  hall_.Leave(room_, name_);
  name_ = name;
  hall_.Enter(room_, name_);
  connection.Write(absl::StrCat("* You are ", name_, " now.\n"));
}

void LineClient::TellWho(fio::Connection& connection) {
  fio::Loop& loop = connection.loop();
  hall_.AskWho(loop, room_,
               [&loop, id = connection.id(),
                room = room_](const std::vector<std::string>& names) {
                 fio::Connection* const asker = loop.Find(id);
                 if (asker == nullptr) return;
                 asker->Write(absl::StrCat("* In ", room, ": ",
                                           absl::StrJoin(names, ", "), "\n"));
               });
}

// Now, and whenever it joins a room.
void LineClient::ShowHistory(fio::Connection& connection,
                             std::string_view count) {
  size_t last = 0;
  if (!absl::SimpleAtoi(count, &last) || last > kMostHistory) {
    connection.Write("* /history N: a number of lines, 1000 at most\n");
    return;
  }
  history_ = last;
  if (last == 0) return;
  absl::StatusOr<fio::Subscription> replay = hall_.pubsub().SubscribeOn(
      connection.loop(),
      {.channel = SayChannel(room_),
       .replay = fio::ReplayFrom{.last = last},
       .on_replay_end =
           [this](const fio::ReplayEnd&) { replay_.Unsubscribe(); }},
      [&connection](fio::Delivery& delivery) {
        if (!delivery.replayed()) return;
        const std::string_view body = delivery.body();
        connection.Write(body.substr(body.find(' ') + 1));
      });
  if (replay.ok()) replay_ = *std::move(replay);
}

void LineClient::OnDrain(fio::Connection& connection) {
  connection.Write("* The server restarts. Please connect again.\n");
  connection.Close();
}

absl::Duration LineClient::OnShutdown(fio::Connection& connection) {
  connection.Write("* The server ends. Good bye.\n");
  return absl::ZeroDuration();
}

void LineClient::OnClose(fio::Connection& /*connection*/,
                         const fio::CloseReason& /*reason*/) {
  replay_.Unsubscribe();
  hall_.Leave(room_, name_);
  Note(absl::StrCat(name_, " has left"));
}

}  // namespace chat
