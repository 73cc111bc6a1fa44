#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""A peer's connection manager, as far as a test needs one: cm_peer.py refused HERE THERE PORT

refused: a request for a service that is not there is refused after a while; when it comes once
more, as one does that was sent before the answer came, it is refused again, at once.
"""

import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "vm"))

from mads import MAD_BYTES, PORT, REQ, header, mad

REJ, NO_SERVICE = 0x12, 8
BODY, PRIVATE = 24, 140     # a MAD's header, and where a REQ's private data begin behind it
PATIENCE = 5
HELD = 0.2                  # seconds; what is held is held for longer


def request(service, local_id, here, there):
    """A REQ (IB specification, 12.6.5), as far as it is looked at here."""
    words = bytearray(MAD_BYTES - BODY)
    struct.pack_into(">I", words, 0, local_id)
    struct.pack_into(">Q", words, 8, 0x01060000 | service)
    words[PRIVATE + 1] = 0x40
    for at, address in ((PRIVATE + 16, here), (PRIVATE + 32, there)):
        words[at:at + 4] = socket.inet_aton(address)
    return mad(REQ, bytes(words), tid=local_id)


def answer(sock, local_id):
    """Attribute and body of the next message to this id, and when it came."""
    while True:
        body = sock.recv(1024)[-MAD_BYTES:]
        if struct.unpack_from(">I", body, BODY + 4)[0] == local_id:
            return struct.unpack_from(">H", body, 16)[0], body[BODY:], time.monotonic()


def refused(here, there, service):
    local_id = random.getrandbits(32) | 1
    body = request(service, local_id, here, there)
    waited = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind((here, PORT))
        for _ in range(2):
            sent = time.monotonic()
            sock.sendto(header(len(body)) + body, (there, PORT))
            attr, rej, when = answer(sock, local_id)
            reason = struct.unpack_from(">H", rej, 10)[0]
            if (attr, reason) != (REJ, NO_SERVICE):
                sys.exit(f"cm_peer: answered by {attr:#x}, reason {reason}")
            waited.append(when - sent)
    if waited[0] < HELD or waited[1] > HELD:
        sys.exit(f"cm_peer: refused after {waited} seconds")


def main():
    {"refused": refused}[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]))


if __name__ == "__main__":
    main()
