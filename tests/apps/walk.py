# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Run by launcher.py under tcpzc-run: the devices as seen from above, in relative steps."""

import glob
import os
import sys

NODE = "infiniband/tcpzc0/node_type"


def read(path, **options):
    fd = os.open(path, os.O_RDONLY, **options)
    try:
        return os.read(fd, 100).decode()
    finally:
        os.close(fd)


def same(name, found, wanted):
    if found != wanted:
        sys.exit(f"{name}: {found}, not {wanted}")


def listed(name, entries, *wanted):
    for entry in wanted:
        if list(entries).count(entry) != 1:
            sys.exit(f"{name}: {entry} is not listed once in {sorted(entries)}")


def directories():
    for path, names in (("/sys/class", ("infiniband", "infiniband_verbs", "net")),
                        ("/dev", ("infiniband", "null"))):
        listed(path, os.listdir(path), *names)
        listed(path, [entry.name for entry in os.scandir(path)], *names)
        fd = os.open(path, os.O_RDONLY)
        for _ in range(2):
            listed("descriptor of " + path, os.listdir(fd), *names)
        os.close(fd)
    listed("/sys/class/net", os.listdir("/sys/class/net"), "lo")


def descriptors():
    for path, relative in (("/", "sys/class/" + NODE), ("/sys", "class/" + NODE),
                           ("/sys/class", NODE), ("/sys/class/net", "../" + NODE),
                           ("/sys/class/infiniband_verbs", "../" + NODE),
                           ("/sys/class/infiniband", "tcpzc0/node_type")):
        fd = os.open(path, os.O_RDONLY)
        same(f"{relative} at {path}", read(relative, dir_fd=fd), "1: CA\n")
        os.stat(relative, dir_fd=fd)
        os.close(fd)
        os.chdir(path)
        same(f"{relative} in {path}", read(relative), "1: CA\n")
        os.stat(relative)
        same("access", os.access(relative, os.R_OK), True)
        same(f"realpath in {path}", read(os.path.realpath(relative)), "1: CA\n")
    os.chdir("/sys/class/infiniband")
    listed("..", os.listdir("../net"), "lo")
    os.chdir("..")
    listed("/sys/class by ..", os.listdir("."), "net", "infiniband")
    same("absolute", read("/sys/class/net/../" + NODE), "1: CA\n")
    os.stat("/sys/class/infiniband/../net/lo")


def devices():
    os.chdir("/dev")
    same("device", os.major(os.stat("infiniband/uverbs0").st_rdev), 231)
    fd = os.open("infiniband", os.O_RDONLY)
    inside = os.open("uverbs0", os.O_RDWR, dir_fd=fd)
    try:
        os.write(inside, b"x")
        sys.exit("a device took rubbish")
    except OSError:
        pass


def walks():
    ports = "/sys/class/infiniband/tcpzc0/ports"
    found = [top for top, _, names in os.walk(ports) if "link_layer" in names]
    same("walk", found, [ports + "/1"])
    found = [top for top, _, names, _ in os.fwalk(ports) if "link_layer" in names]
    same("fwalk", found, [ports + "/1"])
    listed("walk from above", next(os.walk("/sys/class"))[1], "infiniband")
    same("glob", glob.glob("/sys/class/inf*d/*/node_type"), ["/sys/class/" + NODE])


for check in (directories, descriptors, devices, walks):
    check()
print("seen")
