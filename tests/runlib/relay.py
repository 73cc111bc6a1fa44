#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""relay.py PORT HOST TARGET-PORT [HOLD-S]

Takes one connection at 127.0.0.1:PORT, connects to HOST:TARGET-PORT as soon as
somebody listens there, and passes bytes on both ways, those from the server only
HOLD-S seconds after the first. So a client may come before its server, and
the server is ahead of it in the exchange of queue pair numbers.
"""

import select
import socket
import sys
import time


def connect(host, port):
    while True:
        try:
            return socket.create_connection((host, port), 30)
        except ConnectionRefusedError:
            time.sleep(0.01)


def copy(source, target):
    """False at the end of the stream."""
    try:
        data = source.recv(65536)
    except ConnectionResetError:
        data = b""
    if not data:
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass        # it has gone already
        return False
    target.sendall(data)
    return True


def main():
    port, host, target, *hold = sys.argv[1:]
    delay = float(hold[0]) if hold else 0
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(port)))
        listener.listen()
        client, _ = listener.accept()
    server = connect(host, int(target))
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    other = {client: server, server: client}
    sources = [client, server]
    while sources:
        for source in select.select(sources, [], [])[0]:
            if source is server and delay:
                time.sleep(delay)
                delay = 0
            if not copy(source, other[source]):
                sources.remove(source)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"relay: {error}")
