# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""perftest's RC programs, option by option.

perftest checks no data; apps/data.py does. Here the programs must end with
status 0 at both sides and print figures that make sense.
"""

import re
from dataclasses import dataclass, replace

from runlib.case import Fail, expect
from runlib.pair import Pair

BW = ("ib_send_bw", "ib_write_bw", "ib_read_bw", "ib_atomic_bw")
LAT = ("ib_send_lat", "ib_write_lat", "ib_read_lat", "ib_atomic_lat")
BOTH = BW + LAT
SIZED = tuple(p for p in BOTH if "atomic" not in p)
ATOMIC = ("ib_atomic_bw", "ib_atomic_lat")
SEND = ("ib_send_bw", "ib_send_lat")
UC = ("ib_send_bw", "ib_send_lat", "ib_write_bw", "ib_write_lat")
EVENTS = tuple(p for p in BOTH if "write" not in p)
CAS = ["-A", "CMP_AND_SWAP"]
SIZES = [1 << i for i in range(1, 24)]

# On a machine that is disturbed too much perftest cannot measure its clock, and has
# no figures.
NO_CLOCK = "Correlation coefficient r^2"
# A standard deviation may be -nan: rounding in perftest.
NUMBERS = re.compile(r"^\s*\d[\d.]*(\s+-?(\d[\d.]*|nan))+\s*$")


@dataclass(frozen=True)
class Case:
    topic: str
    program: str
    args: tuple
    path: str = "veth"
    order: str = "server-first"
    tags: frozenset = frozenset()       # quick; asan, tsan; other (trixie, users)

    def name(self):
        return f"{self.program}/{self.topic}"

    def limit(self):
        """Seconds; many, for machines that do something else as well."""
        return 150 if "-a" in self.args else 60

    def cpu(self):
        """Both sides poll in latency tests; a bandwidth test's server waits, and its
        client sleeps for a second first."""
        return 2 if self.program.endswith("_lat") or "-b" in self.args else 0.7


# topic, programs, arguments, tags
MATRIX = (
    ("default", BOTH, "-n 200", "quick asan tsan other"),
    ("cas", ATOMIC, "-n 200 -A CMP_AND_SWAP", "quick asan tsan other"),
    ("fetch-add", ATOMIC, "-n 200 -A FETCH_AND_ADD", "asan tsan other"),
    ("all-sizes", ("ib_send_bw", "ib_write_bw", "ib_read_bw"), "-a -n 30",
     "quick asan tsan other"),
    # Each takes six seconds, of which five are perftest's measuring of the clock.
    ("all-sizes", ("ib_send_lat", "ib_write_lat", "ib_read_lat"), "-a -n 30", ""),
    ("1-byte", SIZED, "-s 1 -n 200", ""),
    ("odd-size", SIZED, "-s 12345 -n 200", ""),
    ("8-mib", SIZED, "-s 8388608 -n 20", ""),
    ("64-mib", ("ib_send_bw", "ib_write_bw", "ib_read_bw"), "-s 67108864 -n 5", ""),
    ("both-ways", BW, "-b -n 200", "quick other"),
    ("both-ways-cas", ("ib_atomic_bw",), "-b -n 200 -A CMP_AND_SWAP", ""),
    ("both-ways-all-sizes", ("ib_send_bw", "ib_write_bw", "ib_read_bw"), "-a -b -n 20", "asan tsan"),
    ("q1", BW, "-q 1 -n 200", ""),
    ("q16", BW, "-q 16 -n 50 -N", "asan tsan other"),
    ("q16-peak", BW, "-q 16 -n 50", ""),
    ("q16-both-ways", BW, "-q 16 -n 50 -N -b", ""),
    ("q128", BW, "-q 128 -n 20 -N", "other"),
    ("q128-both-ways", BW, "-q 128 -n 20 -N -b", ""),
    ("q16-mr-per-qp", ("ib_send_bw", "ib_write_bw", "ib_read_bw"),
     "-q 16 -n 50 -N --mr_per_qp", ""),
    ("events", EVENTS, "-e -n 200", "quick asan tsan other"),
    ("events-q16", ("ib_send_bw", "ib_read_bw", "ib_atomic_bw"), "-e -n 50 -q 16 -N", ""),
    ("events-both-ways", ("ib_send_bw", "ib_read_bw", "ib_atomic_bw"), "-e -n 200 -b", ""),
    ("events-all-sizes", ("ib_send_bw", "ib_read_bw"), "-e -a -n 20", ""),
    ("events-8-mib", ("ib_send_lat", "ib_read_lat"), "-e -s 8388608 -n 20", ""),
    ("inline", ("ib_send_bw", "ib_write_bw", "ib_send_lat", "ib_write_lat"),
     "-I 64 -s 64 -n 200", "quick asan tsan other"),
    ("inline-256", ("ib_send_bw", "ib_write_bw", "ib_send_lat", "ib_write_lat"),
     "-I 256 -s 256 -n 200", ""),
    ("inline-all-sizes", ("ib_send_bw", "ib_write_bw"), "-I 128 -a -n 20", ""),
    ("srq", SEND, "--use-srq -n 200", "quick asan tsan other"),
    # All queue pairs receive into the same memory at once: TSan has a point.
    ("srq-q16", ("ib_send_bw",), "--use-srq -q 16 -n 50 -N", "asan"),
    ("srq-events", SEND, "--use-srq -e -n 200", ""),
    ("srq-all-sizes", ("ib_send_bw",), "--use-srq -a -n 20", ""),
    ("post-list", BW, "-l 8 -n 200", "asan tsan other"),
    ("post-list-64", BW, "-l 64 -n 640 -t 128", ""),
    ("post-list-both-ways", BW, "-l 8 -b -n 200", ""),
    ("recv-post-list", ("ib_send_bw",), "--recv_post_list 8 -r 64 -n 200", ""),
    # Its signal handler does what TSan does not like.
    ("duration", BOTH, "-D 1", "asan other"),
    ("duration-both-ways", BW, "-D 1 -b", ""),
    ("duration-q16", BW, "-D 1 -q 16", ""),
    ("tx-depth-1", BW, "-t 1 -n 100", ""),
    ("tx-depth-1024", BW, "-t 1024 -n 2000", ""),
    ("rx-depth-1", ("ib_send_bw",), "-r 1 -n 100", ""),
    ("rx-depth-16", ("ib_send_bw",), "-r 16 -n 1000 -s 64", ""),
    ("every-completion", BW, "-Q 1 -n 200", ""),
    ("few-completions", BW, "-Q 50 -n 200", ""),
    ("one-outstanding", ("ib_read_bw", "ib_read_lat", "ib_atomic_bw", "ib_atomic_lat"),
     "-o 1 -n 200", ""),
    ("16-outstanding", ("ib_read_bw", "ib_atomic_bw"), "-o 16 -n 200", ""),
    ("reversed", ("ib_send_bw", "ib_write_bw", "ib_read_bw"), "--reversed -n 200", ""),
    ("mtu-256", ("ib_send_bw", "ib_write_bw", "ib_read_bw", "ib_send_lat"), "-m 256 -n 200", ""),
    ("ipv6", BOTH, "-x 1 -n 200", ""),
    ("link-local", ("ib_send_bw", "ib_write_bw", "ib_read_lat"), "-x 2 -n 200", ""),
    ("traffic-class", ("ib_send_bw", "ib_write_lat"), "--tclass 32 -S 3 -n 200", ""),
    ("warm-up", ("ib_write_bw", "ib_read_bw", "ib_atomic_bw"), 
     "--perform_warm_up -Q 1 -n 200", ""),       # without -Q it waits in vain, on any device
    ("gbits", ("ib_send_bw", "ib_write_bw", "ib_read_bw"), "--report_gbits -n 200", ""),
    ("histogram", ("ib_send_lat", "ib_write_lat", "ib_read_lat"), "-H -n 200", ""),
    ("small-timeout", ("ib_write_bw", "ib_send_bw"), "-u 8 -n 200", ""),
    ("many-small", ("ib_send_bw", "ib_write_bw"), "-s 64 -n 50000 -N", ""),
    ("uc", UC, "-c UC -n 200", "quick asan tsan other"),
    ("uc-events", ("ib_send_lat", "ib_send_bw"), "-c UC -e -n 200", "other"),
    ("uc-q16", ("ib_send_bw", "ib_write_bw"), "-c UC -q 16 -n 50 -N", ""),
    ("uc-both-ways", ("ib_send_bw", "ib_write_bw"), "-c UC -b -n 200", ""),
    ("uc-ipv6", UC, "-c UC -x 1 -n 200", ""),
    ("uc-all-sizes", ("ib_write_bw",), "-c UC -a -n 30", ""),
    ("ud", SEND, "-c UD -s 1024 -n 200", "quick asan tsan other"),
    ("ud-events", SEND, "-c UD -e -s 1024 -n 200", "other"),
    ("ud-2-bytes", SEND, "-c UD -s 2 -n 200", ""),
    ("ud-inline", SEND, "-c UD -s 64 -I 64 -n 200", ""),
    ("ud-ipv6", SEND, "-c UD -s 1024 -x 1 -n 200", "other"),
    ("ud-srq", SEND, "-c UD --use-srq -s 1024 -n 200", ""),
)


# What came after Debian 12's 4.5
NEWER = (
    ("write-with-imm", ("ib_write_bw", "ib_write_lat"), "--write_with_imm -n 200", ""),
    ("write-with-imm-all-sizes", ("ib_write_bw",), "--write_with_imm -a -n 20", ""),
    ("write-with-imm-both-ways", ("ib_write_bw",), "--write_with_imm -b -n 200", ""),
    ("write-with-imm-q16", ("ib_write_bw",), "--write_with_imm -q 16 -n 50 -N", ""),
    ("write-with-imm-inline", ("ib_write_bw", "ib_write_lat"),
     "--write_with_imm -I 64 -s 64 -n 200", ""),
    ("write-with-imm-post-list", ("ib_write_bw",), "--write_with_imm -l 8 -n 200", ""),
    ("no-lock", ("ib_write_bw", "ib_send_bw"), "--no_lock -n 200", ""),
    ("flow-label", ("ib_write_bw",), "--flow_label 7 -n 200", ""),
)


def newer():
    return expanded(NEWER)


def expanded(table):
    for topic, programs, args, tags in table:
        for program in programs:
            yield Case(topic, program, tuple(args.split()), tags=frozenset(tags.split()))


def matrix():
    """All cases, Debian 12's perftest; paths and orders are spread over them."""
    yield from expanded(MATRIX)
    for program in BOTH:
        base = Case("", program, ("-n", "200"))
        yield replace(base, topic="loopback", path="loopback")
        yield replace(base, topic="client-first", order="client-first")
        yield replace(base, topic="client-first-loopback", order="client-first",
                      path="loopback")
        yield replace(base, topic="lower-address-connects", path="veth-swapped")


def rows(text):
    """Lines of numbers that perftest has printed."""
    return [[float(word) for word in line.split()] for line in text.splitlines()
            if NUMBERS.match(line)]


def option(args, name, default=None):
    return args[args.index(name) + 1] if name in args else default


def check_figures(case, process):
    found = rows(process.text())
    args = case.args
    sizes = SIZES if "-a" in args else None
    expect(len(found) == (len(sizes) if sizes else 1),
           f"expected {len(sizes) if sizes else 1} rows of figures, got {len(found)}", process)
    iterations = option(args, "-n")
    for i, row in enumerate(found):
        size = sizes[i] if sizes else int(option(args, "-s", row[0]))
        expect(row[0] == size, f"row {i} is of size {row[0]:g}, not {size}", process)
        if iterations and program_is_bandwidth(case):
            number = int(iterations) * int(option(args, "-q", 1)) * (1 + ("-b" in args))
            expect(row[1] in (number, int(iterations) * int(option(args, "-q", 1))),
                   f"{row[1]:g} iterations instead of {number}", process)
        # The message rate (the bandwidth of 2 bytes may round to 0), the latency.
        expect(len(row) >= 4 and row[-1] > 0, f"row {i} has figures of nothing", process)


def program_is_bandwidth(case):
    return case.program.endswith("_bw")


def run(ctx, case, bed_class):
    path = ctx.path(case.path)
    bed = bed_class(ctx)
    pair = Pair(ctx, bed, path, case.program, ("-d", "tcpzc0", "-F", *case.args),
                server_first=case.order == "server-first", limit=case.limit())
    pair.finish()
    reporting = pair.server if "--reversed" in case.args else pair.client
    if NO_CLOCK in reporting.text("err"):
        return
    if "-H" not in case.args:
        check_figures(case, reporting)
    elif not rows(reporting.text()):
        raise Fail("no figures\n" + pair.describe())
