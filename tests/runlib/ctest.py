# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""The C tests, from ctest's list of a build directory.

A test's suite is its first label that is one of SUITES. Further labels: "quick"
or "slow" (in --quick or not; default: in it, but for fuzz), "alone" (it keeps all
processors busy), "plain" (not in the sanitizers' builds), "sanitized" (only there).
"""

import json
import os
import subprocess

from .builds import have
from .case import Fail, Skip, Test

SUITES = ("unit", "sim", "fuzz", "verbs", "style")
SKIPPED = 77
DEFAULT_LIMIT = 120
SANITIZER_OPTIONS = {"ASAN_OPTIONS": "exitcode=99:detect_stack_use_after_return=1",
                     "UBSAN_OPTIONS": "exitcode=99:print_stacktrace=1",
                     "TSAN_OPTIONS": "exitcode=99:second_deadlock_stack=1"}


def listed(directory):
    """ctest's list, empty if there is none (yet)."""
    if not have("ctest") or not os.path.exists(os.path.join(directory, "CTestTestfile.cmake")):
        return []
    done = subprocess.run(["ctest", "--test-dir", directory, "--show-only=json-v1"],
                          capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["tests"] if not done.returncode else []


def properties(entry):
    return {p["name"]: p["value"] for p in entry.get("properties", [])}


def tests(directory, variant):
    """Tests of the build in directory; variant "" or that of a sanitizer."""
    for entry in listed(directory):
        props = properties(entry)
        labels = props.get("LABELS", [])
        suite = next((label for label in labels if label in SUITES), "unit")
        if ("plain" in labels) if variant else ("sanitized" in labels):
            continue
        quick = not variant and "slow" not in labels and \
            (suite != "fuzz" or "quick" in labels)
        yield Test((f"{variant}/" if variant else "") + f"{suite}/{short(entry['name'], suite)}",
                   lambda ctx, entry=entry, props=props: run(ctx, entry, props),
                   limit=float(props.get("TIMEOUT", DEFAULT_LIMIT)) + 5,
                   quick=quick, build=variant,
                   cpu=os.cpu_count() or 1 if "alone" in labels else 1)


def short(name, suite):
    return name[len(suite) + 1:] if name.startswith((suite + "_", suite + "-", suite + "/")) \
        else name


def environment(props):
    env = dict(SANITIZER_OPTIONS)
    for line in props.get("ENVIRONMENT", []):
        name, _, value = line.partition("=")
        env[name] = value
    return env


def run(ctx, entry, props):
    if not entry.get("command"):
        raise Fail("was not built")
    directory = props.get("WORKING_DIRECTORY")
    command = entry["command"]
    if directory:
        command = ["env", "-C", directory, *command]
    limit = float(props.get("TIMEOUT", DEFAULT_LIMIT))
    process = ctx.finish(command, limit, env=environment(props), name=entry["name"])
    if process.status == int(props.get("SKIP_RETURN_CODE", SKIPPED)):
        raise Skip(process.output().strip().splitlines()[-1] if process.output().strip()
                   else "no reason given")
    if process.status:
        raise Fail(process.describe())
