# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Bars with the spread of the runs, as SVG written by hand: no dependencies."""

from html import escape

UNITS = ("Gbit/s", "us", "Mmsg/s")
HEADINGS = {"Gbit/s": "Bandwidth, Gbit/s", "us": "Half round trip, us (less is better)",
            "Mmsg/s": "64-byte messages, million per second"}
COLOURS = {"baseline": "#8d99a6", "raw": "#c3b091", "tcpzc": "#1f6fb2"}
WIDTH, LABEL, BAR, STEP, HEAD = 900, 330, 14, 21, 44


def _rows(part, unit):
    return [e for e in part["cases"].values()
            if e["unit"] == unit and e["median"] is not None]


def _bar(entry, y, scale):
    length = entry["median"] * scale
    low, high = LABEL + entry["min"] * scale, LABEL + entry["max"] * scale
    middle = y + BAR / 2
    return [
        f'<text x="{LABEL - 8}" y="{y + 11}" text-anchor="end">'
        f'{escape(entry["title"])}</text>',
        f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" '
        f'fill="{COLOURS[entry["group"]]}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#222"/>',
        f'<text x="{max(high, LABEL + length) + 6:.1f}" y="{y + 11}">'
        f'{entry["median"]:.3g}</text>',
    ]


def _chart(title, rows, y):
    scale = (WIDTH - LABEL - 70) / max(e["max"] for e in rows)
    parts = [f'<text x="12" y="{y + 26}" font-size="15" font-weight="bold">'
             f'{escape(title)}</text>']
    for i, entry in enumerate(rows):
        parts += _bar(entry, y + HEAD + i * STEP, scale)
    return parts, y + HEAD + len(rows) * STEP


def svg(document):
    parts, y = [], 0
    for name, part in document["sections"].items():
        for unit in UNITS:
            rows = _rows(part, unit)
            if rows:
                more, y = _chart(f"{name}: {HEADINGS[unit]}", rows, y)
                parts += more
    height = y + 16
    return "\n".join([
        "<!-- SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB -->",
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>", ""])
