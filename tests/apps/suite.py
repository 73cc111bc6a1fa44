# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""All tests of real programs."""

from runlib.bed import Bed
from runlib.case import Test

from . import data, devices, perftest, pingpong


def programs(suite, bed, wanted=None, quick=False):
    """Pairs of programs: all, or those with the tag wanted."""
    for module, cases in ((pingpong, pingpong.matrix()), (perftest, perftest.matrix())):
        for case in cases:
            if wanted and wanted not in case.tags:
                continue
            yield Test(f"{suite}/{case.name()}",
                       lambda ctx, module=module, case=case: module.run(ctx, case, bed),
                       limit=60, build=bed.variant, quick=quick and "quick" in case.tags,
                       cpu=2 if module is pingpong else case.cpu())


def device_tests(suite, bed, quick=False):
    for name, run in devices.CASES.items():
        yield Test(f"{suite}/devices/{name}", lambda ctx, run=run: run(ctx, bed),
                   build=bed.variant, quick=quick)


def data_tests(suite, bed):
    for name, (program, size, args, check) in data.CASES.items():
        yield Test(f"{suite}/data/{name}",
                   lambda ctx, p=program, s=size, a=args, c=check:
                   data.run(ctx, bed, p, s, a, c),
                   build=bed.variant, quick=name in ("write", "send", "read", "fetch-add"))


def tests():
    return [*device_tests("apps", Bed, quick=True), *programs("apps", Bed, quick=True),
            *data_tests("apps", Bed)]
