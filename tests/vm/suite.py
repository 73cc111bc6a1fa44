# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""The tests of kernel mode, from outside: each starts a machine for one of cases.py.

A test also fails if the machine's kernel complains: a warning, lost memory, a module
that cannot be unloaded."""

import dataclasses
import fnmatch
import json
import os

from runlib import builds
from runlib.case import ROOT, Fail, Skip, Test, expect

from . import cases

SCRIPT = os.path.join(ROOT, "scripts", "vm")
DKMS = os.path.join(ROOT, "tests", "vm", "dkms")
GUEST = os.path.join("tests", "vm", "guest")
COMPLAINT, LIMIT, MISSING = 120, 124, 77
BUILD_LIMIT = 3600


@dataclasses.dataclass(frozen=True)
class Machine:
    """A kind of machine, and which of the cases run in it."""
    name: str                   # in the tests' names
    args: tuple                 # of scripts/vm
    chosen: tuple               # patterns
    slower: float = 1           # than this machine: limits are longer
    cpu: float = 1
    load: str = "siw"
    without: tuple = ()         # patterns of cases that cannot be


QUICK = ("ibv_*/4096-bytes*", "ib_*/default", "ib_*/events", "ib_*/srq", "ib_*/inline",
         "data/*", "devices/*", "admin/*", "trouble/*", "hostile/*", "netem/*", "kernel-as-*/ibv_rc_pingpong/4096*",
         "rping/verified*", "ucmatose/default", "udaddy/default*", "ib_send_bw/rdma-cm*",
         "rstream/verify", "kernel-as-*/rping/verified")
# Debian 13's rping can have 200 clients; its perftest's client with -R -c UD asks for
# the service before its server, which has told it to, offers it, and crashes.
EMULATED = (*QUICK, "rdmacm/200-concurrent", "ib_*_bw/all-sizes", "ib_*_bw/both-ways",
            "ib_*_bw/q16", "ib_*_lat/events", "ib_*_lat/default", "verbs/hostile_pages*")
NOT_EMULATED = ("kernel-as-*", "netem/*", "*/rdma-cm-ud")
MACHINES = (
    Machine("up", ("uml",), ("*",), without=("*/duration*", "allocations/*")),
    Machine("debug", ("uml", "--variant", "debug", "--leaks"),
            (*QUICK, "verbs/*", "killed/*", "ibv_*", "kernel-as-*", "many/*", "rdmacm/50-sequential",
             "rdmacm/30-pairs", "rdmacm/nobody-there"), slower=5),
    Machine("failing", ("uml", "--variant", "debug", "--leaks", "--failing"), ("allocations/*",),
            slower=2),
    # Threads of one process that spin keep each other waiting there (turnstile).
    Machine("smp", ("uml", "--variant", "smp"), (*QUICK, "verbs/*"), slower=2, cpu=2,
            without=("verbs/scale", "verbs/rc_visible")),
    Machine("6.12", ("qemu", "--kernel", "6.12"), EMULATED, slower=6, cpu=2,
            load="", without=NOT_EMULATED),
    Machine("7.x", ("qemu", "--kernel", "7.x"), EMULATED, slower=6, cpu=2,
            load="", without=NOT_EMULATED),
)
BUILDS = {"vm-" + machine.name: machine for machine in MACHINES}


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def start(ctx, machine, limit, *command, options=()):
    """A machine that runs the command; it builds nothing."""
    return ctx.finish([SCRIPT, *machine.args, "--as-is", "--build", ctx.builds.directory(""),
                       "--out", ctx.directory, "--limit", round(limit), *options, "--",
                       *command], limit + 30, env=builds.cache_environment(), name="scripts/vm")


def run(ctx, machine, case, limit):
    process = start(ctx, machine, limit, GUEST, case.name, options=("--load=" + machine.load,))
    kind, reason = result(ctx)
    if process.status == MISSING and not kind:
        raise Skip(process.text("err").strip().splitlines()[-1])
    if kind == "skip" and process.status == MISSING:
        raise Skip(reason)
    if kind == "pass" and not process.status:
        return
    if "this provider has no kernel mode" in reason:
        raise Skip("the provider has no kernel mode yet")
    raise Fail(f"{reason}\n{process.text('err').rstrip()}" if kind == "fail"
               else process.describe())


def result(ctx):
    """What the test says inside, if it got to saying something."""
    try:
        with open(ctx.file("result.json"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return "", ""


def machine_tests(machine):
    for case in cases.tests():
        if matches(case.name, machine.chosen) and not matches(case.name, machine.without):
            limit = case.limit * machine.slower
            yield Test(f"vm/{machine.name}/{case.name}",
                       lambda ctx, case=case, limit=limit: run(ctx, machine, case, limit),
                       limit=limit + 40, build="vm-" + machine.name, cpu=machine.cpu)


# ---- scripts/vm itself

def status(ctx, machine):
    process = start(ctx, machine, 60, "sh", "-c", "echo out; echo err >&2; exit 3")
    expect(process.status == 3, "not the command's status", process)
    expect(process.text() == "out\n", "not the command's output", process)
    expect(process.text("err").startswith("err\n"), "not the command's errors", process)


def complaint(ctx, machine):
    """A test that passes fails if the kernel complains."""
    for text in ("WARNING: CPU: 0 PID: 1 at made/up.c", "BUG: KASAN: made up",
                 "WARNING: possible circular locking dependency detected"):
        process = start(ctx, machine, 60, "sh", "-c", f"echo '{text}' >/dev/kmsg")
        expect(process.status == COMPLAINT and text in process.text("err"),
               f"not noticed: {text}", process)


def time_limit(ctx, machine):
    process = start(ctx, machine, 4, "sleep", "50")
    expect(process.status == LIMIT, "does not end in time", process)


def death(ctx, machine):
    process = start(ctx, machine, 60, "sh", "-c", "echo c >/proc/sysrq-trigger")
    expect(process.status == 125, "not taken for the end of the machine", process)


def devices(ctx, machine):
    """--device: the help's example, as it is there."""
    usage = ctx.finish([SCRIPT, "--help"], 20, name="scripts/vm --help")
    example = usage.text().split("sh -c '")[1].split("'")[0]
    process = start(ctx, machine, 100, "sh", "-c", example, options=("--device",))
    expect(process.status == 0 and process.text().count("65536") == 2, "no transfer", process)
    process = start(ctx, machine, 60, "ibv_devinfo", options=("--device",))
    expect(process.text().count("PORT_ACTIVE") == 2, "not two devices", process)


def processors(ctx):
    """What runs "on four processors" has them."""
    process = start(ctx, BUILDS["vm-smp"], 60, "nproc")
    expect(process.text().strip() == "4", "not four processors", process)


def dkms(ctx, machine):
    process = ctx.finish([DKMS, machine.name], 280, env=builds.cache_environment(), name="dkms")
    if process.status == MISSING:
        raise Skip(process.text("err").strip().splitlines()[-1])
    expect(process.status == 0, "DKMS does not build, install and remove the module", process)


def dkms_bookworm(ctx):
    """What Debian 12's dkms cannot build it skips."""
    process = ctx.finish([DKMS + "-bookworm"], 100, env=builds.cache_environment(),
                         name="dkms-bookworm")
    if process.status == MISSING:
        raise Skip("Debian 12's dkms cannot be had")
    expect(process.status == 0, "not skipped, or not tried", process)


def script_tests():
    up = BUILDS["vm-up"]
    yield Test("vm/smp/processors", processors, limit=200, build="vm-smp")
    for run_one in (status, complaint, time_limit, death, devices):
        yield Test(f"vm/script/{run_one.__name__}", lambda ctx, run_one=run_one: run_one(ctx, up),
                   limit=200, build="vm-up")
    yield Test("vm/dkms/bookworm", dkms_bookworm, limit=120)
    for name in ("6.12", "7.x"):
        yield Test(f"vm/dkms/{name}", lambda ctx, name=name: dkms(ctx, BUILDS["vm-" + name]),
                   limit=300, build="vm-" + name)


def tests():
    found = list(script_tests())
    for machine in MACHINES:
        found += machine_tests(machine)
    return found


def prepare(name):
    """A test that builds what the machines of that name need."""
    machine = BUILDS[name]
    return Test(f"build/{name}", lambda ctx: prepared(ctx, machine), limit=BUILD_LIMIT + 10,
                cpu=os.cpu_count() or 1)


def prepared(ctx, machine):
    process = ctx.finish([SCRIPT, *machine.args, "--build", ctx.builds.directory(""),
                          "--prepare"], BUILD_LIMIT, env=builds.cache_environment(),
                         name="scripts/vm")
    if process.status == MISSING:
        raise Skip(process.text("err").strip().splitlines()[-1])
    expect(process.status == 0, "cannot be built", process)
