# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""A server and a client of one of the classic pairs of programs."""

import os
import sys
import time

from .case import Fail, expect

PORT = 18515
RELAY_PORT = 18514
RELAY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "relay.py")
START = 15          # seconds a server may take until it listens


class Pair:
    """server_first: as people do it. Not: the client is there before the server,
    on a relay that connects it as soon as the server listens. hold: seconds by
    which the relay delays what the server says, so that its queue pair is ready
    long before the client's.
    """

    def __init__(self, ctx, bed, path, program, args=(), client_args=None,
                 server_first=True, hold=0, port=PORT, env=None, client_bed=None,
                 limit=40):
        self.ctx, self.path, self.port = ctx, path, port
        self.limit = limit
        self.deadline = time.monotonic() + limit
        self.relay = None
        client_args = args if client_args is None else client_args
        beds = {"server": bed, "client": client_bed or bed}
        self.beds = beds
        for each in set(beds.values()):
            each.prepare(path)
        direct = server_first and not hold
        command = {
            "server": bed.command(path, "server", program, [*args, "-p", port], env),
            "client": beds["client"].command(path, "client", program, [
                *client_args, "-p", port if direct else RELAY_PORT,
                path.ipv4["server"] if direct else "127.0.0.1"], env)}
        if not direct:
            self._start_relay(hold)
        order = ("server", "client") if server_first else ("client", "server")
        for side in order:
            process = ctx.start(command[side], limit + 5, name=side)
            setattr(self, side, process)
            if side == "server" and server_first:
                self._await_listening("server", port, process)

    def _start_relay(self, hold):
        self.relay = self.ctx.start(
            self.path.command("client", sys.executable, RELAY, RELAY_PORT,
                              self.path.ipv4["server"], self.port, hold),
            self.limit + 5, name="relay")
        self._await_listening("client", RELAY_PORT, self.relay)

    def _await_listening(self, side, port, process):
        start = time.monotonic()
        while port not in self.path.listening(side):
            expect(process.poll() is None, f"{process.name} ends before it listens",
                   process)
            if time.monotonic() > min(self.deadline, start + START):
                raise Fail(f"{process.name} does not listen\n" + process.describe())
            time.sleep(0.005)

    def all(self):
        return [p for p in (self.server, self.client, self.relay) if p]

    def finish(self):
        """Wait for both; they must succeed."""
        while any(p.poll() is None for p in self.all()):
            if any(p.status for p in self.all()):
                # The other notices or not; the figures are lost anyway.
                self.deadline = min(self.deadline, time.monotonic() + 3)
            if time.monotonic() > self.deadline:
                break
            time.sleep(0.005)
        late = [p.name for p in self.all() if p.poll() is None]
        expect(not late or any(p.status for p in self.all()),
               f"timeout: {', '.join(late)} still running after {self.limit:g} s",
               *self.all())
        for process in self.all():
            expect(process.status in (0, None), f"the {process.name} fails", *self.all())
        self.check_output()
        return self

    def check_output(self):
        for side, bed in self.beds.items():
            bad = bed.bad_output(getattr(self, side))
            expect(not bad, f"{side}: {bad}", *self.all())

    def describe(self):
        return "\n".join(process.describe() for process in self.all())
