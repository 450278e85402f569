#include "fio/tls/internal/record_io.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/tls/internal/boringssl.h"

namespace fio::tls_internal {
namespace {

// What a loop reads at once, and the overhead of its records.
constexpr size_t kInputBytes = (size_t{64} << 10) + 1024;
// An output that has become larger is not kept for the next call.
constexpr size_t kKeptOutputBytes = size_t{128} << 10;

}  // namespace

struct RecordIo::Buffers {
  // One for the next call of this thread.
  static std::unique_ptr<Buffers>& Spare() {
    thread_local std::unique_ptr<Buffers> spare;
    return spare;
  }

  std::unique_ptr<char[]> input = std::make_unique<char[]>(kInputBytes);
  size_t begin = 0, end = 0;  // What is in the input.
  std::string output;
};

RecordIo::Call::Call(RecordIo& io, Socket& socket, size_t most_bytes)
    : io_(io) {
  ABSL_DCHECK(io.buffers_ == nullptr) << "TlsTransport: called inside a call";
  std::unique_ptr<Buffers> buffers = std::move(Buffers::Spare());
  if (buffers == nullptr) buffers = std::make_unique<Buffers>();
  buffers->begin = 0;
  buffers->end = io.input_.copy(buffers->input.get(), kInputBytes);
  ABSL_DCHECK_EQ(buffers->end, io.input_.size());
  if (!io.input_.empty()) io.input_ = std::string();
  io.buffers_ = buffers.release();
  io.socket_ = &socket;
  io.may_read_ = most_bytes;
  io.stopped_ = most_bytes == 0;
  io.content_ = false;
  io.memory_error_ = 0;
}

RecordIo::Call::~Call() {
  std::unique_ptr<Buffers> buffers(std::exchange(io_.buffers_, nullptr));
  io_.socket_ = nullptr;
  io_.input_.assign(buffers->input.get() + buffers->begin,
                    buffers->end - buffers->begin);
  if (!buffers->output.empty()) io_.output_ += buffers->output;
  buffers->output.clear();
  if (buffers->output.capacity() > kKeptOutputBytes) {
    buffers->output = std::string();
  }
  Buffers::Spare() = std::move(buffers);
}

int RecordIo::Read(char* out, size_t size) {
  if (buffers_ == nullptr) return -1;
  if (buffers_->begin == buffers_->end && !Refill(size)) {
    return ended_ ? 0 : -1;
  }
  const size_t bytes = std::min(size, buffers_->end - buffers_->begin);
  std::memcpy(out, buffers_->input.get() + buffers_->begin, bytes);
  buffers_->begin += bytes;
  lent_ += bytes;
  return static_cast<int>(bytes);
}

// A read of TCP that returns less than it could has left nothing.
bool RecordIo::Refill(size_t wanted) {
  if (ended_ || error_ != 0 || stopped_) return false;
  if (may_read_ == 0 && content_) return false;
  const size_t asked = std::min(kInputBytes, std::max(wanted, may_read_));
  const IoResult read =
      socket_->ReadRaw(absl::MakeSpan(buffers_->input.get(), asked));
  may_read_ -= std::min(may_read_, asked);
  stopped_ = read.bytes == 0 || socket_->raw_is_empty();
  if (read.failed()) error_ = read.error;
  if (read.out_of_memory()) memory_error_ = read.error;
  if (read.ok() && read.bytes == 0) ended_ = true;
  buffers_->begin = 0;
  buffers_->end = read.bytes;
  return read.bytes > 0;
}

size_t RecordIo::held_bytes() const {
  return output_.size() + (in_call() ? buffers_->output.size() : 0);
}

size_t RecordIo::unread_bytes() const {
  const size_t input = in_call() ? buffers_->end - buffers_->begin : 0;
  return input_.size() + input + lent_;
}

void RecordIo::Append(std::string_view bytes) {
  if (buffers_ != nullptr) buffers_->output += bytes;
}

IoResult RecordIo::Send() {
  std::string& output = output_.empty() ? buffers_->output : output_;
  if (!output_.empty()) {
    output_ += buffers_->output;
    buffers_->output.clear();
  }
  size_t sent = 0;
  IoResult result;
  while (sent < output.size() && result.ok()) {
    const iovec piece = {.iov_base = output.data() + sent,
                         .iov_len = output.size() - sent};
    result = socket_->WriteRaw(absl::MakeConstSpan(&piece, 1));
    sent += result.bytes;
    if (result.ok() && result.bytes == 0) result.error = EAGAIN;
  }
  if (result.failed()) sent = output.size();
  std::string rest(output, sent);
  buffers_->output.clear();
  output_.swap(rest);  // It lets go of its memory.
  result.bytes = sent;
  return result;
}

struct BioFunctions {
  static RecordIo& Of(BIO* bio) {
    return *static_cast<RecordIo*>(BIO_get_data(bio));
  }

  static int Read(BIO* bio, char* out, int size) {
    BIO_clear_retry_flags(bio);
    RecordIo& io = Of(bio);
    const int bytes = io.Read(out, static_cast<size_t>(size));
    if (bytes < 0 && io.error() == 0) BIO_set_retry_read(bio);
    return bytes;
  }

  static int Write(BIO* bio, const char* bytes, int size) {
    BIO_clear_retry_flags(bio);
    Of(bio).Append({bytes, static_cast<size_t>(size)});
    return size;
  }

  static long Control(BIO*, int command, long, void*) {  // NOLINT: of the API.
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  static int Create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static const BIO_METHOD* Method() {
    static const BIO_METHOD* const method = [] {
      BIO_METHOD* const made = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "fio");
      BIO_meth_set_read(made, Read);
      BIO_meth_set_write(made, Write);
      BIO_meth_set_ctrl(made, Control);
      BIO_meth_set_create(made, Create);
      return made;
    }();
    return method;
  }
};

bio_st* RecordIo::NewBio() {
  BIO* const bio = BIO_new(BioFunctions::Method());
  ABSL_CHECK(bio != nullptr) << "TlsTransport: out of memory";
  BIO_set_data(bio, this);
  return bio;
}

}  // namespace fio::tls_internal
