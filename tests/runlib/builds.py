# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""The variants of the build that tests use, by scripts/build."""

import functools
import os
import shutil
import subprocess

from .case import ROOT, Fail, Test

# name: arguments of scripts/build
VARIANTS = {
    "": [],
    "asan": ["--sanitize=address"],
    "tsan": ["--sanitize=thread"],
    "clang": ["--cc=clang"],
    "fuzz": ["--cc=clang", "--sanitize=address"],
    # reconfigured for installation by root.py, hence a directory of its own
    "trixie": ["--rdma-core=56.1", "--dir=" + os.path.join(ROOT, "build-trixie"),
               "tcpzc-run", "tcpzc-preload", "tcpzc-cm", "rdma-core"],
}
LIMIT = 900
SCRIPT = os.path.join(ROOT, "scripts", "build")


class Builds:
    """Directories of the variants; which of them have failed."""

    def __init__(self, given=None):
        self.given = given          # --build: use this one, build nothing
        self.failed = set()

    @functools.lru_cache(maxsize=None)
    def directory(self, variant):
        if self.given and not variant:
            return self.given
        return subprocess.run([SCRIPT, *VARIANTS[variant], "--print-dir"], check=True,
                              capture_output=True, text=True).stdout.strip()

    def runner(self, variant):
        return os.path.join(self.directory(variant), "bin", "tcpzc-run")

    def test(self, variant):
        """A test that builds the variant."""
        return Test("build/" + (variant or "default"), lambda ctx: build(ctx, variant),
                    limit=LIMIT, cpu=os.cpu_count() or 1)


def build(ctx, variant):
    command = [SCRIPT, *VARIANTS[variant]]
    process = ctx.finish(command, LIMIT - 10, env=cache_environment(), name="scripts/build")
    if process.status:
        raise Fail(process.describe())
    if not os.access(ctx.builds.runner(variant), os.X_OK):
        raise Fail(f"{' '.join(command)} has made no {ctx.builds.runner(variant)}")


def cache_environment():
    """TCPZC_CACHE_DIR is for the build, which tests' programs must not inherit."""
    name = "TCPZC_CACHE_DIR"
    return {name: os.environ[name]} if name in os.environ else {}


def cache_directory():
    return os.environ.get("TCPZC_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tcpzc")


def installed(ctx):
    """The default build, installed below the test's directory, for other users to read."""
    prefix = ctx.file("prefix")
    process = ctx.finish(["cmake", "--install", ctx.builds.directory(""),
                          "--prefix", prefix], 60)
    if process.status:
        raise Fail(process.describe())
    return os.path.join(prefix, "bin", "tcpzc-run")


def have(program):
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
