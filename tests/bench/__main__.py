"""Measures against peers on this machine, in one run, and prints ratios: `make bench`."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import placement, preflight, training, transfer
from tests.bench.processes import run_measured
from tests.cluster.environments import make


def bench_preflight(model: Path, megabytes: int, times: int) -> None:
    """Prints throughput and peak memory of each way, and of preflight over a file so many times as large."""
    print(f"\nReading, checking and encoding {megabytes} MB of prompt/completion records, imports included")
    print(f"{'':<26}{'MB/s':>8}{'MB/CPU second':>15}{'peak MiB':>10}", flush=True)
    speeds = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "records.jsonl"
        preflight.write_records(data, megabytes)
        for way in preflight.WAYS:
            speeds[way] = _bench_way(way, way, model, data, megabytes)
        print(f"ratio: {speeds['preflight'] / speeds[preflight.PEER]:.2f}", flush=True)
        preflight.repeat(data, times)
        _bench_way("preflight", f"preflight of {times * megabytes} MB", model, data, times * megabytes)


def _bench_way(way: str, title: str, model: Path, data: Path, megabytes: int) -> float:
    # Preflight's image holds no torch, which transformers would import.
    python = sys.executable if way == preflight.PEER else str(make("dev") / "bin" / "python")
    command = [python, "-P", "-m", "tests.bench.preflight", way, str(model), str(data)]
    taken = run_measured(command)
    speed = megabytes / taken.seconds
    print(f"{title:<26}{speed:>8.1f}{megabytes / taken.processor_seconds:>15.1f}{taken.memory:>10.0f}", flush=True)
    return speed


def _bench_operator(bench: str) -> None:
    """Runs a benchmark of the operator, in the environment that holds it."""
    sys.stdout.flush()
    subprocess.run([make("dev") / "bin" / "python", "-P", "-m", f"tests.bench.{bench}"], check=True)


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="folder that holds the model smollm2")
    parser.add_argument("--megabytes", type=int, default=100, help="size of the generated dataset")
    parser.add_argument("--times", type=int, default=10, help="how much larger a file is whose memory is measured")
    arguments = parser.parse_args()
    bench_preflight(arguments.models / "smollm2", arguments.megabytes, arguments.times)
    transfer.report()
    placement.report()
    for bench in ("lives", "rest"):
        _bench_operator(bench)
    training.report(arguments.models / "smollm2")


if __name__ == "__main__":
    main()
