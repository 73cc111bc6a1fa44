# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Tests that run distributions' unmodified programs; see ../README.md."""
