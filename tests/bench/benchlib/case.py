# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""What a case of the benchmark is, and the surroundings it runs in."""

from dataclasses import dataclass, field


@dataclass
class Result:
    """One run of one case."""
    value: float                    # in the unit of the case
    bytes: float = 0                # payload moved, for CPU seconds per GB
    operations: float = 0
    cpu_server: float = 0           # seconds, user + system
    cpu_client: float = 0
    foreign: float = 0              # processors taken by others meanwhile
    detail: dict = field(default_factory=dict)

    def cpu(self):
        return self.cpu_server + self.cpu_client

    def cpu_per_gb(self):
        return self.cpu() / (self.bytes / 1e9) if self.bytes else None

    def cpu_us_per_operation(self):
        return self.cpu() * 1e6 / self.operations if self.operations else None


@dataclass
class Case:
    """name: key in the JSON; unit: Gbit/s, us or Mmsg/s; run(bench, path)."""
    name: str
    title: str
    unit: str
    run: object
    group: str                      # "baseline", "raw" (candidates) or "tcpzc"
    ours: bool = False


@dataclass
class Bench:
    """Settings all cases share."""
    root: str                       # of the source tree
    build: str
    seconds: float                  # that one run should take
    timeout: float
    cpus: tuple = None              # (server, client), or None: not pinned
    _port: int = 21000

    def port(self):
        """A fresh port each time: no waiting for TIME_WAIT."""
        self._port = 21000 + (self._port - 21000 + 1) % 9000
        return self._port

    def pinned(self, side, *command):
        if not self.cpus:
            return list(command)
        return ["taskset", "-c", str(self.cpus[side == "client"]), *command]

    def on(self, path, side, *command):
        return path.command(side, *self.pinned(side, *command))
