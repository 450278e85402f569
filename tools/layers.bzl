"""Which layer may use which: the arrows of docs/architecture.md, held.

Each package of fio/ ends with `layer()`. Building that target fails when a
library of the package depends, directly or through others, on a layer that its
row below does not name.
"""

# Package: the layers it may use, beside itself. Arrows point down only.
_ARROWS = {
    "fio/base": [],
    "fio/sock": ["fio/base"],
    "fio/defer": ["fio/base"],
    "fio/core/poller": ["fio/base"],
    "fio/core/timer": ["fio/base"],
    "fio/core/loop": ["fio/base", "fio/sock", "fio/defer", "fio/core/poller", "fio/core/timer"],
    "fio/core/process": ["fio/base", "fio/core/poller"],
    "fio/core": [
        "fio/base",
        "fio/sock",
        "fio/defer",
        "fio/core/poller",
        "fio/core/timer",
        "fio/core/loop",
        "fio/core/process",
    ],
    "fio/tls": ["fio/base", "fio/sock"],
    "fio/core/tls": [
        "fio/base",
        "fio/sock",
        "fio/defer",
        "fio/core/poller",
        "fio/core/timer",
        "fio/core/loop",
        "fio/core/process",
        "fio/core",
        "fio/tls",
    ],
    "fio/pubsub": ["fio/base", "fio/sock"],
    "fio/core/pubsub": [
        "fio/base",
        "fio/sock",
        "fio/defer",
        "fio/core/poller",
        "fio/core/timer",
        "fio/core/loop",
        "fio/core/process",
        "fio/core",
        "fio/pubsub",
    ],
    "fio/core/pubsub/nats": [
        "fio/base",
        "fio/sock",
        "fio/defer",
        "fio/core/poller",
        "fio/core/timer",
        "fio/core/loop",
        "fio/core/process",
        "fio/core",
        "fio/pubsub",
        "fio/core/pubsub",
        "fio/tls",
        "fio/core/tls",
    ],
    "fio/core/pubsub/redis": [
        "fio/base",
        "fio/sock",
        "fio/defer",
        "fio/core/poller",
        "fio/core/timer",
        "fio/core/loop",
        "fio/core/process",
        "fio/core",
        "fio/pubsub",
        "fio/core/pubsub",
        "fio/tls",
        "fio/core/tls",
    ],
}

_Packages = provider("Our packages that a target is made of.", fields = ["packages"])

def _packages_impl(target, ctx):
    own = [target.label.package] if target.label.workspace_name == ctx.label.workspace_name else []
    deps = [dep[_Packages].packages for dep in getattr(ctx.rule.attr, "deps", []) if _Packages in dep]
    return [_Packages(packages = depset(own, transitive = deps))]

_packages = aspect(implementation = _packages_impl, attr_aspects = ["deps", "actual"])

def _check_arrows_impl(ctx):
    arrows = _ARROWS[ctx.attr.layer]
    for library in ctx.attr.libraries:
        for package in library[_Packages].packages.to_list():
            if package.startswith("fio") and package not in [ctx.attr.layer] + arrows:
                fail("%s reaches //%s, but //%s may only use %s (tools/layers.bzl)" % (
                    library.label,
                    package,
                    ctx.attr.layer,
                    ", ".join(arrows) or "nothing of ours",
                ))
    return []

check_arrows = rule(
    implementation = _check_arrows_impl,
    attrs = {
        "layer": attr.string(mandatory = True, doc = "Whose arrows to hold: a package."),
        "libraries": attr.label_list(aspects = [_packages]),
    },
    doc = "Fails to build when a library reaches what the layer may not use.",
)

def layer():
    """Holds the arrows of this package; the last line of its BUILD file."""
    if native.package_name() not in _ARROWS:
        fail("//%s is no layer yet: give it a row in tools/layers.bzl" % native.package_name())
    check_arrows(
        name = "layer",
        layer = native.package_name(),
        libraries = [
            ":" + name
            for name, attributes in native.existing_rules().items()
            if attributes["kind"] == "cc_library" and not attributes.get("testonly")
        ],
    )
