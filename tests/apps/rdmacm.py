# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Programs that connect by rdma_cm: rdmacm-utils, perftest -R, libfabric.

No program says when it listens: the bed knows (cm_ports()).
"""

import filecmp
import glob
import os
import random
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace

from runlib import net
from runlib.case import Fail, Skip, expect, until

PORT = 9411
TCP, UDP = 0x106, 0x111
RCOPY = 7427            # rcopy's own port
COPIED = 20_000_001     # bytes, not a multiple of anything
START = 20
OWNERS = 4              # servers of one host
OWNER_PATIENCE = 15     # seconds
HOLD_PORT = """
import socket, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 4795))
print("held", flush=True)
time.sleep(60)
"""


@dataclass(frozen=True)
class Case:
    """server and client: arguments; {port}, {addr}: as the words say."""

    name: str
    program: str
    server: str
    client: str
    port: int = PORT
    ps: int = TCP
    path: str = "veth"
    ipv6: bool = False
    ends: bool = True       # the server ends with its client
    limit: float = 60
    want: str = ""          # in the client's output
    tags: frozenset = frozenset()


def case(name, program, server, client, tags="", **more):
    return Case(name, program, server, client, tags=frozenset(tags.split()), **more)


RPING = "-p {port} -a {any} -s"
RPING_TO = "-p {port} -a {addr} -c"
PERFTEST = ("ib_send_bw", "ib_send_lat", "ib_write_bw", "ib_write_lat", "ib_read_bw",
            "ib_read_lat", "ib_atomic_bw", "ib_atomic_lat")


def both(options):
    return options + " -p {port} -b {any}", options + " -p {port} -s {addr}"


def matrix():
    """IPv4 on veth; the same choice on loopback and with IPv6."""
    base = [*basic(), *perftest()]
    yield from base
    for one in base:
        if "paths" not in one.tags:
            continue
        tags = one.tags - {"quick", "paths"}
        yield replace(one, name=one.name + "-loopback", path="loopback", tags=tags)
        if one.ipv6 or "ipv4" in one.tags:
            continue
        yield replace(one, name=one.name + "-ipv6", ipv6=True, tags=tags)


def basic():
    yield case("verified", "rping", RPING + " -C 20 -V", RPING_TO + " -C 20 -V",
               "quick asan other paths")
    yield case("large", "rping", RPING + " -C 10 -V -S 65535",
               RPING_TO + " -C 10 -V -S 65535", "")
    yield case("persistent", "rping", RPING + " -P -C 10", RPING_TO + " -C 10 -V",
               "", ends=False)
    yield case("default", "ucmatose", "-p {port} -b {any} -C 20",
               "-p {port} -s {addr} -C 20", "quick asan tsan other paths")
    yield case("100-connections", "ucmatose", "-p {port} -b {any} -c 100 -C 5",
               "-p {port} -s {addr} -c 100 -C 5", "asan")
    yield case("migrated", "ucmatose", "-p {port} -b {any} -c 10 -m 1",
               "-p {port} -s {addr} -c 10 -m 1", "")
    yield case("default", "udaddy", "-b {any} -C 20", "-s {addr} -C 20",
               "quick asan tsan other paths", port=7174, ps=UDP)
    yield case("20-connections", "udaddy", "-b {any} -c 20 -C 20", "-s {addr} -c 20 -C 20",
               "", port=7174, ps=UDP)
    yield case("100-connections", "cmtime", "-b {any} -p {port} -c 100",
               "-s {addr} -p {port} -c 100", "ipv4 quick other paths", ends=False)
    yield case("default", "rdma_server", "-p {port}", "-p {port} -s {addr}",
               "ipv4 quick asan tsan other paths")
    for how in ("blocking", "nonblocking", "verify", "resolve"):
        server, client = both(f"-T {how} -S 4096 -C 200")
        yield case(how, "rstream", server, client,
                   "quick asan tsan other paths" if how == "verify" else "")
    server, client = both("-T verify -S all -C 20")
    yield case("all-sizes", "rstream", server, client, "", limit=120)
    server, client = both("-T verify -S 4096 -C 100")
    yield case("verify", "riostream", server, client, "quick other paths")


def perftest():
    for program in PERFTEST:
        yield case("rdma-cm", program, "-F -R -p {port} -n 200",
                   "-F -R -p {port} -n 200 {addr}", "ipv4 quick other paths" if
                   program in ("ib_send_bw", "ib_write_lat") else "ipv4", limit=90)
    for program in ("ib_send_bw", "ib_send_lat"):
        yield case("rdma-cm-ud", program, "-F -R -c UD -p {port} -n 200 -s 1024",
                   "-F -R -c UD -p {port} -n 200 -s 1024 {addr}", "ipv4", limit=90)
    yield case("rdma-cm-q8", "ib_write_bw", "-F -R -q 8 -N -p {port} -n 50",
               "-F -R -q 8 -N -p {port} -n 50 {addr}", "ipv4", limit=90)
    yield case("rdma-cm-both-ways", "ib_send_bw", "-F -R -b -p {port} -n 200",
               "-F -R -b -p {port} -n 200 {addr}", "ipv4", limit=90)


# ---- how ------------------------------------------------------------------------------


def await_listening(bed, path, process, ps, port, side="server"):
    until(lambda: (ps, port) in bed.cm_ports(path, side), f"the {side} does not listen",
          alive=[process], limit=START)


def words(case, path, text):
    addr = (path.ipv6 if case.ipv6 else path.ipv4)["server"]
    return text.format(port=case.port, addr=addr, any="::" if case.ipv6 else "0.0.0.0").split()


def partner(program):
    return "rdma_client" if program == "rdma_server" else program


def run(ctx, case, bed_class, client_bed_class=None):
    if case.ipv6 and not net.has_ipv6():
        raise Skip("this kernel has no IPv6")
    if not shutil.which(case.program):
        raise Skip(f"{case.program} is not installed")
    path = ctx.path(case.path)
    bed = bed_class(ctx)
    client_bed = bed
    if client_bed_class:
        client_bed = client_bed_class(ctx)
        bed.sides, client_bed.sides = ("server",), ("client",)
    for each in {bed, client_bed}:
        each.prepare(path)
    server = ctx.start(bed.command(path, "server", case.program, words(case, path, case.server)),
                       case.limit + 5, name="server")
    await_listening(bed, path, server, case.ps, case.port)
    client = ctx.start(client_bed.command(path, "client", partner(case.program),
                                          words(case, path, case.client)),
                       case.limit, name="client")
    finish(case, server, client, bed)


def finish(case, server, client, bed):
    client.wait(case.limit)
    expect(client.status == 0, "the client fails", server, client)
    if case.ends:
        server.wait(15)
        expect(server.status == 0, "the server fails", server, client)
    else:
        os.kill(server.pid, signal.SIGTERM)
        server.wait(10)
    for process in (server, client):
        bad = bed.bad_output(process)
        expect(not bad, f"{process.name}: {bad}", server, client)


# ---- many, and the end of others ------------------------------------------------------


def opened(ctx, bed_class):
    """A path of two sides and the bed that has its devices there."""
    path = ctx.path("veth")
    bed = bed_class(ctx)
    bed.prepare(path)
    return path, bed


def serve(ctx, bed, path, port=PORT, options=("-P",), name="server", env=None):
    server = ctx.start(bed.command(path, "server", "rping",
                                   ["-s", "-a", "0.0.0.0", "-p", port, *options], env),
                       ctx.test.limit, name=name)
    await_listening(bed, path, server, TCP, port)
    return server


def rping(ctx, bed, path, port=PORT, count=2, name="client", env=None):
    args = ["-c", "-a", path.ipv4["server"], "-p", port, "-C", count, "-V"]
    return ctx.start(bed.command(path, "client", "rping", args, env), ctx.test.limit, name=name)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def program_pid(process, name):
    """The program itself, below env, nsenter and tcpzc-run."""
    from runlib import proc
    for pid in [process.pid, *proc.descendants(process.pid)]:
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                if file.read().strip() == name:
                    return pid
        except OSError:
            pass
    raise Fail(f"{name} is not there\n" + process.describe())


def sequential(ctx, bed_class, number):
    """One server, one client after the other: all succeed, the server keeps nothing."""
    path, bed = opened(ctx, bed_class)
    server = serve(ctx, bed, path)
    pid = program_pid(server, "rping")
    settled = 0
    for i in range(number):
        client = rping(ctx, bed, path, name=f"client {i}")
        client.wait(30)
        expect(client.status == 0, f"client {i} fails", server, client)
        ctx.processes.remove(client)
        if i == 20:
            settled = descriptors(pid)
    time.sleep(1)
    expect(descriptors(pid) <= settled + 8,
           f"{descriptors(pid)} descriptors after {number} clients, {settled} after 20", server)
    end(server)


def end(server):
    os.kill(server.pid, signal.SIGTERM)
    server.wait(10)


def librdmacm_release(bed):
    """The distribution's rdma-core: 44 for librdmacm.so.1.3.44.0."""
    for name in glob.glob(f"{bed.root}/usr/lib/*/librdmacm.so.1.*.*"):
        return int(name.split(".")[-2])
    raise Skip("librdmacm is not installed")


def concurrent(ctx, bed_class, number):
    path, bed = opened(ctx, bed_class)
    release = librdmacm_release(bed)
    if release < 56:
        # It keeps one request only that it has not answered yet.
        raise Skip(f"rping -P of rdma-core {release} loses requests that come at the same time")
    server = serve(ctx, bed, path)
    clients = [rping(ctx, bed, path, name=f"client {i}") for i in range(number)]
    for client in clients:
        client.wait(ctx.test.limit)
        expect(client.status == 0, f"the {client.name} fails", server, client)
    end(server)


def pairs(ctx, bed_class, number):
    """Many servers on one host, each a process: one has the well-known port."""
    path, bed = opened(ctx, bed_class)
    ports = range(PORT, PORT + number)
    servers = [serve(ctx, bed, path, port, (), f"server {port}") for port in ports]
    clients = [rping(ctx, bed, path, port, name=f"client {port}") for port in ports]
    for client in clients:
        client.wait(ctx.test.limit)
        expect(client.status == 0, f"the {client.name} fails", client)
    for server in servers:
        server.wait(20)
        expect(server.status == 0, f"the {server.name} fails", server)


def two_servers(ctx, bed_class):
    """The first process has the well-known port and ends; the other one goes on."""
    path, bed = opened(ctx, bed_class)
    owner = serve(ctx, bed, path, PORT, name="owner")
    other = serve(ctx, bed, path, PORT + 1, name="other")
    for port in (PORT, PORT + 1):
        client = rping(ctx, bed, path, port)
        client.wait(30)
        expect(client.status == 0, f"port {port}: the client fails", owner, other, client)
    os.kill(program_pid(owner, "rping"), signal.SIGKILL)
    owner.wait(10)
    client = rping(ctx, bed, path, PORT + 1)
    client.wait(30)
    expect(client.status == 0, "the owner has ended: the client fails", other, client)
    # Nobody serves the first one's port any more, and it is said so.
    client = rping(ctx, bed, path, PORT)
    client.wait(30)
    expect(client.status != 0, "connected to nobody", client)
    expect("REJECTED" in client.output(), "not rejected", client)
    end(other)


def unread(ctx, bed_class):
    """The owner of the well-known port is killed with an unread goodbye in its socket."""
    path, bed = opened(ctx, bed_class)
    owner = serve(ctx, bed, path, PORT, name="owner")
    other = serve(ctx, bed, path, PORT + 1, (), name="other")
    client = rping(ctx, bed, path, PORT + 1, 6000)
    until(lambda: net.ESTABLISHED in {state for _, state in
                                      net.tcp_sockets(path.spaces["server"])},
          "no connection", other, client, limit=START)
    time.sleep(0.3)         # for the RTU
    pid = program_pid(owner, "rping")
    os.kill(pid, signal.SIGSTOP)
    client.wait(60)
    expect(client.status == 0, "the client fails", other, client)
    expect(other.poll() is None, "the other server has heard of the client's end", other)
    os.kill(pid, signal.SIGKILL)
    owner.wait(10)
    other.wait(15)
    expect(other.status == 0, "the goodbye is lost", other, client)


def owner(path, servers):
    """The server whose process has the well-known port's name, and its process's id."""
    with open(f"{path.spaces['server'].proc_net()}/unix", encoding="utf-8") as file:
        inodes = {f"socket:[{words[6]}]" for words in map(str.split, file)
                  if words[-1].endswith("/owner") and words[3] == "00010000"}
    for port, server in servers.items():
        pid = program_pid(server, "rping")
        directory = f"/proc/{pid}/fd"
        for descriptor in os.listdir(directory):
            try:
                if os.readlink(os.path.join(directory, descriptor)) in inodes:
                    return port, pid
            except FileNotFoundError:
                pass        # it is closed now
    return None


def talkative(ctx, bed, path, port):
    """rping that says at once what happens to it."""
    args = ["-oL", "rping", "-c", "-d", "-a", path.ipv4["server"], "-p", port, "-C", 2]
    return ctx.start(bed.command(path, "client", "stdbuf", args), ctx.test.limit,
                     name=f"client of {port}")


def owners_killed(ctx, bed_class, number):
    """The well-known port's owner is killed at any moment, again and again: clients of the
    others' services are served, and its own clients do not wait for it: they are refused, if
    they are not connected (then they may wait: nobody says goodbye for a killed process)."""
    path, bed = opened(ctx, bed_class)
    seed = os.environ.get("TCPZC_TEST_SEED") or str(random.SystemRandom().randrange(1 << 32))
    dice = random.Random(seed)
    servers = {port: serve(ctx, bed, path, port, name=f"server {port}")
               for port in range(PORT, PORT + OWNERS)}
    slowest = 0
    for i in range(number):
        victim, pid = until(lambda: owner(path, servers), "nobody owns the port",
                            *servers.values(), alive=servers.values())
        port = dice.choice([port for port in servers if port != victim])
        clients = {port: rping(ctx, bed, path, port, name=f"client of {port}"),
                   victim: talkative(ctx, bed, path, victim)}
        time.sleep(dice.uniform(0, 0.12))
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        servers[victim].wait(10)
        told = f"seed {seed}, round {i}, {victim} killed: the client of"
        expect(clients[port].wait(OWNER_PATIENCE) and clients[port].status == 0,
               f"{told} {port} fails", clients[port], *servers.values())
        client = clients[victim]
        until(lambda client=client: client.poll() is not None or "ESTABLISHED" in client.output(),
              f"{told} {victim} waits", client, *servers.values(), limit=OWNER_PATIENCE)
        expect("UNREACHABLE" not in client.output(), f"{told} {victim} hears nothing", client)
        slowest = max(slowest, time.monotonic() - killed)
        client.end()
        for process in (*clients.values(), servers[victim]):
            ctx.processes.remove(process)
        servers[victim] = serve(ctx, bed, path, victim, name=f"server {victim}")
    print(f"the slowest client was served or refused {slowest:.2f} s after an owner's end")
    for server in servers.values():
        end(server)


def nobody(ctx, bed_class):
    """No process with rdma_cm at the other host at all."""
    path, bed = opened(ctx, bed_class)
    start = time.monotonic()
    client = rping(ctx, bed, path)
    client.wait(30)
    expect(client.status != 0 and "REJECTED" in client.output(), "not rejected", client)
    expect(time.monotonic() - start < 10, "it took too long", client)


def refused_again(ctx, bed_class):
    """A request that comes once more behind its refusal is refused, too, at once."""
    path, bed = opened(ctx, bed_class)
    server = serve(ctx, bed, path)
    peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cm_peer.py")
    done = ctx.finish(path.command("client", sys.executable, peer, "refused", path.ipv4["client"],
                                   path.ipv4["server"], PORT + 1))
    expect(done.status == 0, "not refused as it must be", done, server)
    end(server)


def port_elsewhere(ctx, bed_class):
    """Something else has the well-known port: the client is told so in seconds, in two ways."""
    path, bed = opened(ctx, bed_class)
    server = serve(ctx, bed, path)
    holder = ctx.start(path.command("client", sys.executable, "-c", HOLD_PORT), 60, name="holder")
    until(lambda: "held" in holder.output(), "the port is not held", alive=[holder])
    client = rping(ctx, bed, path)
    expect(client.wait(10), "the client waits", client, server)
    expect(client.status != 0 and "taken by something else" in client.output() and
           "UNREACHABLE" in client.output(), "it was told something else", client)
    holder.end()
    client = rping(ctx, bed, path)
    client.wait(30)
    expect(client.status == 0, "the client fails", client, server)
    end(server)


def in_use(ctx, bed_class):
    path, bed = opened(ctx, bed_class)
    server = serve(ctx, bed, path)
    second = ctx.finish(bed.command(path, "server", "rping",
                                    ["-s", "-a", "0.0.0.0", "-p", PORT]))
    expect(second.status != 0 and bed.port_taken in second.output(), "the port was free", second)
    second = ctx.finish(bed.command(path, "server", "rping",
                                    ["-s", "-a", path.ipv4["server"], "-p", PORT]))
    expect(second.status != 0 and bed.port_taken in second.output(), "the address was free",
           second)
    end(server)


def removed(ctx, bed_class):
    """The interface goes: a server that is bound to it is told, and one at all is not."""
    path, bed = opened(ctx, bed_class)
    bound = ctx.start(bed.command(path, "server", "rping",
                                  ["-s", "-a", path.ipv4["server"], "-p", PORT]), 60,
                      name="bound")
    await_listening(bed, path, bound, TCP, PORT)
    anywhere = serve(ctx, bed, path, PORT + 1, name="anywhere")
    path.cut = True
    path.spaces["server"].call("ip", "link", "delete", path.netdev["server"])
    expect(bound.wait(15), "it has not noticed", bound)
    expect("device removal" in bound.output(), "it was told something else", bound)
    expect(anywhere.poll() is None and "device removal" not in anywhere.output(),
           "the one that listens anywhere is concerned", anywhere)
    end(anywhere)


def link_local(ctx, bed_class):
    """Two interfaces have the same link-local address, on both sides: the one that the address
    names is used, the other leads nowhere."""
    if not net.has_ipv6():
        raise Skip("this kernel has no IPv6")
    path, bed = opened(ctx, bed_class)
    second = {"server": "tcpzc-c", "client": "tcpzc-d"}
    path.spaces["client"].call("ip", "link", "add", second["client"], "type", "veth", "peer",
                               "name", second["server"], "netns", str(path.spaces["server"].pid))
    for side, space in path.spaces.items():
        mac = link_address(space, "link", path.netdev[side], "link/ether")
        space.call("ip", "link", "set", second[side], "address", mac, "up")
    address = {side: until(lambda side=side: link_address(path.spaces[side], "address",
                                                          second[side], "inet6 fe80"),
                           "no link-local address") for side in second}
    for used, other in ((path.netdev, second), (second, path.netdev)):
        dead_end(path, other, address)
        through = {}
        for side, netdev in used.items():
            env = {"TCPZC_NETDEV": f"{path.netdev[side]},{second[side]}"}
            args = ["-s" if side == "server" else "-c", "-a", f"fe80{address['server']}%{netdev}",
                    "-p", PORT, "-C", 5]
            through[side] = ctx.start(bed.command(path, side, "rping", args, env), 60,
                                      name=f"{side} at {netdev}")
            if side == "server":
                await_listening(bed, path, through[side], TCP, PORT)
        for process in through.values():
            process.wait(20)
            expect(process.status == 0, f"the {process.name} fails", *through.values())


def dead_end(path, netdev, address):
    """From now on what leaves these interfaces is for nobody, and what leaves others is not."""
    for side, space in path.spaces.items():
        peer = "fe80" + address["client" if side == "server" else "server"]
        space.call("ip", "neighbour", "flush", "nud", "permanent")
        space.call("ip", "neighbour", "replace", peer, "lladdr", "02:00:00:00:de:ad", "dev",
                   netdev[side], "nud", "permanent")


def link_address(space, what, netdev, word):
    """What `ip` says behind a word, without a prefix's length."""
    shown = space.call("ip", "-o", what, "show", "dev", netdev)
    return shown.split(word, 1)[1].split()[0].split("/")[0] if word in shown else ""


def multicast(ctx, bed_class):
    """There is none, and mckey says so."""
    path, bed = opened(ctx, bed_class)
    done = ctx.finish(bed.command(path, "server", "mckey",
                                  ["-m", "239.1.2.3", "-b", path.ipv4["server"]]))
    expect("joined dgid" not in done.output(), "mckey joined something", done)
    expect(any(words in done.output() for words in
               ("not supported", "RDMA_CM_EVENT_MULTICAST_ERROR")), "not refused", done)


def copy(ctx, bed_class):
    """rcopy, which reads what it has mapped and writes into what the other side has."""
    path, bed = opened(ctx, bed_class)
    source, target = ctx.file("source"), ctx.file("target")
    with open(source, "wb") as file:
        file.write(os.urandom(COPIED))
    server = ctx.start(bed.command(path, "server", "rcopy"), 60, name="server")
    await_listening(bed, path, server, TCP, RCOPY)
    client = ctx.start(bed.command(path, "client", "rcopy",
                                   [source, f"{path.ipv4['server']}:{target}"]), 60,
                       name="client")
    client.wait(50)
    expect(client.status == 0, "the client fails", server, client)
    expect(filecmp.cmp(source, target, shallow=False), "not the same file", server, client)
    end(server)


def libfabric(ctx, bed_class):
    if not shutil.which("fi_pingpong"):
        raise Skip("fi_pingpong is not installed")
    path, bed = opened(ctx, bed_class)
    for side, space in path.spaces.items():
        if not space.private:
            raise Skip("libfabric looks up localhost, and /etc/hosts cannot be ours")
        name = ctx.file(f"hosts-{side}")
        with open(name, "w", encoding="utf-8") as file:
            file.write(f"{path.ipv4[side]} {socket.gethostname()} localhost\n")
        space.call("mount", "--bind", name, bed.root + "/etc/hosts")
    args = ["-p", "verbs", "-e", "msg", "-I", 50]
    server = ctx.start(bed.command(path, "server", "fi_pingpong", args), 60, name="server")
    until(lambda: 47592 in path.listening("server"), "fi_pingpong does not listen",
          alive=[server], limit=START)
    client = ctx.start(bed.command(path, "client", "fi_pingpong", [*args, path.ipv4["server"]]),
                       60, name="client")
    client.wait(50)
    expect(client.status == 0, "the client fails", server, client)
    server.wait(10)
    expect(server.status == 0, "the server fails", server, client)


CASES = {
    "1000-sequential": (lambda ctx, bed: sequential(ctx, bed, 1000), 900),
    "50-sequential": (lambda ctx, bed: sequential(ctx, bed, 50), 120),
    "200-concurrent": (lambda ctx, bed: concurrent(ctx, bed, 200), 300),
    "30-pairs": (lambda ctx, bed: pairs(ctx, bed, 30), 180),
    "50-owners-killed": (lambda ctx, bed: owners_killed(ctx, bed, 50), 300),
    "1000-owners-killed": (lambda ctx, bed: owners_killed(ctx, bed, 1000), 3000),
    "owner-ends": (two_servers, 120),
    "owner-killed-unread": (unread, 120),
    "nobody-there": (nobody, 60),
    "refused-again": (refused_again, 60),
    "port-in-use": (in_use, 60),
    "well-known-port-elsewhere": (port_elsewhere, 60),
    "device-removed": (removed, 60),
    "link-local-interface": (link_local, 90),
    "no-multicast": (multicast, 60),
    "rcopy": (copy, 90),
    "libfabric-msg": (libfabric, 90),
}
