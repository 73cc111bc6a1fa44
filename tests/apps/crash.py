# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Either side is killed at a random moment.

The other must end with an error by itself, or at the latest when it is asked to
(one that spins on its memory cannot notice, on any device). Nothing may be left.
The moments come from a seed, which a failure tells: TCPZC_TEST_SEED=N repeats them.
"""

import os
import random
import signal
import time

from runlib.case import Fail, expect
from runlib.pair import Pair

PATIENCE = 15       # seconds; a queue pair's retries take at least three
LONG = ("-D", "20")
# topic, program, arguments, whether the server / the client must notice by itself
PROGRAMS = (
    ("write", "ib_write_bw", LONG, True, True),
    ("send-both-ways", "ib_send_bw", ("-b", *LONG), True, True),
    ("read-q16", "ib_read_bw", ("-q", "16", *LONG), True, True),
    ("send-srq-events", "ib_send_bw", ("-e", "--use-srq", "-N", "-s", "1024",
     "-n", "5000000"), False, True),
    ("write-lat", "ib_write_lat", LONG, False, False),
    ("atomic-lat", "ib_atomic_lat", LONG, True, True),
    ("rc-pingpong-events", "ibv_rc_pingpong", ("-g", "0", "-e", "-n", "10000000"), False, False),
    ("srq-pingpong", "ibv_srq_pingpong", ("-g", "0", "-n", "10000000"), False, False),
)
VICTIMS = ("server", "client")


def seed(name):
    given = os.environ.get("TCPZC_TEST_SEED")
    return f"{given or random.SystemRandom().randrange(1 << 32)}/{name}"


def run(ctx, bed_class, program, args, victim, notices, whole, rounds):
    """whole: kill tcpzc-run, with which the program ends; else the program."""
    name = seed(f"{program}{args}{victim}")
    rng = random.Random(name)
    for number in range(rounds):
        moment = rng.choice((rng.uniform(0, 0.3), rng.uniform(0.3, 1.2), rng.uniform(1.2, 3)))
        try:
            once(ctx, bed_class, program, args, victim, notices, whole, moment)
        except Fail as failure:
            raise Fail(f"seed {name.split('/')[0]}, round {number}, killed after "
                       f"{moment:.3f} s: {failure}") from None


def once(ctx, bed_class, program, args, victim, notices, whole, moment):
    path = ctx.path("veth")
    bed = bed_class(ctx)
    common = ("-d", "tcpzc0", *(("-F",) if program.startswith("ib_") else ()), *args)
    pair = Pair(ctx, bed, path, program, common, limit=60)
    time.sleep(moment)
    killed = getattr(pair, victim)
    other = pair.client if victim == "server" else pair.server
    pid = killed.find("tcpzc-run" if whole else program)
    expect(pid or killed.poll() is not None, "test: nothing to kill", *pair.all())
    if pid:
        os.kill(pid, signal.SIGKILL)
    expect(killed.wait(5), "the killed side still runs", *pair.all())
    expect(killed.status != 0, "the killed side has succeeded", *pair.all())
    if not other.wait(PATIENCE if notices else 1):
        expect(not notices, f"the other side has noticed nothing for {PATIENCE} s",
               *pair.all())
        other.signal_group(signal.SIGTERM)
        expect(other.wait(3), "the other side cannot be ended", *pair.all())
    expect(other.status != 0, "the other side takes it for success", *pair.all())
    expect(other.status not in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS,
                                128 + signal.SIGSEGV, 128 + signal.SIGABRT),
           "the other side crashes", *pair.all())
    bad = bed.bad_output(other)
    expect(not bad, bad, *pair.all())
    sweep(ctx, bed, path)


def sweep(ctx, bed, path):
    """What a killed tcpzc-run has left is cleared away by the next one."""
    for side in path.spaces:
        process = ctx.finish(bed.command(path, side, "true"), 10)
        expect(process.status == 0, "the next run fails", process)


def cases():
    for i, (topic, program, args, server_notices, client_notices) in enumerate(PROGRAMS):
        for j, victim in enumerate(VICTIMS):
            notices = client_notices if victim == "server" else server_notices
            yield f"{topic}-{victim}", (program, args, victim, notices, (i + j) % 3 == 0)
