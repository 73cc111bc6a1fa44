# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Devices, interfaces, namespaces and the module go away while programs run."""

import os
import signal
import subprocess
import time

import apps.pingpong
from apps import rdmacm
from runlib.case import expect, until
from runlib.pair import Pair

from .devices import end, opened, running
from .kernel import Kernel

# What happens to packets, each way
NETEM = {
    "loss-0.1": ("loss", "0.1%"), "loss-1": ("loss", "1%"), "loss-5": ("loss", "5%"),
    "delay": ("delay", "20ms"), "delay-loss": ("delay", "20ms", "loss", "1%"),
    "reorder": ("delay", "5ms", "reorder", "70%", "50%"), "duplicate": ("duplicate", "10%"),
}
SILENT = 4          # seconds; 0.2 for all of them, 5 ms for each, and a busy machine
NOTICE = 30         # seconds in which what is to go has gone
CRASHES = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, 128 + signal.SIGSEGV,
           128 + signal.SIGBUS, 128 + signal.SIGABRT)


def pingpong(ctx, case, words):
    path = ctx.path("veth")
    path.impair(*words)
    pair = Pair(ctx, Kernel(ctx), path, case.program,
                ("-d", "tcpzc0", "-g", case.gid, *case.args), limit=110)
    pair.finish()
    apps.pingpong.check(pair, case)


def connections(ctx, bed_class, words):
    """Five clients of one server, one after the other, connect and are served."""
    path, bed = rdmacm.opened(ctx, bed_class)
    # rping gives address resolution two seconds, in which ARP asks twice.
    path.introduce()
    path.impair(*words)
    server = rdmacm.serve(ctx, bed, path)
    for i in range(5):
        client = rdmacm.rping(ctx, bed, path, count=5, name=f"client {i}")
        client.wait(60)
        expect(client.status == 0, f"client {i} fails", server, client)
    rdmacm.end(server)


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


def gone(pair, path, bed, *sides):
    """The devices are gone. A program that only polls does not see that, on any
    device: its queues have become memory that nobody writes. It can be ended."""
    for side in sides:
        name = bed.device(path, side)
        until(lambda: not os.path.exists(f"/sys/class/infiniband/{name}"),
              f"{name} is still there", *pair.all(), limit=NOTICE)
    end(pair)
    for process in pair.all():
        expect(process.status not in CRASHES, "crashes", *pair.all())


def unload_in_use(ctx):
    """Refused, or clean."""
    path, bed = opened(ctx)
    pair = running(ctx, bed, path)
    if rmmod().returncode:
        expect(pair.client.poll() is None, "refused, and yet", *pair.all())
        end(pair)
        return
    gone(pair, path, bed, "client", "server")
    must("modprobe", "tcpzc")


def delete_in_use(ctx):
    for side in ("client", "server"):
        path, bed = opened(ctx)
        pair = running(ctx, bed, path)
        bed.delete(path, side)
        gone(pair, path, bed, side)


def interface_in_use(ctx):
    """The interface is deleted, and with it the device; veth's other end, too."""
    path, bed = opened(ctx)
    pair = running(ctx, bed, path)
    path.cut = True
    path.spaces["client"].call("ip", "link", "delete", path.netdev["client"])
    gone(pair, path, bed, "client", "server")


def namespace_in_use(ctx):
    """Nobody holds the namespace any more but what the kernel does for the program."""
    path, bed = opened(ctx)
    pair = running(ctx, bed, path)
    path.cut = True
    path.spaces.pop("client").close()
    pair.client.signal_group(9)
    expect(pair.client.wait(5), "the client cannot be killed", *pair.all())
    gone(pair, path, bed, "client", "server")


def fatal_event(ctx):
    """A program that waits for events hears of it."""
    path, bed = opened(ctx)
    process = ctx.start(bed.command(path, "server", "ibv_asyncwatch", ["-d", "tcpzc0"]))
    until(lambda: "async_fd" in process.text() or process.find("ibv_asyncwatch"),
          "not started", alive=[process])
    time.sleep(1)
    bed.delete(path, "server")
    until(lambda: "fatal" in process.text().lower(), "no fatal event", process,
          limit=NOTICE)
    process.end()


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


def silent_peers(ctx, leave):
    """64 queue pairs with requests under way whose peers do not answer: all wait for
    them together, not one after the other (which took 12.8 s)."""
    path, bed = opened(ctx)
    pair = Pair(ctx, bed, path, "ib_write_bw", ("-d", "tcpzc0", "-F", "-q", "64", "-D", "20"),
                limit=60)
    time.sleep(2)
    expect(pair.client.poll() is None, "ends too early", *pair.all())
    path.cut = True
    path.impair("loss", "100%")
    time.sleep(0.5)
    started = time.monotonic()
    leave(path, bed, pair)
    took = time.monotonic() - started
    end(pair)
    expect(took < SILENT, f"took {took:.1f} s", *pair.all())


def exit_silent(path, bed, pair):
    os.kill(pair.client.find("ib_write_bw"), signal.SIGKILL)
    expect(pair.client.wait(NOTICE), "the client cannot be killed", *pair.all())


def delete_silent(path, bed, pair):
    bed.delete(path, "client")


CASES = {"reload": reload, "unload-in-use": unload_in_use, "delete-in-use": delete_in_use,
         "interface-in-use": interface_in_use, "namespace-in-use": namespace_in_use,
         "fatal-event": fatal_event, "link-down": link_down, "mtu": mtu_changes,
         "500-queue-pairs": many_queue_pairs,
         "exit-silent-peers": lambda ctx: silent_peers(ctx, exit_silent),
         "delete-silent-peers": lambda ctx: silent_peers(ctx, delete_silent)}
