# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Processes: start, wait with a limit, read what they print, end by id."""

import os
import signal
import subprocess
import tempfile
import time

TICK = 0.005
GRACE = 3           # seconds between asking a program to end and killing it

# What a user of tcpzc may have set must not change the tests.
SCRUB = ("SYSFS_PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "IBV_DRIVERS", "RDMAV_DRIVERS",
         "XDG_RUNTIME_DIR", "TMPDIR")


def clean_environment(extra):
    env = {name: value for name, value in os.environ.items()
           if name not in SCRUB and not name.startswith("TCPZC_")}
    # sbin is not in everybody's path
    env["PATH"] = env.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    env["LC_ALL"] = "C.UTF-8"
    env.update(extra or {})
    return env


class Process:
    """One program in a session of its own, output in temporary files.

    It ends with the test that started it, and after limit seconds, even if
    nobody is left who could end it: setpriv has the kernel tell timeout when we die.
    """

    def __init__(self, command, limit, env=None, name=""):
        self.program = [str(word) for word in command]
        self.name = name
        self.out = tempfile.TemporaryFile("w+", errors="replace")
        self.err = tempfile.TemporaryFile("w+", errors="replace")
        self.started = time.monotonic()
        self.popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "timeout", "-k", str(GRACE), str(limit),
             *self.program],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err,
            env=clean_environment(env), start_new_session=True)
        self.pid = self.popen.pid

    def poll(self):
        """None, or the status: negative if a signal has ended it."""
        return self.popen.poll()

    @property
    def status(self):
        return self.popen.returncode

    def wait(self, seconds):
        """Whether it has ended within so many seconds."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(TICK)
        return True

    def end(self):
        """Ends the session. Only what this object started is signalled."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            if self.poll() is None:
                self.signal_group(sig)
                self.wait(GRACE + 1)

    def signal_group(self, sig):
        try:
            os.killpg(self.pid, sig)
        except ProcessLookupError:
            pass

    def find(self, name):
        """The process id of the program called name below this one, or None."""
        for pid in descendants(self.pid):
            if command_name(pid) == name[:15]:
                return pid
        return None

    def text(self, stream="out"):
        file = getattr(self, stream)
        # The program writes through the same open file: leave its offset alone.
        size = os.fstat(file.fileno()).st_size
        return os.pread(file.fileno(), size, 0).decode(errors="replace")

    def output(self):
        return self.text("out") + self.text("err")

    def describe(self):
        if self.status is None:
            state = "running"
        elif self.status < 0:
            state = f"ended by signal {-self.status}"
        else:
            state = f"status {self.status}" + " (timeout)" * (self.status == 124)
        lines = [f"--- {self.name or 'program'}: {' '.join(self.program)}: {state}"]
        for stream in ("out", "err"):
            text = self.text(stream).rstrip()
            lines += ["    " + line for line in text.splitlines()[-25:]]
        return "\n".join(lines)


def parents():
    """{pid: parent's pid} of all processes."""
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                table[int(name)] = int(file.read().rsplit(") ", 1)[1].split()[1])
        except (OSError, IndexError):
            pass
    return table


def descendants(pid):
    """Ids of all processes below pid, nearest first."""
    table = parents()
    found, level = [], {pid}
    while level:
        level = {child for child, parent in table.items() if parent in level}
        found += sorted(level)
    return found


def command_name(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""
