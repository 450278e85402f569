"""A test that passes when building its target fails for an arrow."""

load("@bazel_skylib//lib:unittest.bzl", "analysistest", "asserts")

def _arrow_refused_test_impl(ctx):
    env = analysistest.begin(ctx)
    asserts.expect_failure(env, "may only use")
    return analysistest.end(env)

arrow_refused_test = analysistest.make(_arrow_refused_test_impl, expect_failure = True)
