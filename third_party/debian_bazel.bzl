"""The rules that Bazel would fetch for itself, taken from Debian's packages."""

load("@bazel_tools//tools/build_defs/repo:utils.bzl", "maybe")

_RULES_CC = ["cc_binary", "cc_import", "cc_library", "cc_test", "cc_toolchain", "cc_toolchain_suite"]

def _debian_repository_impl(rctx):
    root = rctx.path("/usr/share/bazel/" + rctx.attr.path)
    if not root.exists:
        fail("%s is missing: apt-get install %s (tools/setup installs all that fio needs)" % (root, rctx.attr.apt))
    for entry in root.readdir():
        rctx.symlink(entry, entry.basename)

_debian_repository = repository_rule(
    implementation = _debian_repository_impl,
    attrs = {
        "apt": attr.string(doc = "The Debian package, for the error message."),
        "path": attr.string(doc = "Where it installs, below /usr/share/bazel."),
    },
    local = True,
)

def _written_repository_impl(rctx):
    for name, content in rctx.attr.files.items():
        rctx.file(name, content)

_written_repository = repository_rule(
    implementation = _written_repository_impl,
    attrs = {"files": attr.string_dict(doc = "Path: content.")},
)

def debian_bazel():
    """The repositories that Bazel's own tools and our BUILD files load from."""
    maybe(_debian_repository, name = "bazel_skylib", apt = "bazel-skylib", path = "tools/skylib")
    maybe(_debian_repository, name = "rules_java", apt = "bazel-rules-java", path = "rules/java")

    # Debian's rules_cc needs Bazel 5; in Bazel 4 to 7 the rules are native.
    rules = {"cc/%s.bzl" % rule: "%s = native.%s\n" % (rule, rule) for rule in _RULES_CC}
    rules["cc/defs.bzl"] = "".join([rules["cc/%s.bzl" % rule] for rule in _RULES_CC])
    rules["cc/BUILD"] = ""
    maybe(_written_repository, name = "rules_cc", files = rules)

    # `bazel test` asks for it, coverage or not.
    coverage = "filegroup(name = \"coverage_report_generator\", visibility = [\"//visibility:public\"])\n"
    maybe(_written_repository, name = "remote_coverage_tools", files = {"BUILD": coverage})
