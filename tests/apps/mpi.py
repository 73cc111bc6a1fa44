# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Open MPI on two hosts with two processes each, and MPICH, over UCX's verbs."""

import os
import re
import shlex
import shutil
import stat

from runlib.case import Skip, expect

from . import ucx

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mpi_check.c")
RANKS = 2           # on each side
LIMIT = 100

# Hosts have names, and different ones: SIDE PROGRAM ARGUMENT...
AS_HOST = ("unshare", "--uts", "sh", "-c", 'hostname "tcpzc-$0" && exec "$@"')
# How the other side is reached instead of ssh: AGENT HOST COMMAND
AGENT = """#!/bin/sh
shift
exec {command} sh -c "$*"
"""

# Open MPI's one-sided operations need UCX's for RC: osc/pt2pt does not end with pml/ucx
# (4.1.4; nor with UCX's own tcp and posix transports), and osc/ucx does not wait for its
# peers before it ends, which UCX's UD takes for a failure.
CASES = {
    "ucx": (("--mca", "pml", "ucx", "--mca", "osc", "ucx"), ucx.RC, ("one-sided",)),
    "ucx-ud": (("--mca", "pml", "ucx"), ucx.UD, ()),
}


# Its processes take each other for those of other hosts; with its own shared memory
# one-sided operations go wrong (4.0.2), whatever UCX has.
MPICH_CASES = {"mpich": ucx.RC, "mpich-ud": ucx.UD}
MPICH_RANKS = 4


def compiled(ctx, compiler="mpicc", launcher="mpirun"):
    for tool in (compiler, launcher):
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed")
    program = ctx.file("mpi_check")
    process = ctx.finish([compiler, "-O1", "-o", program, SOURCE], 60, name=compiler)
    expect(process.status == 0, "does not compile", process)
    return program


def agent(ctx, path):
    name = ctx.file("agent")
    with open(name, "w", encoding="ascii") as file:
        file.write(AGENT.format(command=shlex.join(path.command("server", *AS_HOST, "server"))))
    os.chmod(name, os.stat(name).st_mode | stat.S_IXUSR)
    return name


def run(ctx, bed, layers, transports, args):
    if os.geteuid():
        raise Skip("needs root to be two hosts")
    program = compiled(ctx)
    path = ctx.path("veth")
    bed = bed(ctx)
    bed.prepare(path)
    words = ["mpirun", "--mca", "plm_rsh_agent", agent(ctx, path), "--mca", "oob_tcp_if_include",
             "198.18.7.0/24", "--mca", "btl", "self", *layers]
    for side in ("client", "server"):
        env = ucx.environment(bed, path, side, transports + ",self")
        inner = bed.command(path, side, program, args, env)[len(path.command(side)):]
        words += [":"] * (side == "server") + ["-np", str(RANKS), "--host",
                                               f"{path.ipv4[side]}:{RANKS}", *inner]
    process = ctx.finish(
        path.command("client", *AS_HOST, "client", "env", "OMPI_ALLOW_RUN_AS_ROOT=1",
                     "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", "TMPDIR=" + ctx.directory, *words),
        LIMIT, name="mpirun")
    expect_right(process, 2 * RANKS)


def expect_right(process, ranks):
    found = re.findall(r"^rank \d+ of (\d+): (\d+) wrong$", process.text(), re.M)
    expect(process.status == 0 and found == [(str(ranks), "0")] * ranks,
           f"not {ranks} ranks with nothing wrong", process)


def run_mpich(ctx, bed, transports):
    program = compiled(ctx, "mpicc.mpich", "mpiexec.mpich")
    path = ctx.path("loopback")
    bed = bed(ctx)
    bed.prepare(path)
    env = {**ucx.environment(bed, path, "client", transports + ",self"), "MPIR_CVAR_NOLOCAL": "1"}
    inner = bed.command(path, "client", program, ("one-sided",), env)[len(path.command("client")):]
    process = ctx.finish(path.command("client", "env", "TMPDIR=" + ctx.directory, "mpiexec.mpich",
                                      "-n", MPICH_RANKS, *inner), LIMIT, name="mpiexec.mpich")
    expect_right(process, MPICH_RANKS)
