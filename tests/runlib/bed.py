# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Where programs run: this system, another user, a sanitized build, another root."""

import os
import re

from . import builds
from .case import Skip

MEMLOCK = 8 << 20       # the default limit of most distributions
NOBODY = 65534


class Bed:
    """How to run a program with tcpzc devices at one side of a path."""

    title = "this system"
    variant = ""
    root = ""
    port_taken = "in use"           # what a program says if an rdma_cm port is

    def __init__(self, ctx):
        self.ctx = ctx
        self.run = ctx.builds.runner(self.variant)
        self.options = []           # of tcpzc-run
        self.sides = ("server", "client")   # at which it has devices

    def prepare(self, path):
        """Whatever a new path needs before programs run there."""

    def inside(self, command):
        """The command as it is run in the namespaces of the path."""
        return command

    def environment(self):
        return {}

    def command(self, path, side, program, args=(), env=None):
        env = {"TCPZC_NETDEV": path.netdev[side], **self.environment(), **(env or {})}
        words = ["env", *(f"{name}={value}" for name, value in env.items()
                          if value is not None),
                 self.run, *self.options, program, *map(str, args)]
        return path.command(side, *self.inside(words))

    def cm_ports(self, path, side):
        """(port space, port) of each rdma_cm port on which somebody listens: its name is
        among the local sockets of the network namespace (cm_port_announce())."""
        name = f"{path.spaces[side].proc_net()}/unix"
        with open(name, encoding="utf-8", errors="replace") as file:
            found = re.findall(r"@tcpzc-cm/([0-9a-f]{4})/(\d+)/listen/", file.read())
        return {(int(ps, 16), int(port)) for ps, port in found}

    def bad_output(self, process):
        """Text that must not be in the output of any program here, or ''."""
        return ""


class Unprivileged(Bed):
    """Nobody, who may lock 8 MiB, with an installed copy that he can read."""

    title = "unprivileged"

    def __init__(self, ctx):
        super().__init__(ctx)
        if os.geteuid():
            raise Skip("needs root to become another user")
        self.run = builds.installed(ctx)

    def inside(self, command):
        return ["prlimit", f"--memlock={MEMLOCK}:{MEMLOCK}", "setpriv",
                f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", *command]


class LittleMemlock(Bed):
    """As we are, but with the default limit of locked memory."""

    title = "8 MiB of locked memory"

    def inside(self, command):
        return ["prlimit", f"--memlock={MEMLOCK}:{MEMLOCK}", *command]


class Sanitized(Bed):
    """The provider with a sanitizer, whose runtime tcpzc-run preloads."""

    # Distributions' programs leak, are not ours, and must not hide what is.
    COMMON = "exitcode=99:abort_on_error=0:handle_segv=1:"

    def environment(self):
        if self.variant == "asan":
            return {"ASAN_OPTIONS": self.COMMON + "detect_leaks=0",
                    "UBSAN_OPTIONS": self.COMMON + "print_stacktrace=1"}
        return {"TSAN_OPTIONS": self.COMMON + "halt_on_error=0:second_deadlock_stack=1"}

    def bad_output(self, process):
        text = process.output()
        for word in ("ERROR: AddressSanitizer", "runtime error:",
                     "WARNING: ThreadSanitizer", "ThreadSanitizer: "):
            if word in text:
                return word
        return ""


class Asan(Sanitized):
    title = variant = "asan"


class Tsan(Sanitized):
    title = variant = "tsan"
