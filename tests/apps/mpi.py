# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Open MPI on two hosts with two processes each, over UCX's verbs."""

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


def compiled(ctx):
    for tool in ("mpicc", "mpirun"):
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed")
    program = ctx.file("mpi_check")
    process = ctx.finish(["mpicc", "-O1", "-o", program, SOURCE], 60, name="mpicc")
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
    found = re.findall(r"^rank \d+ of (\d+): (\d+) wrong$", process.text(), re.M)
    expect(process.status == 0 and found == [(str(2 * RANKS), "0")] * 2 * RANKS,
           "not four ranks with nothing wrong", process)
