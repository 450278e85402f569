#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <uv.h>

#include <cstddef>
#include <memory>
#include <string>

#include "tests/bench/servers.h"

namespace fio::bench {
namespace {

// Echoed bytes that the kernel had no room for.
struct Rest {
  uv_write_t request;
  std::string bytes;
};

char buffer[64 * 1024];

uv_stream_t* AsStream(uv_tcp_t* tcp) {
  return reinterpret_cast<uv_stream_t*>(tcp);
}

void Close(uv_stream_t* client) {
  uv_close(reinterpret_cast<uv_handle_t*>(client), [](uv_handle_t* handle) {
    delete reinterpret_cast<uv_tcp_t*>(handle);
  });
}

void LendBuffer(uv_handle_t* /*client*/, size_t /*suggested_size*/,
                uv_buf_t* lent) {
  *lent = uv_buf_init(buffer, sizeof(buffer));
}

void WriteRest(uv_stream_t* client, const uv_buf_t& bytes) {
  auto rest = std::make_unique<Rest>();
  rest->bytes.assign(bytes.base, bytes.len);
  rest->request.data = rest.get();
  const uv_buf_t out = uv_buf_init(rest->bytes.data(), bytes.len);
  const int error = uv_write(&rest->request, client, &out, 1,
                             [](uv_write_t* request, int /*status*/) {
                               delete static_cast<Rest*>(request->data);
                             });
  if (error == 0) rest.release();
}

void OnRead(uv_stream_t* client, ssize_t size, const uv_buf_t* lent) {
  if (size == 0) return;  // EAGAIN
  if (size < 0) {
    Close(client);
    return;
  }
  uv_buf_t bytes = uv_buf_init(lent->base, static_cast<unsigned>(size));
  const int taken = uv_try_write(client, &bytes, 1);
  if (taken == size) return;
  if (taken > 0) {
    bytes.base += taken;
    bytes.len -= static_cast<size_t>(taken);
  }
  WriteRest(client, bytes);
}

void OnConnection(uv_stream_t* listener, int status) {
  if (status < 0) return;
  auto* const client = new uv_tcp_t;
  uv_tcp_init(listener->loop, client);
  if (uv_accept(listener, AsStream(client)) != 0) {
    Close(AsStream(client));
    return;
  }
  uv_tcp_nodelay(client, 1);
  uv_read_start(AsStream(client), LendBuffer, OnRead);
}

}  // namespace

void ServeLibuv(OnListening on_listening) {
  uv_loop_t loop;
  uv_tcp_t listener;
  sockaddr_in address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  int size = sizeof(address);
  if (uv_loop_init(&loop) != 0 || uv_tcp_init(&loop, &listener) != 0 ||
      uv_ip4_addr("127.0.0.1", 0, &address) != 0 ||
      uv_tcp_bind(&listener, generic, 0) != 0 ||
      uv_listen(AsStream(&listener), SOMAXCONN, OnConnection) != 0 ||
      uv_tcp_getsockname(&listener, generic, &size) != 0) {
    return;
  }
  on_listening(ntohs(address.sin_port));
  uv_run(&loop, UV_RUN_DEFAULT);
}

}  // namespace fio::bench
