# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Other people's programs: iperf3 and UCX over TCP."""

import json

from . import proc
from .case import Case, Result

UCX_CALIBRATE = {"tag_bw": 500, "tag_lat": 2000, "rate": 20000}


def iperf3(length, omit=0):
    """omit: seconds at the beginning that do not count."""
    def run(bench, path):
        port = bench.port()
        server, client = proc.run_pair(
        path,
            bench.on(path, "server", "iperf3", "-s", "-1", "-p", str(port)),
            bench.on(path, "client", "iperf3", "-c", path.server, "-p", str(port),
                     "-l", length, "-J", "-O", str(omit), "-t",
                     str(max(1, round(bench.seconds)))),
            port, bench.timeout)
        end = json.loads(client.text())["end"]["sum_received"]
        return Result(value=end["bits_per_second"] / 1e9, bytes=end["bytes"],
                      cpu_server=server.cpu_seconds(), cpu_client=client.cpu_seconds())
    return run


def _ucx_once(bench, path, test, size, count):
    env = {"UCX_TLS": "tcp", "UCX_LOG_LEVEL": "error"}
    port = bench.port()

    def side(name, *args):
        return path.command_with_sysfs(name, *bench.pinned(
            name, "env", "UCX_NET_DEVICES=" + path.netdev[name],
            "ucx_perftest", *args, "-p", str(port)))

    server, client = proc.run_pair(
        path,
        side("server"),
        side("client", path.server, "-t", test, "-s", str(size), "-n", str(count),
             "-w", str(max(10, count // 20)), "-f", "-v"),
        port, bench.timeout, env)
    lines = client.text().strip().splitlines()
    if len(lines) < 2:
        raise proc.Failed(client.describe())
    out = dict(zip(lines[-2].split(","), map(float, lines[-1].split(","))))
    return out, server, client


def _ucx(test, size, unit):
    """UCX wants a count: a short run says how many fit into the time."""
    cache = {}

    def run(bench, path):
        key = (path.name, path.congestion)
        if key not in cache:
            short = UCX_CALIBRATE["rate" if size == 64 else test]
            out, *_ = _ucx_once(bench, path, test, size, short)
            rate = (out["overall_mr"] if test == "tag_bw" else
                    1e6 / (2 * out["overall_lat"]))
            cache[key] = max(short, int(rate * bench.seconds))
        count = cache[key]
        out, server, client = _ucx_once(bench, path, test, size, count)
        value = {"Gbit/s": out["overall_mr"] * size * 8 / 1e9,
                 "us": out.get("50.0_percentile_lat"),
                 "Mmsg/s": out["overall_mr"] / 1e6}[unit]
        return Result(value=value, operations=count,
                      bytes=count * size if unit == "Gbit/s" else 0,
                      cpu_server=server.cpu_seconds(), cpu_client=client.cpu_seconds())
    return run


def cases():
    return [
        Case("iperf3_1m", "iperf3 -l 1M", "Gbit/s", iperf3("1M"), "baseline"),
        Case("ucx_tag_bw_1m", "UCX tcp tag_bw 1 MiB", "Gbit/s",
             _ucx("tag_bw", 1 << 20, "Gbit/s"), "baseline"),
        Case("ucx_tag_lat_8", "UCX tcp tag_lat 8 B", "us",
             _ucx("tag_lat", 8, "us"), "baseline"),
        Case("ucx_rate_64", "UCX tcp tag_bw 64 B, rate", "Mmsg/s",
             _ucx("tag_bw", 64, "Mmsg/s"), "baseline"),
    ]
