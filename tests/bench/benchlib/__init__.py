# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Parts of tests/bench/bench; see README.md."""
