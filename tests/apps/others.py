# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Programs that are no test of RDMA themselves, or not rdma-core's: fio, qperf, QEMU, iSER."""

import filecmp
import glob
import json
import os
import shutil
import signal
import socket

from runlib.case import Skip, expect, until

from . import rdmacm

FIO_PORT = 5577
QPERF_PORT = 19765
# -cm 1: with the peer's GID; without it qperf knows LIDs only. UC has no such choice.
QPERF = ("rc_bw", "rc_lat", "rc_bi_bw", "rc_rdma_write_bw", "rc_rdma_write_lat",
         "rc_rdma_read_bw", "rc_rdma_read_lat", "rc_compare_swap_mr", "rc_fetch_add_mr",
         "ver_rc_compare_swap", "ver_rc_fetch_add")
MIGRATE_PORT = 4444
GUEST = ("-M", "pc,accel=tcg", "-m", "64", "-display", "none", "-vga", "none", "-nodefaults", "-S")
DISK = 8 << 20
ISCSI_PORT = 3260
TARGET, INITIATOR = "iqn.2026-12.org.example:disk", "iqn.2026-12.org.example:initiator"
FILLED_AT, FILLED = 1 << 20, 32 << 20


def opened(ctx, bed_class, program):
    if not shutil.which(program):
        raise Skip(f"{program} is not installed")
    return rdmacm.opened(ctx, bed_class)


def fio(ctx, bed_class, verb):
    """Its server is a child that ends by _exit() as soon as it has the last message."""
    path, bed = opened(ctx, bed_class, "fio")
    common = ("--ioengine=rdma", f"--port={FIO_PORT}", "--bs=64k", "--size=16m", "--iodepth=16")
    server = ctx.start(bed.command(path, "server", "fio", (*common, "--name=server", "--rw=read")),
                       40, name="server")
    rdmacm.await_listening(bed, path, server, rdmacm.TCP, FIO_PORT)
    client = ctx.start(bed.command(path, "client", "fio", (
        *common, "--name=client", "--rw=write", f"--verb={verb}",
        f"--hostname={path.ipv4['server']}")), 40, name="client")
    for process in (client, server):
        process.wait(30)
        # Its status does not tell.
        expect(process.status == 0 and "completion status" not in process.output(),
               f"the {process.name} fails", server, client)


def qperf(ctx, bed_class):
    path, bed = opened(ctx, bed_class, "qperf")
    server = ctx.start(bed.command(path, "server", "qperf"), 90, name="server")
    until(lambda: QPERF_PORT in path.listening("server"), "qperf does not listen", alive=[server])
    client = ctx.start(bed.command(path, "client", "qperf", (
        "-cm", "1", "-t", "1", path.ipv4["server"], *QPERF)), 80, name="client")
    client.wait(80)
    expect(client.status == 0, "the client fails", server, client)
    for test in QPERF:
        expect(f"{test}:" in client.output(), f"no {test}", server, client)
    rdmacm.end(server)


class Monitor:
    """QEMU's: its commands as methods' names would be, with _ for -."""

    def __init__(self, name, process):
        self.process = process
        self.sock = socket.socket(socket.AF_UNIX)
        until(lambda: self.connect(name), "QEMU has no monitor", process, alive=[process])
        self.lines = self.sock.makefile("r", encoding="utf-8")
        self.lines.readline()
        self("qmp_capabilities")

    def connect(self, name):
        try:
            self.sock.connect(name)
        except OSError:
            return False
        return True

    def __call__(self, command, **arguments):
        self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.lines.readline() or '{"error": "it has ended"}')
            if "error" in answer:
                expect(False, f"{command}: {answer['error']}", self.process)
            if "return" in answer:
                return answer["return"]

    def migrated(self):
        status = self("query-migrate").get("status")
        expect(status != "failed", "the migration failed", self.process)
        return status == "completed"


def qemu(ctx, bed_class, pin_all):
    """A guest's memory is the same behind its migration."""
    path, bed = opened(ctx, bed_class, "qemu-system-x86_64")
    # ib_core may wait for an answer of ARP that came too early: docs/kernel-mode.md
    path.introduce()
    fill = ctx.file("fill")
    with open(fill, "wb") as file:
        file.write(os.urandom(FILLED))
    more = {"server": ("-incoming", "defer"), "client": (
        "-device", f"loader,file={fill},addr={FILLED_AT},force-raw=on")}
    monitors, saved = {}, {}
    for side in more:
        name = ctx.file(side + ".qmp")
        process = ctx.start(bed.command(path, side, "qemu-system-x86_64", (
            *GUEST, "-qmp", f"unix:{name},server=on,wait=off", *more[side])), 80, name=side)
        monitors[side] = Monitor(name, process)
        monitors[side]("migrate-set-capabilities", capabilities=[
            {"capability": "rdma-pin-all", "state": pin_all}])
    uri = f"rdma:{path.ipv4['server']}:{MIGRATE_PORT}"
    monitors["client"]("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    monitors["server"]("migrate-incoming", uri=uri)
    monitors["client"]("migrate", uri=uri)
    for side in ("client", "server"):
        until(monitors[side].migrated, f"the {side} is not done", monitors[side].process, limit=60)
    for side, monitor in monitors.items():
        saved[side] = ctx.file(side + ".mem")
        monitor("pmemsave", val=FILLED_AT, size=FILLED, filename=saved[side])
    expect(filecmp.cmp(fill, saved["client"], shallow=False), "the memory was not filled")
    expect(filecmp.cmp(saved["client"], saved["server"], shallow=False), "not the same memory",
           *(monitor.process for monitor in monitors.values()))
    for monitor in monitors.values():
        monitor("quit")
        monitor.process.wait(20)
        monitor.sock.close()


def iser(ctx, bed_class):
    """tgt's target and libiscsi's tests; VERIFY compares in the target what was read from it."""
    if not shutil.which("iscsi-test-cu"):
        raise Skip("libiscsi-bin is not installed")
    path, bed = opened(ctx, bed_class, "tgtd")
    disk, control = ctx.file("disk"), os.getpid() % 32000
    with open(disk, "wb") as file:
        file.write(os.urandom(DISK))
    server = ctx.start(bed.command(path, "server", "tgtd", ("-f", "-C", control)), 80,
                       name="server")
    rdmacm.await_listening(bed, path, server, rdmacm.TCP, ISCSI_PORT)

    def manage(mode, operation, *words):
        done = ctx.finish(path.command("server", "tgtadm", "-C", control, "--lld", "iser",
                                       "--mode", mode, "--op", operation, *words), 10)
        expect(done.status == 0, f"tgtadm {operation} {mode} fails", done, server)

    manage("target", "new", "--tid", 1, "-T", TARGET)
    manage("logicalunit", "new", "--tid", 1, "--lun", 1, "-b", disk)
    # Over iSER tgt wants both, an address and a name.
    manage("target", "bind", "--tid", 1, "-I", "ALL")
    manage("target", "bind", "--tid", 1, "--initiator-name", INITIATOR)
    for test in ("Write10", "Read10", "Verify10"):
        client = ctx.finish(bed.command(path, "client", "iscsi-test-cu", (
            "-i", INITIATOR, "--dataloss", "-t", f"ALL.{test}.Simple",
            f"iser://{path.ipv4['server']}/{TARGET}/1")), 40, name="client")
        expect(client.status == 0 and "Simple ...passed" in client.output(), f"{test} fails",
               server, client)
    # It does not mind SIGTERM, and crashes if the target is deleted.
    os.kill(rdmacm.program_pid(server, "tgtd"), signal.SIGKILL)
    server.wait(10)
    for name in glob.glob(f"/var/run/tgtd/socket.{control}*"):
        os.unlink(name)


CASES = {
    "fio/write": (lambda ctx, bed: fio(ctx, bed, "write"), 90),
    "fio/read": (lambda ctx, bed: fio(ctx, bed, "read"), 90),
    "qperf/rc": (qperf, 120),
    "iser/tgt": (iser, 120),
    "qemu/migration": (lambda ctx, bed: qemu(ctx, bed, False), 120),
    "qemu/migration-pin-all": (lambda ctx, bed: qemu(ctx, bed, True), 120),
}
