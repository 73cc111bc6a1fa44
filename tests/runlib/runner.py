# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Runs tests, several at a time, each in a process of its own; prints and counts."""

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter

from . import leftover, net
from .case import Context, Fail, Skip

EXTRA = 20          # seconds beyond a test's limit for clearing up


class Result:
    def __init__(self, test, kind, reason="", seconds=0.0):
        self.test, self.kind, self.reason, self.seconds = test, kind, reason, seconds

    def line(self):
        head = {"pass": "ok  ", "fail": "FAIL", "skip": "skip"}[self.kind]
        text = f"{head} {self.test.name:<58} {self.seconds:6.1f} s"
        return text + (f"  ({self.reason})" if self.kind == "skip" else "")


def run_here(test, builds):
    """(kind, reason) of the test, run in this process."""
    context = Context(test, builds)
    kind, reason = "fail", ""
    try:
        test.run(context)
        kind = "pass"
    except Skip as skip:
        kind, reason = "skip", str(skip)
    except net.NotPermitted as error:
        kind, reason = "skip", f"no network namespaces: {error}"
    except Fail as failure:
        reason = str(failure)
    except Exception:
        reason = traceback.format_exc() + "\n".join(p.describe() for p in context.processes)
    left = context.close(clean=kind == "pass")
    if left and kind == "pass":
        kind, reason = "fail", "\n".join(
            left + [p.describe() for p in context.processes])
    return kind, reason


class Worker:
    """A test that runs in a child process."""

    def __init__(self, test, builds):
        self.test = test
        self.started = time.monotonic()
        self.file = tempfile.TemporaryFile("w+")
        self.status = None
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            self._child(builds)

    def _child(self, builds):
        status = 1
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            leftover.adopt_orphans()
            json.dump(run_here(self.test, builds), self.file)
            self.file.flush()
            status = 0
        finally:
            os._exit(status)

    def ended(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
            elif time.monotonic() > self.started + self.test.limit + EXTRA:
                os.kill(self.pid, signal.SIGKILL)
        return self.status is not None

    def result(self):
        seconds = time.monotonic() - self.started
        self.file.seek(0)
        text = self.file.read()
        try:
            kind, reason = json.loads(text)
        except ValueError:
            kind = "fail"
            reason = f"the test took longer than {self.test.limit:g} s or crashed " \
                     f"(wait status {self.status}) {text}"
        return Result(self.test, kind, reason, seconds)


class Runner:
    def __init__(self, builds, log, jobs):
        self.builds, self.log, self.jobs = builds, log, jobs
        self.results = []
        self.workers = []

    def report(self, result):
        self.results.append(result)
        print(result.line(), flush=True)
        print(result.line(), file=self.log)
        if result.kind == "fail":
            lines = result.reason.rstrip().splitlines()
            shown = lines if len(lines) <= 60 else lines[:30] + ["..."] + lines[-30:]
            print("\n".join("     " + line for line in shown), flush=True)
            print("\n".join("     " + line for line in lines), file=self.log)
        self.log.flush()

    def run(self, tests):
        """Runs them in this order, so many at a time that all have processors."""
        waiting = list(tests)
        while waiting or self.workers:
            while waiting and self._room(waiting[0]):
                self.workers.append(Worker(waiting.pop(0), self.builds))
            time.sleep(0.01)
            for worker in [w for w in self.workers if w.ended()]:
                self.workers.remove(worker)
                self.report(worker.result())
            if not self.workers:
                leftover.end_children()

    def _room(self, test):
        busy = sum(worker.test.cpu for worker in self.workers)
        return not self.workers or busy + test.cpu < self.jobs + 0.5

    def abort(self):
        """We are to end now: so are the tests."""
        for worker in self.workers:
            try:
                os.kill(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        leftover.end_children()

    def count(self):
        return Counter(result.kind for result in self.results)

    def summary(self):
        """Prints what stands out and the closing line; the exit status."""
        skipped = Counter(r.reason for r in self.results if r.kind == "skip")
        for reason, number in skipped.most_common():
            print(f"skipped {number}: {reason}")
        for result in self.results:
            if result.kind == "fail":
                print(f"failed: {result.test.name}")
        count = self.count()
        line = f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped"
        print(line)
        print(line, file=self.log)
        return 1 if count["fail"] or not count["pass"] else 0
