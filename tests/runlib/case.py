# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""What a test is, how it fails or skips, and what it gets to work with."""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass

from . import leftover, net, proc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATIENCE = 10       # seconds in which what is to happen has happened


class Fail(Exception):
    """The test has failed; the text says what was expected."""


class Skip(Exception):
    """The test cannot run here; the text says why."""


@dataclass(frozen=True)
class Test:
    name: str               # suite/topic/variant
    run: object             # run(Context)
    limit: float = 60       # seconds after which the runner ends it: a failure
    quick: bool = False     # part of --quick
    build: str = ""         # the variant of scripts/build that it needs; "" is the default
    cpu: float = 1          # processors it keeps busy


def expect(condition, text, *processes):
    """Fail with text and what the processes printed, unless condition."""
    if not condition:
        raise Fail("\n".join([text, *(p.describe() for p in processes if p)]))


def until(met, text, *processes, limit=PATIENCE, alive=(), tick=0.01):
    """Wait until met() is true, and return its value.

    Fail with text (or what text() returns) and what the processes printed if that takes
    more than limit seconds, or if one of those that are to be alive ends before.
    """
    deadline = time.monotonic() + limit
    while not (found := met()):
        if time.monotonic() > deadline or any(p.poll() is not None for p in alive):
            expect(False, text() if callable(text) else text, *alive,
                   *(p for p in processes if p not in alive))
        time.sleep(tick)
    return found


class Context:
    """One run of one test: its directory, processes and networks.

    close() ends whatever still runs and says what was left behind.
    """

    def __init__(self, test, builds):
        self.test = test
        self.builds = builds
        self.processes = []
        self.paths = []
        self.at_end = []            # called before what is left behind is looked for
        self.directory = tempfile.mkdtemp(prefix=leftover.DIRECTORY + ".", dir="/tmp")
        self.trees = leftover.Trees()
        os.chmod(self.directory, 0o755)

    def file(self, name):
        return os.path.join(self.directory, name)

    def path(self, name):
        """A network of the test's own: "loopback" or "veth"."""
        path = net.Path(name)
        self.paths.append(path)
        return path

    def start(self, command, limit=None, **options):
        process = proc.Process(command, limit or self.test.limit, **options)
        self.processes.append(process)
        return process

    def finish(self, command, limit=30, **options):
        """Run a program to its end and return it, whatever its status."""
        process = self.start(command, limit, **options)
        process.wait(limit + 5)
        return process

    def close(self, clean):
        """clean: the test has passed, so nothing may be left behind."""
        found = []
        for process in self.processes:
            if process.poll() is None:
                found.append("still running: " + " ".join(process.program))
            process.end()
        for each in self.at_end:
            each()
        if clean:
            found += leftover.processes(self.holders())
            found += leftover.sockets(self.paths)
            found += self.trees.new(self.paths)
        for path in self.paths:
            path.close()
        leftover.end_children()
        shutil.rmtree(self.directory, ignore_errors=True)
        return found

    def holders(self):
        return {space.pid for path in self.paths for space in path.all() if space.pid}
