# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""The ways between client and server: loopback, and veth between namespaces.

A namespace (of network, and of mounts where that is permitted) is held by a
`cat` that reads a pipe of ours. However the test ends, even by SIGKILL, the pipe
closes, cat ends, and the kernel removes the namespace with the veth pair, the
mounts and all that was set in it.
"""

import os
import subprocess
import time

# For tests between networks (RFC 2544), and unique local.
IPV4 = {"server": "198.18.7.1", "client": "198.18.7.2"}
IPV6 = {"server": "fd74:6370:7a63::1", "client": "fd74:6370:7a63::2"}
NETDEV = {"server": "tcpzc-a", "client": "tcpzc-b"}
# Different ones in the two namespaces: the kernel's iWARP device takes an index for
# an interface of its own.
IFINDEX = {"server": 101, "client": 102}

# A /dev/shm of its own shows what programs leave there; /sys must show the
# namespace's interfaces.
HOLD = """
ip link set lo up || exit 1
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
[ "$1" = mount ] && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /dev/shm &&
	echo private || echo shared
exec cat >/dev/null
"""


class NotPermitted(Exception):
    """This machine does not let us make namespaces."""


class Namespace:
    def __init__(self):
        self.pid = 0
        self.private = False
        for flags, mount in (("-nm", "mount"), ("-n", "")):
            if self._hold(flags, mount):
                return
        raise NotPermitted(self.error)

    def _hold(self, flags, mount):
        self.holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", flags,
             "sh", "-c", HOLD, "sh", mount],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        answer = self.holder.stdout.readline().strip()
        if not answer:
            self.error = self.holder.stderr.read().decode().strip()
            self.close()
            return False
        self.private = answer == b"private"
        self.pid = self.holder.pid
        return True

    def command(self, *args):
        if not self.pid:
            return list(args)
        return ["nsenter", "-t", str(self.pid), "-n", *(["-m"] if self.private else []),
                "--wd=" + os.getcwd(), "--", *args]

    def call(self, *args):
        done = subprocess.run(self.command(*args), capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def proc_net(self):
        return f"/proc/{self.pid or 'self'}/net"

    def close(self):
        self.holder.stdin.close()
        self.holder.stdout.close()
        self.holder.stderr.close()
        self.holder.wait()
        self.pid = 0


class Host(Namespace):
    """The machine's own network, where no namespaces are permitted."""

    def __init__(self):
        self.pid = 0
        self.private = False

    def close(self):
        pass


class Path:
    """Two sides, "server" and "client": addresses, interfaces, how to run there."""

    def __init__(self, name):
        self.name = name
        self.cut = False            # a test has removed an interface or a side
        self.lossy = False          # packets get lost
        self.spaces = {}
        try:
            if name.startswith("veth"):
                self._open_veth(swapped=name == "veth-swapped")
            else:
                self._open_loopback()
        except BaseException:
            self.close()
            raise

    def _open_loopback(self):
        try:
            space = Namespace()
        except NotPermitted:
            space = Host()
        self.spaces = {"server": space, "client": space}
        self.netdev = {"server": "lo", "client": "lo"}
        self.ipv4 = {"server": "127.0.0.1", "client": "127.0.0.1"}
        self.ipv6 = {"server": "::1", "client": "::1"}

    def _open_veth(self, swapped):
        self.netdev = NETDEV
        # The side of the lower address is the one that connects the queue pairs.
        other = {"server": "client", "client": "server"}
        self.ipv4, self.ipv6 = ({side: table[other[side] if swapped else side]
                                 for side in table} for table in (IPV4, IPV6))
        server = self.spaces["server"] = Namespace()
        client = self.spaces["client"] = Namespace()
        client.call("ip", "link", "add", NETDEV["client"], "index", str(IFINDEX["client"]),
                    "type", "veth", "peer", "name", NETDEV["server"], "index",
                    str(IFINDEX["server"]), "netns", str(server.pid))
        for side, space in self.spaces.items():
            space.call("ip", "address", "add", self.ipv4[side] + "/30", "dev", NETDEV[side])
            if has_ipv6():
                space.call("ip", "address", "add", self.ipv6[side] + "/64", "dev",
                           NETDEV[side], "nodad")
            space.call("ip", "link", "set", self.netdev[side], "up")
        for side, space in self.spaces.items():
            self._await_running(space, self.netdev[side])

    @staticmethod
    def _await_running(space, netdev):
        """The kernel announces a new carrier up to a second late."""
        deadline = time.monotonic() + 5
        while "state UP" not in space.call("ip", "-o", "link", "show", "dev", netdev):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{netdev} does not come up")
            time.sleep(0.01)

    def impair(self, *words):
        """What tc's netem does to packets, each way: "loss", "1%", "delay", "20ms"."""
        self.lossy = self.lossy or "loss" in words
        for side, space in self.spaces.items():
            space.call("tc", "qdisc", "replace", "dev", self.netdev[side], "root", "netem",
                       *(words or ("limit", "1000")))

    def introduce(self):
        """The sides know each other's link addresses; nobody asks for them."""
        for side, space in self.spaces.items():
            other = "client" if side == "server" else "server"
            mac = self.spaces[other].call("cat", f"/sys/class/net/{self.netdev[other]}/address")
            space.call("ip", "neighbour", "replace", self.ipv4[other], "lladdr", mac.strip(),
                       "dev", self.netdev[side], "nud", "permanent")

    def unplug(self, side):
        """From now on nothing comes or goes."""
        self.cut = True
        self.spaces[side].call("ip", "link", "set", self.netdev[side], "down")

    def mtu(self, size):
        for side, space in self.spaces.items():
            space.call("ip", "link", "set", self.netdev[side], "mtu", str(size))

    def all(self):
        return set(self.spaces.values())

    def command(self, side, *args):
        return self.spaces[side].command(*args)

    def listening(self, side):
        """TCP ports on which somebody listens."""
        return {port for port, state in tcp_sockets(self.spaces[side]) if state == LISTEN}

    def close(self):
        for space in self.all():
            space.close()
        self.spaces = {}


ESTABLISHED, FIN_WAIT2, TIME_WAIT, LISTEN = 0x01, 0x05, 0x06, 0x0A


def tcp_sockets(space):
    """(local port, state) of each TCP socket of a namespace."""
    for name in ("tcp", "tcp6"):
        try:
            with open(f"{space.proc_net()}/{name}", encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            yield int(fields[1].rsplit(":", 1)[1], 16), int(fields[3], 16)


def has_ipv6():
    return os.path.exists("/proc/net/if_inet6")


def permitted():
    """Whether two namespaces can be joined here; a text if not."""
    try:
        Path("veth").close()
    except (NotPermitted, RuntimeError, OSError) as error:
        return str(error) or "network namespaces are not permitted here"
    return ""
