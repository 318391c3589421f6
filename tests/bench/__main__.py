"""Measures against peers on this machine, in one run, and prints ratios: `make bench`."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import placement, preflight


def bench_preflight(model: Path, megabytes: int) -> None:
    """Prints throughput and peak memory of both ways, imports included."""
    print(f"\nReading, checking and encoding {megabytes} MB of prompt/completion records")
    print(f"{'':<24}{'MB/s':>8}{'peak MiB':>10}")
    speeds = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "records.jsonl"
        preflight.write_records(data, megabytes)
        for way in preflight.WAYS:
            command = [sys.executable, "-P", "-m", "tests.bench.preflight", way, str(model), str(data)]
            output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
            seconds, memory = json.loads(output.stdout.splitlines()[-1])
            speeds[way] = megabytes / seconds
            print(f"{way:<24}{speeds[way]:>8.1f}{memory:>10.0f}")
    mine, peer = speeds.values()
    print(f"ratio: {mine / peer:.2f}")


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="folder that holds the model smollm2")
    parser.add_argument("--megabytes", type=int, default=100, help="size of the generated dataset")
    arguments = parser.parse_args()
    bench_preflight(arguments.models / "smollm2", arguments.megabytes)
    placement.report()


if __name__ == "__main__":
    main()
