# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""What a test has left behind: processes, sockets, generated directories, mounts."""

import ctypes
import fcntl
import glob
import os
import signal
import time

from . import net, proc

PR_SET_CHILD_SUBREAPER = 36
PF_EXITING = 4
TREES = "tcpzc-run.*"
DIRECTORY = f"tcpzc-test.{os.getpid()}"       # of this run's tests
BASES = ("/dev/shm", "/tmp", "/var/tmp")
SETTLE = 2          # seconds in which the kernel may finish closing connections


def adopt_orphans():
    """From now on, processes that lose their parent become this one's children."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def processes(known):
    """Processes below this one, but not those in known, or that are about to end."""
    return [f"process left: {pid} {proc.command_name(pid)}"
            for pid in proc.descendants(os.getpid())
            if pid not in known and proc.command_name(pid) and not is_zombie(pid)
            and not is_killed(pid)]


def is_killed(pid):
    """SIGKILL waits for it, or it is on its way out: large ones take a while."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            flags = int(file.read().rsplit(") ", 1)[1].split()[6])
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            pending = [int(line.split()[1], 16) for line in file
                       if line.startswith(("SigPnd:", "ShdPnd:"))]
    except (OSError, IndexError):
        return True
    return bool(flags & PF_EXITING or any(mask & 1 << (signal.SIGKILL - 1) for mask in pending))


def is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(") ", 1)[1][0] == "Z"
    except (OSError, IndexError):
        return True


def end_children():
    """Kill what is left below this process, by id, nearest first."""
    for _ in range(100):
        reap()
        left = [pid for pid in proc.descendants(os.getpid()) if not is_zombie(pid)]
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def sockets(paths):
    """TCP sockets in namespaces in which no program runs any more.

    TIME_WAIT is TCP's own, and where the way has been cut, so is whatever waits for
    the other side. FIN_WAIT2, too, if the other side's last word was lost and nobody is
    left to say it again: its device is gone. A machine's own network is not looked at:
    others use it.
    """
    deadline = time.monotonic() + SETTLE
    while True:
        found = [f"socket left on {path.name}: port {port}, state {state}"
                 for path in paths if not path.cut for space in path.all() if space.pid
                 for port, state in net.tcp_sockets(space)
                 if state != net.TIME_WAIT and not (path.lossy and state == net.FIN_WAIT2)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


class Trees:
    """Generated directories, before and after."""

    def __init__(self):
        self.before = self._outside()

    @staticmethod
    def _outside():
        found = set()
        for base in BASES:
            for path in glob.glob(os.path.join(base, TREES)):
                if in_use(path):
                    continue
                found.add(path)
        return found

    def new(self, paths):
        new = self._outside() - self.before
        if new:
            # One that somebody else is just creating has its lock in a moment.
            time.sleep(0.2)
            new &= self._outside()
        found = [f"directory left: {path}" for path in sorted(new)]
        for path in paths:
            for space in path.all():
                if space.private:
                    inside = f"/proc/{space.pid}/root/dev/shm"
                    found += [f"left in /dev/shm: {name}" for name in os.listdir(inside)]
        return found


def in_use(path):
    """Whether a tcpzc-run of somebody else holds it: then it has a lock."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def machine(root):
    """What is there of ours on the machine outside of all namespaces.

    Not what another run of the tests, in another tree, has at this moment.
    """
    found = {"interface " + name for name in os.listdir("/sys/class/net")
             if name.startswith("tcpzc")}
    found |= {"directory " + path for path in glob.glob(f"/tmp/{DIRECTORY}.*")}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        places = (line.split()[4] for line in file)
        found |= {"mount " + place for place in places
                  if place.startswith(root + os.sep) or DIRECTORY in place}
    return found
