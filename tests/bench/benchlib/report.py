# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""From the runs to medians, a JSON document and markdown tables."""

import os
import platform
import statistics

from . import targets


def _median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def summarize(case, results):
    values = [r.value for r in results]
    return {
        "title": case.title, "unit": case.unit, "group": case.group,
        "runs": values, "median": targets.median(results),
        "quiet": sum(r.foreign < targets.QUIET for r in results),
        "min": min(values, default=None), "max": max(values, default=None),
        "cpu_s_per_gb": _median(r.cpu_per_gb() for r in results),
        "cpu_us_per_operation": _median(r.cpu_us_per_operation() for r in results),
        "foreign_cpus": [round(r.foreign, 2) for r in results],
        "detail": {k: _median(r.detail.get(k) for r in results)
                   for k in (results[0].detail if results else {})},
    }


def machine():
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"kernel": platform.release(), "cpus": os.cpu_count(), "model": model}


def section(cases, results, errors, syscalls, bounds=targets.TARGETS):
    """What the report says about one path with one congestion control."""
    results = {name: found for name, found in results.items() if found}
    found = {c.name: summarize(c, results[c.name]) for c in cases if c.name in results}
    medians = {name: entry["median"] for name, entry in found.items()}
    return {"cases": found, "errors": errors, "syscalls": syscalls,
            "best_raw": targets.best_raw(medians),
            "targets": targets.judge(results, syscalls, bounds)}


def _number(value, digits=3):
    return "-" if value is None else f"{value:.{digits}g}"


def _cpu(entry):
    if entry["unit"] == "Gbit/s":
        return _number(entry["cpu_s_per_gb"]) + " s/GB"
    return _number(entry["cpu_us_per_operation"]) + " us/op"


def _case_table(part):
    lines = ["| | median | min .. max | unit | CPU, both sides | quiet runs |",
             "|---|---|---|---|---|---|"]
    for entry in part["cases"].values():
        spread = f"{_number(entry['min'])} .. {_number(entry['max'])}"
        lines.append(f"| {entry['title']} | {_number(entry['median'])} | {spread} | "
                     f"{entry['unit']} | {_cpu(entry)} | {entry['quiet']}/{len(entry['runs'])} |")
    return lines


def _target_table(part):
    verdict = {True: "reached", False: "**missed**", None: "no figure"}
    lines = ["| target | ours | against | ratio | bound | |", "|---|---|---|---|---|---|"]
    for row in part["targets"]:
        lines.append(f"| {row['target']} | {_number(row['ours'])} | "
                     f"{_number(row['against'])} | {_number(row['ratio'])} | "
                     f"{row['sense']} {row['bound']:g} | {verdict[row['reached']]} |")
    return lines


def _syscall_lines(part):
    lines = []
    for key, entry in part["syscalls"].items():
        if "error" in entry:
            lines.append(f"- {key}: failed")
        else:
            lines.append(f"- {key}: {entry['calls_per_op']:.3g} system calls per "
                         f"operation (client, {entry['tool']})")
    return lines


def markdown(document):
    where = document["machine"]
    lines = [f"{where['model']}, {where['cpus']} CPUs, Linux {where['kernel']}; "
             f"{document['repetitions']} repetitions, interleaved; "
             f"{document['seconds']:g} s each; processes "
             + ("pinned to one core each" if document["pinned"] else "not pinned")
             + (f", nice {document['nice']}." if document["nice"] else ".")]
    for name, part in document["sections"].items():
        lines += ["", f"### {name}", "", *_target_table(part), "", *_case_table(part)]
        if part["best_raw"]:
            lines += ["", "Best raw sender: "
                      + part["cases"][part["best_raw"]]["title"] + "."]
        lines += ["", *_syscall_lines(part)]
        lines += [f"- failed: {name}: {text[-300:]}"
                  for name, texts in part["errors"].items() for text in texts]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"
