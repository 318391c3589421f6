"""The operator over thousands of objects at rest: memory, processor, writes. The apiserver is real; nothing runs."""

import argparse
import re
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from customizer_operator.settings import RESYNC_SECONDS
from tests.api.conftest import PYTORCHJOB_CRD, ROOT, Operator
from tests.api.control_plane import ControlPlane
from tests.api.world import World
from tests.bench.copies import Life, copy_life, read_life
from tests.bench.operators import Audit, Use, count_writes, read_use
from tests.cluster.builds import TRAINING_OPERATOR, module_folder
from tests.support import samples

MOST_MEMORY, MOST_PROCESSOR = 200, 2.0
"""MiB, and percent of a core."""
_METRICS_PORT = 18082
_SUSPENDED = 10
"""Of so many jobs one is suspended and has nothing; the others have ended and left all their objects."""
_PATIENCE = 1200.0
_QUIET = 10.0
_MAKERS = 12
_PERIODS = 2.0
"""Of the resync: in the first, all that there is was looked at just before."""


@contextmanager
def start_control_plane() -> Iterator[ControlPlane]:
    """Starts an apiserver with our CRDs, our RBAC and PyTorchJobs."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ControlPlane(Path(name)) as plane:
        plane.install(ROOT / "manifests/base", "-k")
        plane.install(module_folder(TRAINING_OPERATOR) / PYTORCHJOB_CRD)
        yield plane


def live_once(plane: ControlPlane) -> tuple[Life, Life]:
    """Lets the operator lead one job to its end and suspend another; returns both."""
    ended, waiting = World(plane, "ended"), World(plane, "waiting")
    for world in (ended, waiting):
        operator = Operator(plane, world, plane.folder / f"{world.namespace}.log")
        try:
            world.create("customizationjobs", samples.job("copied", suspend=world is waiting))
            if world is ended:
                _end(world)
            else:
                world.wait_for_condition("copied", "Suspended")
        finally:
            operator.stop()
    return read_life(ended, "copied"), read_life(waiting, "copied")


def _end(world: World) -> None:
    world.pass_preflight("copied", samples.passed())
    world.finish_job("copied-preflight")
    pods = world.make_workers("copied-a1")
    for pod in pods:
        world.run_pod(pod)
    world.wait_for_condition("copied", "Running")
    for pod in reversed(pods):
        world.end_pod(pod, 0, samples.trained())
    world.set_training_job("copied-a1", "Created", "Running", "Succeeded")
    world.wait_for_condition("copied", "Complete")


def make_copies(world: World, lives: tuple[Life, Life], count: int) -> int:
    """Makes so many jobs with all that belongs to them; returns how many objects there are."""
    chosen = [lives[number % _SUSPENDED == 0] for number in range(count)]
    names = [f"job-{number:05}" for number in range(count)]
    _in_parallel(world, chosen, names)
    return sum(1 + len(life.children) for life in chosen)


def _in_parallel(world: World, lives: Iterable[Life], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_MAKERS) as pool:
        for _ in pool.map(lambda life, name: copy_life(world, life, name), lives, names):
            pass


class Watched:
    """An operator over one namespace, and what it takes."""

    def __init__(self, plane: ControlPlane, world: World, resync: float) -> None:
        self.audit = Audit(plane.audit)
        self.started = time.monotonic()
        self.operator = Operator(
            plane,
            world,
            plane.folder / "operator.log",
            CUSTOMIZER_METRICS_PORT=str(_METRICS_PORT),
            CUSTOMIZER_RESYNC_SECONDS=str(resync),
        )

    def use(self) -> Use:
        """Returns what it has taken so far."""
        return read_use(self.operator.pid)

    def settle(self, looks: int) -> float:
        """Waits until it has looked at all and nothing is left to do; returns the seconds since its start."""
        last, since = -1.0, time.monotonic()
        while time.monotonic() - since < _QUIET:
            if not self.operator.is_running() or time.monotonic() - self.started > _PATIENCE:
                raise RuntimeError(self.operator.log()[-3000:])
            time.sleep(0.5)
            count = self.count_looks()
            if count != last or count < looks:
                last, since = count, time.monotonic()
        return since - self.started

    def count_looks(self) -> float:
        """Returns how many looks at objects there have been."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{_METRICS_PORT}/metrics", timeout=30) as response:
                text = response.read().decode()
        except OSError:  # It has just started.
            return 0.0
        return sum(
            float(found) for found in re.findall(r"^customizer_reconciles_total\{.*\} (\S+)$", text, re.MULTILINE)
        )


def report(count: int, resync: float) -> None:
    """Prints memory, processor and writes beside their goals."""
    window = resync * _PERIODS
    with start_control_plane() as plane:
        lives = live_once(plane)
        world = World(plane, "rest")
        began = time.monotonic()
        objects = make_copies(world, lives, count)
        print(f"\n{count} jobs at rest, {objects} objects that are watched (made in {time.monotonic() - began:.0f} s)")
        watched = Watched(plane, world, resync)
        try:
            took = watched.settle(count)
            start = watched.use()
            print(f"started and looked at all of them in {took:.0f} s, {start.processor_seconds:.1f} s of a core")
            at_start = watched.audit.read()
            looks = watched.count_looks()
            time.sleep(window)
            end, looked = watched.use(), watched.count_looks() - looks
            calls = watched.audit.read()
        finally:
            watched.operator.stop()
        _print(start, end, at_start, calls, window, resync, looked)


def _print(
    start: Use, end: Use, at_start: Counter[str], calls: Counter[str], window: float, resync: float, looked: float
) -> None:
    share = 100 * (end.processor_seconds - start.processor_seconds) / window
    print(f"{window:.0f} s at rest, everything listed and looked at again every {resync:.0f} s; {looked:.0f} looks")
    print(f"{'':<32}{'is':>8}{'goal':>12}")
    print(f"{'resident memory, MiB':<32}{end.memory:>8.0f}{MOST_MEMORY:>12}")
    print(f"{'peak since its start, MiB':<32}{end.peak_memory:>8.0f}{'':>12}")
    print(f"{'processor, percent of a core':<32}{share:>8.2f}{'':>12}")
    by_default = share * resync / RESYNC_SECONDS
    print(f"{f'the same, every {RESYNC_SECONDS:.0f} s':<32}{by_default:>8.2f}{MOST_PROCESSOR:>12}")
    print(f"{'writes at its start':<32}{count_writes(at_start):>8}{0:>12}")
    print(f"{'writes at rest':<32}{count_writes(calls):>8}{0:>12}")
    print(f"{'reads and watches at rest':<32}{sum(calls.values()) - count_writes(calls):>8}{'':>12}")


def main() -> None:
    """Runs it: `python -m tests.bench.rest`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--resync", type=float, default=200, help="CUSTOMIZER_RESYNC_SECONDS while it is measured")
    arguments = parser.parse_args()
    report(arguments.jobs, arguments.resync)


if __name__ == "__main__":
    main()
