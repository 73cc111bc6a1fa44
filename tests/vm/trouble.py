# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Devices, interfaces, namespaces and the module go away while programs run."""

import os
import subprocess
import time

import apps.pingpong
from runlib.case import Fail, expect
from runlib.pair import Pair

from .devices import end, opened, running
from .kernel import Kernel

# What happens to packets, each way
NETEM = {
    "loss-0.1": ("loss", "0.1%"), "loss-1": ("loss", "1%"), "loss-5": ("loss", "5%"),
    "delay": ("delay", "20ms"), "delay-loss": ("delay", "20ms", "loss", "1%"),
    "reorder": ("delay", "5ms", "reorder", "70%", "50%"), "duplicate": ("duplicate", "10%"),
}
NOTICE = 30         # seconds in which a program must have noticed that its device has gone


def pingpong(ctx, case, words):
    path = ctx.path("veth")
    path.impair(*words)
    pair = Pair(ctx, Kernel(ctx), path, case.program,
                ("-d", "tcpzc0", "-g", case.gid, *case.args), limit=110)
    pair.finish()
    apps.pingpong.check(pair, case)


def rmmod():
    return subprocess.run(["rmmod", "tcpzc"], capture_output=True, text=True, check=False)


def must(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expect(not done.returncode, f"{' '.join(command)}: {done.stderr.strip()}")


def reload(ctx):
    """Loaded and unloaded, with devices and without."""
    path = ctx.path("veth")
    for with_device in (False, True) * 10:
        if with_device:
            Kernel(ctx).prepare(path)
        done = rmmod()
        expect(not done.returncode, f"rmmod: {done.stderr.strip()}")
        must("modprobe", "tcpzc")


def unload_in_use(ctx):
    """Refused, or clean: the programs end by themselves."""
    path, bed = opened(ctx)
    pair = running(ctx, bed, path)
    if rmmod().returncode:
        expect(pair.client.poll() is None, "refused, and yet", *pair.all())
        end(pair)
        return
    must_end(pair)
    must("modprobe", "tcpzc")


def must_end(pair):
    """Both programs end, with an error."""
    for process in (pair.client, pair.server):
        if not process.wait(NOTICE):
            process.end()
            raise Fail(f"the {process.name} has noticed nothing for {NOTICE} s\n"
                       + pair.describe())
        expect(process.status != 0, "takes it for success", *pair.all())


def delete_in_use(ctx):
    """rdma link delete: the device's programs get errors."""
    for side in ("client", "server"):
        path, bed = opened(ctx)
        pair = running(ctx, bed, path)
        bed.delete(path, side)
        must_end(pair)


def interface_in_use(ctx):
    """The interface is deleted, and with it the device."""
    path, bed = opened(ctx)
    pair = running(ctx, bed, path)
    path.spaces["client"].call("ip", "link", "delete", path.netdev["client"])
    must_end(pair)
    for side in path.spaces:
        name = bed.device(path, side)
        expect(not os.path.exists(f"/sys/class/infiniband/{name}"), f"{name} is still there")


def namespace_in_use(ctx):
    """Nobody holds the namespace any more but the device's connections."""
    path, bed = opened(ctx)
    pair = running(ctx, bed, path)
    path.spaces["client"].close()
    path.spaces["client"].pid = 0
    del path.spaces["client"]
    pair.client.signal_group(9)
    expect(pair.client.wait(5), "the client cannot be killed", *pair.all())
    if not pair.server.wait(NOTICE):
        raise Fail("the server has noticed nothing\n" + pair.describe())


def link_down(ctx):
    """Down for a moment: TCP gets over it, and so does the program."""
    path, bed = opened(ctx)
    pair = Pair(ctx, bed, path, "ib_write_bw", ("-d", "tcpzc0", "-F", "-D", "8"), limit=60)
    time.sleep(2)
    for _ in range(3):
        path.spaces["client"].call("ip", "link", "set", path.netdev["client"], "down")
        time.sleep(0.3)
        path.spaces["client"].call("ip", "link", "set", path.netdev["client"], "up")
        path.spaces["client"].call("ip", "address", "replace", path.ipv6["client"] + "/64",
                                   "dev", path.netdev["client"], "nodad")
        time.sleep(0.5)
    pair.finish()


def mtu_changes(ctx):
    path, bed = opened(ctx)
    pair = Pair(ctx, bed, path, "ib_write_bw", ("-d", "tcpzc0", "-F", "-D", "8"), limit=60)
    for size in (9000, 1500, 1280, 4000, 1500):
        time.sleep(1)
        path.mtu(size)
    pair.finish()


def many_queue_pairs(ctx):
    path, bed = opened(ctx)
    Pair(ctx, bed, path, "ib_write_bw", ("-d", "tcpzc0", "-F", "-q", "500", "-n", "100",
                                         "-s", "4096", "-N"), limit=110).finish()


CASES = {"reload": reload, "unload-in-use": unload_in_use, "delete-in-use": delete_in_use,
         "interface-in-use": interface_in_use, "namespace-in-use": namespace_in_use,
         "link-down": link_down, "mtu": mtu_changes, "500-queue-pairs": many_queue_pairs}
