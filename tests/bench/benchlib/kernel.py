# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Kernel mode and what it is compared with, all inside one machine of scripts/vm.

The device of each run is made for it and removed after it: several on one interface
would make rdma_cm choose.
"""

import os
import re
import time

from . import baseline, connections, perftest, proc
from .case import Case, Result
from .targets import Target

RUN = "/sys/kernel/debug/tcpzc_ceiling/run"
PORT = 20999
DEPTH = 128
TRIES = 3           # where perftest cannot measure its clock
NO_CLOCK = ("Correlation coefficient r^2", "Can't produce a report")
# Our provider's; the others' come with the distribution's libibverbs.
OURS = {name: os.environ.pop(name, "") for name in ("LD_LIBRARY_PATH", "IBV_DRIVERS")}
# Two programs that poll need a processor each.
MANY = os.cpu_count() > 1
# siw's queue pairs are connected by rdma_cm only.
EXTRA = {"tcpzc": (), "siw": ("-R",), "rxe": ()}


# ---- the ceiling

def _ceiling(size, how):
    def run(bench, path):
        milliseconds = round(bench.seconds * 1000)
        for side, words in (("server", f"listen {PORT}"), ("client",
                            f"send {path.server} {PORT} {size} {milliseconds} {how}")):
            path.spaces[side].call("sh", "-c", f"echo {words} >{RUN}")
        with open(RUN, encoding="ascii") as file:
            moved, nanoseconds = map(int, file.read().split())
        return Result(value=moved * 8 / nanoseconds, bytes=moved)
    return run


# ---- devices

class Devices:
    """One at each side, as long as a run takes."""

    def __init__(self, path, kind):
        self.path, self.kind = path, kind
        self.name = {"server": kind + "0", "client": kind + "1"}

    def __enter__(self):
        for side, name in self.name.items():
            self.path.spaces[side].call("rdma", "link", "add", name, "type", self.kind,
                                        "netdev", self.path.netdev[side])
        for side, name in self.name.items():
            self._await(side, name)
        return self

    def _await(self, side, name):
        deadline = time.monotonic() + 5
        while "ACTIVE" not in self.path.spaces[side].call("rdma", "link", "show", name + "/1"):
            if time.monotonic() > deadline:
                raise proc.Failed(f"{name} does not become active")
            time.sleep(0.01)

    def __exit__(self, *unused):
        for side, name in self.name.items():
            self.path.spaces[side].call("rdma", "link", "delete", name)

    def command(self, bench, side, program, args, port, wrap=()):
        env = [f"{name}={value}" for name, value in OURS.items()
               if self.kind == "tcpzc" and value]
        address = [self.path.server] if side == "client" else []
        return bench.on(self.path, side, "env", *env, *wrap, program, "-d", self.name[side],
                        "-F", *EXTRA[self.kind], "-p", str(port), *args, *address)


def once(bench, path, kind, program, args, wrap=()):
    """The client's numbers, and what it has printed."""
    for _ in range(TRIES):
        port = bench.port()
        with Devices(path, kind) as devices:
            server, client = proc.run_pair(
                path, devices.command(bench, "server", program, args, port),
                devices.command(bench, "client", program, args, port, wrap),
                port, bench.timeout)
        text = client.text() + client.text("err")
        if not any(words in text for words in NO_CLOCK):
            return perftest.row(client), text
    raise proc.Failed("perftest cannot measure its clock here, the machine is too busy: "
                      + client.describe())


_counts = {}


def _iterations(bench, path, kind, program, args, size, qps):
    """How many per QP fit into the time: found by a short run, then kept."""
    key = (path.mtu, path.netem, kind, program, args, size, qps)
    if key not in _counts:
        short = max(perftest.ROUND * 3,
                    min(5000, (1 << 27) // size // qps // perftest.ROUND * perftest.ROUND))
        found, _ = once(bench, path, kind, program, (*args, "-n", str(short)))
        rate = found[4] * 1e6 / qps
        _counts[key] = max(short, int(rate * bench.seconds) // perftest.ROUND * perftest.ROUND)
    return _counts[key]


def _bandwidth(kind, program, size, unit="Gbit/s", qps=1, extra=()):
    args = ("-s", str(size), "-N", "--report_gbits", "-t", str(DEPTH), *extra,
            *(("-q", str(qps)) if qps > 1 else ()))

    def run(bench, path):
        count = _iterations(bench, path, kind, program, args, size, qps)
        found, _ = once(bench, path, kind, program, (*args, "-n", str(count)))
        return Result(value=found[3] if unit == "Gbit/s" else found[4],
                      bytes=count * qps * size, operations=count * qps)
    return run


def _latency(kind, program, size, how=("-e",)):
    def run(bench, path):
        count = max(500, int(bench.seconds * 1e4))
        found, _ = once(bench, path, kind, program,
                        ("-s", str(size), "-n", str(count), *how))
        return Result(value=found[4], operations=count,
                      detail={"average_us": found[5], "p99_us": found[7]})
    return run


def _goodput(kind):
    """Where packets are lost what counts is time, of which there must be enough."""
    def run(bench, path):
        found, _ = once(bench, path, kind, "ib_write_bw",
                        ("-s", "65536", "-N", "--report_gbits", "-D",
                         str(round(bench.seconds))))
        return Result(value=found[3], bytes=round(found[3] * bench.seconds * 1e9 / 8))
    return run


# ---- doorbells

CALLS = re.compile(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$", re.M)


def system_calls(bench, path, count):
    """Of the client, for each 64-byte write: a long run less a short one."""
    args = ("-s", "64", "-N", "-t", str(DEPTH), "-n")
    found = []
    for number in (5000, 5000 + count):
        output = f"/tmp/calls.{number}"
        once(bench, path, "tcpzc", "ib_write_bw", (*args, str(number)),
             ("strace", "-c", "-f", "-o", output))
        with open(output, encoding="utf-8") as file:
            match = CALLS.search(file.read())
        if not match:
            raise proc.Failed("strace has counted nothing")
        found.append(int(match.group(1)))
    return {"calls_per_op": max(0, found[1] - found[0]) / count, "tool": "strace"}


# ---- tables

SIZES = (("64 KiB", 1 << 16, "64k"), ("1 MiB", 1 << 20, "1m"))


def cases():
    """In the order in which they run: what is compared is near each other."""
    found = []
    for text, size, name in SIZES:
        found.append(Case(f"ceiling_{name}", f"ceiling {text}", "Gbit/s",
                          _ceiling(size, "splice"), "baseline"))
        found.append(_ours(f"write_bw_{name}", f"ib_write_bw {text}",
                           _bandwidth("tcpzc", "ib_write_bw", size)))
        found.append(Case(f"ceiling_copy_{name}", f"ceiling {text}, sender copies", "Gbit/s",
                          _ceiling(size, "copy"), "baseline"))
    # Both sides of a SEND poll, for which one processor is not enough: with events,
    # which perftest does not have for WRITE.
    found.append(_ours("send_bw_1m", "ib_send_bw -e 1 MiB",
                       _bandwidth("tcpzc", "ib_send_bw", 1 << 20, extra=("-e",))))
    found.append(_ours("read_bw_1m", "ib_read_bw 1 MiB",
                       _bandwidth("tcpzc", "ib_read_bw", 1 << 20)))
    found += [case for case in baseline.cases() if case.name == "iperf3_1m"]
    found.append(_ours("write_bw_64k_q128", "ib_write_bw 64 KiB, 128 QPs",
                       _bandwidth("tcpzc", "ib_write_bw", 1 << 16, qps=128)))
    for kind in ("siw", "rxe"):
        for text, size, name in SIZES:
            found.append(Case(f"{kind}_write_bw_{name}", f"{kind} ib_write_bw {text}", "Gbit/s",
                              _bandwidth(kind, "ib_write_bw", size), "baseline"))
    for kind, make in (("", _ours), ("siw", _other), ("rxe", _other)):
        name = kind + "_" * bool(kind)
        title = kind + " " * bool(kind)
        if kind != "rxe":  # whose run does not end here
            found.append(make(f"{name}send_lat_8", f"{title}ib_send_lat 8 B, events",
                              _latency(kind or "tcpzc", "ib_send_lat", 8), "us"))
        if kind != "rxe" and MANY:
            found.append(make(f"{name}send_lat_8_polled", f"{title}ib_send_lat 8 B, polled",
                              _latency(kind or "tcpzc", "ib_send_lat", 8, ()), "us"))
        found.append(make(f"{name}rate_64", f"{title}ib_write_bw 64 B, rate",
                          _bandwidth(kind or "tcpzc", "ib_write_bw", 64, "Mmsg/s"), "Mmsg/s"))
    return found + connections.cases(Devices, OURS)


def lossy_cases():
    """Without the first two seconds, as perftest has it (-D): until the first loss TCP
    makes more than in all the time after it."""
    return [
        _other("iperf3_1m", "iperf3 -l 1M -O 2", baseline.iperf3("1M", omit=2)),
        _ours("write_bw_lossy", "ib_write_bw 64 KiB", _goodput("tcpzc")),
        _other("siw_write_bw_lossy", "siw ib_write_bw 64 KiB", _goodput("siw"))]


def _ours(name, title, run, unit="Gbit/s"):
    return Case(name, title, unit, run, "tcpzc", ours=True)


def _other(name, title, run, unit="Gbit/s"):
    return Case(name, title, unit, run, "baseline")


def targets(mtu):
    siw = 6 if mtu > 1500 else 20
    found = []
    for text, _, name in SIZES:
        write = f"write_bw_{name}"
        found += [Target(f"ib_write_bw {text} / ceiling", write, f"ceiling_{name}", 0.6),
                  Target(f"ib_write_bw {text} / iperf3", write, "iperf3_1m", 3),
                  Target(f"ib_write_bw {text} / siw", write, f"siw_{write}", siw),
                  Target(f"ib_write_bw {text} / rxe", write, f"rxe_{write}", 50)]
    return (*found,
            Target("ib_send_bw -e 1 MiB / ib_write_bw", "send_bw_1m", "write_bw_1m", 0.85),
            Target("ib_read_bw 1 MiB / ib_write_bw", "read_bw_1m", "write_bw_1m", 0.85),
            Target("ib_send_lat 8 B / siw, events", "send_lat_8", "siw_send_lat_8", 0.8,
                   at_least=False),
            *((Target("ib_send_lat 8 B / siw, polled", "send_lat_8_polled",
                      "siw_send_lat_8_polled", 0.8, at_least=False),) if MANY else ()),
            Target("64-byte write rate / siw", "rate_64", "siw_rate_64", 10),
            Target("system calls per 64-byte write, depth 128", "syscalls:write_64", "", 0.1,
                   at_least=False),
            Target("128 QPs / one QP, 64 KiB", "write_bw_64k_q128", "write_bw_64k", 0.8))


LOSSY_TARGETS = (Target("goodput / iperf3, same congestion control", "write_bw_lossy",
                        "iperf3_1m", 0.95),)
