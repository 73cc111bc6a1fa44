#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Sends datagrams that nobody should send to the well-known port of a host:

    mads.py HOST KIND NUMBER SEED

noise: any bytes. header: a datagram for the GSI, or nearly, with any bytes in it.
cm: MADs of the connection manager with any contents, or pieces of good ones.
requests: REQs for a service that nobody serves, each of another connection.
Answers of a connection manager go to the port that is its own; nobody reads them here.
"""

import os
import random
import socket
import struct
import sys

PORT = 4795
MAD_BYTES = 256
GSI, QKEY = 1, 0x80010000
CM_CLASS, CM_VERSION, SEND = 7, 2, 3
REQ, LAST_ATTR = 0x10, 0x1c
CORPUS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fuzz",
                      "corpus", "mad")


def header(length, dst=GSI, qkey=QKEY, magic=b"TCZU", version=1, flags=0, pkey=0xffff, src=GSI,
           reserved=0):
    """struct tz_ud_hdr of engine/tz_wire.h"""
    return struct.pack("<4sBBHIIIIII", magic, version, flags, pkey, src, dst, qkey, 0, length,
                       reserved)


def mad(attr, data, base=1, cls=CM_CLASS, version=CM_VERSION, method=SEND, tid=0):
    """The common header (IB specification, 13.4.3) and what follows it."""
    common = struct.pack(">BBBBHHQHHI", base, cls, version, method, 0, 0, tid, attr, 0, 0)
    return (common + data).ljust(MAD_BYTES, b"\0")[:MAD_BYTES]


def noise(dice, _):
    return dice.randbytes(dice.choice((0, 1, 31, 32, 33, dice.randrange(1400))))


def near_header(dice, _):
    fields = dice.choice(({}, {"dst": dice.getrandbits(32)}, {"qkey": dice.getrandbits(32)},
                          {"version": dice.randrange(256)}, {"flags": dice.randrange(256)},
                          {"pkey": dice.randrange(65536)}, {"reserved": 1},
                          {"src": dice.getrandbits(32)}))
    body = dice.randbytes(dice.choice((0, 24, 255, 256, 257, 1024)))
    length = dice.choice((len(body), dice.getrandbits(32), len(body) + 1, 0))
    return header(length, **fields) + body


def any_mad(dice, seeds):
    if dice.random() < 0.3:
        data = bytearray(dice.choice(seeds).ljust(232, b"\0")[:232])
        for _ in range(dice.randrange(8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
    else:
        data = dice.randbytes(232) if dice.random() < 0.5 else bytes(232)
    fields = dice.choice(({}, {}, {}, {}, {"base": dice.randrange(256)},
                          {"cls": dice.randrange(256)}, {"version": dice.randrange(256)},
                          {"method": dice.randrange(256)}))
    body = mad(dice.randint(REQ, LAST_ATTR), bytes(data), tid=dice.getrandbits(64), **fields)
    return header(len(body)) + body


def request(dice, _):
    """A REQ (IB specification, 12.6.5) as far as it matters: a GID each, IPv4 in private data."""
    words = bytearray(232)
    struct.pack_into(">I", words, 0, dice.getrandbits(32) or 1)      # local comm ID
    struct.pack_into(">Q", words, 8, 0x0000000001060000 | dice.randrange(20000, 60000))
    struct.pack_into(">Q", words, 16, dice.getrandbits(64))          # CA GUID
    struct.pack_into(">I", words, 32, dice.randrange(2, 1 << 24) << 8)
    words[140 - 24] = 0x40                                           # IP version 4
    body = mad(REQ, bytes(words), tid=dice.getrandbits(64))
    return header(len(body)) + body


KINDS = {"noise": noise, "header": near_header, "cm": any_mad, "requests": request}


def main():
    host, kind, number, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    dice = random.Random(seed)
    seeds = []
    for name in sorted(os.listdir(CORPUS)):
        with open(os.path.join(CORPUS, name), "rb") as file:
            seeds.append(file.read())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, PORT))
        for _ in range(number):
            try:
                sock.send(KINDS[kind](dice, seeds))
            except ConnectionRefusedError:
                pass        # of the one before: nobody is there
    print(f"{number} of {kind} sent, seed {seed}")


if __name__ == "__main__":
    main()
