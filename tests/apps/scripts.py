# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""scripts/: what they do where they meet others."""

import fcntl
import os

from runlib.builds import have
from runlib.case import ROOT, Skip, expect, until

CONFIG = """
Dir::State::status "{0}/dpkg/status";
Dir::State::lists "{0}/lists";
Dir::Cache "{0}/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
"""


def apt_is_locked(ctx):
    """scripts wait while others use apt or dpkg, and say so. (apt's files are private.)"""
    if not have("apt-get"):
        raise Skip("there is no apt-get")
    base = ctx.file("apt")
    for name in ("dpkg", "lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(base, name))
    for name in ("dpkg/status", "apt.conf"):
        with open(os.path.join(base, name), "w", encoding="ascii") as file:
            file.write(CONFIG.format(base) if name == "apt.conf" else "")
    for lock, words in (("dpkg/lock-frontend", "install"), ("dpkg/lock", "install"),
                        ("lists/lock", "update")):
        with open(os.path.join(base, lock), "w", encoding="ascii") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            process = ctx.start(apt(base, words, 60))
            until(lambda process=process: "waiting for" in process.text("err"),
                  "does not say that it waits", alive=[process])
            impatient = ctx.finish(apt(base, words, 0), 30)
            expect(impatient.status not in (0, None), "does not give up", impatient)
        expect(process.wait(30) and process.status == 0, f"fails after {lock} is free",
               process)


def apt(base, words, seconds):
    return ["env", f"APT_CONFIG={base}/apt.conf", f"TCPZC_APT_WAIT={seconds}", "bash", "-euc",
            f". {ROOT}/scripts/lib.sh; deb_apt {words}"]


SLOW = """
. {0}/scripts/lib.sh
slow() {{
	echo make: entering
	for i in 1 2 3; do echo "  CC      fs/file$i.o"; done
	until [ -e "$2" ]; do sleep 0.05; done
	return 3
}}
with_progress "$1" 12 slow - "$2"
"""


def progress(ctx):
    """What takes minutes says how far it is, and ends as its command does."""
    log, go = ctx.file("log"), ctx.file("go")
    process = ctx.start(["env", "TCPZC_PROGRESS_SECONDS=0.1", "bash", "-uc",
                         SLOW.format(ROOT), "script", log, go])
    until(lambda: "25 %, fs/file3.o" in process.text("err"), "does not say how far it is",
          alive=[process])
    with open(go, "w", encoding="ascii"):
        pass
    expect(process.wait(10) and process.status == 3, "not the command's status", process)
    with open(log, encoding="ascii") as file:
        expect(len(file.readlines()) == 4, "not its output", process)


CASES = {"progress": progress, "apt-is-locked": apt_is_locked}
