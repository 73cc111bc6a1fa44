# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Other hosts send what they should not to the kernel's connection manager, and
programs end where a connection is half made. Others go on."""

import os
import random
import signal
import sys

from apps import rdmacm
from runlib.case import expect, until

from .devices import counters
from .kernel import Kernel
from .trouble import NOTICE, must, rmmod

MADS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mads.py")
NUMBER = 20000
# uml-smp: each REQ takes a spinlock of ib_core's, for which four processors wait that
# may share one of the host's.
SLOW = {"uml-debug": 8, "uml-smp": 8, "qemu-6.12": 8, "qemu-7.x": 8}


def mads(ctx, kind):
    """A server with a client before, and one after."""
    path, bed = rdmacm.opened(ctx, Kernel)
    server = rdmacm.serve(ctx, bed, path)
    seed = int(os.environ.get("TCPZC_TEST_SEED") or random.getrandbits(31))
    number = NUMBER // SLOW.get(os.environ.get("TCPZC_VM"), 1)
    for again in (False, True):
        client = rdmacm.rping(ctx, bed, path)
        client.wait(30)
        expect(client.status == 0, f"{'after' * again or 'before'}: the client fails", server,
               client)
        if again:
            break
        sender = ctx.finish(path.command("client", sys.executable, MADS, path.ipv4["server"],
                                         kind, number, seed), 90, name=f"{kind}, seed {seed}")
        expect(sender.status == 0, "the sender fails", sender)
    expect(server.poll() is None, "the server has ended", server)
    rdmacm.end(server)


def half_made(ctx, bed, path):
    """A server that has a request and answers it (REP), and a client that is stopped at
    this moment: before it says that it is ready, or just after that."""
    server = rdmacm.serve(ctx, bed, path)
    pid = rdmacm.program_pid(server, "rping")
    before = ids(path, pid)
    client = rdmacm.rping(ctx, bed, path, count=100000)
    until(lambda: ids(path, pid) > before, "no request", server, alive=[client],
          limit=NOTICE, tick=0)
    os.kill(rdmacm.program_pid(client, "rping"), signal.SIGSTOP)
    return server, client


def ids(path, pid):
    shown = path.spaces["server"].call("rdma", "resource", "show", "cm_id")
    return sum(f" pid {pid} " in line for line in shown.splitlines())


def stopped_client(ctx):
    """It says nothing more, and another client is served."""
    path, bed = rdmacm.opened(ctx, Kernel)
    server, client = half_made(ctx, bed, path)
    other = rdmacm.rping(ctx, bed, path, name="other")
    other.wait(30)
    expect(other.status == 0, "the other client fails", server, other)
    os.kill(rdmacm.program_pid(client, "rping"), signal.SIGKILL)
    client.wait(10)
    rdmacm.end(server)


def killed_server(ctx):
    """Between its answer and the client's: the client hears of it, and ends."""
    path, bed = rdmacm.opened(ctx, Kernel)
    server, client = half_made(ctx, bed, path)
    os.kill(rdmacm.program_pid(server, "rping"), signal.SIGKILL)
    server.wait(10)
    os.kill(rdmacm.program_pid(client, "rping"), signal.SIGCONT)
    client.wait(30)
    # rping says so, and may exit with 0.
    expect(client.status is not None and (client.status or "DISCONNECT" in client.output()),
           "the client does not notice", client)


def connected(ctx):
    path, bed = rdmacm.opened(ctx, Kernel)
    server = rdmacm.serve(ctx, bed, path)
    client = rdmacm.rping(ctx, bed, path, count=10000000)
    until(lambda: counters(bed, path, "client")["tx_msgs"] >= 100, "no traffic", server,
          alive=[client], limit=NOTICE)
    return path, bed, server, client


def removed(server, client, *names):
    for name in names:
        until(lambda: not os.path.exists(f"/sys/class/infiniband/{name}"),
              f"{name} is still there", server, client, limit=NOTICE)
    # rping ignores RDMA_CM_EVENT_DEVICE_REMOVAL or ends; either way it can be ended.
    for process in (server, client):
        if process.poll() is None:
            process.signal_group(signal.SIGKILL)
        process.wait(10)


def unload(ctx):
    """rmmod with connections of rdma_cm: refused, or clean."""
    path, bed, server, client = connected(ctx)
    if rmmod().returncode:
        expect(client.poll() is None, "refused, and yet", server, client)
        rdmacm.end(client)
        rdmacm.end(server)
        return
    removed(server, client, bed.device(path, "client"), bed.device(path, "server"))
    must("modprobe", "tcpzc")


def delete(ctx):
    """rdma link delete, at either end."""
    for side in ("client", "server"):
        path, bed, server, client = connected(ctx)
        bed.delete(path, side)
        removed(server, client, bed.device(path, side))


def namespace(ctx):
    """The client's namespace is deleted while it is connected."""
    path, bed, server, client = connected(ctx)
    path.cut = True
    path.spaces.pop("client").close()
    client.signal_group(signal.SIGKILL)
    expect(client.wait(5), "the client cannot be killed", server, client)
    removed(server, client, bed.device(path, "client"))


CASES = {**{f"mads-{kind}": lambda ctx, kind=kind: mads(ctx, kind)
            for kind in ("noise", "header", "cm", "requests")},
         "client-stopped": stopped_client, "server-killed": killed_server,
         "unload-rdma-cm": unload, "delete-rdma-cm": delete, "namespace-rdma-cm": namespace}
