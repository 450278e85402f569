#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/world_scenario.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/memory_file.h"

namespace fio::loop_internal {

using testing::MemoryFile;

// --- User code ---

void Scenario::Act(Link& link) {
  const size_t count = input_.Below(4);
  for (size_t i = 0; i < count && !input_.empty(); ++i) {
    Operate(input_.Below(3) == 1 ? links_[input_.Below(links_.size())] : link);
  }
}

absl::Cord Scenario::NewCord(Link& link, size_t size) {
  auto memory = std::make_shared<std::string>(StreamPart(link.written, size));
  auto promise = std::make_shared<Promise>();
  const std::string_view view = *memory;
  return absl::MakeCordFromExternal(
      view, [this, memory, promise, &link](std::string_view) {
        promise->Happens();
        Act(link);
      });
}

// The count is first, since a callback inside of the call may write, too.
void Scenario::WriteTo(Link& link, Connection& connection) {
  const uint64_t begin = link.written;
  bool taken = false;
  size_t size = input_.Size();
  switch (input_.Below(6)) {
    case 1:
      taken = connection.Write(NewCord(link, size));
      break;
    case 2:
      taken = connection.Write(
          *FileRange::Own(MemoryFile(StreamPart(begin, size))));
      break;
    case 3: {
      const IoResult result =
          connection.TryWrite(StreamPart(begin, size), Socket::More::kNo);
      size = result.bytes;
      taken = true;
      break;
    }
    default:
      taken = connection.Write(StreamPart(begin, size));
      break;
  }
  if (taken) {
    // What wrote meanwhile was told the same place in the stream.
    ABSL_CHECK_EQ(link.written, begin);
    link.written += size;
  }
  // Past the limit.
  if (!taken && !connection.is_open()) link.given_up = true;
}

void Scenario::Operate(Link& link) {
  Connection* const found = loop().Find(link.id);
  const uint8_t operation = input_.Next();
  if (operation % 64 == 0) Connect();
  if (found == nullptr) return;
  Connection& connection = *found;
  const bool open = connection.is_open();
  switch (operation % 64) {
    case 1:
      link.closed = true;
      connection.Close(static_cast<uint16_t>(input_.Next()));
      break;
    case 2:
      link.given_up = true;
      connection.Abort();
      break;
    case 3:
    case 4:
      connection.Attach(NewProbe(link));
      break;
    case 5:
      connection.Detach();
      break;
    case 6: {
      if (!open) break;
      link.given_up = true;
      const bool adopts = input_.Below(2) == 1;
      connection.Release([this, adopts, &link](Socket socket) {
        if (adopts) ReAdopt(link, std::move(socket));
      });
      break;
    }
    case 7:
    case 8:
      connection.Flush();
      break;
    case 9:
      connection.ShutdownWrite();
      break;
    case 10:
      if (input_.Below(4) == 1) {
        link.read_ended = true;
        connection.ShutdownRead();
      }
      break;
    case 11:
    case 12:
      connection.Suspend();
      break;
    case 13:
    case 14:
      connection.Resume();
      break;
    case 15:
      connection.Force(Connection::Callback::kData);
      break;
    case 16:
      connection.Force(Connection::Callback::kReady);
      break;
    case 17:
      connection.Force(Connection::Callback::kTimeout);
      break;
    case 18:
      connection.SetTimeout(absl::Milliseconds(input_.Size()));
      break;
    case 19:
      connection.Touch();
      break;
    case 20:
    case 21: {
      const auto promise = std::make_shared<Promise>();
      connection
          .SetEnv({.type = static_cast<int64_t>(input_.Below(3))}, this,
                  [this, promise, &link](void*) {
                    promise->Happens();
                    Act(link);
                  })
          .IgnoreError();
      break;
    }
    case 22:
      connection.RemoveEnv({.type = static_cast<int64_t>(input_.Below(3))})
          .IgnoreError();
      break;
    case 23:
      connection.SetTransport(std::make_unique<Transport>()).IgnoreError();
      break;
    case 24:
      connection.SetTransport(nullptr).IgnoreError();
      break;
    case 25:
      connection.SetWatermarks({.high_bytes = input_.Size()});
      break;
    case 26: {
      Connection* const other =
          loop().Find(links_[input_.Below(links_.size())].id);
      if (other != nullptr && other != found && open && other->is_open()) {
        connection.LinkWith(*other);
      }
      break;
    }
    case 27: {
      const auto promise = std::make_shared<Promise>();
      loop().Post(link.id, [this, promise, &link](Connection*) {
        promise->Happens();
        ++callbacks;
        Act(link);
        --callbacks;
      });
      break;
    }
    case 28:
      loop().Defer([this, &link] { Act(link); });
      break;
    case 29:
      loop().RunAfter(absl::Milliseconds(input_.Size()),
                      [this, &link] { Act(link); });
      break;
    case 30: {
      const auto promise = std::make_shared<Promise>();
      static_cast<void>(loop().RunEvery(
          {.callback =
               [this, &link] {
                 Act(link);
                 return TimerWheel::Next::kContinue;
               },
           .interval = absl::Milliseconds(input_.Size()),
           .repetitions = static_cast<int64_t>(1 + input_.Below(4)),
           .on_finish = [promise] { promise->Happens(); }}));
      break;
    }
    case 31:
      loop().FlushAll();
      break;
    case 32:
    case 33: {
      absl::StatusOr<ProtocolLock> lock = loop().handle().TryLock(
          link.id, input_.Below(2) == 0 ? ProtocolLock::Kind::kTask
                                        : ProtocolLock::Kind::kWrite);
      if (lock.ok()) locks_.push_back(*std::move(lock));
      break;
    }
    case 34:
    case 35:
      locks_.clear();
      break;
    case 36:
      group_.Add(connection);
      break;
    case 37:
      group_.Remove(connection);
      break;
    case 38:
      group_.ForEach([this](Connection& each) {
        // By index, since Act() may connect.
        for (size_t i = 0; i < links_.size(); ++i) {
          if (links_[i].id == each.id()) Act(links_[i]);
        }
      });
      break;
    case 39:
      if (input_.Below(16) != 1) break;
      stopped = true;
      loop().Stop();
      break;
    case 40: {
      if (link.id != connection.id()) break;
      char bytes[100];
      const size_t n = connection.Read(absl::MakeSpan(bytes));
      CheckStream(link.read, {bytes, n});
      link.read += n;
      break;
    }
    default:
      WriteTo(link, connection);
      break;
  }
}

}  // namespace fio::loop_internal
