# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""The pingpongs of ibverbs-utils, with payload validation."""

import re
from dataclasses import dataclass

from runlib import net
from runlib.case import Skip, expect
from runlib.pair import Pair

RC, SRQ, UC, UD = (f"ibv_{kind}_pingpong" for kind in ("rc", "srq", "uc", "ud"))
SIZES = (1, 2, 63, 64, 4095, 4096, 4097, 65536, 1 << 20, 8 << 20)
MANY = 5000             # iterations
MOVED = re.compile(r"^(\d+) bytes in [\d.]+ seconds", re.M)


@dataclass(frozen=True)
class Case:
    topic: str
    program: str
    args: tuple
    path: str = "veth"
    gid: int = 0
    server_first: bool = True
    hold: float = 0
    size: int = 4096
    tags: frozenset = frozenset()

    def name(self):
        return f"{self.program}/{self.topic}"

    @staticmethod
    def cpu():
        return 2

    def limit(self):
        """Seconds. Two programs that poll on one processor have it in turns: 5 ms for
        each message, and more if the machine has others to serve."""
        return 180 if self.iterations() >= MANY else 60

    def iterations(self):
        return int(self.args[self.args.index("-n") + 1])


def case(topic, program, args, tags="", size=4096, **more):
    words = args.split()
    if "-n" not in words:
        words += ["-n", str(max(20, min(500, (64 << 20) // size)))]
    return Case(topic, program, ("-s", str(size), *words), size=size,
                tags=frozenset(tags.split()), **more)


def matrix():
    for program in (RC, SRQ):
        # ibv_srq_pingpong sends from and receives into the same buffer on all queue
        # pairs at once: a race of its own.
        sanitized = "asan tsan" if program == RC else "asan"
        for size in SIZES:
            tags = f"quick {sanitized} other" if size in (1, 4096, 8 << 20) else ""
            yield case(f"{size}-bytes", program, "-c", tags, size)
            yield case(f"{size}-bytes-events", program, "-c -e",
                       sanitized if size == 65536 else "", size)
        yield case("loopback", program, "-c", "quick", path="loopback")
        yield case("loopback-events", program, "-c -e", "", path="loopback")
        yield case("ipv6", program, "-c", f"quick {sanitized} other", gid=1)
        yield case("ipv6-events", program, "-c -e", "", gid=1)
        yield case("ipv6-loopback", program, "-c", "", gid=1, path="loopback")
        yield case("link-local", program, "-c", "other", gid=2)
        yield case("client-first", program, "-c", "quick other", server_first=False)
        # The server is in RTS, and may send, seconds before the client is in INIT's end
        yield case("server-ready-early", program, "-c", sanitized, hold=1.5)
        yield case("server-ready-early-swapped", program, "-c", "", hold=1.5,
                   path="veth-swapped")
        yield case("server-ready-early-events", program, "-c -e", "", hold=1.5)
        yield case("lower-address-connects", program, "-c", "", path="veth-swapped")
        yield case("mtu-4096", program, "-c -m 4096", "")
        yield case("few-receives", program, "-c -r 2" if program == RC else "-c -r 20", "")
        yield case("many", program, f"-c -n {MANY}", "")
    yield from unreliable()
    yield case("new-post-send", RC, "-c -N", "other")
    yield case("new-post-send-events", RC, "-c -N -e", "")
    yield case("1-queue-pair", SRQ, "-c -q 1", "asan tsan")
    yield case("64-queue-pairs", SRQ, "-c -q 64 -r 600", "other")
    yield case("64-queue-pairs-events", SRQ, "-c -q 64 -r 600 -e", "")


def unreliable():
    """UC and UD; a message that is lost ends in a timeout: there must be none."""
    for program in (UC, UD):
        yield case("default", program, "", "quick asan tsan other", 1024)
        yield case("events", program, "-e", "quick asan tsan other", 1024)
        for size in (1, 1024) if program == UD else SIZES:
            yield case(f"{size}-bytes", program, "-c", "asan", size)
            yield case(f"{size}-bytes-events", program, "-c -e", "", size)
        yield case("loopback", program, "-c", "quick", 1024, path="loopback")
        yield case("ipv6", program, "-c", "quick asan other", 1024, gid=1)
        yield case("ipv6-events", program, "-c -e", "", 1024, gid=1)
        yield case("link-local", program, "-c", "other", 1024, gid=2)
        yield case("lower-address-connects", program, "-c", "", 1024, path="veth-swapped")
        yield case("many", program, f"-c -n {MANY}", "", 1024)


def run(ctx, case, bed_class, client_bed_class=None):
    if case.gid and not net.has_ipv6():
        raise Skip("this kernel has no IPv6")
    path = ctx.path(case.path)
    pair = Pair(ctx, bed_class(ctx), path, case.program,
                ("-d", "tcpzc0", "-g", case.gid, *case.args),
                server_first=case.server_first, hold=case.hold, limit=case.limit(),
                client_bed=client_bed_class and client_bed_class(ctx))
    pair.finish()
    check(pair, case)


def check(pair, case):
    for process in (pair.server, pair.client):
        text = process.output()
        expect("invalid data" not in text, "the received data is wrong", process)
        moved = MOVED.search(text)
        expect(moved, "no figures", process)
        number = 2 * case.size * case.iterations()
        expect(int(moved.group(1)) == number, f"not {number} bytes", process)
