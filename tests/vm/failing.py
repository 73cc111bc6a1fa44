# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Allocations fail: of each verb's one after the other, and of packets some of all."""

import os

from runlib.case import Skip, expect
from runlib.pair import Pair

from .devices import opened
from .kernel import Kernel

DEBUG = "/sys/kernel/debug"
# A sleeping allocation is asked for by a verb, others for packets.
ALL = {"failslab/ignore-gfp-wait": "N", "fail_page_alloc/ignore-gfp-wait": "N",
       "fail_page_alloc/min-order": "0"}
PACKETS = {"failslab/ignore-gfp-wait": "Y", "failslab/probability": "2", "failslab/times": "-1"}


def set_up(values):
    if not os.path.exists(f"{DEBUG}/failslab"):
        raise Skip("this kernel cannot fail on request")
    for name, value in {"failslab/verbose": "0", "fail_page_alloc/verbose": "0", **values}.items():
        with open(f"{DEBUG}/{name}", "w", encoding="ascii") as file:
            file.write(value)


def sweep(ctx, case):
    """tests/verbs/failing.c"""
    program = os.path.join(ctx.builds.directory(""), "tests", "verbs", "verbs_failing")
    path, bed = ctx.path("loopback"), Kernel(ctx)
    bed.prepare(path)
    # That devices are added to
    path.spaces["server"].call("ip", "link", "add", "dummy0", "type", "dummy")
    set_up(ALL)
    process = ctx.finish(bed.command(path, "server", program, [case], env={"TEST_SLOW": 10}), 400,
                         name=case)
    expect(process.status == 0, "fails", process)


def packets(ctx):
    """Two of a hundred allocations that may not sleep fail, on both sides, while data is
    sent and compared: all of it arrives. The programs poll: ib_uverbs itself loses a
    completion's event for which it has no memory."""
    path, bed = opened(ctx)
    # A socket's last word may be lost, of the programs' own ones and after a reset.
    path.cut = True
    set_up(PACKETS)
    try:
        for args in (("ibv_rc_pingpong", "-n", "200", "-s", "65536"),
                     ("ibv_srq_pingpong", "-n", "200", "-q", "8")):
            Pair(ctx, bed, path, args[0], ("-d", "tcpzc0", "-g", "0", "-c", *args[1:]),
                 limit=100).finish()
    finally:
        set_up({"failslab/probability": "0"})


CASES = {**{name: lambda ctx, name=name: sweep(ctx, name)
            for name in ("each_object", "connections", "posts", "links")}, "packets": packets}
