# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""How long rdma_cm takes to connect: cmtime of rdmacm-utils, which makes many
connections at once and says what each step took."""

import os
import re
import time

from . import proc
from .case import Case, Result

NUMBER = 200
LISTEN = 10         # seconds a server may take
STEP = re.compile(r"^([a-z ]+?)\s*:\s+([\d.]+)\s+[\d.]+\s+[\d.]+\s+[\d.]+\s*$", re.M)


def _listens(path, port):
    """In kernel mode rdma knows; in user mode there is a socket of that name."""
    space = path.spaces["server"]
    with open(f"/proc/{space.pid}/net/unix", encoding="utf-8", errors="replace") as file:
        if re.search(rf"@tcpzc-cm/[0-9a-f]+/{port}/listen/", file.read()):
            return True
    shown = space.call("rdma", "resource", "show", "cm_id")
    return any("LISTEN" in line and f":{port} " in line for line in shown.splitlines())


def _await(server, path, port):
    deadline = time.monotonic() + LISTEN
    while not _listens(path, port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise proc.Failed("server does not listen: " + server.describe())
        time.sleep(0.02)


def _run(bench, path, port, command):
    """command(side, arguments) is that of one side. Milliseconds of each step."""
    server = proc.Process(command("server", ("-b", path.server, "-p", str(port), "-c",
                                             str(NUMBER))), bench.timeout)
    try:
        _await(server, path, port)
        client = proc.run(command("client", ("-s", path.server, "-p", str(port), "-c",
                                             str(NUMBER))), bench.timeout)
    finally:
        server.end()        # it never does by itself
    steps = {name: float(total) for name, total in STEP.findall(client.text())}
    if "connect" not in steps:
        raise proc.Failed("no figures: " + client.describe())
    return Result(value=steps["connect"] * 1000 / NUMBER, operations=NUMBER,
                  detail={f"{name.replace(' ', '_')}_ms": total for name, total in steps.items()})


def _kernel(kind, devices, env):
    def run(bench, path):
        with devices(path, kind):
            return _run(bench, path, bench.port(), lambda side, args: bench.on(
                path, side, "env", *(env if kind == "tcpzc" else ()), "cmtime", *args))
    return run


def _user(bench, path):
    program = os.path.join(bench.build or os.path.join(bench.root, "build"), "bin", "tcpzc-run")
    return _run(bench, path, bench.port(), lambda side, args: bench.on(
        path, side, "env", "TCPZC_NETDEV=" + path.netdev[side], program, "cmtime", *args))


def cases(devices, ours):
    """devices: a context in which both sides have a device of some kind; ours: the
    environment that has our provider."""
    env = [f"{name}={value}" for name, value in ours.items() if value]
    found = [Case("cmtime", "cmtime, connect", "us", _kernel("tcpzc", devices, env), "tcpzc",
                  ours=True),
             Case("cmtime_user", "cmtime, connect, user mode", "us", _user, "tcpzc", ours=True)]
    for kind in ("siw", "rxe"):
        found.append(Case(f"{kind}_cmtime", f"{kind} cmtime, connect", "us",
                          _kernel(kind, devices, ()), "baseline"))
    return found
