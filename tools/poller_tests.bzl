"""poller_tests: the same tests on each poller; transport_tests: and over each transport."""

load("@rules_cc//cc:cc_library.bzl", "cc_library")
load("@rules_cc//cc:cc_test.bzl", "cc_test")

_ON_POLLERS = [
    ("", {}),
    ("_on_poll", {"FIO_TEST_ON_POLL": "1"}),
]

_OVER_TRANSPORTS = [
    ("_over_pass_through", {"FIO_TEST_TRANSPORT": "pass_through"}),
    ("_over_handshake", {"FIO_TEST_TRANSPORT": "handshake"}),
]

def poller_tests(name, srcs, deps, **kwargs):
    """Tests that run on core_internal::PollerUnderTest(), compiled once.

    Args:
      name: of the test on the best poller; name_on_poll is the one on poll(2).
      srcs: as of cc_test.
      deps: likewise.
      **kwargs: likewise.
    """
    _tests(name, srcs, deps, _ON_POLLERS, kwargs)

def transport_tests(name, srcs, deps, **kwargs):
    """As poller_tests(), and over loop_internal::TransportUnderTest().

    Args:
      name: of the test over no transport, as of poller_tests();
        name_over_pass_through and name_over_handshake are those over transports.
      srcs: as of cc_test.
      deps: likewise.
      **kwargs: likewise.
    """
    _tests(name, srcs, deps, _ON_POLLERS + _OVER_TRANSPORTS, kwargs)

def _tests(name, srcs, deps, environments, kwargs):
    cc_library(
        name = name + "_cases",
        testonly = True,
        srcs = srcs,
        linkstatic = True,
        alwayslink = True,
        deps = deps,
    )
    for suffix, env in environments:
        cc_test(
            name = name + suffix,
            env = env,
            deps = [":" + name + "_cases"],
            **kwargs
        )
