# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""What docs/kernel-mode.md promises to those who run machines: what a device does when
its interface changes, network namespaces, limits, the module's parameters, what can be
seen of queue pairs."""

import contextlib
import copy
import os
import re

from runlib.bed import Bed
from runlib.case import Fail, Skip, expect, until
from runlib.net import Namespace
from runlib.pair import PORT, Pair

from .devices import counters, end, opened, rdma, running
from .kernel import Kernel, read
from .trouble import must, rmmod

PARAMETERS = "/sys/module/tcpzc/parameters"
TRACING = "/sys/kernel/tracing"
HUGE = "/proc/sys/vm/nr_hugepages"
NOBODY = 65534
QUICK = ("-d", "tcpzc0", "-F", "-n", "200")


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


# ---- the interface changes

def exists(name):
    return os.path.exists(f"/sys/class/infiniband/{name}")


def hears(pid):
    """Whether the process has opened a device: events are kept for it from now on."""
    try:
        return pid and any("[infinibandevent]" in os.readlink(entry.path)
                           for entry in os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def events(ctx):
    """A program hears what happens to the interface, and the device shows it."""
    path, bed = opened(ctx)
    name, space, netdev = (bed.device(path, "server"), path.spaces["server"],
                           path.netdev["server"])
    process = ctx.start(bed.command(path, "server", "ibv_asyncwatch", ["-d", "tcpzc0"]))
    until(lambda: hears(process.find("ibv_asyncwatch")), "does not open the device", process)

    def heard(number):
        return lambda: re.search(rf"event_type .*\({number}\)", process.text())

    def state(word):
        return lambda: word in space.call("rdma", "link", "show", name + "/1")

    for words, number, met in (
            (("address", "add", "198.18.7.7/24", "dev", netdev), 18,
             lambda: any(gid.endswith("c612:0707") for gid in bed.gids(path, "server").values())),
            (("link", "set", netdev, "down"), 10, state("state DOWN")),
            (("link", "set", netdev, "up"), 9, state("state ACTIVE")),
            (("address", "delete", "198.18.7.7/24", "dev", netdev), 18,
             lambda: not any(gid.endswith("c612:0707")
                             for gid in bed.gids(path, "server").values()))):
        space.call("ip", *words)
        until(met, f"ip {' '.join(words)}: the device does not show it", process)
        until(heard(number), f"ip {' '.join(words)}: no event {number}", process)
    process.end()


def moved(ctx):
    """An interface that moves to another namespace loses its device there."""
    path, bed = opened(ctx)
    name = bed.device(path, "client")
    path.cut = True
    path.spaces["client"].call("ip", "link", "set", path.netdev["client"], "netns",
                               str(path.spaces["server"].pid))
    until(lambda: not exists(name), f"{name} is still there")
    expect(exists(bed.device(path, "server")), "and so is the other's")


# ---- interfaces with something in common

class Exact(Kernel):
    """Where a device has several IPv4 addresses, that of the path."""

    def gid_index(self, path, side, which):
        wanted = "".join(f"{int(part):02x}" for part in path.ipv4[side].split("."))
        for index, gid in self.gids(path, side).items():
            if gid.replace(":", "").endswith("ffff" + wanted):
                return index
        raise Fail(f"{self.device(path, side)} has no GID of {path.ipv4[side]}: "
                   f"{self.gids(path, side)}")


PINGPONGS = ("ibv_rc_pingpong", "ibv_ud_pingpong")


def both_ways(ctx, bed, path):
    """Connections, and datagrams."""
    for program in PINGPONGS:
        args = ("-d", "tcpzc0", "-g", "0", "-e", "-n", "100")
        Pair(ctx, bed, path, program, args).finish()


def shared_gid(ctx):
    """Two devices that have the same GID: each queue pair is found, whichever device was
    there first and whichever it is of."""
    # The client's queue pairs call the server's.
    path, bed = ctx.path("veth-swapped"), Exact(ctx)
    space = path.spaces["server"]
    space.call("ip", "address", "add", path.ipv4["server"] + "/32", "dev", "lo")
    bed.add(path, "client")
    for first, second in (("lo", path.netdev["server"]), (path.netdev["server"], "lo")):
        for number, netdev in enumerate((first, second)):
            space.call("rdma", "link", "add", f"tcpzc-s{number}", "type", "tcpzc", "netdev", netdev)
        for number in (0, 1):
            bed.names[path, "server"] = f"tcpzc-s{number}"
            both_ways(ctx, bed, path)
        for number in (0, 1):
            space.call("rdma", "link", "delete", f"tcpzc-s{number}")


def second(path):
    """Another pair of interfaces between the same two sides."""
    other = copy.copy(path)
    other.netdev = {"server": "tcpzc-c", "client": "tcpzc-d"}
    other.ipv4 = {"server": "198.18.8.1", "client": "198.18.8.2"}
    path.spaces["client"].call("ip", "link", "add", "tcpzc-d", "type", "veth", "peer", "name",
                               "tcpzc-c", "netns", str(path.spaces["server"].pid))
    for side, space in path.spaces.items():
        space.call("ip", "address", "add", other.ipv4[side] + "/30", "dev", other.netdev[side])
        space.call("ip", "link", "set", other.netdev[side], "up")
    return other


def datagrams_apart(ctx):
    """A queue pair whose datagrams wait for a slow link keeps no other one waiting."""
    path, bed = ctx.path("veth"), Kernel(ctx)
    fast = second(path)
    path.spaces["client"].call("tc", "qdisc", "replace", "dev", path.netdev["client"], "root",
                               "tbf", "rate", "2mbit", "burst", "10k", "limit", "10m")
    for each in (path, fast):
        bed.prepare(each)
    flood = Pair(ctx, bed, path, "ib_send_bw", ("-d", "tcpzc0", "-F", "-c", "UD", "-s", "1024",
                                                "-e", "-n", "100000"), limit=120)
    name = bed.device(path, "client")
    before = counters(bed, path, "client")["tx_msgs"]
    # More than a socket keeps; from then on it takes what the link carries.
    until(lambda: counters(bed, path, "client")["tx_msgs"] > before + 150,
          f"{name} does not send", *flood.all())
    # It sends one at a time, so that none may be lost.
    Pair(ctx, bed, fast, "ibv_ud_pingpong",
         ("-d", "tcpzc0", "-g", "0", "-e", "-n", "4000")).finish()
    path.spaces["client"].call("tc", "qdisc", "delete", "dev", path.netdev["client"], "root")
    end(flood)


VLAN_IPV4 = {"server": "198.18.5.1", "client": "198.18.5.2"}


def refused(ctx, path, side, netdev, reason):
    """No device of that interface; the log says why."""
    process = ctx.finish(path.command(side, "rdma", "link", "add", "tcpzc-no", "type", "tcpzc",
                                      "netdev", netdev), 10)
    log = ctx.finish(["dmesg"], 10).text().splitlines()
    expect(process.status, "a device is made", process)
    expect(any("tcpzc: " in line and reason in line for line in log),
           f"the log does not say '{reason}'", process)


def vlan(ctx):
    """The addresses of a VLAN are those of the device of the interface below."""
    path, bed = ctx.path("veth"), Exact(ctx)
    for side, space in path.spaces.items():
        name = path.netdev[side]
        space.call("ip", "link", "add", "link", name, "name", "tcpzc-v", "type", "vlan", "id", "5")
        space.call("ip", "address", "add", VLAN_IPV4[side] + "/24", "dev", "tcpzc-v")
        space.call("ip", "link", "set", "tcpzc-v", "up")
        refused(ctx, path, side, "tcpzc-v", f"tcpzc-v is a VLAN: its addresses are those of a "
                                            f"device on {name}")
        bed.add(path, side)
    path.ipv4 = VLAN_IPV4
    for side in path.spaces:
        bed.await_active(path, side)
        until(lambda side=side: any(gid.endswith(f"c612:050{1 if side == 'server' else 2}")
                                    for gid in bed.gids(path, side).values()),
              f"the {side} has no GID of the VLAN")
    both_ways(ctx, bed, path)
    server = ctx.start(bed.command(path, "server", "rping", ["-s", "-a", path.ipv4["server"],
                                                             "-C", "5", "-V"]))
    until(lambda: bed.cm_ports(path, "server"), "rping does not listen", server)
    client = ctx.finish(bed.command(path, "client", "rping", ["-c", "-a", path.ipv4["server"],
                                                              "-C", "5", "-V"]), 20)
    expect(client.status == 0 and server.wait(10) and server.status == 0, "rping fails", server,
           client)


def tunnel(ctx):
    """IP tunnels, which have no link-layer addresses, carry verbs; addresses may come later."""
    path, bed = ctx.path("veth"), Kernel(ctx)
    inner = {"server": "198.18.6.1", "client": "198.18.6.2"}
    for side, space in path.spaces.items():
        other = "client" if side == "server" else "server"
        done = ctx.finish(path.command(side, "ip", "tunnel", "add", "tcpzc-t", "mode", "gre",
                                       "local", path.ipv4[side], "remote", path.ipv4[other]), 10)
        if done.status:
            raise Skip("this kernel has no GRE")
        space.call("ip", "link", "set", "tcpzc-t", "up")
    path.netdev = {side: "tcpzc-t" for side in path.spaces}
    for side, space in path.spaces.items():
        bed.add(path, side)
        space.call("ip", "address", "add", inner[side] + "/24", "dev", "tcpzc-t")
        until(lambda side=side: any(gid.endswith(f"c612:060{1 if side == 'server' else 2}")
                                    for gid in bed.gids(path, side).values()),
              f"the {side} has no GID of the tunnel's address")
    path.ipv4 = inner
    both_ways(ctx, bed, path)


def lo_address(ctx):
    """An address that comes and goes on an interface that is no Ethernet."""
    path, bed = opened(ctx, "loopback")
    space = path.spaces["server"]

    def has(text):
        return any(gid.replace(":", "").endswith(text) for gid in bed.gids(path, "server").values())

    for address, text in (("198.18.7.7/32", "ffffc6120707"),
                          ("fd74:6370:7a63::7/128", "7a63" + "0" * 19 + "7")):
        before = bed.gids(path, "server")
        space.call("ip", "address", "add", address, "dev", "lo")
        until(lambda text=text: has(text), lambda: f"no GID: {bed.gids(path, 'server')}")
        space.call("ip", "address", "delete", address, "dev", "lo")
        until(lambda text=text: not has(text), "the GID stays")
        until(lambda before=before: bed.gids(path, "server") == before, "other GIDs have changed")
    Pair(ctx, bed, path, "ibv_rc_pingpong", ("-d", "tcpzc0", "-g", "0", "-e", "-n", "100")).finish()


def unfit(ctx):
    """What cannot be a device says why: an interface, a port that is taken, port 0."""
    path = ctx.path("veth")
    name = path.netdev["server"]
    blocker = ctx.start(path.command("server", "python3", "-c", "import socket, time\n"
                                     "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                     "s.bind(('', 4795)); print('bound', flush=True)\n"
                                     "time.sleep(60)"))
    until(lambda: "bound" in blocker.text(), "does not bind", blocker)
    refused(ctx, path, "server", name, "TCP or UDP port 4795 is taken")
    blocker.end()
    done = rmmod()
    expect(not done.returncode, f"rmmod: {done.stderr.strip()}")
    process = ctx.finish(["modprobe", "tcpzc", "port=0"], 10)
    expect(process.status, "port 0 is taken", process)
    expect("tcpzc: port=0" in ctx.finish(["dmesg"], 10).text(), "the log does not say why", process)
    must("modprobe", "tcpzc")


# ---- namespaces

def shown(space):
    return {entry["ifname"] for entry in rdma(space, "dev", "show")}


@contextlib.contextmanager
def named(space):
    """A name under which rdma finds the namespace."""
    name = f"tcpzc-{space.pid}"
    must("ip", "netns", "attach", name, str(space.pid))
    try:
        yield name
    finally:
        must("ip", "netns", "delete", name)


def add_to(space, name, netdev):
    """A device in the namespace, where there are no shared ones."""
    space.call("rdma", "link", "add", name, "type", "tcpzc", "netdev", netdev)
    if name not in shown(space):    # older kernels: it begins in the first
        with named(space) as to:
            must("rdma", "dev", "set", name, "netns", to)


def exclusive_devices(ctx):
    """Each namespace sees its own devices alone, and they work there."""
    # Before there is another namespace, and for as long as the machine runs.
    must("rdma", "system", "set", "netns", "exclusive")
    path = ctx.path("veth")
    bed = Kernel(ctx)
    for side, space in path.spaces.items():
        name = bed.names[path, side] = f"tcpzc-{side}"
        add_to(space, name, path.netdev[side])
    for side, space in path.spaces.items():
        expect(shown(space) == {bed.device(path, side)}, f"{side} sees {shown(space)}")
        bed.await_active(path, side)
    Pair(ctx, bed, path, "ib_write_bw", QUICK).finish()
    # A device that goes to another namespace than its interface is gone for the first.
    with contextlib.closing(Namespace()) as third, named(third) as to:
        name = bed.device(path, "server")
        # Not with the side's mounts: they are older than the name.
        must("nsenter", "-t", str(path.spaces["server"].pid), "-n", "--", "rdma", "dev", "set",
             name, "netns", to)
        expect(shown(third) == {name} and not shown(path.spaces["server"]),
               f"third: {shown(third)}, server: {shown(path.spaces['server'])}")
        third.call("rdma", "link", "delete", name)
        until(lambda: not shown(third), "not deleted")
    bed.delete(path, "client")


# ---- limits

def memlock(ctx):
    """Registered memory counts: not more than a user may lock, and all that."""
    path, bed = opened(ctx)

    def command(side, limit, *args):
        return bed.command(path, side, "prlimit",
                           [f"--memlock={limit}", "setpriv", f"--reuid={NOBODY}",
                            "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
                            "ibv_rc_pingpong", "-d", "tcpzc0", "-g", "0", "-e", "-n", "100",
                            "-s", str(1 << 20), *args])

    little = ctx.finish(command("server", 1 << 16), 20, name="with 64 KiB")
    expect(little.status == 1 and "Couldn't register MR" in little.output(),
           "64 KiB are enough, or no complaint", little)
    server = ctx.start(command("server", 16 << 20), name="with 16 MiB")
    until(lambda: PORT in path.listening("server"), "does not listen", server)
    client = ctx.finish(command("client", 16 << 20, path.ipv4["server"]), 30, name="client")
    expect(client.status == 0 and server.wait(10) and server.status == 0,
           "16 MiB are not enough", server, client)


def huge_pages(ctx):
    """They are used as such."""
    if not os.path.exists(HUGE):
        raise Skip("this kernel has no huge pages")
    path, bed = opened(ctx)
    before = read(HUGE)
    write(HUGE, "16")
    try:
        if int(read(HUGE)) < 8:
            raise Skip(f"{read(HUGE)} huge pages can be had")
        pair = running(ctx, bed, path, "--use_hugepages", "-s", "1048576")
        for side, space in path.spaces.items():
            mine = [entry for entry in rdma(space, "-dd", "resource", "show", "mr")
                    if entry["ifname"] == bed.device(path, side)]
            expect(any(entry["drv_block-shift"] >= 21 for entry in mine),
                   f"no region of pieces of 2 MiB: {mine}", *pair.all())
        end(pair)
    finally:
        write(HUGE, before)


# ---- parameters

@contextlib.contextmanager
def parameter(name, value):
    before = read(f"{PARAMETERS}/{name}")
    write(f"{PARAMETERS}/{name}", value)
    try:
        yield
    finally:
        write(f"{PARAMETERS}/{name}", before + "\n")


def congestion_control(ctx):
    """Of connections made from now on; a name that TCP does not know is refused."""
    path, bed = opened(ctx)
    for value in ("no-such-thing", "x" * 40):
        try:
            write(f"{PARAMETERS}/cc", value)
        except OSError:
            continue
        raise Fail(f"{value} is taken")
    expect(read(f"{PARAMETERS}/cc") == "", "what was refused stays")
    default = path.spaces["client"].call("sysctl", "-n",
                                         "net.ipv4.tcp_congestion_control").strip()
    expect(default != "reno", "the default is what is set here")
    for value, wanted in (("reno", "reno"), ("", default)):
        with parameter("cc", value + "\n"):
            pair = running(ctx, bed, path)
            found = path.spaces["client"].call("ss", "-Htin", "dport", "=", ":4795",
                                               "or", "sport", "=", ":4795")
            expect(re.search(rf"^\s+{wanted} ", found, re.M), f"not {wanted}: {found}",
                   *pair.all())
            end(pair)


def copy_threshold(ctx):
    """Payload of up to so many bytes is copied."""
    path, bed = opened(ctx)
    payload = 200 * 16384
    for value, copied in (("16384", True), ("16383", False)):
        with parameter("copy_threshold", value + "\n"):
            before = counters(bed, path, "client")
            Pair(ctx, bed, path, "ib_write_bw", (*QUICK, "-s", "16384")).finish()
            after = counters(bed, path, "client")
        grown = {name: after[name] - before[name] for name in after}
        expect(grown["tx_bytes"] >= payload and grown["tx_copy_bytes"] == 0 and
               (grown["tx_copied_bytes"] >= payload and not grown["tx_zcopy_bytes"] if copied else
                not grown["tx_copied_bytes"] and grown["tx_zcopy_bytes"] >= payload),
               f"{value}: {grown}")


def by_reference(ctx):
    """Packets refer to registered pages where no process of this host gets hold of them: here
    only if the other end is the kernel's; or never, or always."""
    path, bed, user = ctx.path("veth"), Kernel(ctx), Bed(ctx)

    def sent(peer, gid):
        bed.prepare(path)
        before = counters(bed, path, "client")
        Pair(ctx, peer, path, "ibv_rc_pingpong", ("-d", "tcpzc0", "-g", gid, "-e", "-n", "20",
                                                  "-s", "65536"), client_bed=bed).finish()
        after = counters(bed, path, "client")
        return {name: after[name] - before[name] for name in ("tx_zcopy_bytes", "tx_copy_bytes")}

    for value, peer, gid, referred in (("1", bed, "0", True), ("1", bed, "1", True),
                                       ("1", user, "0", False), ("1", user, "1", False),
                                       ("0", bed, "0", False), ("2", user, "0", True)):
        with parameter("by_reference", value + "\n"):
            found = sent(peer, gid)
        used, unused = ("tx_zcopy_bytes", "tx_copy_bytes") if referred else (
            "tx_copy_bytes", "tx_zcopy_bytes")
        expect(found[used] >= 20 * 65536 and not found[unused],
               f"by_reference={value}, {peer.title}, GID {gid}: {found}")


def port(ctx):
    """Another well-known port: devices are reachable there and nowhere else."""
    def load(*words):
        done = rmmod()
        expect(not done.returncode, f"rmmod: {done.stderr.strip()}")
        must("modprobe", "tcpzc", *words)

    load("port=4800")
    try:
        path, bed = opened(ctx)
        found = path.listening("server")
        expect(4800 in found and 4795 not in found, f"listens on {found}")
        Pair(ctx, bed, path, "ib_write_bw", QUICK).finish()
        bed.close()
    finally:
        load()


# ---- what can be seen

def bound_counters(ctx):
    """The counters of one queue pair, and of programs; nothing is lost by it."""
    path, bed = opened(ctx)
    space, name = path.spaces["client"], bed.device(path, "client")

    def shown_counters():
        return [entry for entry in rdma(space, "statistic", "qp", "show", "link", name + "/1")
                if entry["ifname"] == name]

    pair = running(ctx, bed, path, "-q", "2")
    qpn = min(entry["lqpn"] for entry in rdma(space, "resource", "show", "qp")
              if entry["ifname"] == name and entry["type"] == "RC")
    space.call("rdma", "statistic", "qp", "bind", "link", name + "/1", "lqpn", str(qpn))
    until(lambda: any(entry["tx_msgs"] > 100 for entry in shown_counters()),
          lambda: f"does not count: {shown_counters()}", *pair.all())
    bound = shown_counters()[0]
    total = counters(bed, path, "client")["tx_msgs"]
    expect(len(shown_counters()) == 1 and bound["tx_msgs"] < total,
           f"one of two queue pairs: {bound}, both: {total}", *pair.all())
    space.call("rdma", "statistic", "qp", "unbind", "link", name + "/1", "cntn",
               str(bound["cntn"]))
    expect(not shown_counters() and counters(bed, path, "client")["tx_msgs"] >= total,
           "lost with the counter", *pair.all())
    end(pair)

    space.call("rdma", "statistic", "qp", "set", "link", name + "/1", "auto", "type,pid", "on")
    pair = running(ctx, bed, path)
    until(lambda: any(entry["tx_msgs"] > 100 for entry in shown_counters()),
          lambda: f"not by program: {shown_counters()}", *pair.all())
    end(pair)
    space.call("rdma", "statistic", "qp", "set", "link", name + "/1", "auto", "off")


def resource_details(ctx):
    """What rdma -dd shows of a queue pair at work."""
    path, bed = opened(ctx)
    pair = running(ctx, bed, path)
    for side, space in path.spaces.items():
        entry = next(entry for entry in rdma(space, "-dd", "resource", "show", "qp")
                     if entry["ifname"] == bed.device(path, side) and entry["type"] == "RC")
        other = "client" if side == "server" else "server"
        expect(entry["drv_conn"] == "up" and entry["drv_local"].startswith(path.ipv4[side] + ":") and
               entry["drv_peer"].startswith(path.ipv4[other] + ":") and entry["drv_sq-depth"] > 0,
               f"rdma -dd resource show qp: {entry}", *pair.all())
        for kind, name in (("cq", "drv_depth"), ("mr", "drv_blocks")):
            found = [entry for entry in rdma(space, "-dd", "resource", "show", kind)
                     if entry["ifname"] == bed.device(path, side) and name in entry]
            expect(found, f"rdma -dd resource show {kind}: no {name}", *pair.all())
    end(pair)


POINTS = ("doorbell", "send", "recv", "place", "acked", "complete", "conn", "modify", "mr_reg",
          "mr_dereg")


def tracepoints(ctx):
    """A work request can be followed."""
    if not os.path.exists(f"{TRACING}/events"):
        must("mount", "-t", "tracefs", "tracefs", TRACING)
    path, bed = opened(ctx)
    write(f"{TRACING}/events/tcpzc/enable", "1")
    try:
        Pair(ctx, bed, path, "ib_send_bw", (*QUICK, "-s", "65536", "-e")).finish()
    finally:
        write(f"{TRACING}/events/tcpzc/enable", "0")
    text = read(f"{TRACING}/trace")
    write(f"{TRACING}/trace", "")
    missing = [point for point in POINTS if f" tcpzc_{point}: " not in text]
    expect(not missing, f"no line of {missing} in\n{text[:2000]}")


CASES = {"events": events, "shared-gid": shared_gid, "vlan": vlan,
         "tunnel": tunnel, "lo-address": lo_address,
         "datagrams-apart": datagrams_apart, "unfit": unfit, "netdev-moves": moved,
         "exclusive-netns": exclusive_devices,
         "memlock": memlock, "huge-pages": huge_pages, "cc": congestion_control,
         "copy-threshold": copy_threshold, "by-reference": by_reference, "port": port,
         "bound-counters": bound_counters,
         "resource-details": resource_details, "tracepoints": tracepoints}
