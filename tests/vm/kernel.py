# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Programs on devices of the kernel, inside one of the machines of scripts/vm."""

import itertools
import json
import os

from apps import rdmacm
from runlib.bed import Bed
from runlib.case import Fail, until

# What scripts/vm has set for our provider; runlib.proc gives it to no program.
LIBRARIES = ("LD_LIBRARY_PATH", "IBV_DRIVERS")
OURS = {name: os.environ[name] for name in LIBRARIES if name in os.environ}
NUMBERS = itertools.count()
GIDS = 32           # entries of the table that are looked at
START = 5           # seconds until a device is active
CM_SPACES = {"TCP": rdmacm.TCP, "UDP": rdmacm.UDP}
IPV4, IPV6, LINK_LOCAL = range(3)       # GIDs as user mode has them: tests name these


class Kernel(Bed):
    """`rdma link add`, and the program with our provider. The tests' name for the
    device, tcpzc0, becomes that of the side's own."""

    title = "kernel mode"
    kind = "tcpzc"
    port_taken = "Cannot assign requested address"

    def __init__(self, ctx):
        super().__init__(ctx)
        self.names = {}             # of devices, by path and side
        ctx.at_end.append(self.close)

    def close(self):
        """With a device goes its listening socket."""
        for (path, side), name in self.names.items():
            if side not in path.spaces or not os.path.exists(f"/sys/class/infiniband/{name}"):
                continue
            try:
                self.delete(path, side)
            except RuntimeError as error:
                # One whose interface has just gone goes by itself; rdma does not know
                # it any more while its queue pairs wait for their peers.
                until(lambda name=name: not os.path.exists(f"/sys/class/infiniband/{name}"),
                      str(error), limit=START)

    def device(self, path, side):
        return self.names[path, side]

    def prepare(self, path):
        """One device for both sides if they are in the same namespace."""
        if any(known == path for known, side in self.names):
            return
        sides = self.sides if len(path.all()) > 1 else self.sides[:1]
        for side in sides:
            self.add(path, side)
        for side in set(self.sides) - set(sides):
            self.names[path, side] = self.names[path, sides[0]]
        for side in sides:
            self.await_active(path, side)

    def add(self, path, side):
        """Names are the machine's, not the namespace's."""
        name = self.names.setdefault((path, side), f"{self.kind}{next(NUMBERS)}")
        path.spaces[side].call("rdma", "link", "add", name, "type", self.kind, "netdev",
                               path.netdev[side])
        return name

    def delete(self, path, side):
        path.spaces[side].call("rdma", "link", "delete", self.device(path, side))

    def await_active(self, path, side):
        name = self.device(path, side)

        def shown():
            return path.spaces[side].call("rdma", "link", "show", name + "/1")

        until(lambda: "state ACTIVE" in shown(),
              lambda: f"{name} does not become active: {shown()}", limit=START)

    def gids(self, path, side):
        """{index: GID as it is written in sysfs} of those in use, of RoCE v2."""
        base = f"/sys/class/infiniband/{self.device(path, side)}/ports/1"
        found = {}
        for index in range(GIDS):
            gid = read(f"{base}/gids/{index}")
            if set(gid) - set("0:") and read(f"{base}/gid_attrs/types/{index}") == "RoCE v2":
                found[index] = gid
        return found

    def gid_index(self, path, side, which):
        """Where the device has what is GID 0, 1 or 2 in user mode."""
        found = self.gids(path, side)
        for index, gid in sorted(found.items()):
            mapped = gid.startswith("0000:0000:0000:0000:0000:ffff:")
            local = gid.startswith("fe80:")
            if which == (IPV4 if mapped else LINK_LOCAL if local else IPV6):
                return index
        raise Fail(f"{self.device(path, side)} has no GID of kind {which}: {found}")

    def cm_ports(self, path, side):
        shown = path.spaces[side].call("rdma", "-j", "resource", "show", "cm_id")
        return {(CM_SPACES[each["ps"]], int(each["src-addr"].rsplit(":", 1)[1]))
                for each in json.loads(shown or "[]")
                if each["state"] == "LISTEN" and each["ps"] in CM_SPACES}

    def environment(self):
        return OURS

    def arguments(self, path, side, args):
        words = []
        for word in map(str, args):
            if words and words[-1] in ("-g", "-x"):
                word = str(self.gid_index(path, side, int(word)))
            words.append(self.device(path, side) if word == "tcpzc0" else word)
        return words

    def command(self, path, side, program, args=(), env=None):
        env = {**self.environment(), **(env or {})}
        return path.command(side, "env", *(f"{name}={value}" for name, value in env.items()
                                           if value is not None),
                            program, *self.arguments(path, side, args))


class Other(Kernel):
    """The kernel's own software devices, with the distribution's libraries."""

    def environment(self):
        return {}


class Siw(Other):
    """Its connections are made by rdma_cm only (perftest's -R)."""
    title = kind = "siw"


def module():
    """Whether tcpzc.ko is loaded."""
    return os.path.exists("/sys/module/tcpzc")


def read(path):
    """The content, less white space at its end; "" of what cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().rstrip()
    except OSError:
        return ""
