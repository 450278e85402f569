"""fio's dependencies for WORKSPACE; MODULE.bazel has the same ones.

Where tools/setup has run, each is overridden by the source that Debian ships
(deps.bazelrc), and nothing is downloaded.
"""

load("@bazel_tools//tools/build_defs/repo:utils.bzl", "maybe")
load("//third_party:debian_bazel.bzl", "debian_bazel")

def _download_impl(ctx):
    result = ctx.download_and_extract(
        allow_fail = True,
        sha256 = ctx.attr.sha256,
        stripPrefix = ctx.attr.strip_prefix,
        url = ctx.attr.urls,
    )
    if not result.success:
        fail(("@{} could not be downloaded from {}. On Debian, fio's tools/setup gets it from Debian's source " +
              "packages: run it, and have your .bazelrc import fio's deps.bazelrc (see fio's README.md).").format(
            ctx.name,
            ctx.attr.urls[0],
        ))
    if not ctx.path("WORKSPACE").exists:
        ctx.file("WORKSPACE", "")

# As http_archive, with an error that names the way without a network.
_download = repository_rule(
    implementation = _download_impl,
    attrs = {
        "sha256": attr.string(mandatory = True),
        "strip_prefix": attr.string(mandatory = True),
        "urls": attr.string_list(mandatory = True),
    },
)

def fio_repositories():
    """Everything that building, testing and measuring fio needs."""
    debian_bazel()
    maybe(
        _download,
        name = "com_google_absl",
        sha256 = "f50e5ac311a81382da7fa75b97310e4b9006474f9560ac46f54a9967f07d4ae3",
        strip_prefix = "abseil-cpp-20240722.0",
        urls = ["https://github.com/abseil/abseil-cpp/releases/download/20240722.0/abseil-cpp-20240722.0.tar.gz"],
    )
    maybe(
        _download,
        name = "com_google_googletest",
        sha256 = "78c676fc63881529bf97bf9d45948d905a66833fbfa5318ea2cd7478cb98f399",
        strip_prefix = "googletest-1.16.0",
        urls = ["https://github.com/google/googletest/releases/download/v1.16.0/googletest-1.16.0.tar.gz"],
    )
    maybe(
        _download,
        name = "com_google_benchmark",
        sha256 = "6430e4092653380d9dc4ccb45a1e2dc9259d581f4866dc0759713126056bc1d7",
        strip_prefix = "benchmark-1.7.1",
        urls = ["https://github.com/google/benchmark/archive/refs/tags/v1.7.1.tar.gz"],
    )
    maybe(
        _download,
        name = "boringssl",
        sha256 = "812f77dd57fef845c4ed630430f1f8efc7e255c4d572fa58b71e6e3ce1692a4a",
        strip_prefix = "boringssl-0.20240930.0",
        urls = ["https://github.com/google/boringssl/releases/download/0.20240930.0/boringssl-0.20240930.0.tar.gz"],
    )
