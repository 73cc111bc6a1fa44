# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Kernel mode, in machines of scripts/vm."""
