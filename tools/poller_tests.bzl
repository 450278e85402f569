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
        fio/core/tls has name_over_tls: see tls_suite_tests().
      srcs: as of cc_test.
      deps: likewise.
      **kwargs: likewise.
    """
    _tests(
        name,
        srcs,
        deps,
        _ON_POLLERS + _OVER_TRANSPORTS,
        kwargs,
        pairs = [":plain_pairs"],
        visibility = ["//fio/core/tls:__pkg__"],
    )

def tls_suite_tests(names, **kwargs):
    """Tests of fio/core/loop, which knows no TLS, over TLS on both sides.

    Args:
      names: of transport_tests() of fio/core/loop; name_over_tls is the one on
        the best poller, name_over_tls_on_poll the one on poll(2).
      **kwargs: as of cc_test.
    """
    for name in names:
        for suffix, env in _ON_POLLERS:
            cc_test(
                name = name + "_over_tls" + suffix,
                env = env,
                deps = ["//fio/core/loop:%s_cases" % name, ":tls_pairs"],
                **kwargs
            )

def _tests(name, srcs, deps, environments, kwargs, pairs = [], visibility = None):
    cc_library(
        name = name + "_cases",
        testonly = True,
        srcs = srcs,
        linkstatic = True,
        alwayslink = True,
        visibility = visibility,
        deps = deps,
    )
    for suffix, env in environments:
        cc_test(
            name = name + suffix,
            env = env,
            deps = [":" + name + "_cases"] + pairs,
            **kwargs
        )
