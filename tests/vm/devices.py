# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""What the kernel and programs show of tcpzc's devices, and how these come and go."""

import json
import os
import re

from runlib.case import expect, until
from runlib.pair import Pair

from .kernel import Kernel


def opened(ctx, name="veth"):
    path = ctx.path(name)
    bed = Kernel(ctx)
    bed.prepare(path)
    return path, bed


def counters(bed, path, side):
    base = f"/sys/class/infiniband/{bed.device(path, side)}/ports/1/hw_counters"
    found = {}
    for name in os.listdir(base):
        with open(os.path.join(base, name), encoding="utf-8") as file:
            found[name] = int(file.read())
    return found


def finished(ctx, bed, path, program, *args):
    process = ctx.finish(bed.command(path, "server", program, args), 20, name=program)
    expect(process.status == 0, f"{program} fails", process)
    return process


def ibv_devices(ctx):
    path, bed = opened(ctx)
    process = finished(ctx, bed, path, "ibv_devices")
    names = re.findall(r"^\s*(tcpzc\d+)\s+[0-9a-f]{16}$", process.text(), re.M)
    expect(sorted(names) == sorted({bed.device(path, side) for side in path.spaces}),
           "not the two devices", process)


def ibv_devinfo(ctx):
    path, bed = opened(ctx)
    process = finished(ctx, bed, path, "ibv_devinfo", "-v", "-d", "tcpzc0")
    for pattern in (r"transport:\s+InfiniBand \(0\)", r"state:\s+PORT_ACTIVE",
                    r"link_layer:\s+Ethernet", r"node_guid:\s+(?!0000:0000:0000:0000)",
                    r"phys_state:\s+LINK_UP", r"pkey_tbl_len:\s+[1-9]",
                    r"atomic_cap:\s+ATOMIC_(HCA|GLOB)",
                    *(rf"GID\[\s*\d+\]:\s+\S*{re.escape(gid)}\S*, RoCE v2"
                      for gid in (path.ipv4["server"], path.ipv6["server"]))):
        expect(re.search(pattern, process.text(), re.M), f"no match for: {pattern}", process)


def rdma(space, *args):
    return json.loads(space.call("rdma", "-j", *args) or "[]")


def link_show(ctx):
    path, bed = opened(ctx)
    shown = {entry["ifname"]: entry for entry in rdma(path.spaces["server"], "link", "show")}
    entry = shown[bed.device(path, "server")]
    expect(entry["state"] == "ACTIVE" and entry["physical_state"] == "LINK_UP" and
           entry.get("netdev") == path.netdev["server"], f"rdma link show: {entry}")


def add_and_delete(ctx):
    """Again and again; a name that is taken, and a device that is not there."""
    path = ctx.path("veth")
    bed = Kernel(ctx)
    for _ in range(20):
        bed.add(path, "server")
        bed.delete(path, "server")
    name = bed.add(path, "server")
    for words in (("add", name, "type", "tcpzc", "netdev", path.netdev["server"]),
                  ("add", "tcpzc-x", "type", "tcpzc", "netdev", "no-such-netdev"),
                  ("delete", "tcpzc-y")):
        process = ctx.finish(path.command("server", "rdma", "link", *words), 10)
        expect(process.status != 0, f"rdma link {' '.join(words)} succeeds", process)
    bed.delete(path, "server")


def loopback(ctx):
    path, bed = opened(ctx, "loopback")
    Pair(ctx, bed, path, "ibv_rc_pingpong", ("-d", "tcpzc0", "-g", "0", "-e", "-c")).finish()


def running(ctx, bed, path, *args):
    """ib_write_bw that goes on until it is ended; returns when it has started."""
    pair = Pair(ctx, bed, path, "ib_write_bw",
                ("-d", "tcpzc0", "-F", "-D", "30", *args), limit=60)
    until(lambda: any(entry["type"] == "RC" and entry["state"] == "RTS" for entry in
                      rdma(path.spaces["client"], "resource", "show", "qp")),
          "no queue pair gets to RTS", *pair.all(), alive=[pair.client])
    return pair


def end(pair):
    for process in (pair.client, pair.server):
        process.end()


def resources(ctx):
    path, bed = opened(ctx)
    pair = running(ctx, bed, path, "-q", "4")
    for side, space in path.spaces.items():
        name = bed.device(path, side)
        for kind, least in (("qp", 4), ("cq", 1), ("mr", 1), ("pd", 1)):
            mine = [entry for entry in rdma(space, "resource", "show", kind)
                    if entry["ifname"] == name and entry.get("comm") == "ib_write_bw"]
            expect(len(mine) >= least, f"rdma resource show {kind} of {name}: {mine}", *pair.all())
    end(pair)


def statistics(ctx):
    """The counters of a device exist, and some of them count."""
    path, bed = opened(ctx)

    def values():
        found = {}
        for entry in rdma(path.spaces["client"], "statistic", "show"):
            if entry["ifname"] == bed.device(path, "client"):
                found = {key: value for key, value in entry.items() if isinstance(value, int)}
        return found

    before = values()
    expect(len(before) > 3, f"rdma statistic show: {before}")
    Pair(ctx, bed, path, "ib_write_bw", ("-d", "tcpzc0", "-F", "-n", "1000")).finish()
    after = values()
    expect(sum(after[key] > before[key] for key in before) >= 3,
           f"few counters have changed: {before}, {after}")


def doorbells(ctx):
    """A link that is slower than the program: what is posted waits for the link anyway,
    and needs no system call, although its completion queue is armed. With KASAN and lockdep
    a machine beside others carries less than 500 Mbit/s."""
    path, bed = opened(ctx)
    path.impair("rate", "100mbit" if os.environ.get("TCPZC_VM") == "uml-debug" else "500mbit")
    pair = Pair(ctx, bed, path, "ib_send_bw",
                ("-d", "tcpzc0", "-F", "-e", "-s", "1048576", "-n", "200"), limit=60)
    pair.finish()
    found = counters(bed, path, "client")
    expect(found["tx_msgs"] >= 200 and 0 < found["doorbells"] < 50,
           f"as many doorbells as messages: {found}", *pair.all())


def kernel_users(ctx):
    """Messages of a user in the kernel: its memory, inline data, receive queues. The module
    is the test: see kverbs/kverbs.c."""
    path, bed = opened(ctx, "loopback")
    process = ctx.finish(["modprobe", "tcpzc_kverbs", "dev=" + bed.device(path, "server")], 60)
    log = ctx.finish(["dmesg"], 10).text()
    expect(process.status == 0, "does not load: " +
           "\n".join(line for line in log.splitlines() if "tcpzc_kverbs" in line), process)
    expect(ctx.finish(["rmmod", "tcpzc_kverbs"], 10).status == 0, "does not go", process)


CASES = {"ibv_devices": ibv_devices, "ibv_devinfo": ibv_devinfo, "link-show": link_show,
         "add-and-delete": add_and_delete, "loopback": loopback, "resources": resources,
         "statistics": statistics, "kernel-users": kernel_users}
