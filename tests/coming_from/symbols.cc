#include "tests/coming_from/symbols.h"

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/fio.h"

namespace fio::coming_from {
namespace {

constexpr bool IsLower(char c) { return 'a' <= c && c <= 'z'; }
constexpr bool IsUpper(char c) { return 'A' <= c && c <= 'Z'; }
constexpr bool IsOfWord(char c) {
  return IsLower(c) || IsUpper(c) || ('0' <= c && c <= '9') || c == '_';
}

// How much of the front of `text` is `word`, as it is or in snake case; 0 if it
// is not.
constexpr size_t Match(std::string_view text, std::string_view word) {
  if (text.substr(0, word.size()) == word) return word.size();
  size_t at = 0;
  for (size_t i = 0; i < word.size(); ++i) {
    const bool upper = IsUpper(word[i]);
    if (upper && i > 0 && (at == text.size() || text[at++] != '_')) return 0;
    const char lower = upper ? static_cast<char>(word[i] - 'A' + 'a') : word[i];
    if (at == text.size() || text[at++] != lower) return 0;
  }
  return at;
}

constexpr bool HasWord(std::string_view text, std::string_view word) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (i > 0 && IsOfWord(text[i - 1])) continue;
    const size_t end = i + Match(text.substr(i), word);
    if (end > i && (end == text.size() || !IsOfWord(text[end]))) return true;
  }
  return false;
}

// Whether `use` has each part of "A::B", as A::B, b or a.B.
constexpr bool HasParts(std::string_view use, std::string_view name) {
  while (true) {
    const size_t end = name.find("::");
    if (!HasWord(use, name.substr(0, end))) return false;
    if (end == std::string_view::npos) return true;
    name.remove_prefix(end + 2);
  }
}
static_assert(HasParts("connection.Write(bytes)", "Connection::Write"));
static_assert(HasParts("fd_watch.fd()", "FdWatch::fd"));
static_assert(!HasParts("socket.Write(bytes)", "Connection::Write"));
static_assert(!HasParts("connection.TryWrite(bytes)", "Connection::Write"));

template <bool kIsOne>
constexpr std::string_view NameOfUse(std::string_view name,
                                     bool /*is_noexcept*/) {
  static_assert(kIsOne, "this is no use of that symbol");
  return name;
}

// The name of a symbol, once its use has compiled. It is never evaluated.
#define FIO_HAS(symbol, ...)                  \
  NameOfUse<HasParts(#__VA_ARGS__, #symbol)>( \
      #symbol, noexcept(static_cast<void>(__VA_ARGS__)))

// What the uses are made of. Nobody asks for their values, so they have none.
extern Broker& broker;
extern Connection& connection;
extern ConnectionGroup& connection_group;
extern ConnectionId& connection_id;
extern ConnectionId& id;
extern Event& event;
extern FdWatch& fd_watch;
extern FileRange& file_range;
extern Connector& connector;
extern DatagramSocket& datagram_socket;
extern Delivery& delivery;
extern IncomingDatagram& incoming_datagram;
extern ListenSocket& listen_socket;
extern Engine& engine;
extern Listener& listener;
extern Loop& loop;
extern LoopHandle& loop_handle;
extern Message& message;
extern Poller& poller;
extern Protocol& protocol;
extern ProtocolLock& protocol_lock;
extern PubSub& pub_sub;
extern Reactor& reactor;
extern Readiness& readiness;
extern Socket& socket;
extern SocketAddress& socket_address;
extern Subscription& subscription;
extern TaskQueue& task_queue;
extern TimerId& timer;
extern TimerWheel& timer_wheel;
extern Transport& transport;
extern Url& url;
extern WatchId& watch;
extern WorkerEvent& worker_event;
extern absl::Span<char>& buffer;

constexpr std::string_view kSymbols[] = {
    // --- Starting and stopping ---
    FIO_HAS(AvailableCores, AvailableCores()),
    FIO_HAS(ChildWatch, ChildWatch::Create()),
    FIO_HAS(Reactor, Reactor({.threads = 1, .workers = 1})),
    FIO_HAS(Reactor::Run, reactor.Run()),
    FIO_HAS(Reactor::Stop, reactor.Stop(absl::Seconds(5))),
    FIO_HAS(ReactorOptions, ReactorOptions()),
    FIO_HAS(ReactorOptions::max_descriptors,
            ReactorOptions{.max_descriptors = 1000}),
    FIO_HAS(ReactorOptions::threads, ReactorOptions{.threads = -2}),
    FIO_HAS(ReactorOptions::workers, ReactorOptions{.workers = 4}),
    FIO_HAS(ResolveConcurrency, ResolveConcurrency(-2, 0, AvailableCores())),

    // --- Tasks and timers ---
    FIO_HAS(Loop::Cancel, loop.Cancel(timer)),
    FIO_HAS(Loop::Post, loop.Post([] {})),
    FIO_HAS(Loop::RunAfter, loop.RunAfter(absl::Seconds(1), [] {})),
    FIO_HAS(Loop::RunEvery,
            loop.RunEvery({.callback = [] { return TimerWheel::Next::kStop; },
                           .interval = absl::Seconds(1)})),
    FIO_HAS(LoopHandle::Post, loop_handle.Post(id, [](Connection*) {})),
    FIO_HAS(Reactor::Post, reactor.Post([] {})),
    FIO_HAS(TaskQueue, TaskQueue()),
    FIO_HAS(TaskQueue::HasTasks, task_queue.HasTasks()),
    FIO_HAS(TaskQueue::Perform, task_queue.Perform()),
    FIO_HAS(ThreadPool, ThreadPool::Create({.threads = 2})),
    FIO_HAS(Timer, sizeof(Timer)),
    FIO_HAS(TimerId, TimerId::kNone),
    FIO_HAS(TimerWheel, TimerWheel(loop.now())),
    FIO_HAS(TimerWheel::NextDeadline, timer_wheel.NextDeadline()),
    FIO_HAS(TimerWheel::Rearm,
            timer_wheel.Rearm(timer, timer_wheel.now() + absl::Seconds(1))),
    FIO_HAS(TimerWheel::Repeated, timer_wheel.ArmEvery(TimerWheel::Repeated())),

    // --- Protocols ---
    FIO_HAS(CloseReason, CloseReason{.error = ECONNRESET}),
    FIO_HAS(Connection::Attach, connection.Attach(nullptr)),
    FIO_HAS(Connection::Callback, Connection::Callback::kData),
    FIO_HAS(Connection::Callback::kData,
            connection.Force(Connection::Callback::kData)),
    FIO_HAS(Connection::Callback::kReady,
            connection.Force(Connection::Callback::kReady)),
    FIO_HAS(Connection::Callback::kTimeout,
            connection.Force(Connection::Callback::kTimeout)),
    FIO_HAS(Connection::Detach, connection.Detach()),
    FIO_HAS(Connection::Force, connection.Force(Connection::Callback::kData)),
    FIO_HAS(Connection::Release, connection.Release([](Socket) {})),
    FIO_HAS(Connection::Resume, connection.Resume()),
    FIO_HAS(Connection::SetDeadline, connection.SetDeadline(absl::Seconds(10))),
    FIO_HAS(Connection::SetTimeout, connection.SetTimeout(absl::Seconds(5))),
    FIO_HAS(Connection::Suspend, connection.Suspend()),
    FIO_HAS(Connection::Touch, connection.Touch()),
    FIO_HAS(Connection::protocol, connection.protocol()),
    FIO_HAS(Connection::timeout, connection.timeout()),
    FIO_HAS(Loop::Adopt, loop.Adopt(UniqueFd(), nullptr)),
    FIO_HAS(LoopHandle::TryLock,
            loop_handle.TryLock(id, ProtocolLock::Kind::kTask)),
    FIO_HAS(Protocol, sizeof(Protocol)),
    FIO_HAS(Protocol::OnClose, protocol.OnClose(connection, CloseReason())),
    FIO_HAS(Protocol::OnData, protocol.OnData(connection)),
    FIO_HAS(Protocol::OnDeadline, protocol.OnDeadline(connection)),
    FIO_HAS(Protocol::OnDrain, protocol.OnDrain(connection)),
    FIO_HAS(Protocol::OnEnd, protocol.OnEnd(connection)),
    FIO_HAS(Protocol::OnHighWater, protocol.OnHighWater(connection)),
    FIO_HAS(Protocol::OnLowWater, protocol.OnLowWater(connection)),
    FIO_HAS(Protocol::OnOpen, protocol.OnOpen(connection)),
    FIO_HAS(Protocol::OnReady, protocol.OnReady(connection)),
    FIO_HAS(Protocol::OnShutdown, protocol.OnShutdown(connection)),
    FIO_HAS(Protocol::OnTimeout, protocol.OnTimeout(connection)),
    FIO_HAS(ProtocolLock, protocol_lock.protocol()),
    FIO_HAS(ProtocolLock::Kind::kTask,
            loop_handle.TryLock(id, ProtocolLock::Kind::kTask)),
    FIO_HAS(ProtocolLock::Kind::kWrite,
            loop_handle.TryLock(id, ProtocolLock::Kind::kWrite)),
    FIO_HAS(ProtocolLock::Unlock, protocol_lock.Unlock()),

    // --- Listening ---
    FIO_HAS(AcceptVerdict, AcceptVerdict::Keep()),
    FIO_HAS(ListenDefaults, ListenDefaults().Complete("tcp://127.0.0.1")),
    FIO_HAS(ListenOptions, ListenOptions()),
    FIO_HAS(ListenOptions::on_accept,
            ListenOptions{.on_accept =
                              [](const SocketAddress&) {
                                return AcceptVerdict::Reject();
                              }}),
    FIO_HAS(ListenOptions::on_open,
            ListenOptions{.on_open = [](Connection& c) { c.Close(); }}),
    FIO_HAS(ListenOptions::socket,
            ListenOptions{.socket = {.reuse_port = true}}),
    FIO_HAS(ListenSocketOptions::exclusive,
            ListenSocketOptions{.exclusive = true}),
    FIO_HAS(ListenSocketOptions::reuse_port,
            ListenSocketOptions{.reuse_port = true}),
    FIO_HAS(Listener, listener.local_address()),
    FIO_HAS(Listener::Close, listener.Close()),
    FIO_HAS(Listener::Create, Listener::Create(loop, url, ListenOptions())),
    FIO_HAS(Reactor::CloseListener, reactor.CloseListener(ListenerId())),
    FIO_HAS(Reactor::Listen,
            reactor.Listen("tcp://127.0.0.1:3000", ListenOptions())),
    FIO_HAS(Reactor::ListenAddress, reactor.ListenAddress(ListenerId())),
    FIO_HAS(Url, Url::Parse("tcp://127.0.0.1:3000")),

    // --- Reading and writing ---
    FIO_HAS(Connection::Flush, connection.Flush()),
    FIO_HAS(Connection::MutableReceived, connection.MutableReceived().front()),
    FIO_HAS(Connection::Read, connection.Read(buffer)),
    FIO_HAS(Connection::Received, connection.Received()),
    FIO_HAS(Connection::TryWrite,
            connection.TryWrite("bytes", Socket::More::kYes)),
    FIO_HAS(Connection::Write, connection.Write("bytes") &&
                                   connection.Write(absl::Cord("bytes")) &&
                                   connection.Write(std::move(file_range))),
    FIO_HAS(Connection::pending_bytes, connection.pending_bytes()),
    FIO_HAS(Connection::pending_calls, connection.pending_calls()),
    FIO_HAS(FileRange, connection.Write(*FileRange::Own(UniqueFd()))),
    FIO_HAS(FileRange::Borrow, FileRange::Borrow(0)),
    FIO_HAS(FileRange::Own, FileRange::Own(UniqueFd(), 4096, 1024)),
    FIO_HAS(FileRange::kToEnd,
            FileRange::Own(UniqueFd(), 4096, FileRange::kToEnd)),
    FIO_HAS(FileRange::length, file_range.length()),
    FIO_HAS(FileRange::offset, file_range.offset()),
    FIO_HAS(Loop::FlushAll, loop.FlushAll()),
    FIO_HAS(LoopHandle::Write, loop_handle.Write(id, "bytes")),
    FIO_HAS(Socket::FlushUntil,
            socket.FlushUntil(Clock::System(), loop.now() + absl::Seconds(8))),
    FIO_HAS(Socket::More::kYes, socket.TryWrite("by", Socket::More::kYes)),
    FIO_HAS(Socket::TryWrite, socket.TryWrite("bytes")),

    // --- The environment of a connection ---
    FIO_HAS(Connection::GetEnv, connection.GetEnv({.name = "session"})),
    FIO_HAS(Connection::RemoveEnv, connection.RemoveEnv({.name = "session"})),
    FIO_HAS(Connection::SetEnv, connection.SetEnv({.name = "session"}, &buffer,
                                                  [](void* /*object*/) {})),
    FIO_HAS(Connection::UnsetEnv, connection.UnsetEnv({.name = "session"})),
    FIO_HAS(Environment::Key, Environment::Key()),
    FIO_HAS(Environment::Key::name, Environment::Key{.name = "session"}),
    FIO_HAS(Environment::Key::type, Environment::Key{.type = 1}),
    FIO_HAS(Environment::OnClose, Environment::OnClose([](void*) {})),

    // --- Sockets and connections ---
    FIO_HAS(Connection, sizeof(Connection)),
    FIO_HAS(Connection::Abort, connection.Abort()),
    FIO_HAS(Connection::Close, connection.Close()),
    FIO_HAS(Connection::ShutdownRead, connection.ShutdownRead()),
    FIO_HAS(Connection::ShutdownWrite, connection.ShutdownWrite()),
    FIO_HAS(Connection::group, connection.group()),
    FIO_HAS(Connection::is_open, connection.is_open()),
    FIO_HAS(Connection::local_address, connection.local_address()),
    FIO_HAS(Connection::loop, connection.loop()),
    FIO_HAS(Connection::peer_address, connection.peer_address()),
    FIO_HAS(ConnectionGroup, ConnectionGroup(loop)),
    FIO_HAS(ConnectionGroup::CloseAll, connection_group.CloseAll()),
    FIO_HAS(ConnectionId, ConnectionId()),
    FIO_HAS(ConnectionId::fd, connection_id.fd()),
    FIO_HAS(DatagramSocket, sizeof(DatagramSocket)),
    FIO_HAS(DatagramSocket::ReceiveBatch, datagram_socket.ReceiveBatch({})),
    FIO_HAS(DatagramSocket::SendBatch, datagram_socket.SendBatch({})),
    FIO_HAS(DatagramSocket::kMaxBatch, DatagramSocket::kMaxBatch),
    FIO_HAS(DatagramSocket::local_address, datagram_socket.local_address()),
    FIO_HAS(DatagramOptions::receive_destination,
            DatagramOptions{.receive_destination = true}),
    FIO_HAS(DatagramOptions::receive_ecn, DatagramOptions{.receive_ecn = true}),
    FIO_HAS(IncomingDatagram, IncomingDatagram()),
    FIO_HAS(IncomingDatagram::buffer, IncomingDatagram{.buffer = buffer}),
    FIO_HAS(IncomingDatagram::bytes, incoming_datagram.bytes),
    FIO_HAS(IncomingDatagram::ecn, incoming_datagram.ecn),
    FIO_HAS(IncomingDatagram::from, incoming_datagram.from),
    FIO_HAS(IncomingDatagram::to, incoming_datagram.to),
    FIO_HAS(IncomingDatagram::truncated, incoming_datagram.truncated),
    FIO_HAS(OutgoingDatagram, OutgoingDatagram()),
    FIO_HAS(DatagramSocket::Bind, DatagramSocket::Bind(SocketAddress())),
    FIO_HAS(ListenSocket, listen_socket.local_address()),
    FIO_HAS(ListenSocket::Accept, listen_socket.Accept()),
    FIO_HAS(ListenSocket::Listen,
            ListenSocket::Listen(SocketAddress(), ListenSocketOptions())),
    FIO_HAS(LocalHostName, LocalHostName()),
    FIO_HAS(Loop::Find, loop.Find(id)),
    FIO_HAS(Loop::FindByFd, loop.FindByFd(7)),
    FIO_HAS(LoopOptions::close_timeout,
            LoopOptions{.close_timeout = absl::Seconds(8)}),
    FIO_HAS(Resolve, Resolve(url)),
    FIO_HAS(Socket, Socket(UniqueFd())),
    FIO_HAS(Socket::FinishConnect, socket.FinishConnect()),
    FIO_HAS(Socket::is_open, socket.is_open()),
    FIO_HAS(SocketAddress, SocketAddress::Parse("127.0.0.1:3000")),
    FIO_HAS(SocketAddress::port, socket_address.port()),
    FIO_HAS(StartConnect, StartConnect(SocketAddress())),
    FIO_HAS(UniqueFd, UniqueFd()),
    FIO_HAS(Url::Scheme::kTcp, url.scheme() == Url::Scheme::kTcp),
    FIO_HAS(Url::Scheme::kUdp, url.scheme() == Url::Scheme::kUdp),
    FIO_HAS(Url::Scheme::kUnix, url.scheme() == Url::Scheme::kUnix),

    // --- Transports ---
    FIO_HAS(Connection::ReplaceTransport, connection.ReplaceTransport(nullptr)),
    FIO_HAS(Connection::SetTransport,
            connection.SetTransport(std::make_unique<Transport>())),
    FIO_HAS(Transport, Transport()),
    FIO_HAS(Transport::BeforeClose, transport.BeforeClose(socket)),
    FIO_HAS(Transport::Flush, transport.Flush(socket)),
    FIO_HAS(Transport::Read, transport.Read(socket, buffer)),
    FIO_HAS(Transport::Write, transport.Write(socket, {})),

    // --- Loops ---
    FIO_HAS(Loop, sizeof(Loop)),
    FIO_HAS(Loop::Create, Loop::Create(LoopOptions())),
    FIO_HAS(Loop::OnTurnBegin, loop.OnTurnBegin([] {})),
    FIO_HAS(Loop::OnTurnEnd, loop.OnTurnEnd([] {})),
    FIO_HAS(Loop::Run, loop.Run()),
    FIO_HAS(Loop::RunOnce, loop.RunOnce(MonotonicTime::InfinitePast())),
    FIO_HAS(Loop::RunWhileBusy, loop.RunWhileBusy()),
    FIO_HAS(Loop::Stop, loop.Stop()),
    FIO_HAS(Loop::Unref, (loop.Unref(watch), loop.Unref(timer))),
    FIO_HAS(Loop::Unwatch, loop.Unwatch(watch)),
    FIO_HAS(Loop::Wake, loop.Wake()),
    FIO_HAS(Loop::Watch, loop.Watch(0, Interest::kReadable, Trigger::kLevel,
                                    [](Readiness) {})),
    FIO_HAS(Loop::fd, loop.fd()),
    FIO_HAS(Loop::next_deadline, loop.next_deadline()),
    FIO_HAS(Loop::now, loop.now()),
    FIO_HAS(Loop::turn, loop.turn()),
    FIO_HAS(LoopHandle::Adopt, loop_handle.Adopt(std::move(socket), nullptr)),
    FIO_HAS(LoopOptions::poller, LoopOptions{.poller = PollerKind::kPoll}),
    FIO_HAS(LoopOptions::receive_buffer_bytes,
            LoopOptions{.receive_buffer_bytes = 65536}),
    FIO_HAS(LoopHandle::Wake, loop_handle.Wake()),
    FIO_HAS(WatchId, WatchId::kNone),

    // --- Pollers ---
    FIO_HAS(CreatePoller, CreatePoller(Clock::System())),
    FIO_HAS(Event::readiness, event.readiness()),
    FIO_HAS(FdWatch, FdWatch()),
    FIO_HAS(FdWatch::Create,
            FdWatch::Create(poller, 0, 1, Interest::kReadable, Trigger::kEdge)),
    FIO_HAS(FdWatch::Modify,
            fd_watch.Modify(1, Interest::kWritable, Trigger::kEdge)),
    FIO_HAS(FdWatch::Reset, fd_watch.Reset()),
    FIO_HAS(FdWatch::fd, fd_watch.fd()),
    FIO_HAS(Interest, Interest::kReadable | Interest::kWritable),
    FIO_HAS(Interest::kReadable, Interest::kReadable),
    FIO_HAS(Interest::kWritable, Interest::kWritable),
    FIO_HAS(Poller, sizeof(Poller)),
    FIO_HAS(Poller::Add, poller.Add(0, 1, Interest::kReadable, Trigger::kEdge)),
    FIO_HAS(Poller::Wait, poller.Wait({}, MonotonicTime::InfiniteFuture())),
    FIO_HAS(Poller::kind, poller.kind()),
    FIO_HAS(PollerKind::kEpoll,
            CreatePoller(Clock::System(), PollerKind::kEpoll)),
    FIO_HAS(PollerKind::kKqueue,
            CreatePoller(Clock::System(), PollerKind::kKqueue)),
    FIO_HAS(PollerKind::kPoll,
            CreatePoller(Clock::System(), PollerKind::kPoll)),
    FIO_HAS(PollerKindName, PollerKindName(poller.kind())),
    FIO_HAS(Readiness::readable, readiness.readable()),
    FIO_HAS(ReadyEvents, ReadyEvents().begin()),
    FIO_HAS(SignalMechanism::kSignalFd,
            SignalWatch::Create({SIGHUP}, SignalMechanism::kSignalFd)),
    FIO_HAS(SignalWatch, SignalWatch::Create({SIGINT, SIGTERM})),
    FIO_HAS(Token, Token{1}),
    FIO_HAS(Trigger, Trigger::kEdge),
    FIO_HAS(Waker, Waker::Create(poller, 1)),
    FIO_HAS(WakerKind::kEventFd, Waker::Create(poller, 1, WakerKind::kEventFd)),
    FIO_HAS(WakerKind::kPipe, Waker::Create(poller, 1, WakerKind::kPipe)),

    // --- core ---
    FIO_HAS(Connector::Cancel, connector.Cancel()),
    FIO_HAS(Connector::state, connector.state()),
    FIO_HAS(ConnectorId, ConnectorId()),
    FIO_HAS(ConnectorOptions, ConnectorOptions()),
    FIO_HAS(ConnectorOptions::on_failed,
            ConnectorOptions{.on_failed = [](const absl::Status&) {}}),
    FIO_HAS(ConnectorOptions::on_finish, ConnectorOptions{.on_finish = [] {}}),
    FIO_HAS(ConnectorOptions::on_open,
            ConnectorOptions{.on_open = [](Connection& c) { c.Close(); }}),
    FIO_HAS(ConnectorOptions::reconnect, ConnectorOptions{.reconnect = true}),
    FIO_HAS(ConnectorOptions::reconnect_delay,
            ConnectorOptions{.reconnect_delay = absl::Milliseconds(150)}),
    FIO_HAS(ConnectorOptions::root_only, ConnectorOptions{.root_only = true}),
    FIO_HAS(ConnectorOptions::secure, ConnectorOptions{.secure = nullptr}),
    FIO_HAS(ConnectorOptions::timeout,
            ConnectorOptions{.timeout = absl::Seconds(30)}),
    FIO_HAS(ConnectorOptions::transport,
            ConnectorOptions{.transport =
                                 [](const TransportRequest&) {
                                   return std::make_unique<Transport>();
                                 }}),
    FIO_HAS(Lifecycle::Add,
            reactor.lifecycle().Add(LifecycleEvent::kOnStart, [] {})),
    FIO_HAS(Lifecycle::Clear,
            reactor.lifecycle().Clear(LifecycleEvent::kOnStart)),
    FIO_HAS(Lifecycle::Force,
            reactor.lifecycle().Force(LifecycleEvent::kOnUser)),
    FIO_HAS(Lifecycle::Remove,
            reactor.lifecycle().Remove(LifecycleEvent::kOnStart, nullptr)),
    FIO_HAS(LifecycleEvent, LifecycleEvent()),
    FIO_HAS(LifecycleEvent::kAfterFork, LifecycleEvent::kAfterFork),
    FIO_HAS(LifecycleEvent::kAtExit, LifecycleEvent::kAtExit),
    FIO_HAS(LifecycleEvent::kBeforeFork, LifecycleEvent::kBeforeFork),
    FIO_HAS(WorkerEvent, sizeof(WorkerEvent)),
    FIO_HAS(WorkerEvent::GiveToWorker,
            worker_event.GiveToWorker("pipe", UniqueFd())),
    FIO_HAS(LifecycleEvent::kInChild, LifecycleEvent::kInChild),
    FIO_HAS(LifecycleEvent::kInRoot, LifecycleEvent::kInRoot),
    FIO_HAS(LifecycleEvent::kNever, LifecycleEvent::kNever),
    FIO_HAS(LifecycleEvent::kOnChildCrash, LifecycleEvent::kOnChildCrash),
    FIO_HAS(LifecycleEvent::kOnFinish, LifecycleEvent::kOnFinish),
    FIO_HAS(LifecycleEvent::kOnIdle, LifecycleEvent::kOnIdle),
    FIO_HAS(LifecycleEvent::kOnInitialize, LifecycleEvent::kOnInitialize),
    FIO_HAS(LifecycleEvent::kOnParentCrash, LifecycleEvent::kOnParentCrash),
    FIO_HAS(LifecycleEvent::kOnPubSubConnect, LifecycleEvent::kOnPubSubConnect),
    FIO_HAS(LifecycleEvent::kOnPubSubError, LifecycleEvent::kOnPubSubError),
    FIO_HAS(LifecycleEvent::kOnShutdown, LifecycleEvent::kOnShutdown),
    FIO_HAS(LifecycleEvent::kOnStart, LifecycleEvent::kOnStart),
    FIO_HAS(LifecycleEvent::kOnUser, LifecycleEvent::kOnUser),
    FIO_HAS(LifecycleEvent::kOnUserReverse, LifecycleEvent::kOnUserReverse),
    FIO_HAS(LifecycleEvent::kPreStart, LifecycleEvent::kPreStart),
    FIO_HAS(ListenOptions::handshake_timeout,
            ListenOptions{.handshake_timeout = absl::Seconds(1)}),
    FIO_HAS(ListenOptions::on_finish, ListenOptions{.on_finish = [] {}}),
    FIO_HAS(ListenOptions::root_only, ListenOptions{.root_only = true}),
    FIO_HAS(ListenOptions::secure, ListenOptions{.secure = nullptr}),
    FIO_HAS(ListenOptions::transport,
            ListenOptions{.transport =
                              [](const TransportRequest&) {
                                return std::make_unique<Transport>();
                              }}),
    FIO_HAS(Reactor::Connect,
            reactor.Connect("tcp://127.0.0.1:3000", ConnectorOptions())),
    FIO_HAS(Reactor::CancelConnect, reactor.CancelConnect(ConnectorId())),
    FIO_HAS(Reactor::Defer, reactor.Defer([] {})),
    FIO_HAS(Reactor::Post, reactor.Post(id, [](Connection*) {})),
    FIO_HAS(
        Reactor::RunEvery,
        reactor.RunEvery({.callback = [] { return TimerWheel::Next::kStop; },
                          .interval = absl::Seconds(1)})),
    FIO_HAS(Reactor::capacity, reactor.capacity()),
    FIO_HAS(Reactor::concurrency, reactor.concurrency().threads),
    FIO_HAS(Reactor::engine, reactor.engine()),
    FIO_HAS(Reactor::is_root, reactor.is_root()),
    FIO_HAS(Reactor::is_worker, reactor.is_worker()),
    FIO_HAS(Reactor::last_tick, reactor.last_tick()),
    FIO_HAS(Reactor::lifecycle, reactor.lifecycle()),
    FIO_HAS(Reactor::root_pid, reactor.root_pid()),
    FIO_HAS(Reactor::running_workers, reactor.running_workers()),
    FIO_HAS(ReactorOptions::signals, ReactorOptions().signals),
    // --- pub/sub ---
    FIO_HAS(Broker, Broker()),
    FIO_HAS(Broker::AddMetadata, broker.AddMetadata(nullptr)),
    FIO_HAS(Broker::Attach, broker.Attach(engine)),
    FIO_HAS(Broker::Detach, broker.Detach(engine)),
    FIO_HAS(Broker::IsAttached, broker.IsAttached(engine)),
    FIO_HAS(Broker::Reattach, broker.Reattach(engine)),
    FIO_HAS(Broker::RemoveMetadata, broker.RemoveMetadata(MetadataId::kNone)),
    FIO_HAS(Broker::SetDefault, broker.SetDefault(engine)),
    FIO_HAS(Broker::Subscribe,
            broker.Subscribe({.channel = "a"}, [](Delivery&) {})),
    FIO_HAS(Delivery, std::declval<Delivery>()),
    FIO_HAS(Delivery::Defer, delivery.Defer()),
    FIO_HAS(Engine, std::declval<Engine&>()),
    FIO_HAS(Match::kNats, Match::kNats),
    FIO_HAS(Match::kRedis, Match::kRedis),
    FIO_HAS(Message, Message()),
    FIO_HAS(Message::metadata, message.metadata<int>(MetadataId::kNone)),
    FIO_HAS(NatsEngine, std::declval<NatsEngine&>()),
    FIO_HAS(Pattern, Pattern::Compile("news.*", PatternMode::kRedis)),
    FIO_HAS(RedisEngine, std::declval<RedisEngine&>()),
    FIO_HAS(PubSub, PubSub(reactor)),
    FIO_HAS(PubSub::Publish, pub_sub.Publish("channel", "body")),
    FIO_HAS(PubSub::Subscribe, pub_sub.Subscribe(connection, "channel")),
    FIO_HAS(Reach::kCluster, Reach::kCluster),
    FIO_HAS(Reach::kProcess, Reach::kProcess),
    FIO_HAS(Reach::kRoot, Reach::kRoot),
    FIO_HAS(Reach::kSiblings, Reach::kSiblings),
    FIO_HAS(SubscribeOptions::on_unsubscribe,
            SubscribeOptions{.on_unsubscribe = nullptr}),
    FIO_HAS(Subscription, Subscription()),
    FIO_HAS(Subscription::Unsubscribe, subscription.Unsubscribe()),
    FIO_HAS(Subscription::channel, subscription.channel()),
    // --- tls ---
    FIO_HAS(TlsCertificate::FromFiles,
            TlsCertificate::FromFiles("cert.pem", "key.pem")),
    FIO_HAS(TlsClientOptions, TlsClientOptions()),
    FIO_HAS(TlsClientOptions::trust,
            TlsClientOptions{.trust = TlsTrust::Insecure()}),
    FIO_HAS(TlsContext, TlsContext::Client()),
    FIO_HAS(TlsFactory, TlsFactory(std::shared_ptr<const TlsContext>())),
    FIO_HAS(TlsInfo::Of, TlsInfo::Of(connection.transport())),
    FIO_HAS(TlsInfo::server_name,
            TlsInfo::Of(connection.transport())->server_name()),
    FIO_HAS(TlsOfUrl, ListenOptions{.secure = TlsOfUrl}),
    FIO_HAS(TlsServerOptions, TlsServerOptions()),
    FIO_HAS(TlsServerOptions::certificates,
            TlsServerOptions{.certificates = {}}),
    FIO_HAS(TlsServerOptions::choose, TlsServerOptions{.choose = nullptr}),
    FIO_HAS(TlsServerOptions::ciphers, TlsServerOptions().ciphers),
    FIO_HAS(TlsServerOptions::client_certificates,
            TlsServerOptions{.client_certificates =
                                 TlsClientCertificates::kRequired}),
    FIO_HAS(TlsServerOptions::trust,
            TlsServerOptions{.trust = TlsTrust::Insecure()}),
    FIO_HAS(TlsSlot, TlsSlot::Create(nullptr)),
    FIO_HAS(TlsSlot::Reload, (*TlsSlot::Create(nullptr))->Reload()),
    FIO_HAS(TlsTransport, TlsTransport(std::shared_ptr<const TlsContext>())),
    FIO_HAS(TlsTrust, TlsTrust::System()),
};

}  // namespace

std::vector<std::string> CompiledSymbols() {
  return {std::begin(kSymbols), std::end(kSymbols)};
}

}  // namespace fio::coming_from
