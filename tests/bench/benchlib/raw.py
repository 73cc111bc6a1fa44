# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Cases of raw_tcp, our own TCP programs without tcpzc; builds it first."""

import glob
import json
import os
import subprocess

from . import proc
from .case import Case, Result

HEADER = ("--header", "iov", "--rx", "framed")

# What "the best raw sender" is chosen from. Those with a header do all that a
# protocol has to do: parse it and place the payload elsewhere than the header.
SENDERS = {
    "raw_send_64k": ("send() 64 KiB", ("--message", "64K")),
    "raw_send_256k": ("send() 256 KiB", ("--message", "256K")),
    "raw_send_1m": ("send() 1 MiB", ("--message", "1M")),
    "raw_splice_64k": ("vmsplice+splice, 15 x (header + 64 KiB)",
                       ("--tx", "splice", "--message", "64K", "--batch", "15", *HEADER)),
    "raw_splice_1m": ("vmsplice+splice, header + 1020 KiB",
                      ("--tx", "splice", "--message", "1020K", *HEADER)),
    "raw_sendmsg_64k": ("sendmsg(), 60 x (header + 64 KiB)",
                        ("--message", "64K", "--batch", "60", *HEADER)),
    "raw_sendmsg_1m": ("sendmsg(), 4 x (header + 1 MiB)",
                       ("--message", "1M", "--batch", "4", *HEADER)),
}


def build(bench):
    """Compiles raw_tcp if a source is newer. Returns the program's path."""
    source = os.path.join(bench.root, "tests/bench/raw")
    files = sorted(glob.glob(source + "/*.c"))
    target = os.path.join(bench.build, "bench", "raw_tcp")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    newest = max(os.path.getmtime(f) for f in files + [source + "/raw.h"])
    if not os.path.exists(target) or os.path.getmtime(target) < newest:
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-g", "-Wall", "-Wextra",
                        "-Werror", "-pthread", "-o", target + ".new", *files], check=True)
        os.rename(target + ".new", target)
    return target


def _run(bench, path, mode, options):
    cpus = ",".join(map(str, bench.cpus)) if bench.cpus else "-1,-1"
    done = proc.run([build(bench), mode, "--ns", path.pids(), "--address", path.server,
                     "--cpu", cpus, "--seconds", str(bench.seconds), *options],
                    bench.timeout)
    return json.loads(done.text())


def _result(value, out):
    scale = out["seconds"] / (out["seconds"] + 0.1)     # CPU includes the warm-up
    return Result(value=value, bytes=out["gbit_s"] / 8 * 1e9 * out["seconds"],
                  operations=out["messages"], cpu_server=out["cpu_server_s"] * scale,
                  cpu_client=out["cpu_client_s"] * scale,
                  detail={"calls_per_op": out["calls_client_per_msg"]})


def _stream(options):
    def run(bench, path):
        out = _run(bench, path, "stream", options)
        return _result(out["gbit_s"], out)
    return run


def _small(batch):
    def run(bench, path):
        out = _run(bench, path, "small", ("--message", "64", "--batch", str(batch)))
        return _result(out["mmsg_s"], out)
    return run


def _pingpong(bench, path):
    out = _run(bench, path, "pingpong", ("--message", "8"))
    return Result(value=out["half_rtt_us"], operations=out["messages"],
                  cpu_server=out["cpu_server_s"], cpu_client=out["cpu_client_s"],
                  detail={"p99_us": out["half_rtt_p99_us"]})


def cases():
    found = [Case(name, "raw " + title, "Gbit/s", _stream(options), "raw")
             for name, (title, options) in SENDERS.items()]
    found.append(Case("raw_pingpong_8", "raw ping-pong 8 B, both spinning, half RTT",
                      "us", _pingpong, "baseline"))
    found.append(Case("raw_rate_1", "64-byte messages, one send() each", "Mmsg/s",
                      _small(1), "baseline"))
    found.append(Case("raw_rate_32", "64-byte messages, 32 per send()", "Mmsg/s",
                      _small(32), "baseline"))
    return found
