# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""ibv_devices, ibv_devinfo, ibv_asyncwatch: what programs see of the devices."""

import json
import os
import re
import signal
import time

from runlib import net
from runlib.case import Skip, expect, until


def finished(ctx, bed, path, program, *args, env=None, side="server"):
    bed.prepare(path)
    process = ctx.finish(bed.command(path, side, program, args, env), 20, name=program)
    expect(process.status == 0, f"{program} fails", process)
    bad = bed.bad_output(process)
    expect(not bad, bad, process)
    return process


def ibv_devices(ctx, bed_class):
    path = ctx.path("veth")
    bed = bed_class(ctx)
    process = finished(ctx, bed, path, "ibv_devices")
    names = re.findall(r"^\s*(tcpzc\d+)\s+([0-9a-f]{16})$", process.text(), re.M)
    expect([name for name, _ in names] == ["tcpzc0"], "not just tcpzc0", process)
    process = finished(ctx, bed, path, "ibv_devices", env={"TCPZC_NETDEV": None})
    names = re.findall(r"^\s*(tcpzc\d+)\s", process.text(), re.M)
    expect(names == ["tcpzc0", "tcpzc1"], "not tcpzc0 (veth), tcpzc1 (lo)", process)


def ibv_devinfo(ctx, bed_class):
    path = ctx.path("veth")
    process = finished(ctx, bed_class(ctx), path, "ibv_devinfo", "-v")
    text = process.text()
    gids = [path.ipv4["server"]] + [path.ipv6["server"], "fe80::"] * net.has_ipv6()
    for pattern in (r"hca_id:\s+tcpzc0$", r"transport:\s+InfiniBand \(0\)",
                    r"state:\s+PORT_ACTIVE", r"link_layer:\s+Ethernet",
                    r"node_guid:\s+(?!0000:0000:0000:0000)", r"phys_state:\s+LINK_UP",
                    r"pkey_tbl_len:\s+[1-9]", r"max_qp_rd_atom:\s+128",
                    r"atomic_cap:\s+ATOMIC_(HCA|GLOB)",
                    *(rf"GID\[\s*{i}\]:\s+\S*{re.escape(gid)}\S*, RoCE v2"
                      for i, gid in enumerate(gids))):
        expect(re.search(pattern, text, re.M), f"no match for: {pattern}", process)


def netdev_order(ctx, bed_class):
    """The devices are the named interfaces, in the order of their names."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    for names in (["lo", path.netdev["server"]], [path.netdev["server"], "lo"]):
        process = finished(ctx, bed, path, "ibv_devinfo", "-v",
                           env={"TCPZC_NETDEV": ",".join(names)})
        found = re.findall(r"hca_id:\s+(\S+)|GID\[\s*0\]:\s+\S*?([\d.]+),", process.text())
        address = {"lo": "127.0.0.1"}
        wanted = [(f"tcpzc{i}", address.get(name, path.ipv4["server"]))
                  for i, name in enumerate(names)]
        got = [(found[i][0], found[i + 1][1]) for i in range(0, len(found) - 1, 2)]
        expect(got == wanted, f"expected {wanted}, got {got}", process)


def ibv_asyncwatch(ctx, bed_class):
    """It waits for events until it is told to end, and uses no processor for it."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    bed.prepare(path)
    process = ctx.start(bed.command(path, "server", "ibv_asyncwatch", ["-d", "tcpzc0"],
                                    {"TCPZC_NETDEV": path.netdev["server"]}))
    pid = until(lambda: process.find("ibv_asyncwatch"), "not started", alive=[process])
    time.sleep(1)
    expect(process.poll() is None, "it has ended by itself", process)
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    expect(ticks < 30, f"it has used {ticks} ticks of processor time for waiting", process)
    process.signal_group(signal.SIGTERM)
    expect(process.wait(5), "does not end on SIGTERM", process)
    expect(process.status in (-signal.SIGTERM, 128 + signal.SIGTERM),
           "not ended by SIGTERM", process)
    bad = bed.bad_output(process)
    expect(not bad, bad, process)


def await_text(process, text, after=0):
    """Until the output says that, from a position on; returns where it ends."""
    until(lambda: text in process.text()[after:], f"no {text} after position {after}",
          alive=[process])
    return process.text().index(text, after) + len(text)


def port_events(ctx, bed_class):
    """What becomes of the interface is told, in its order."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    bed.prepare(path)
    process = ctx.start(bed.command(path, "server", "stdbuf",
                                    ["-oL", "ibv_asyncwatch", "-d", "tcpzc0"]))
    at = await_text(process, "async event FD")
    steps = [(side, state, event) for side in ("server", "client")
             for state, event in (("down", "PORT_ERR"), ("up", "PORT_ACTIVE"))]
    for side, state, event in steps:
        path.spaces[side].call("ip", "link", "set", path.netdev[side], state)
        at = await_text(process, event, at)
    path.cut = True
    path.spaces["server"].call("ip", "link", "delete", path.netdev["server"])
    await_text(process, "DEVICE_FATAL", at)
    found = re.findall(r"IBV_EVENT_(\w+)", process.text())
    wanted = [event for _, _, event in steps] + ["PORT_ERR", "DEVICE_FATAL"]
    expect(found == wanted, f"expected {wanted}, got {found}", process)
    process.signal_group(signal.SIGTERM)
    expect(process.wait(5), "does not end on SIGTERM", process)


def renamed(ctx, bed_class):
    """An interface that is renamed stays the device that it is, to programs that have it
    open and to those that open it."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    if bed.title != "this system" or not path.spaces["server"].private or os.geteuid():
        raise Skip("needs an interface of its own and the right to rename it")
    path.cut = True
    program = os.path.join(ctx.builds.directory(""), "tests", "verbs", "verbs_rights")
    process = finished(ctx, bed, path, program, "interface_is_renamed")
    expect("ok " in process.text(), "not run", process)


def rdma_tool(ctx, bed_class):
    """iproute2's rdma lists the devices and their links."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    bed.prepare(path)
    if ctx.finish(bed.command(path, "server", "sh", ("-c", "command -v rdma")), 20).status:
        raise Skip("no rdma (iproute2)")
    netdev = path.netdev["server"]
    found = json.loads(finished(ctx, bed, path, "rdma", "-j", "dev").text())
    expect([dev["ifname"] for dev in found] == ["tcpzc0"], f"not just tcpzc0: {found}")
    expect(found[0]["node_type"] == "ca" and found[0]["node_guid"] != "0000:0000:0000:0000",
           f"not as it should be: {found}")
    found = json.loads(finished(ctx, bed, path, "rdma", "-j", "link").text())
    expect([(link["ifname"], link["port"], link["state"], link["netdev"]) for link in found] ==
           [("tcpzc0", 1, "ACTIVE", netdev)], f"not as it should be: {found}")
    process = finished(ctx, bed, path, "rdma", "link", "show", "tcpzc0/1")
    expect(f"link tcpzc0/1 state ACTIVE physical_state LINK_UP netdev {netdev}" in process.text(),
           "another link", process)
    down = ctx.start(bed.command(path, "server", "sh", ("-c", "sleep 1; rdma link")), 20)
    until(lambda: down.find("sleep"), "not started", down, alive=[down])
    path.cut = True
    path.spaces["server"].call("ip", "link", "set", netdev, "down")
    expect(down.wait(10), "does not end", down)
    expect("state DOWN physical_state DISABLED" in down.text(), "still up", down)
    path.spaces["server"].call("ip", "link", "set", netdev, "up")
    process = ctx.finish(bed.command(path, "server", "rdma", ("resource",)), 20, name="rdma")
    expect(process.status and "not supported" in process.output().lower(),
           "no clear answer", process)


CASES = {"rdma-tool": rdma_tool, "renamed": renamed, "ibv_devices": ibv_devices, "port-events": port_events, "ibv_devinfo": ibv_devinfo,
         "netdev-order": netdev_order, "ibv_asyncwatch": ibv_asyncwatch}
