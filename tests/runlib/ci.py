# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""What CI runs beside --quick: of each bed as much as there is time for.

The rest (docs/testing.md has the figures) is for scripts/test without options.
"""

import fnmatch

PATTERNS = (
    "apps/*", "fuzz/*",
    "asan/unit/*", "asan/sim/*", "asan/verbs/*", "tsan/unit/*",
    *("tsan/verbs/" + topic for topic in ("cq", "rc_ops", "rc_states", "scale", "srq")),
    "asan/ib*/default", "asan/rping/*", "asan/ucmatose/default", "asan/killed/write-*",
    "tsan/ib*/default", "tsan/ibv_*_pingpong/65536-bytes",
    "nobody/devices/*", "nobody/ib*/default", "nobody/rping/*",
    "memlock/ib*/default",
    "trixie/devices/*", "trixie/ib*/default", "trixie/ibv_*_pingpong/4096-bytes",
    "trixie/rping/*", "trixie/data/*", "trixie-as-*/ibv_rc_pingpong/4096-bytes",
    "vm/script/*",
    "vm/up/devices/*", "vm/up/trouble/*", "vm/up/verbs/*", "vm/up/data/*", "vm/up/ib*/default",
    "vm/up/ibv_*_pingpong/4096-bytes", "vm/up/ibv_*_pingpong/loopback",
    "vm/up/rping/*", "vm/up/ib_send_bw/rdma-cm", "vm/up/ucx/rc-put", "vm/up/kernel-as-*/rping/verified", "vm/up/killed/write-*", "vm/up/killed/stopped",
    "vm/up/kernel-as-*/ibv_rc_pingpong/4096-bytes",
    "vm/up/netem/*/65536-bytes-events", "vm/up/netem/loss-5/rping*", "vm/up/hostile/*",
    "vm/debug/ibv_*_pingpong/4096-bytes", "vm/debug/ib_*_bw/default", "vm/debug/trouble/*",
    "vm/debug/rping/verified", "vm/debug/hostile/*", "vm/debug/verbs/ud",
)
TOO_LONG = ("apps/rdmacm/1000-*", "apps/rdmacm/200-*", "asan/verbs/*_zerocopy",
            "asan/sim/*")


def chosen(name):
    def matches(patterns):
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    return matches(PATTERNS) and not matches(TOO_LONG)
