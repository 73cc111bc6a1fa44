# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""The speed targets, judged on the medians of one path."""

import statistics
from dataclasses import dataclass

QUIET = 0.25            # processors that others may take from a run that counts
RAW_PREFIX = ("raw_send_", "raw_splice_", "raw_sendmsg_")


@dataclass
class Target:
    title: str
    ours: str                       # case, or syscalls:KEY
    against: str                    # case, "best_raw", or "" (absolute)
    bound: float
    at_least: bool = True


TARGETS = (
    Target("ib_write_bw 1 MiB / iperf3 -l 1M", "write_bw_1m", "iperf3_1m", 1.2),
    Target("ib_write_bw 1 MiB / UCX tcp tag_bw 1 MiB", "write_bw_1m", "ucx_tag_bw_1m", 1.0),
    Target("ib_write_bw 64 KiB / raw 64 KiB send()", "write_bw_64k", "raw_send_64k", 2.0),
    Target("ib_write_bw 64 KiB / best raw sender", "write_bw_64k", "best_raw", 0.95),
    Target("ib_write_lat 8 B / raw spinning ping-pong", "write_lat_8", "raw_pingpong_8",
           1.2, at_least=False),
    Target("64-byte write rate / one send per message", "write_rate_64", "raw_rate_1", 8),
    Target("64-byte write rate / UCX 64-byte rate", "write_rate_64", "ucx_rate_64", 6),
    Target("system calls per 64-byte write, depth 128", "syscalls:write_64", "", 0.1,
           at_least=False),
    Target("128 QPs / one QP, 64 KiB", "write_bw_64k_q128", "write_bw_64k", 0.8),
    Target("128 QPs / one QP, 64 B", "write_rate_64_q128", "write_rate_64", 0.8),
)


def best_raw(medians):
    found = {name: value for name, value in medians.items()
             if name.startswith(RAW_PREFIX)}
    return max(found, key=found.get) if found else None


def _value(name, medians, syscalls):
    if name.startswith("syscalls:"):
        return syscalls.get(name.split(":")[1], {}).get("calls_per_op")
    return medians.get(name)


def _ratio(target, against, ours, runs):
    """The median of the ratios within each repetition: (ratio, pairs used).

    The two cases run shortly after each other, so what slows the machine down
    for a minute cancels out; it would not in a ratio of medians. Repetitions in
    which somebody else took part of the machine count only if there are no others.
    """
    if not target.against:
        return ours, 0
    pairs = list(zip(runs.get(target.ours, ()), runs.get(against, ())))
    quiet = [p for p in pairs if max(p[0].foreign, p[1].foreign) < QUIET] or pairs
    ratios = [a.value / b.value for a, b in quiet]
    return (statistics.median(ratios) if ratios else None), len(ratios)


def median(results):
    """Of the runs that had the machine for themselves, if there are any."""
    quiet = [r for r in results if r.foreign < QUIET] or results
    return statistics.median(r.value for r in quiet) if quiet else None


def judge(runs, syscalls, targets=TARGETS):
    """A list of dictionaries; reached is None where a figure is missing.

    runs: for each case, the results of its repetitions in order.
    """
    medians = {name: median(results) for name, results in runs.items()}
    rows = []
    for target in targets:
        against = best_raw(medians) if target.against == "best_raw" else target.against
        ours = _value(target.ours, medians, syscalls)
        other = medians.get(against)
        ratio, pairs = _ratio(target, against, ours, runs)
        reached = None
        if ratio is not None:
            reached = ratio >= target.bound if target.at_least else ratio <= target.bound
        rows.append({"target": target.title, "bound": target.bound,
                     "sense": ">=" if target.at_least else "<=", "ours": ours,
                     "against": other, "ratio": ratio, "pairs": pairs,
                     "reached": reached})
    return rows
