# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Prints how many seconds a TCP connection to a port without listener is refused in."""

import socket
import sys
import time

start = time.monotonic()
with socket.socket() as sock:
    sock.settimeout(10)
    if not sock.connect_ex((sys.argv[1], 9)):
        sys.exit("somebody listens")
print(time.monotonic() - start)
