"""poller_tests: the same tests on each poller of this machine."""

load("@rules_cc//cc:cc_library.bzl", "cc_library")
load("@rules_cc//cc:cc_test.bzl", "cc_test")

def poller_tests(name, srcs, deps, **kwargs):
    """Tests that run on core_internal::PollerUnderTest(), compiled once.

    Args:
      name: of the test on the best poller; name_on_poll is the one on poll(2).
      srcs: as of cc_test.
      deps: likewise.
      **kwargs: likewise.
    """
    cc_library(
        name = name + "_cases",
        testonly = True,
        srcs = srcs,
        linkstatic = True,
        alwayslink = True,
        deps = deps,
    )
    for suffix, env in [("", {}), ("_on_poll", {"FIO_TEST_ON_POLL": "1"})]:
        cc_test(
            name = name + suffix,
            env = env,
            deps = [":" + name + "_cases"],
            **kwargs
        )
