# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""The test runner and what tests of real programs are made of; see ../README.md."""
