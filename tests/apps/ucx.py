# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""UCX over verbs: ucx_perftest with nothing but its RC and UD transports."""

import shutil

from runlib.case import Skip, expect, until

RC, UD = "rc_verbs,ud_verbs", "ud_verbs"      # RC's connections are made by UD
PORT = 13337

CASES = {
    "rc-tag-lat": (RC, "-t tag_lat -s 8"),
    "rc-tag-bw": (RC, "-t tag_bw -s 65536"),
    "rc-tag-bw-1-mib": (RC, "-t tag_bw -s 1048576"),
    "rc-put": (RC, "-t ucp_put_bw -s 65536"),
    "rc-get": (RC, "-t ucp_get -s 65536"),
    "rc-fadd": (RC, "-t ucp_fadd -s 8"),
    "rc-cswap": (RC, "-t ucp_cswap -s 8"),
    "ud-tag-lat": (UD, "-t tag_lat -s 8"),
    "ud-tag-bw": (UD, "-t tag_bw -s 65536"),
}


def environment(bed, path, side, transports):
    device = bed.device(path, side) if hasattr(bed, "device") else "tcpzc0"
    return {"UCX_TLS": transports, "UCX_NET_DEVICES": device + ":1"}


def run(ctx, bed, transports, words):
    if not shutil.which("ucx_perftest"):
        raise Skip("ucx_perftest is not installed")
    path = ctx.path("veth")
    bed = bed(ctx)
    bed.prepare(path)
    args = [*words.split(), "-n", 200, "-w", 10]
    server = ctx.start(bed.command(path, "server", "ucx_perftest", args,
                                   environment(bed, path, "server", transports)),
                       80, name="server")
    until(lambda: PORT in path.listening("server"), "ucx_perftest does not listen",
          alive=[server])
    client = ctx.start(bed.command(path, "client", "ucx_perftest", [*args, path.ipv4["server"]],
                                   environment(bed, path, "client", transports)),
                       80, name="client")
    client.wait(70)
    expect(client.status == 0 and "Final:" in client.text(), "the client fails", server, client)
    server.wait(20)
    expect(server.status == 0, "the server fails", server, client)
