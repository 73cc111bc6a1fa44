# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""The ways between client and server: loopback, and veth between namespaces.

Each namespace is held by a `cat` that reads a pipe of ours. However this
program ends, even by SIGKILL, the pipe closes, cat ends, and the kernel
removes the namespace with the veth pair and all that was set in it.
"""

import os
import subprocess
import time

from .proc import Failed

ADDRESS = {"server": "198.18.7.1", "client": "198.18.7.2"}
# The kernel's iWARP device takes an index for an interface of its own.
IFINDEX = {"server": "101", "client": "102"}
CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"
ALLOWED = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"


def _read(name):
    with open(name, encoding="ascii") as file:
        return file.read().strip()


def system_congestion():
    return _read(CONGESTION)


def default_congestions():
    """The system's, and one that does not pace if that does.

    A namespace can only have what is allowed to everybody; cubic often is not
    where it is not the default. reno always is.
    """
    here = system_congestion()
    if here in ("cubic", "reno"):
        return [here]
    return [here, "cubic" if "cubic" in _read(ALLOWED).split() else "reno"]


class Namespace:
    def __init__(self):
        self.holder = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo ready; exec cat >/dev/null"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.holder.stdout.readline() != b"ready\n":
            raise Failed("unshare -n: " + self.holder.stderr.read().decode().strip())
        self.pid = self.holder.pid
        self.call("ip", "link", "set", "lo", "up")

    def command(self, *args):
        return ["nsenter", "-t", str(self.pid), "-n", "--", *args]

    def command_with_sysfs(self, *args):
        """With the namespace's own /sys/class/net, where UCX looks for devices."""
        return self.command("unshare", "-m", "sh", "-c",
                            'mount -t sysfs sysfs /sys && exec "$@"', "sh", *args)

    def call(self, *args):
        done = subprocess.run(self.command(*args), capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise Failed(f"{' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def wait_running(self, netdev):
        """The kernel says it only up to a second after both ends are up."""
        deadline = time.monotonic() + 5
        while "state UP" not in self.call("ip", "link", "show", netdev):
            if time.monotonic() > deadline:
                raise Failed(netdev + " does not come up")
            time.sleep(0.05)

    def close(self):
        self.holder.stdin.close()
        self.holder.stdout.close()
        self.holder.stderr.close()
        self.holder.wait()


class Path:
    """name, the server's address, and how to run a command at either side."""

    def __init__(self, name, congestion=None, mtu=1500, netem=()):
        self.name = name
        self.congestion = congestion
        self.mtu = mtu
        self.netem = netem              # words for tc, of both directions
        self.spaces = {}
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self):
        server = self.spaces["server"] = Namespace()
        if self.name == "loopback":
            self.spaces["client"] = server
            self.server = "127.0.0.1"
            self.netdev = {"server": "lo", "client": "lo"}
        else:
            self._open_veth(server)
        for space in set(self.spaces.values()):
            if self.congestion:
                space.call("sh", "-c", f"echo {self.congestion} > {CONGESTION}")

    def _open_veth(self, server):
        client = self.spaces["client"] = Namespace()
        self.server = ADDRESS["server"]
        self.netdev = {"server": "bench1", "client": "bench0"}
        client.call("ip", "link", "add", "bench0", "index", IFINDEX["client"], "mtu",
                    str(self.mtu), "type", "veth", "peer", "name", "bench1", "index",
                    IFINDEX["server"], "mtu", str(self.mtu), "netns", str(server.pid))
        for side, space in self.spaces.items():
            space.call("ip", "addr", "add", ADDRESS[side] + "/30", "dev",
                       self.netdev[side])
            space.call("ip", "link", "set", self.netdev[side], "up")
            if self.netem:
                space.call("tc", "qdisc", "add", "dev", self.netdev[side], "root", "netem",
                           *self.netem)
        for side, space in self.spaces.items():
            space.wait_running(self.netdev[side])

    def command(self, side, *args):
        return self.spaces[side].command(*args)

    def command_with_sysfs(self, side, *args):
        if self.name == "loopback":
            return self.command(side, *args)
        return self.spaces[side].command_with_sysfs(*args)

    def pids(self):
        return f"{self.spaces['server'].pid},{self.spaces['client'].pid}"

    def close(self):
        for space in set(self.spaces.values()):
            space.close()
        self.spaces = {}

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def namespaces_permitted():
    return not subprocess.run(["unshare", "-n", "true"], capture_output=True,
                              check=False).returncode


def become_root_of_own_user_namespace(argv):
    """Not root: start again where namespaces are ours to make. Or return."""
    if os.geteuid() == 0 or os.environ.get("TCPZC_BENCH_NESTED"):
        return
    done = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    if not done.returncode:
        os.environ["TCPZC_BENCH_NESTED"] = "1"
        os.execvp("unshare", ["unshare", "-rn", *argv])
