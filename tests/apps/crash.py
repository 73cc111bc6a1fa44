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

from runlib import net
from runlib.case import Fail, expect, until
from runlib.pair import Pair

PATIENCE = 15       # seconds; a queue pair's retries take at least three
HOST_PATIENCE = 14  # five retransmissions of TCP, and an answer to the last: 7.5
STOPPED = 7         # seconds; more than twice the least time of a queue pair
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
    killed = getattr(pair, victim)
    other = pair.client if victim == "server" else pair.server
    name = "tcpzc-run" if whole else program
    await_started(pair, killed, name)
    time.sleep(moment)
    pid = killed.find(name)
    expect(pid or killed.poll() is not None, "test: nothing to kill", *pair.all())
    if pid:
        os.kill(pid, signal.SIGKILL)
    expect(killed.wait(5), "the killed side still runs", *pair.all())
    expect(killed.status != 0, "the killed side has succeeded", *pair.all())
    notices = notices and (victim == "server" or has_met(pair))
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


def has_met(pair):
    """Has the client come to the server's port? Before that nobody misses it."""
    return any(port == pair.port and state != net.LISTEN
               for port, state in net.tcp_sockets(pair.path.spaces["server"]))


def await_started(pair, process, name):
    """Until the program is there: a busy machine may be slow to start it."""
    until(lambda: process.find(name) or process.poll() is not None,
          f"{name} has not been started", *pair.all(), tick=0.005)


def host_vanishes(ctx, bed_class):
    """The path is cut: who waits for something notices within its queue pair's time."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    pair = Pair(ctx, bed, path, "ibv_rc_pingpong",
                ("-d", "tcpzc0", "-g", "0", "-s", "65536", "-n", "10000000"), limit=60)
    time.sleep(1)
    sides = (pair.server, pair.client)
    expect(not any(p.poll() is not None for p in sides), "ends too early", *sides)
    path.unplug("server")
    ended = until(lambda: [p for p in sides if p.poll() is not None],
                  f"neither side has noticed anything for {HOST_PATIENCE} s", *sides,
                  limit=HOST_PATIENCE)
    for side in ended:
        expect(side.status > 0, f"the {side.name} takes it for success", *sides)
        expect("Failed status" in side.output(), "no failed completion", *sides)
    for side in sides:
        if side not in ended:
            side.signal_group(signal.SIGTERM)
            expect(side.wait(3), "the other side cannot be ended", *sides)


def stopped(ctx, bed_class, client_bed_class=None):
    """The server stands still for longer than a queue pair's time, and goes on."""
    path = ctx.path("veth")
    pair = Pair(ctx, bed_class(ctx), path, "ib_send_bw",
                ("-d", "tcpzc0", "-F", "-N", "-n", "20000"), limit=ctx.test.limit - 20,
                client_bed=client_bed_class and client_bed_class(ctx))
    time.sleep(1)
    pid = pair.server.find("ib_send_bw")
    expect(pid and pair.client.poll() is None, "ends too early", *pair.all())
    os.kill(pid, signal.SIGSTOP)
    time.sleep(STOPPED)
    os.kill(pid, signal.SIGCONT)
    pair.finish()


def late(ctx, bed_class, killed):
    """Link down, WRITEs fail or their process is killed, link up: nothing is placed."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    bed.prepare(path)
    program = os.path.join(ctx.builds.directory(""), "tests", "verbs", "verbs_late")
    shared = ctx.file("late")
    os.mkdir(shared)

    def there(name):
        return os.path.exists(os.path.join(shared, name))

    def tell(name):
        with open(os.path.join(shared, "." + name), "w", encoding="ascii") as file:
            file.write("x")
        os.rename(os.path.join(shared, "." + name), os.path.join(shared, name))

    target = ctx.start(bed.command(path, "server", program, ("target", shared, "tcpzc0")), 60)
    requester = ctx.start(bed.command(path, "client", program, ("requester", shared, "tcpzc0")), 60)
    both = (target, requester)
    until(lambda: there("running"), "nothing is written", *both, alive=both)
    path.unplug("client")
    if killed:
        # More than what is on its way is queued by then.
        time.sleep(0.5)
        os.kill(requester.find("verbs_late"), signal.SIGKILL)
        requester.wait(5)
        tell("failed")
    until(lambda: there("cleared"), "no WRITE fails", *both, limit=HOST_PATIENCE)
    path.spaces["client"].call("ip", "link", "set", path.netdev["client"], "up")
    tell("restored")
    expect(target.wait(30), "the target does not end", *both)
    expect(target.status == 0, "something was late", *both)
    requester.signal_group(signal.SIGTERM)
    requester.wait(5)


SILENCE = {"host-vanishes": host_vanishes, "stopped": stopped,
           "late-failed": lambda ctx, bed: late(ctx, bed, False),
           "late-killed": lambda ctx, bed: late(ctx, bed, True)}


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
