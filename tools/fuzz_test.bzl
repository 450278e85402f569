"""fuzz_test: replays its corpus; with --config=fuzz, libFuzzer searches."""

load("@rules_cc//cc:cc_test.bzl", "cc_test")

def fuzz_test(name, corpus, deps, **kwargs):
    """A test of LLVMFuzzerTestOneInput() in name.cc.

    Args:
      name: the target, and its source without ".cc".
      corpus: the inputs to replay and to start from.
      deps: as of cc_test.
      **kwargs: likewise.
    """
    inputs = ["$(location %s)" % file for file in corpus]
    cc_test(
        name = name,
        srcs = [name + ".cc"],
        args = select({
            "//tools:libfuzzer": ["-max_total_time=10", "-seed_inputs=" + ",".join(inputs)],
            "//conditions:default": inputs,
        }),
        data = corpus,
        linkopts = select({
            "//tools:libfuzzer": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        deps = deps + select({
            "//tools:libfuzzer": [],
            "//conditions:default": ["//tools:replay_main"],
        }),
        **kwargs
    )
