# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""All tests of real programs."""

from runlib import root
from runlib.bed import Asan, Bed, LittleMemlock, Tsan, Unprivileged
from runlib.case import Test

from . import (cm_users, crash, data, devices, launcher, many, mpi, others, perftest, pingpong,
               rdmacm, scripts, settings, ucx)

QUICK = {"data/write", "data/send", "data/read", "data/fetch-add", "launcher/options",
         "launcher/statuses", "launcher/killed", "settings/ports", "settings/bad-values",
         "many/mixed"}


def programs(suite, bed, wanted=None, quick=False):
    """Pairs of programs: all, or those with the tag wanted."""
    for module, cases in ((pingpong, pingpong.matrix()), (perftest, perftest.matrix())):
        for case in cases:
            if not wanted or wanted in case.tags:
                yield program_test(suite, bed, module, case, quick and "quick" in case.tags)


def program_test(suite, bed, module, case, quick=False):
    return Test(f"{suite}/{case.name()}", lambda ctx: module.run(ctx, case, bed),
                limit=case.limit() + 20, build=bed.variant, quick=quick, cpu=case.cpu())


def table(suite, bed, topic, cases, run, **options):
    """A test of each entry of a module's CASES."""
    for name, case in cases.items():
        name = f"{topic}/{name}"
        yield Test(f"{suite}/{name}", lambda ctx, case=case: run(ctx, case), build=bed.variant,
                   quick=suite == "apps" and (name in QUICK or topic == "devices"), **options)


def rdmacm_tests(suite, bed, wanted=None):
    for case in rdmacm.matrix():
        if not wanted or wanted in case.tags:
            yield Test(f"{suite}/{case.program}/{case.name}",
                       lambda ctx, case=case: rdmacm.run(ctx, case, bed),
                       limit=case.limit + 40, build=bed.variant,
                       quick=suite == "apps" and "quick" in case.tags)


def rdmacm_cases(suite, bed):
    for name, (run, limit) in rdmacm.CASES.items():
        yield Test(f"{suite}/rdmacm/{name}", lambda ctx, run=run: run(ctx, bed), limit=limit,
                   build=bed.variant,
                   quick=suite == "apps" and not name.startswith(("1000-", "200-")))


def other_programs(suite, bed):
    for name, (run, limit) in others.CASES.items():
        yield Test(f"{suite}/{name}", lambda ctx, run=run: run(ctx, bed), limit=limit,
                   build=bed.variant)


def cm_users_cases(suite, bed):
    for name, (run, limit) in cm_users.CASES.items():
        yield Test(f"{suite}/cm-users/{name}", lambda ctx, run=run: run(ctx, bed), limit=limit,
                   build=bed.variant, quick=True)


def device_tests(suite, bed):
    return table(suite, bed, "devices", devices.CASES, lambda ctx, case: case(ctx, bed))


def data_tests(suite, bed):
    return table(suite, bed, "data", data.CASES,
                 lambda ctx, case: data.run(ctx, bed, case[0], case[1], case[2], case[3]))


def other_tests(suite, bed):
    yield from table(suite, bed, "launcher", launcher.CASES,
                     lambda ctx, case: launcher.run(ctx, bed, case), limit=90)
    yield from table(suite, bed, "settings", settings.CASES,
                     lambda ctx, case: case(ctx, bed), limit=120)
    yield from many_tests(suite, bed)


def many_tests(suite, bed):
    return table(suite, bed, "many", many.CASES,
                 lambda ctx, case: many.run(ctx, bed, *case), limit=90, cpu=2)


def ucx_tests(suite, bed):
    return table(suite, bed, "ucx", ucx.CASES, lambda ctx, case: ucx.run(ctx, bed, *case),
                 limit=110, cpu=2)


def mpi_tests(suite, bed):
    yield from table(suite, bed, "mpi", mpi.CASES, lambda ctx, case: mpi.run(ctx, bed, *case),
                     limit=150, cpu=2)
    yield from table(suite, bed, "mpi", mpi.MPICH_CASES,
                     lambda ctx, case: mpi.run_mpich(ctx, bed, case), limit=150, cpu=2)


def silence_tests(suite, bed):
    return [Test(f"{suite}/killed/{topic}", lambda ctx, run=run: run(ctx, bed), limit=90,
                 build=bed.variant, quick=suite == "apps")
            for topic, run in crash.SILENCE.items()]


def crash_tests(suite, bed, rounds):
    return table(suite, bed, "killed", dict(crash.cases()),
                 lambda ctx, case: crash.run(ctx, bed, *case, rounds), limit=30 * rounds)


def other_release():
    """Another release's programs and libraries, all of them at least once."""
    suite = root.SUITE
    yield from device_tests(suite, root.Chroot)
    yield from programs(suite, root.Chroot, "other")
    yield from rdmacm_tests(suite, root.Chroot, "other")
    yield from rdmacm_cases(suite, root.Chroot)
    for case in perftest.newer():
        yield program_test(suite, root.Chroot, perftest, case)
    yield from data_tests(suite, root.Chroot)
    yield from many_tests(suite, root.Chroot)
    yield from programs(f"{suite}-nobody", root.ChrootNobody, "quick")
    # One side of each release
    for name, beds in (("server", (root.Chroot, Bed)), ("client", (Bed, root.Chroot))):
        for case in pingpong.matrix():
            if "other" in case.tags:
                yield Test(f"{suite}-as-{name}/{case.name()}",
                           lambda ctx, case=case, beds=beds: pingpong.run(ctx, case, *beds),
                           limit=case.limit() + 20, build=root.VARIANT, cpu=case.cpu())


def tests():
    return [
        *device_tests("apps", Bed), *other_tests("apps", Bed),
        *programs("apps", Bed, quick=True), *data_tests("apps", Bed),
        *rdmacm_tests("apps", Bed), *rdmacm_cases("apps", Bed), *cm_users_cases("apps", Bed),
        *other_programs("apps", Bed), *ucx_tests("apps", Bed),
        *mpi_tests("apps", Bed),
        *crash_tests("apps", Bed, rounds=3),
        *silence_tests("apps", Bed),
        *table("apps", Bed, "scripts", scripts.CASES, lambda ctx, case: case(ctx), limit=90),
        *programs("nobody", Unprivileged, "other"), *device_tests("nobody", Unprivileged),
        *programs("memlock", LittleMemlock, "quick"), *other_release(),
        *rdmacm_tests("nobody", Unprivileged, "other"), *rdmacm_tests("asan", Asan, "asan"),
        *programs("asan", Asan, "asan"), *device_tests("asan", Asan),
        *crash_tests("asan", Asan, rounds=1),
        *programs("tsan", Tsan, "tsan"), *device_tests("tsan", Tsan),
        *rdmacm_tests("tsan", Tsan, "tsan"),
    ]
