# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""What perftest itself does not check: that the bytes arrive, and the sums are right.

perftest keeps its buffer in a file if told so (--mmap), fills it with rand(),
seeded by the time, and leaves it there. The first half is what one side sends
or reads into, the second what it receives or lets be read. So the two places
that must be equal afterwards were different before.
"""

import ctypes
import os
import time

from runlib.case import expect
from runlib.pair import Pair

PAGE = os.sysconf("SC_PAGESIZE")
CACHE_LINE = 64


def run(ctx, bed_class, program, size, args=(), check=None, path="veth"):
    # Requests go right behind the first half, receives behind it and its padding.
    half = max(size, PAGE)
    padded = -(-half // CACHE_LINE) * CACHE_LINE
    for side in ("server", "client"):
        with open(ctx.file(side), "wb") as file:
            file.truncate(2 * padded)
    begin = int(time.time())
    common = ["-d", "tcpzc0", "-F", *(["-s", size] if size else []), *args]
    pair = Pair(ctx, bed_class(ctx), ctx.path(path), program,
                [*common, "--mmap=" + ctx.file("server")],
                [*common, "--mmap=" + ctx.file("client")])
    pair.finish()
    found = {}
    for side in ("server", "client"):
        with open(ctx.file(side), "rb") as file:
            found[side] = file.read()
    if "send" in program:
        half = padded
    check(found, size, half, range(begin, int(time.time()) + 1), pair)


def written(found, size, half, seeds, pair):
    """WRITE and SEND: the client's first half is in the server's second."""
    expect(found["server"][half:half + size] == found["client"][:size],
           "the server has not got what the client has sent", *pair.all())
    expect(found["server"][:half] == filled(seeds, found["server"][:half]),
           "the server's other memory was written to", *pair.all())
    expect(found["client"][:half] == filled(seeds, found["client"][:half]),
           "the client's memory was written to", *pair.all())


def read(found, size, half, seeds, pair):
    """READ: the server's second half is in the client's first."""
    expect(found["client"][:size] == found["server"][half:half + size],
           "the client has not got what the server has", *pair.all())
    expect(seed_of(seeds, found["client"][:half]) is None,
           "the client has got nothing", *pair.all())


def added(number):
    """FETCH_AND_ADD: the server's counter has grown by what was added to it."""
    def check(found, _size, half, seeds, pair):
        expect(sum(grown(found, half, seeds, pair)) == number,
               f"{number} additions have made {grown(found, half, seeds, pair)}", *pair.all())
    return check


def grown(found, half, seeds, pair):
    """By how much each 8 bytes of the server's second half have grown."""
    seed = seed_of(seeds, found["server"][:half])
    expect(seed is not None, "the server's first half was written to", *pair.all())
    was = random_bytes(seed, 2 * half)[half:]
    now = found["server"][half:]
    mask = (1 << 64) - 1
    both = ((int.from_bytes(now[i:i + 8], "little"), int.from_bytes(was[i:i + 8], "little"))
            for i in range(0, half, 8))
    return [(b - a) & mask for b, a in both if a != b]


def filled(seeds, like):
    seed = seed_of(seeds, like)
    return None if seed is None else random_bytes(seed, len(like))


def seed_of(seeds, content):
    """Which of the seeds gives this content?"""
    for seed in seeds:
        if random_bytes(seed, 64) == content[:64] and \
                random_bytes(seed, len(content)) == content:
            return seed
    return None


def random_bytes(seed, number):
    """What perftest fills its buffer with."""
    libc = ctypes.CDLL(None)
    libc.srand(seed)
    rand = libc.rand
    return bytes(rand() & 0xff for _ in range(number))


# topic: (program, size, arguments, check)
CASES = {
    "write": ("ib_write_bw", 65536, ("-n", 50), written),
    "write-odd-size": ("ib_write_bw", 100001, ("-n", 50), written),
    "write-1-mib": ("ib_write_bw", 1 << 20, ("-n", 20), written),
    "write-post-list": ("ib_write_bw", 65536, ("-n", 80, "-l", 8), written),
    "send": ("ib_send_bw", 65536, ("-n", 50), written),
    "send-odd-size": ("ib_send_bw", 100001, ("-n", 50), written),
    "send-1-mib": ("ib_send_bw", 1 << 20, ("-n", 20), written),
    "send-events": ("ib_send_bw", 65536, ("-n", 50, "-e"), written),
    "send-srq": ("ib_send_bw", 65536, ("-n", 50, "--use-srq"), written),
    "read": ("ib_read_bw", 65536, ("-n", 50), read),
    "read-odd-size": ("ib_read_bw", 100001, ("-n", 50), read),
    "read-1-mib": ("ib_read_bw", 1 << 20, ("-n", 20), read),
    "fetch-add": ("ib_atomic_bw", 0, ("-n", 1000, "-A", "FETCH_AND_ADD"), added(1000)),
}
