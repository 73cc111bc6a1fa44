# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Debian's perftest over tcpzc: build/bin/tcpzc-run ib_write_bw and friends."""

import os
import re

from . import proc
from .case import Case, Result

NUMBERS = re.compile(r"^\s*\d+\s+\d+(\s+(\d[\d.]*|-?nan|-?inf))+\s*$")


def available(bench):
    return os.access(runner(bench), os.X_OK)


def runner(bench):
    return os.path.join(bench.build, "bin", "tcpzc-run")


def row(process):
    """The last line of numbers that perftest has printed."""
    rows = [line for line in process.text().splitlines() if NUMBERS.match(line)]
    if not rows:
        raise proc.Failed(process.describe())
    return [float(word) for word in rows[-1].split()]


def command(bench, path, side, program, args, port):
    address = [path.server] if side == "client" else []
    return bench.on(path, side, "env", "TCPZC_NETDEV=" + path.netdev[side],
                    runner(bench), program, "-d", "tcpzc0", "-F", "-p", str(port),
                    *args, *address)


def once(bench, path, program, args, wrap=(), timeout=None):
    """One run: the client's numbers, and both processes. wrap goes in front."""
    port = bench.port()
    server, client = proc.run_pair(
        path,
        command(bench, path, "server", program, args, port),
        [*wrap, *command(bench, path, "client", program, args, port)],
        port, timeout or bench.timeout)
    return row(client), server, client


def _bandwidth_args(size, qps):
    args = ["-s", str(size), "-N", "--report_gbits"]
    return args + ["-q", str(qps)] if qps > 1 else args


_counts = {}

# Of many QPs perftest counts cq_mod (100) completions for each CQE, for the last
# one of a QP, too. If the iterations are not a multiple of it, the total is
# reached too soon, polling stops, and QPs with a full send queue wait for ever.
ROUND = 100


def iterations(bench, path, program, size, qps):
    """How many per QP fit into the time: found by a short run, then kept."""
    key = (path.name, path.congestion, program, size, qps)
    if key not in _counts:
        short = max(300, min(5000, (1 << 28) // size // qps // ROUND * ROUND))
        row, *_ = once(bench, path, program,
                       _bandwidth_args(size, qps) + ["-n", str(short)])
        rate = row[4] * 1e6 / qps
        _counts[key] = max(short, int(rate * bench.seconds) // ROUND * ROUND)
    return _counts[key]


def _bandwidth(program, size, unit, qps=1):
    def run(bench, path):
        count = iterations(bench, path, program, size, qps)
        row, server, client = once(bench, path, program,
                                   _bandwidth_args(size, qps) + ["-n", str(count)])
        total = count * qps
        return Result(value=row[3] if unit == "Gbit/s" else row[4], operations=total,
                      bytes=total * size if unit == "Gbit/s" else 0,
                      cpu_server=server.cpu_seconds(), cpu_client=client.cpu_seconds())
    return run


def _latency(program, size):
    def run(bench, path):
        count = max(1000, int(bench.seconds * 1e5))
        row, server, client = once(bench, path, program,
                                   ["-s", str(size), "-n", str(count)])
        return Result(value=row[4], operations=count, cpu_server=server.cpu_seconds(),
                      cpu_client=client.cpu_seconds(),
                      detail={"average_us": row[5], "p99_us": row[7]})
    return run


def _case(name, title, unit, run):
    return Case(name, title, unit, run, "tcpzc", ours=True)


def cases():
    found = []
    for op in ("write", "send", "read"):
        for text, size, name in (("64 KiB", 1 << 16, "64k"), ("1 MiB", 1 << 20, "1m")):
            found.append(_case(f"{op}_bw_{name}", f"ib_{op}_bw {text}", "Gbit/s",
                               _bandwidth(f"ib_{op}_bw", size, "Gbit/s")))
    for op in ("write", "send", "read"):
        found.append(_case(f"{op}_lat_8", f"ib_{op}_lat 8 B, typical", "us",
                           _latency(f"ib_{op}_lat", 8)))
    for op in ("write", "send"):
        found.append(_case(f"{op}_rate_64", f"ib_{op}_bw 64 B, rate", "Mmsg/s",
                           _bandwidth(f"ib_{op}_bw", 64, "Mmsg/s")))
    found.append(_case("write_bw_64k_q128", "ib_write_bw 64 KiB, 128 QPs", "Gbit/s",
                       _bandwidth("ib_write_bw", 1 << 16, "Gbit/s", 128)))
    found.append(_case("write_rate_64_q128", "ib_write_bw 64 B, 128 QPs", "Mmsg/s",
                       _bandwidth("ib_write_bw", 64, "Mmsg/s", 128)))
    return found
