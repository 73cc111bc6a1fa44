# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Processes: start, wait until they listen, time out, account, end by id."""

import os
import signal
import subprocess
import tempfile
import time

LISTEN = "0A"
_children_cpu = 0.0         # seconds, of all that have ended


class Failed(Exception):
    """A program failed, timed out or printed nothing that could be read."""


class Process:
    """One child in a process group of its own, output in temporary files.

    It ends with this program, and after limit seconds, even if nobody is left
    who could end it: setpriv has the kernel tell timeout when we die.
    """

    def __init__(self, command, limit, env=None):
        self.command = command
        command = ["setpriv", "--pdeathsig", "TERM",
                   "timeout", "-k", "2", str(limit), *command]
        self.out = tempfile.TemporaryFile("w+")
        self.err = tempfile.TemporaryFile("w+")
        self.usage = None
        self.status = None
        self.popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err,
            env={**os.environ, **(env or {})}, start_new_session=True)
        self.pid = self.popen.pid
        self._favour(os.getpriority(os.PRIO_PROCESS, 0))

    def _favour(self, nice):
        """Between sessions it is the autogroup's niceness that counts."""
        if not nice:
            return
        try:
            with open(f"/proc/{self.pid}/autogroup", "w", encoding="ascii") as file:
                file.write(str(nice))
        except OSError:
            pass

    def poll(self):
        if self.status is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._ended(status, usage)
        return self.status

    def _ended(self, status, usage):
        self.status = os.waitstatus_to_exitcode(status)
        self.popen.returncode = self.status
        self.usage = usage
        global _children_cpu
        _children_cpu += self.cpu_seconds()

    def wait(self, deadline):
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise Failed("timeout: " + self.describe())
            time.sleep(0.005)
        return self.status

    def end(self):
        """Ends the group. Only ids that this object started are signalled."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            if self.poll() is None:
                self._signal(sig)
                deadline = time.monotonic() + 2
                while self.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.01)

    def _signal(self, sig):
        try:
            os.killpg(self.pid, sig)
        except ProcessLookupError:
            pass

    def text(self, stream="out"):
        file = getattr(self, stream)
        file.seek(0)
        return file.read()

    def cpu_seconds(self):
        return self.usage.ru_utime + self.usage.ru_stime if self.usage else 0.0

    def describe(self):
        tail = (self.text()[-150:] + " " + self.text("err")[-400:]).strip()
        return f"{' '.join(map(str, self.command))}: status {self.status}: {tail}"


def _listening_ports(pid):
    """Of the network namespace that the process is in."""
    ports = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN:
                ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def _wait_listening(server, namespace_pid, port, deadline):
    while port not in _listening_ports(namespace_pid):
        if server.poll() is not None or time.monotonic() > deadline:
            raise Failed("server does not listen: " + server.describe())
        time.sleep(0.01)


def run(command, timeout, env=None):
    process = Process(command, timeout + 5, env)
    try:
        if process.wait(time.monotonic() + timeout):
            raise Failed(process.describe())
        return process
    finally:
        process.end()


def run_pair(path, server_command, client_command, port, timeout, env=None):
    """Runs a server until it listens on port, then its client to the end."""
    deadline = time.monotonic() + timeout
    server = Process(server_command, timeout + 5, env)
    client = None
    try:
        _wait_listening(server, path.spaces["server"].pid, port,
                        min(deadline, time.monotonic() + 10))
        client = Process(client_command, timeout + 5, env)
        if client.wait(deadline):
            raise Failed(client.describe())
        # Some servers stay; what they have used until now is what counts.
        try:
            server.wait(min(deadline, time.monotonic() + 2))
        except Failed:
            pass
        return server, client
    finally:
        for process in (client, server):
            if process:
                process.end()


class Load:
    """What others take of the machine's processors while something runs."""

    def __init__(self):
        self.own = _children_cpu
        self.time = time.monotonic()
        self.busy = self._busy()

    @staticmethod
    def _busy():
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(f) for f in file.readline().split()[1:9]]
        idle = fields[3] + fields[4]
        return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")

    def foreign(self):
        """Processors (1.0 is one) that were busy with anything but our children."""
        elapsed = max(time.monotonic() - self.time, 0.01)
        own = _children_cpu - self.own
        return max(0.0, self._busy() - self.busy - own) / elapsed


class Patience:
    """Waits for others to finish, but not for ever: total seconds in all."""

    def __init__(self, limit, each, total):
        self.limit = limit          # processors that others may take
        self.each = each
        self.left = total

    def wait(self):
        start = time.monotonic()
        deadline = start + min(self.each, self.left)
        while time.monotonic() < deadline:
            load = Load()
            time.sleep(0.2)
            if load.foreign() < self.limit:
                break
        self.left -= time.monotonic() - start

    def accepts(self, result):
        return result.foreign < self.limit or self.left <= 0 or not self.each
