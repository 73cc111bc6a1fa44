# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""tcpzc-run itself: statuses, signals, messages, what it chooses, what it leaves."""

import glob
import os
import shutil
import signal
import stat

from runlib import builds
from runlib.case import Skip, expect, until

OURS, CANNOT_RUN, NOT_FOUND = 125, 126, 127


class Launch:
    """tcpzc-run in a network of its own, with its veth interface as device."""

    def __init__(self, ctx, bed_class, path="veth"):
        self.ctx = ctx
        self.bed = bed_class(ctx)
        self.path = ctx.path(path)
        self.bed.prepare(self.path)

    def run(self, *args, env=None, limit=20):
        return self.ctx.finish(self.words(args, env), limit, name="tcpzc-run")

    def start(self, *args, env=None):
        return self.ctx.start(self.words(args, env), name="tcpzc-run")

    def words(self, args, env):
        return self.bed.command(self.path, "server", args[0] if args else "", args[1:], env) \
            if args else self.bed.command(self.path, "server", "true", (), env)[:-1]

    def shell(self, script, **options):
        return self.run("sh", "-c", script, **options)


def fails(process, status, *words):
    expect(process.status == status, f"status is not {status}", process)
    for word in words:
        expect(word in process.text("err"), f"does not say: {word}", process)


def options(launch):
    process = launch.run("--help")
    expect(process.status == 0 and "usage: tcpzc-run" in process.text(), "no help", process)
    process = launch.run("--version")
    expect(process.status == 0 and process.text().startswith("tcpzc-run "), "no version",
           process)
    fails(launch.run(), OURS, "usage:")
    fails(launch.run("--no-such-option"), OURS, "usage:")
    process = launch.run("--verbose", "true")
    expect(process.status == 0, "--verbose fails", process)
    for word in ("libibverbs", "tcpzc0 is " + launch.path.netdev["server"]):
        expect(word in process.text("err"), f"--verbose does not say: {word}", process)
    process = launch.run("true")
    expect(not process.output(), "it speaks without being asked", process)


def statuses(launch):
    for number in (0, 1, 42, 255):
        process = launch.shell(f"exit {number}")
        expect(process.status == number, f"not {number}", process)
    for sig in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
        # timeout, which runs it, passes the signal on in its way
        process = launch.shell(f"kill -{int(sig)} $$")
        expect(process.status in (-sig, 128 + sig), f"not signal {int(sig)}", process)
    fails(launch.run("tcpzc-no-such-program"), NOT_FOUND, "tcpzc-no-such-program")
    fails(launch.run("/no/such/program"), NOT_FOUND, "/no/such/program")
    file = launch.ctx.file("not-executable")
    with open(file, "w", encoding="ascii") as out:
        out.write("exit 0\n")
    fails(launch.run(file), CANNOT_RUN, file)
    fails(launch.run(launch.ctx.directory), CANNOT_RUN, launch.ctx.directory)
    os.chmod(file, 0o755)
    process = launch.run(file)
    expect(process.status == 0, "a script without an interpreter line does not run", process)
    process = launch.shell("cat; echo err >&2")
    expect(process.text() == "" and process.text("err") == "err\n", "not its output", process)


def signals(launch):
    """What is sent to tcpzc-run reaches the program."""
    for sig in ("INT", "TERM", "HUP", "USR1", "XCPU", "PROF", "IO"):
        process = launch.start("sh", "-c",
                               f"trap 'echo got {sig}; exit 7' {sig}; echo ready;"
                               "while :; do sleep 0.1; done")
        await_text(process, "ready")
        os.kill(process.find("tcpzc-run"), getattr(signal, "SIG" + sig))
        expect(process.wait(5), f"SIG{sig} does not reach the program", process)
        expect(process.status == 7 and "got" in process.text(), "wrong end", process)


def await_text(process, text, limit=10):
    until(lambda: text in process.output(), f"does not come to say: {text}",
          alive=[process], limit=limit)


def killed(launch):
    """The program ends with tcpzc-run, and the next run clears away."""
    process = launch.start("sh", "-c", "echo ready; exec sleep 1000")
    await_text(process, "ready")
    os.kill(process.find("tcpzc-run"), signal.SIGKILL)
    expect(process.wait(5), "still running", process)
    until(lambda: not process.find("sleep"), "the program outlives tcpzc-run", process,
          limit=5)
    expect(launch.run("true").status == 0, "the next run fails", process)


def impossible_programs(launch):
    """setuid and static programs ignore LD_PRELOAD: say so instead of failing oddly."""
    file = launch.ctx.file("setuid")
    shutil.copy("/bin/true", file)
    os.chown(file, 12345 if os.geteuid() == 0 else -1, -1)
    os.chmod(file, 0o4755)
    if os.stat(file).st_mode & stat.S_ISUID:
        fails(launch.run(file), CANNOT_RUN, "set")
    static = next((p for p in ("/sbin/ldconfig", "/sbin/ldconfig.real") if is_static(p)), None)
    if static:
        fails(launch.run(static, "--version"), CANNOT_RUN, "static")
    file = launch.ctx.file("garbage")
    with open(file, "wb") as out:
        out.write(b"\x7fELF" + bytes(range(60)) * 10)
    os.chmod(file, 0o755)
    process = launch.run(file)
    expect(process.status == CANNOT_RUN, "a damaged program is not refused", process)


def is_static(path):
    """No interpreter in it; readelf may not be installed."""
    try:
        with open(path, "rb") as file:
            return b"ld-linux" not in file.read(4096)
    except OSError:
        return False


def netdevs(launch):
    """Bad TCPZC_NETDEV: refused with a reason."""
    ours = launch.path.netdev["server"]
    launch.path.spaces["server"].call("ip", "link", "add", "tcpzc-down", "type", "veth",
                                      "peer", "name", "tcpzc-bare")
    launch.path.spaces["server"].call("ip", "link", "set", "tcpzc-bare", "up")
    for value, word in (("nosuchif", "nosuchif"), ("tcpzc-down", "is down"),
                        (f"{ours},{ours}", "twice"), (",", "names no interface"),
                        (f"{ours},nosuchif", ours)):
        fails(launch.run("true", env={"TCPZC_NETDEV": value}), OURS, "TCPZC_NETDEV", word)
    process = launch.run("ibv_devices", env={"TCPZC_NETDEV": f" {ours} , lo "})
    expect(process.status == 0 and "tcpzc1" in process.text(), "spaces are in its way", process)
    launch.path.spaces["server"].call("ip", "link", "set", "lo", "down")
    launch.path.spaces["server"].call("ip", "link", "set", ours, "down")
    launch.path.spaces["server"].call("ip", "link", "set", "tcpzc-bare", "down")
    fails(launch.run("true", env={"TCPZC_NETDEV": None}), OURS, "no interface")


def drivers(launch):
    """Other drivers that the user names are tried as well, and do no harm."""
    for env in ({"IBV_DRIVERS": "siw"}, {"IBV_DRIVERS": "/no/such/driver"},
                {"RDMAV_DRIVERS": "mlx5:rxe"},
                {"IBV_DRIVERS": "mlx4", "RDMAV_DRIVERS": "mlx5"}):
        process = launch.run("ibv_devices", env=env)
        expect(process.status == 0 and "tcpzc0" in process.text(),
               f"no device with {env}", process)


def nested(launch):
    """tcpzc-run within tcpzc-run: the inner one counts."""
    process = launch.run(launch.bed.run, "ibv_devices", env={"TCPZC_NETDEV": None})
    expect(process.status == 0 and process.text().count("tcpzc") == 2, "not two devices",
           process)


GIVEN = """
import os, resource, signal, sys
for sig in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
    signal.signal(sig, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGCHLD, signal.SIGTERM})
os.umask(0o027)
resource.setrlimit(resource.RLIMIT_NOFILE, (777, 888))
resource.setrlimit(resource.RLIMIT_CORE, (4096, 8192))
os.nice(3)
os.dup2(1, 9, inheritable=True)
os.chdir("/usr/lib")
os.execvp(sys.argv[1], sys.argv[1:])
"""

SEEN = """
grep -E '^(SigBlk|SigIgn|SigCgt|Umask)' /proc/self/status
cat /proc/self/limits
nice; pwd -P; ls /proc/$$/fd
"""


def inheritance(launch):
    """The program inherits what tcpzc-run did: signals, mask, limits, descriptors."""
    name = launch.ctx.file("given.py")
    with open(name, "w", encoding="ascii") as file:
        file.write(GIVEN)
    for seen in (["sh", "-c", SEEN],
                 ["cat", "/proc/self/status", "/proc/self/limits"]):
        both = []
        for words in ([], [os.path.realpath(launch.bed.run)]):
            process = launch.ctx.finish(launch.path.command(
                "server", "env", "TCPZC_NETDEV=" + launch.path.netdev["server"],
                "python3", name, *words, *seen), 20)
            expect(process.status == 0, "fails", process)
            both.append([line for line in process.text().splitlines()
                         if not line.startswith(OWN)])
        expect(both[0] == both[1], f"{both[1]} instead of {both[0]}", process)
    process = launch.shell("cut -d' ' -f5-7 /proc/$$/stat /proc/$PPID/stat | sort -u | wc -l")
    expect(process.text().strip() == "1", "not in its group, session and terminal", process)


# Of a process, not inherited
OWN = ("Pid:", "PPid:", "Tgid:", "Ngid:", "NS", "Vm", "Rss", "FDSize:", "HugetlbPages:",
       "Threads:", "voluntary", "nonvoluntary", "Name:", "State:", "Speculation", "Mems",
       "Cpus", "THP", "untag", "x86", "CoreDumping", "SigQ:", "TracerPid:")


def places(launch):
    """Where there is no room for the tree, or no right, it is in the next place."""
    if launch.bed.title != "this system" or os.geteuid():
        raise Skip("mounts what programs find in /dev/shm")
    spare = launch.ctx.file("spare")
    os.mkdir(spare)
    os.chmod(spare, 0o755)
    for mount, moves in (("-o size=16k", True), ("-o nr_inodes=20", True), ("-o ro", True),
                         ("-o mode=000,noexec", True), ("-o noexec", False)):
        process = in_places(launch, f"""
            mount -t tmpfs {mount} none /dev/shm
            XDG_RUNTIME_DIR=/no/such/place TMPDIR={spare} $RUN sh -c '
                echo "$TCPZC_TREE"; ibv_devices'
            ls -A /dev/shm {spare}""")
        where = process.text().splitlines()[0]
        expect(process.status == 0 and "tcpzc0" in process.text(), f"fails with {mount}",
               process)
        expect(moves == (not where.startswith("/dev/shm/")), f"it is in {where}", process)
        expect(process.text().rstrip().endswith(f"{spare}:"), "something is left", process)
    process = in_places(launch, f"""
        for dir in /dev/shm /tmp /var/tmp /run; do
            mount --bind $dir $dir; mount -o remount,bind,ro $dir
        done
        XDG_RUNTIME_DIR=/no/such/place TMPDIR=/proc $RUN true""")
    fails(process, OURS, "/dev/shm: Read-only", "/no/such/place: No such file", "/proc: ",
          "/tmp: ", "/var/tmp: ", "set TMPDIR")


def in_places(launch, script):
    """The script with mounts of its own; $RUN is tcpzc-run."""
    return launch.ctx.finish(launch.path.command(
        "server", "env", "TCPZC_NETDEV=" + launch.path.netdev["server"],
        "RUN=" + os.path.realpath(launch.bed.run), "unshare", "-m", "sh", "-c", script), 20)


SHELL_WALK = """
cd /sys/class && cat inf*d/*/node_type && cd infiniband && ls ../net && ls -d ../infin*verbs
cd / && find sys/class -maxdepth 1 -name infiniband -type d
find /sys/class -maxdepth 2 -name tcpzc0; find -L /sys/class/infiniband -maxdepth 2 -name node_type
ls /sys/class /dev | grep -x infiniband; cd /dev && ls -l infiniband/uverbs0 | cut -c1
"""
SHELL_SAW = """1: CA
{}
../infiniband_verbs
sys/class/infiniband
/sys/class/infiniband/tcpzc0
/sys/class/infiniband/tcpzc0/node_type
infiniband
infiniband
c
"""


def walks(launch):
    """Relative paths, descriptors and listings of the directories above lead to the devices."""
    process = launch.run("python3", os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                 "walk.py"))
    expect(process.status == 0 and "seen" in process.text(), "not seen", process)
    process = launch.run("bash", "-c", SHELL_WALK)
    netdevs = "\n".join(sorted(("lo", launch.path.netdev["server"])))
    expect(process.text() == SHELL_SAW.format(netdevs), "bash, ls, find do not", process)


def rebuilt_environment(launch):
    """What a program executes with an environment of its own making has no devices, and
    tcpzc-run gives it some."""
    process = launch.shell("env -i /usr/bin/env; env -i ibv_devices")
    expect("tcpzc" not in process.text().lower(), "variables were added", process)
    process = launch.shell(f"env -i TCPZC_NETDEV={launch.path.netdev['server']} "
                           f"{os.path.realpath(launch.bed.run)} ibv_devices")
    expect(process.status == 0 and "tcpzc0" in process.text(), "no device", process)


def keep(launch):
    process = launch.run("--keep", "true")
    expect(process.status == 0, "--keep fails", process)
    where = process.text("err").split("kept ")[-1].strip()
    root = f"/proc/{launch.path.spaces['server'].pid}/root" if launch.path.spaces[
        "server"].private else ""
    expect(os.path.isdir(root + where) and glob.glob(root + where + "/*"),
           "nothing kept there", process)
    # The next run takes it for a leftover: --keep is for looking, not for keeping.
    launch.run("true")
    shutil.rmtree(root + where, ignore_errors=True)


def odd_prefix(launch):
    """Installed where LD_PRELOAD cannot name it."""
    if launch.bed.title != "this system":
        raise Skip("the same everywhere")
    for name in ("with space", "with:colon"):
        prefix = launch.ctx.file(name)
        process = launch.ctx.finish(["cmake", "--install",
                                     launch.ctx.builds.directory(""), "--prefix", prefix], 60)
        expect(process.status == 0, "does not install", process)
        launch.bed.run = os.path.join(prefix, "bin", "tcpzc-run")
        process = launch.run("ibv_devices")
        expect(process.status == 0 and "tcpzc0" in process.text(),
               f"does not work when installed in '{name}'", process)


def hooks(launch):
    """The program's own children have the devices, too."""
    process = launch.shell("ibv_devices & ibv_devices; wait; (ibv_devices)")
    expect(process.status == 0 and process.text().count("tcpzc0") == 3,
           "children do not see the device", process)


CASES = {f.__name__.replace("_", "-"): f for f in (
    options, statuses, signals, killed, impossible_programs, netdevs, drivers, nested,
    keep, odd_prefix, hooks, inheritance, places, walks, rebuilt_environment)}


def run(ctx, bed_class, case):
    if not builds.have("ibv_devices"):
        raise Skip("ibverbs-utils is not installed")
    case(Launch(ctx, bed_class))
