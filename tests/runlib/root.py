# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""A root file system of another Debian release with that release's programs and
libraries, and tcpzc installed in it as a package would be.

It is made once by mmdebstrap and kept as a tarball in the cache. Programs run in it
by chroot, with it read-only, in the mount namespaces of a test's networks: what is
mounted there goes with them.
"""

import hashlib
import os
import platform
import shutil
import subprocess

from . import builds
from .bed import Bed
from .case import ROOT, Fail, Skip, Test

SUITE = "trixie"
PACKAGES = ("ibverbs-providers", "ibverbs-utils", "perftest", "rdmacm-utils", "libfabric-bin")
VARIANT = SUITE                 # of the build
LIMIT = 600
PREPARE = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/tmp"
mount -t tmpfs tmpfs "$1/run"
mkdir -p "$1$2"
mount --bind "$2" "$1$2"
"""


def tarball():
    """Its name changes with what is in it."""
    content = " ".join((SUITE, platform.machine(), "minbase", *PACKAGES))
    key = hashlib.sha256(content.encode()).hexdigest()[:12]
    return os.path.join(builds.cache_directory(), f"root-{SUITE}-{key}.tar.gz")


def mirror():
    """Debian's archive as this machine's apt has it."""
    script = f". {os.path.join(ROOT, 'scripts', 'lib.sh')}; apt_archives"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        uri, _, keyring = line.split()
        if "debian-archive" in keyring:
            return uri
    raise Skip("this machine's apt knows no Debian archive")


def make(ctx):
    """The tarball, into the cache."""
    if not builds.have("mmdebstrap"):
        raise Skip("mmdebstrap is not installed")
    part = f"{tarball()}.{os.getpid()}.tar.gz"
    os.makedirs(os.path.dirname(part), exist_ok=True)
    try:
        process = ctx.finish(["mmdebstrap", "--variant=minbase", "--format=tar",
                              "--include=" + ",".join(PACKAGES),
                              "--dpkgopt=path-exclude=/usr/share/doc/*",
                              "--dpkgopt=path-exclude=/usr/share/man/*",
                              "--dpkgopt=path-exclude=/usr/share/locale/*",
                              SUITE, part, mirror()], LIMIT - 60, name="mmdebstrap")
        if process.status:
            raise Fail(process.describe())
        os.rename(part, tarball())
    finally:
        if os.path.exists(part):
            os.unlink(part)


def directory(built):
    return os.path.join(built.directory(VARIANT), "root")


def must(process):
    if process.status:
        raise Fail(process.describe())
    return process


def unpack(ctx, target):
    stamp = os.path.join(target, ".tarball")
    made = f"{tarball()} {os.stat(tarball()).st_mtime_ns}"
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as file:
            if file.read() == made:
                return
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    # Devices come from the machine.
    must(ctx.finish(["tar", "-xzf", tarball(), "-C", target, "--exclude=./dev/*"], 120))
    # For tests to mount theirs over; a minimal system has none.
    with open(os.path.join(target, "etc/hosts"), "a", encoding="utf-8"):
        pass
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(made)


def install(ctx, target):
    """As a package is built: prefix /usr, DESTDIR; the provider where libibverbs looks."""
    build = ctx.builds.directory(VARIANT)
    triplet = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True,
                             check=True).stdout.strip()
    must(ctx.finish(["cmake", "-DCMAKE_INSTALL_PREFIX=/usr", "-DCMAKE_INSTALL_SYSCONFDIR=/etc",
                     f"-DCMAKE_INSTALL_LIBDIR=lib/{triplet}", "-DTCPZC_INSTALL_PROVIDER=ON",
                     build], 120))
    must(ctx.finish(["cmake", "--build", build, "--target",
                     "tcpzc-run", "tcpzc-preload", "tcpzc-cm", "rdma-core"], 300))
    must(ctx.finish(["env", "DESTDIR=" + target, "cmake", "--install", build], 120))
    for path in ("usr/bin/tcpzc-run", "etc/libibverbs.d/tcpzc.driver",
                 f"usr/lib/{triplet}/libibverbs/libtcpzc-rdmav34.so",
                 f"usr/lib/{triplet}/tcpzc/libtcpzc-preload.so"):
        if not os.path.exists(os.path.join(target, path)):
            raise Fail(f"not installed: /{path}")


def prepare(ctx):
    if os.geteuid():
        raise Skip("needs root for chroot")
    target = directory(ctx.builds)
    if not os.path.exists(tarball()):
        make(ctx)
    unpack(ctx, target)
    install(ctx, target)


def test():
    return Test(f"{SUITE}/root", prepare, limit=LIMIT, build=VARIANT, cpu=os.cpu_count() or 1)


class Chroot(Bed):
    """Programs of the other release, with its own libibverbs."""

    title = variant = VARIANT

    def __init__(self, ctx):
        super().__init__(ctx)
        self.root = directory(ctx.builds)
        if not os.path.exists(os.path.join(self.root, "usr/bin/tcpzc-run")):
            raise Skip(f"{SUITE}/root has not been made")
        self.run = "/usr/bin/tcpzc-run"
        self.prepared = set()

    def prepare(self, path):
        for space in path.all() - self.prepared:
            if not space.private:
                raise Skip("no mount namespaces")
            space.call("sh", "-c", PREPARE, "sh", self.root, self.ctx.directory)
            self.prepared.add(space)

    def inside(self, command):
        return ["chroot", self.root, *command]


class ChrootNobody(Chroot):
    """The same as an ordinary user who may lock 8 MiB."""

    def inside(self, command):
        return ["prlimit", "--memlock=8388608:8388608", "chroot",
                "--userspec=65534:65534", "--groups=65534", self.root, *command]
