# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Several pairs at once on one device."""

from runlib.pair import PORT, Pair

BW = ("-d", "tcpzc0", "-F", "-n", "2000")
LAT = ("-d", "tcpzc0", "-F", "-n", "500")
# Polling latency tests need a processor each; with events they share.
MIXED = (
    ("ib_write_bw", BW), ("ib_send_bw", (*BW, "-e")), ("ib_read_bw", (*BW, "-e")),
    ("ib_atomic_bw", (*BW, "-e")), ("ib_send_lat", (*LAT, "-e")), ("ib_read_lat", (*LAT, "-e")),
    ("ibv_rc_pingpong", ("-d", "tcpzc0", "-g", "0", "-c", "-e")),
    ("ibv_srq_pingpong", ("-d", "tcpzc0", "-g", "0", "-c", "-e")),
)


def run(ctx, bed_class, path_name, programs):
    path = ctx.path(path_name)
    bed = bed_class(ctx)
    pairs = [Pair(ctx, bed, path, program, args, port=PORT + i,
                  limit=ctx.test.limit - 20)
             for i, (program, args) in enumerate(programs)]
    for pair in pairs:
        pair.finish()


CASES = {
    "mixed": ("veth", MIXED),
    "mixed-loopback": ("loopback", MIXED),
    "6-write": ("veth", [("ib_write_bw", BW)] * 6),
    # 12800 messages. Where one takes longer than the kernel looks for others (with KASAN
    # and lockdep: 1 ms), each is rung for, and receivers poll for half of the time.
    "4-send-q16": ("loopback", [("ib_send_bw", ("-d", "tcpzc0", "-F", "-n", "200", "-q", "16",
                                                "-N", "-s", "4096"))] * 4),
}
