# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""System calls per operation, in runs of their own.

perf counts at the kernel's tracepoint and hardly slows the program. Where it
is not permitted, strace -c -f counts, which makes each call so dear that a
polling program makes far fewer of them: the result says which was used.

What a run costs that does nothing but start and end is subtracted, by taking
the difference of a long and a short run.
"""

import re
import shutil
import statistics
import subprocess
import tempfile

from . import perftest, proc

PERF_COUNT = re.compile(r"^\s*([\d,.]+)\s+raw_syscalls:sys_enter", re.M)
STRACE_TOTAL = re.compile(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$", re.M)


def tool():
    if shutil.which("perf") and not subprocess.run(
            ["perf", "stat", "-e", "raw_syscalls:sys_enter", "true"],
            capture_output=True, check=False).returncode:
        return "perf"
    return "strace" if shutil.which("strace") else None


def _count(text, name):
    match = (PERF_COUNT if name == "perf" else STRACE_TOTAL).search(text)
    if not match:
        raise proc.Failed("no count: " + text[-300:])
    return int(re.sub(r"[,.]", "", match.group(1)))


def _wrap(name, output):
    if name == "perf":
        return ["perf", "stat", "-e", "raw_syscalls:sys_enter", "-o", output]
    return ["strace", "-c", "-f", "-o", output]


def _calls(bench, path, name, program, args):
    with tempfile.NamedTemporaryFile("r") as output:
        perftest.once(bench, path, program, args, _wrap(name, output.name),
                      bench.timeout * 3)
        return _count(output.read(), name)


def per_operation(bench, path, program, size, count, short):
    """(calls per operation of the client, tool) over count operations."""
    name = tool()
    if not name:
        raise proc.Failed("neither perf nor strace")
    args = ["-s", str(size), "-N", "-n"]
    base = _calls(bench, path, name, program, args + [str(short)])
    full = _calls(bench, path, name, program, args + [str(count + short)])
    return max(0, full - base) / count, name


MEASURED = (
    ("write_64", "ib_write_bw", 64, 200000, 5000),
    ("write_64k", "ib_write_bw", 1 << 16, 10000, 500),
    ("write_1m", "ib_write_bw", 1 << 20, 2000, 200),
)


def _median(bench, path, patience, repetitions, what):
    runs = []
    for _ in range(repetitions):
        patience.wait()
        calls, name = per_operation(bench, path, *what)
        runs.append(calls)
    return {"calls_per_op": statistics.median(runs), "runs": runs, "tool": name}


def measure(bench, path, patience, quick):
    found = {}
    for key, program, size, count, short in MEASURED:
        what = (program, size, count // 10 if quick else count, short)
        try:
            found[key] = _median(bench, path, patience, 1 if quick else 3, what)
        except proc.Failed as error:
            found[key] = {"error": str(error)}
    return found
