# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""What runs inside a machine: tests/vm/guest runs these, each in a machine of its own."""

import dataclasses
import os

from apps import crash, data, many, mpi, others, perftest, pingpong, rdmacm, ucx
from runlib.bed import Bed
from runlib.case import Skip, Test, expect
from runlib.pair import Pair

from . import admin, devices, failing, hostile, kernel, trouble
from .kernel import Kernel, Siw

VERBS = ("objects", "cq", "mr", "srq", "rc_ops", "rc_states", "rc_errors", "rc_visible",
         "hostile_hello", "hostile_pdu", "hostile_ring", "hostile_corpus", "hostile_pages", "ud", "cm", "scale")
# How many times slower a machine is, for tests that count or wait. With several
# processors threads of one process have User-Mode Linux's process for it in turns.
SLOW = {"uml-debug": 10, "uml-smp": 4, "qemu-6.12": 6, "qemu-7.x": 6}
LONG = 120


def needs_module(run):
    def wrapped(ctx):
        if not kernel.module():
            raise Skip("tcpzc.ko has not been built")
        return run(ctx)
    return wrapped


def case(name, run, limit=60):
    return Test(name, needs_module(run), limit=limit)


# ---- the bed itself, on the kernel's own device

def other_write(ctx):
    path = ctx.path("veth")
    Pair(ctx, Siw(ctx), path, "ib_write_bw", ("-d", "tcpzc0", "-F", "-R", "-n", "100")).finish()


def impaired(ctx):
    """Netem does what the tests believe: a round trip takes as long as was said."""
    path = ctx.path("veth")
    path.impair("delay", "30ms")
    process = ctx.finish(path.command("client", "python3", os.path.join(
        os.path.dirname(__file__), "connect_time.py"), path.ipv4["server"]), 20)
    expect(process.status == 0, "cannot connect", process)
    expect(0.06 <= float(process.text()) < 0.5, "not two times 30 ms", process)


def bed_tests():
    return [Test("bed/siw-write", other_write),
            Test("bed/netem", impaired)]


# ---- the same tests as in user mode

def programs():
    for module, found in ((pingpong, pingpong.matrix()), (perftest, perftest.matrix())):
        for each in found:
            yield case(each.name(), lambda ctx, module=module, each=each:
                       module.run(ctx, each, Kernel), each.limit() + 20)


def shared():
    for name, each in data.CASES.items():
        yield case(f"data/{name}", lambda ctx, each=each: data.run(ctx, Kernel, *each))
    for name, each in many.CASES.items():
        yield case(f"many/{name}", lambda ctx, each=each: many.run(ctx, Kernel, *each), LONG)
    for name, each in crash.cases():
        yield case(f"killed/{name}", lambda ctx, each=each:
                   crash.run(ctx, Kernel, *each[:4], False, 3), 90)
    for name, run in crash.SILENCE.items():
        yield case(f"killed/{name}", lambda ctx, run=run: run(ctx, Kernel), LONG)


# Of rdma_cm's cases those that are about processes that share a port are user mode's.
CM_CASES = ("1000-sequential", "50-sequential", "200-concurrent", "30-pairs", "nobody-there",
            "port-in-use", "device-removed", "no-multicast", "rcopy", "libfabric-msg")


def own_address(ctx):
    """Server and client on one device, by its own address."""
    path, bed = rdmacm.opened(ctx, Kernel)
    server = rdmacm.serve(ctx, bed, path, options=("-C", "5", "-V"))
    client = ctx.finish(bed.command(path, "server", "rping",
                                    ["-c", "-a", path.ipv4["server"], "-p", rdmacm.PORT,
                                     "-C", "5", "-V"]), 30)
    expect(client.status == 0, "the client fails", server, client)
    server.wait(10)
    expect(server.status == 0, "the server fails", server, client)


def rdma_cm():
    for each in rdmacm.matrix():
        if each.path != "loopback":     # ib_core: "RDMA doesn't run on lo"
            yield case(f"{each.program}/{each.name}", lambda ctx, each=each:
                       rdmacm.run(ctx, each, Kernel), each.limit + 40)
    yield case("rdmacm/own-address", own_address)
    for name in CM_CASES:
        run, limit = rdmacm.CASES[name]
        yield case(f"rdmacm/{name}", lambda ctx, run=run: run(ctx, Kernel), limit)
    # qperf's server offers a port before it listens there; libiscsi waits for events at a
    # channel that is gone.
    for name, (run, limit) in others.CASES.items():
        if not name.startswith(("qperf/", "iser/")):
            yield case(name, lambda ctx, run=run: run(ctx, Kernel), limit)


def verbs(ctx, name):
    """Both ends on one device: that of lo, or for rdma_cm another, by its own address."""
    program = os.path.join(ctx.builds.directory(""), "tests", "verbs", "verbs_" + name)
    if not os.path.exists(program):
        raise Skip(f"{program} has not been built")
    path = ctx.path("veth" if name == "cm" else "loopback")
    bed = Kernel(ctx)
    bed.prepare(path)
    slow = SLOW.get(os.environ.get("TCPZC_VM"), 1)
    env = {"TEST_SLOW": slow, "TEST_IPV4": path.ipv4["server"], "TEST_IPV6": path.ipv6["server"]}
    process = ctx.finish(bed.command(path, "server", program, env=env), 600 * min(slow, 5),
                         name=name)
    if process.status == 77:
        raise Skip(process.output().strip().splitlines()[-1])
    expect(process.status == 0, "fails", process)


def trusting(ctx):
    """All peers are trusted, so that packets refer to pages as if they left by hardware."""
    with admin.parameter("by_reference", "2\n"):
        verbs(ctx, "hostile_pages")


def verbs_tests():
    for name in VERBS:
        yield case(f"verbs/{name}", lambda ctx, name=name: verbs(ctx, name), 620)
    yield case("verbs/hostile_pages-trusting", trusting, 620)


def mixed():
    """One side in user mode, under tcpzc-run."""
    for side, beds in (("server", (Kernel, Bed)), ("client", (Bed, Kernel))):
        for each in pingpong.matrix():
            if "quick" in each.tags and each.path != "loopback":
                yield case(f"kernel-as-{side}/{each.name()}", lambda ctx, each=each, beds=beds:
                           pingpong.run(ctx, each, *beds))
        for each in rdmacm.matrix():
            # perftest's client with -R calls a server that does not listen yet, and
            # crashes when it is rejected (4.5; work_rdma_cm): a matter of who is faster.
            if side == "server" and each.program in rdmacm.PERFTEST:
                continue
            if {"quick", "paths"} & each.tags and each.path != "loopback":
                yield case(f"kernel-as-{side}/{each.program}/{each.name}",
                           lambda ctx, each=each, beds=beds: rdmacm.run(ctx, each, *beds),
                           each.limit + 40)
    # Who executes requests stands still: in user mode that is the program.
    yield case("kernel-as-client/stopped", lambda ctx: crash.stopped(ctx, Bed, Kernel), LONG)


def with_netem():
    """The payload is checked; the time does not matter."""
    for name, words in trouble.NETEM.items():
        # With 1 % lost and 40 ms there and back TCP carries 8 Mbit/s.
        for size, count in ((4096, 30), (65536, 30), (1 << 20, 8)):
            topic = f"{size}-bytes-events"
            each = next(c for c in pingpong.matrix() if c.name() == f"ibv_rc_pingpong/{topic}")
            each = dataclasses.replace(each, args=(*each.args[:-1], str(count)))
            yield case(f"netem/{name}/{topic}", lambda ctx, each=each, words=words:
                       trouble.pingpong(ctx, each, words), LONG)
        for kind, bed in (("rping", Kernel), ("rping-user-mode", Bed)):
            yield case(f"netem/{name}/{kind}", lambda ctx, bed=bed, words=words:
                       trouble.connections(ctx, bed, words), LONG)
    yield case("netem/rate/doorbells", devices.doorbells, LONG)


def tests():
    return [*bed_tests(), *(case(f"devices/{name}", run) for name, run in devices.CASES.items()),
            *programs(), *rdma_cm(), *shared(), *verbs_tests(), *mixed(), *with_netem(),
            *(case(f"ucx/{name}", lambda ctx, each=each: ucx.run(ctx, Kernel, *each), LONG)
              for name, each in ucx.CASES.items()),
            # One-sided operations wait by polling, each of them for a turn of the processor.
            *(case(f"mpi/{name}", lambda ctx, each=each: mpi.run(ctx, Kernel, *each[:2], ()), LONG)
              for name, each in mpi.CASES.items()),
            *(case(f"admin/{name}", run) for name, run in admin.CASES.items()),
            *(case(f"trouble/{name}", run, LONG) for name, run in trouble.CASES.items()),
            *(case(f"hostile/{name}", run, LONG) for name, run in hostile.CASES.items()),
            *(case(f"allocations/{name}", run, 2 * LONG) for name, run in failing.CASES.items())]
