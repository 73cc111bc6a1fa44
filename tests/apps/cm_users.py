# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Two users of one host use rdma_cm, and one of them may be hostile (cm_stranger.py).

docs/security.md names the tests of this page beside what they hold.
"""

import os
import shutil
import signal
import sys

from runlib import net
from runlib.bed import NOBODY, Unprivileged
from runlib.case import Skip, expect, until

from . import rdmacm
from .rdmacm import PORT

HERE = os.path.dirname(os.path.abspath(__file__))
STRANGER = (os.path.join(HERE, "cm_stranger.py"),
            os.path.join(os.path.dirname(HERE), "vm", "mads.py"))
WELL_KNOWN = 4795
LINKS = 10000
DATAGRAMS = 20000
LINKS_OF_ONE = 64               # an owner keeps of one other user
DESCRIPTORS = LINKS_OF_ONE + 64 + 64    # and connections for messages
TRUSTS_NOT = f"served by a process of user {NOBODY}"


def stranger(ctx, path, *args, start=False):
    """cm_stranger.py as nobody, who can read neither this tree nor its programs."""
    for name in STRANGER:
        shutil.copy(name, ctx.directory)
    command = path.command("server", "prlimit", f"--nofile={LINKS + 1000}", "setpriv",
                           f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                           "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs",
                           sys.executable, ctx.file("cm_stranger.py"), *args)
    if start:
        return ctx.start(command, ctx.test.limit, name=f"stranger {args[0]}")
    process = ctx.finish(command, 60, name=f"stranger {args[0]}")
    expect(process.status == 0, f"{args[0]}: the stranger", process)
    return process


def users(ctx, bed_class, name="loopback"):
    """A path, root's bed and nobody's."""
    if os.geteuid():
        raise Skip("needs root to become another user")
    path = ctx.path(name)
    beds = bed_class(ctx), Unprivileged(ctx)
    for bed in beds:
        bed.prepare(path)
    return path, *beds


def works(ctx, bed, path, port, *others):
    client = rdmacm.rping(ctx, bed, path, port)
    client.wait(30)
    expect(client.status == 0, f"the client of port {port} fails", client, *others)


def connected(path):
    """TCP connections of queue pairs, both ends."""
    return sum(state == net.ESTABLISHED for _, state in net.tcp_sockets(path.spaces["server"]))


def attacked(*attacks):
    """Root's owner of the port, root's other server behind it, and a connection between
    two of root's processes: all outlive the attacks of nobody's."""
    def run(ctx, bed_class):
        path, bed, _ = users(ctx, bed_class)
        owner = rdmacm.serve(ctx, bed, path, PORT, name="owner")
        other = rdmacm.serve(ctx, bed, path, PORT + 1, name="other")
        # Each has its device open from its first client on.
        for port in (PORT, PORT + 1):
            works(ctx, bed, path, port, owner, other)
        lasting = rdmacm.rping(ctx, bed, path, PORT + 1, 1 << 30, name="lasting")
        until(lambda: connected(path) >= 2, "no connection", owner, other, alive=[lasting])
        pid = rdmacm.program_pid(owner, "rping")
        before = rdmacm.descriptors(pid)
        for attack in attacks:
            stranger(ctx, path, *attack)
            expect(rdmacm.descriptors(pid) <= before + DESCRIPTORS,
                   f"the owner has {rdmacm.descriptors(pid)} descriptors, {before} before", owner)
            for port in (PORT, PORT + 1):
                works(ctx, bed, path, port, owner, other)
        expect(lasting.poll() is None, "the connection has ended", lasting, owner, other)
        until(lambda: rdmacm.descriptors(pid) <= before + 8,
              lambda: f"the owner has {rdmacm.descriptors(pid)} descriptors, {before} before",
              owner)
        for process in (lasting, owner, other):
            rdmacm.end(process)
    return run


def served_by_root(ctx, bed_class):
    """Root's owner serves nobody's processes, too; when it is killed they go on."""
    path, bed, nobody = users(ctx, bed_class)
    owner = rdmacm.serve(ctx, bed, path, PORT, name="owner")
    other = rdmacm.serve(ctx, nobody, path, PORT + 1, name="nobody's")
    for client in (bed, nobody):
        for port in (PORT, PORT + 1):
            works(ctx, client, path, port, owner, other)
    pid = rdmacm.program_pid(other, "rping")
    expect(not has_port(pid), "nobody's process has root's socket", other)
    os.kill(rdmacm.program_pid(owner, "rping"), signal.SIGKILL)
    owner.wait(10)
    # The client may have been the first to take the port; then the server has it next.
    works(ctx, nobody, path, PORT + 1, other)
    until(lambda: has_port(pid), "nobody has the port", alive=[other])
    rdmacm.end(other)


def has_port(pid):
    """Does the process have the well-known UDP port's socket open?"""
    inodes = set()
    for name in ("udp", "udp6"):
        with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if int(fields[1].rsplit(":", 1)[1], 16) == WELL_KNOWN:
                    inodes.add(f"socket:[{fields[9]}]")
    directory = f"/proc/{pid}/fd"
    return any(os.readlink(os.path.join(directory, fd)) in inodes for fd in os.listdir(directory))


def refused_to_root(ctx, bed_class):
    """The port is nobody's: root is told so at once, and has it when nobody has ended."""
    path, bed, nobody = users(ctx, bed_class)
    server = rdmacm.serve(ctx, nobody, path, PORT, name="nobody's")
    works(ctx, nobody, path, PORT, server)
    args = ["-s", "-a", "0.0.0.0", "-p", PORT + 1]
    second = ctx.finish(bed.command(path, "server", "rping", args))
    expect(second.status != 0 and bed.port_taken in second.output() and
           TRUSTS_NOT in second.output(), "root's server was not refused", second)
    client = rdmacm.rping(ctx, bed, path, PORT)
    client.wait(10)
    expect(client.status not in (0, None) and TRUSTS_NOT in client.output(),
           "root's client was not refused", client)
    rdmacm.end(server)
    rooted = rdmacm.serve(ctx, bed, path, PORT, name="root's")
    works(ctx, bed, path, PORT, rooted)
    rdmacm.end(rooted)


def name_held(ctx, bed_class):
    """Nobody has the owner's name, but not the port: who has the port needs no owner."""
    path, bed, _ = users(ctx, bed_class, "veth")
    holder = stranger(ctx, path, "hold", f"tcpzc-cm/0000/{WELL_KNOWN}/owner", start=True)
    until(lambda: "held" in holder.output(), "the name is not held", alive=[holder])
    server = rdmacm.serve(ctx, bed, path, PORT)
    works(ctx, bed, path, PORT, server)
    # Another one cannot get the port, and says why.
    args = ["-s", "-a", "0.0.0.0", "-p", PORT + 1]
    second = ctx.finish(bed.command(path, "server", "rping", args))
    expect(second.status != 0 and TRUSTS_NOT in second.output(), "not refused", second)
    holder.end()
    # The server takes the name, and others find it.
    until(lambda: f"@tcpzc-cm/0000/{WELL_KNOWN}/owner" in names(path), "the name is not taken",
          alive=[server])
    third = rdmacm.serve(ctx, bed, path, PORT + 1, name="third")
    works(ctx, bed, path, PORT + 1, third, server)
    for process in (third, server):
        rdmacm.end(process)


def names(path):
    with open(f"{path.spaces['server'].proc_net()}/unix", encoding="utf-8") as file:
        return {line.split()[-1] for line in file}


def crowd(ctx, bed_class):
    """More of nobody's processes than root's owner keeps connections of: they are served all
    the same, and when the owner is killed the last of them find the next one."""
    path, bed, nobody = users(ctx, bed_class)
    owner = rdmacm.serve(ctx, bed, path, PORT, name="owner")
    ports = range(PORT + 1, PORT + 1 + LINKS_OF_ONE + 6)
    servers = [rdmacm.serve(ctx, nobody, path, port, name=f"server {port}") for port in ports]
    for port in (ports[0], ports[-1]):
        works(ctx, nobody, path, port, owner)
    os.kill(rdmacm.program_pid(owner, "rping"), signal.SIGKILL)
    owner.wait(10)
    for port in (ports[0], ports[-1]):
        works(ctx, nobody, path, port, *servers[:2])
    for server in servers:
        os.kill(server.pid, signal.SIGTERM)
    for server in servers:
        server.wait(10)


CASES = {
    "many-links": (attacked(("links", LINKS)), 120),
    "any-message": (attacked(("messages",), ("names", PORT + 1)), 120),
    "reads-nothing": (attacked(("deaf", DATAGRAMS)), 120),
    "guessed-ids": (attacked(("datagrams", DATAGRAMS)), 120),
    "crowd": (crowd, 240),
    "served-by-root": (served_by_root, 120),
    "refused-to-root": (refused_to_root, 120),
    "name-held": (name_held, 120),
}
