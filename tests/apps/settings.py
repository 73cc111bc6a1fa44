# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""TCPZC_PORTS, TCPZC_CC and the others: good values act, bad ones are refused."""

import re

from runlib.case import expect, until
from runlib.pair import PORT, Pair

from . import rdmacm

WRITE = ("-d", "tcpzc0", "-F", "-D", "1")


def running_pair(ctx, bed_class, env, program="ib_write_bw", args=WRITE):
    """A pair that moves data for a while, and the path that it is on."""
    path = ctx.path("veth")
    pair = Pair(ctx, bed_class(ctx), path, program, args, env=env)
    until(lambda: connections(path, "client"), "no connection", *pair.all(),
          alive=[pair.client])
    return pair, path


def connections(path, side):
    """(local port, peer's port, what ss knows) of each established connection."""
    text = path.spaces[side].call("ss", "-Htni", "state", "established")
    found = re.findall(r"^\d+\s+\d+\s+\S+:(\d+)\s+\S+:(\d+)\s*\n?(.*)$", text, re.M)
    return [(int(a), int(b), info) for a, b, info in found if PORT not in (int(a), int(b))]


def ports(ctx, bed_class):
    """Queue pairs listen in the given range and nowhere else."""
    pair, path = running_pair(ctx, bed_class, {"TCPZC_PORTS": "40100-40110"})
    for side in ("server", "client"):
        listening = path.listening(side) - {PORT}
        expect(listening and all(40100 <= port <= 40110 for port in listening),
               f"the {side} listens on {sorted(listening)}", *pair.all())
    found = connections(path, "client")
    expect(found and all(40100 <= a <= 40110 or 40100 <= b <= 40110 for a, b, _ in found),
           f"connections outside of the range: {found}", *pair.all())
    pair.finish()


def congestion_control(ctx, bed_class):
    """All offered algorithms; the connection has the one that was asked for."""
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as file:
        offered = file.read().split()
    for name in offered:
        pair, path = running_pair(ctx, bed_class, {"TCPZC_CC": name})
        for side in ("server", "client"):
            found = connections(path, side)
            expect(found and all(re.search(rf"\b{name}\b", info) for _, _, info in found),
                   f"the {side}'s connection does not use {name}: {found}", *pair.all())
        pair.finish()


def bad_values(ctx, bed_class):
    """Each makes opening the device fail, with the variable's name in the message."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    bed.prepare(path)
    bad = {"TCPZC_PORT": ("0", "65536", "-1", "abc", "4795x"),
           "TCPZC_PORTS": ("abc", "1000", "10-", "-", "9000-8000", "1-100", "70000-80000",
                           "2000-3000x", "65536-65537"),
           "TCPZC_CC": ("nosuchalgorithm", "x" * 100, "re no"),
           "TCPZC_MIN_RETRY_MS": ("abc", "-1", "1s", "99999999999999999999"),
           "TCPZC_MAX_SILENCE_MS": ("abc", "-1", "1s", "3600001")}
    for name, values in bad.items():
        for value in values:
            process = ctx.finish(bed.command(path, "server", "ibv_devinfo", ["-d", "tcpzc0"],
                                             {name: value}), 20, name="ibv_devinfo")
            expect(process.status not in (0, None) and process.status > 0,
                   f"{name}={value} is accepted", process)
            expect(name in process.text("err"), f"does not name {name}", process)


def empty_values(ctx, bed_class):
    """Empty means not set."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    bed.prepare(path)
    env = {"TCPZC_PORT": "", "TCPZC_PORTS": "", "TCPZC_CC": "", "TCPZC_MIN_RETRY_MS": ""}
    process = ctx.finish(bed.command(path, "server", "ibv_devinfo", [], env), 20)
    expect(process.status == 0, "empty settings are not accepted", process)


def ports_used_up(ctx, bed_class):
    """A range of one port: one process has it, for 256 queue pairs; the next one fails."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    bed.prepare(path)
    env = {"TCPZC_PORTS": "40200-40200"}
    first = ctx.start(bed.command(path, "server", "ibv_rc_pingpong",
                                  ["-d", "tcpzc0", "-g", "0", "-p", PORT], env))
    until(lambda: 40200 in path.listening("server"), "does not listen", alive=[first])
    second = ctx.finish(bed.command(path, "server", "ibv_rc_pingpong",
                                    ["-d", "tcpzc0", "-g", "0", "-p", PORT + 1], env), 10)
    expect(second.status == 1 and "Couldn't create QP" in second.output(),
           "does not fail to create a queue pair", second)
    first.end()


def well_known_port(ctx, bed_class):
    """rdma_cm at another port: who has the same setting connects, and nobody else."""
    path, bed = rdmacm.opened(ctx, bed_class)
    env = {"TCPZC_PORT": "40300"}
    server = rdmacm.serve(ctx, bed, path, env=env)
    with open(f"{path.spaces['server'].proc_net()}/udp6", encoding="ascii") as file:
        expect(f":{40300:04X} " in file.read(), "not at the port", server)
    client = rdmacm.rping(ctx, bed, path, env=env)
    client.wait(30)
    expect(client.status == 0, "the client fails", server, client)
    client = rdmacm.rping(ctx, bed, path)
    client.wait(30)
    expect(client.status != 0 and "REJECTED" in client.output(), "connected", server, client)
    rdmacm.end(server)


CASES = {f.__name__.replace("_", "-"): f for f in (
    ports, congestion_control, bad_values, empty_values, ports_used_up,
    well_known_port)}
