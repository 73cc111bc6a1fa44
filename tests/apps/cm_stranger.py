#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""What a hostile process of another user does to those that use rdma_cm on its host:

    cm_stranger.py links NUMBER | messages | names PORT | deaf NUMBER | datagrams NUMBER | hold NAME

Fails if it gets what it must not have. What others suffer, the test sees.
"""

import array
import ctypes
import errno
import os
import random
import resource
import select
import socket
import struct
import sys
import time

from mads import header, mad

WELL_KNOWN = 4795
OWNER = f"\0tcpzc-cm/0000/{WELL_KNOWN}/owner"
HELLO = struct.pack("=II", 0x686d637a, 0)
PASS = 0x706d637a
REJ, REP, DREQ = 0x12, 0x13, 0x15
PATIENCE = 10       # seconds
KEPT = 64           # links that an owner keeps for one other user
LOOPBACK = bytes(10) + b"\xff\xff\x7f\0\0\1"
SOL_SOCKET, SO_LOCK_FILTER, SO_ATTACH_FILTER = 1, 44, 26


def expect(condition, text):
    if not condition:
        sys.exit(f"cm_stranger: {text}")


def doors():
    """Names at which processes listen (__SO_ACCEPTCON) for packets."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if len(words) == 8 and words[7].startswith("@tcpzc-cm/") and \
               words[3:5] == ["00010000", "0005"]:
                yield "\0" + words[7][1:]


def connect(name):
    """A link; waits for a place in the queue."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", PATIENCE, 0))
    sock.connect(name)
    return sock


def receive(sock):
    """A packet and how many descriptors came with it; None: the link has ended."""
    try:
        data, control, _, _ = sock.recvmsg(4096, socket.CMSG_SPACE(64))
    except ConnectionResetError:
        return None, 0
    got = array.array("i")
    for level, kind, body in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            got.frombytes(body[:len(body) // 4 * 4])
    for each in got:
        deafen(each)
    return data or None, len(got)


def deafen(descriptor):
    """What a thief does with a socket: a filter that drops everything, for ever."""
    prog = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    with socket.socket(fileno=descriptor) as sock:
        sock.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER,
                        struct.pack("HxxxxxxP", 1, ctypes.addressof(prog)))
        sock.setsockopt(SOL_SOCKET, SO_LOCK_FILTER, 1)


def links(number):
    """Very many; every other one says hello. Few are kept, and none gets a socket."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + 100,) * 2)
    socks = []
    for i in range(number):
        socks.append(connect(OWNER))
        if i % 2:
            try:
                socks[-1].send(HELLO)
            except (BrokenPipeError, ConnectionResetError):
                pass
    poll = select.poll()
    kept = {sock.fileno(): sock for sock in socks}
    for descriptor in kept:
        poll.register(descriptor, select.POLLIN | select.POLLRDHUP)
    deadline = time.monotonic() + PATIENCE
    while len(kept) > KEPT and time.monotonic() < deadline:
        for descriptor, _ in poll.poll(1000):
            data, got = receive(kept[descriptor])
            expect(not got, f"got {got} descriptors")
            if data is None:
                poll.unregister(descriptor)
                kept.pop(descriptor).close()
    expect(len(kept) <= KEPT, f"{len(kept)} links of {number} are kept")


def packets():
    """Whatever nobody sends."""
    whole = struct.pack("=II", PASS, 0) + LOOPBACK + LOOPBACK
    for attr in (REP, DREQ, REJ):
        yield whole + mad(attr, struct.pack(">II", 1, 1)), 0
    yield whole + mad(DREQ, b""), 3
    yield whole, 0
    yield whole + bytes(256), 0
    yield HELLO + b"x", 0
    yield HELLO[:-1], 2
    yield struct.pack("=II", 0x686d637a, 0xffffffff), 0
    yield b"\xff", 0
    yield random.randbytes(100000), 0


def messages():
    """To each name there is: nothing is believed, the link is closed."""
    names = [*doors()]
    expect(OWNER in names and len(names) >= 4, f"only {names}")
    with connect(OWNER) as silent, connect(OWNER) as polite:
        polite.send(HELLO)
        expect(receive(polite) == (HELLO, 0), "no greeting")
        expect(receive(silent)[0] is None, "who says nothing is greeted")
        # That took seconds, and this one is still there.
        polite.send(HELLO)
        expect(receive(polite)[0] is None, "who says more is not closed")
    for name in names:
        for data, descriptors in packets():
            rights = array.array("i", [0] * descriptors)
            with connect(name) as sock:
                try:
                    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                                 if descriptors else [])
                except (BrokenPipeError, ConnectionResetError):
                    continue
                answer, got = receive(sock)
                expect(answer is None and not got,
                       f"{name[1:]}: {data[:40]} is answered: {answer}")


def names(port):
    """Others have the port: neither it nor its addresses can be taken, nor a token."""
    taken = [f"\0tcpzc-cm/0106/{port}/{which}" for which in ("4", LOOPBACK.hex())]
    taken += [name for name in doors() if name.endswith(("/id", "/owner"))]
    for name in taken:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.bind(name)
            expect(False, f"{name[1:]} could be taken")
        except OSError as error:
            expect(error.errno == errno.EADDRINUSE, f"{name[1:]}: {error}")


def datagram(sock, attr, local, remote):
    body = mad(attr, struct.pack(">II", local, remote))
    sock.sendto(header(len(body)) + body, ("127.0.0.1", WELL_KNOWN))


def deaf(number):
    """Has a token, and reads nothing of all that comes for it; then leaves without reading."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock, \
         socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        sock.bind("\0tcpzc-cm/0000/0/id")
        sock.listen(1)
        for i in range(number):
            datagram(out, REP, i + 1, 0x0001)


def datagrams(number):
    """From the address of both ends, with their tokens, and ids as if they were counted."""
    tokens = [int(name.split("/")[2]) for name in doors() if name.endswith("/id")]
    expect(len(tokens) >= 2, f"tokens {tokens}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(number):
            here, there = (token << 16 | random.randint(1, 8)
                           for token in random.sample(tokens, 2))
            datagram(sock, DREQ, there, here)
            datagram(sock, REJ, 0, here)


def hold(name):
    """Takes a name before others come, and answers nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind("\0" + name)
        sock.listen(1)
        print("held", flush=True)
        time.sleep(600)


def main():
    what = {"links": links, "messages": messages, "names": names, "deaf": deaf,
            "datagrams": datagrams, "hold": hold}[sys.argv[1]]
    expect(os.getuid(), "this is root")
    what(*(int(word) if word.isdigit() else word for word in sys.argv[2:]))


if __name__ == "__main__":
    main()
