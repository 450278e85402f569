#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/bench/servers.h"

namespace fio::bench {
namespace {

void OnRead(bufferevent* client, void* /*context*/) {
  evbuffer_add_buffer(bufferevent_get_output(client),
                      bufferevent_get_input(client));
}

void OnEvent(bufferevent* client, short what,  // NOLINT(google-runtime-int)
             void* /*context*/) {
  if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) bufferevent_free(client);
}

void OnConnection(evconnlistener* listener, evutil_socket_t fd,
                  sockaddr* /*peer*/, int /*peer_size*/, void* /*context*/) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  bufferevent* const client = bufferevent_socket_new(
      evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
  bufferevent_setcb(client, OnRead, nullptr, OnEvent, nullptr);
  bufferevent_enable(client, EV_READ | EV_WRITE);
}

}  // namespace

void ServeLibevent(OnListening on_listening) {
  event_base* const base = event_base_new();
  if (base == nullptr) return;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  evconnlistener* const listener = evconnlistener_new_bind(
      base, OnConnection, nullptr, LEV_OPT_CLOSE_ON_FREE, SOMAXCONN, generic,
      static_cast<int>(size));
  if (listener == nullptr ||
      getsockname(evconnlistener_get_fd(listener), generic, &size) != 0) {
    return;
  }
  on_listening(ntohs(address.sin_port));
  event_base_dispatch(base);
}

}  // namespace fio::bench
