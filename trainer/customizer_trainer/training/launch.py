"""torchrun: the processes of this node, with static rendezvous."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from customizer_trainer import starting
from customizer_trainer.logs import LINE_PREFIX, Relay

RENDEZVOUS_TIMEOUT_SECONDS = 1800
"""How long a node waits for the others: they may still be downloading the model."""
_LAST_LINES_SECONDS = 5.0
"""How long what torchrun has written last may take to be read, when it has ended."""
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Place:
    """Where this node stands among the nodes of the attempt."""

    node: int
    nodes: int
    processes: int
    """Processes on each node."""
    master: str
    port: int


def read_place(environment: Mapping[str, str], nodes: int, processes: int) -> Place:
    """Reads the node's place from torchrun's own variables; alone, it needs none."""
    port = environment.get("PET_MASTER_PORT")
    return Place(
        node=int(environment.get("PET_NODE_RANK", "0")),
        nodes=nodes,
        processes=processes,
        master=environment.get("PET_MASTER_ADDR", "127.0.0.1"),
        port=int(port) if port else _free_port(),
    )


def build_command(place: Place, module: str, arguments: list[str], output: Path) -> list[str]:
    """Builds the command that starts the ranks of this node; what they print lies below `output`, too."""
    return [
        *starting.build_command("torch.distributed.run"),
        f"--nnodes={place.nodes}",
        f"--nproc-per-node={place.processes}",
        f"--node-rank={place.node}",
        f"--master-addr={place.master}",
        f"--master-port={place.port}",
        f"--rdzv-conf=timeout={RENDEZVOUS_TIMEOUT_SECONDS}",
        f"--log-dir={output}",
        "--tee=3",
        "-m",
        module,
        *arguments,
    ]


def build_environment(environment: Mapping[str, str], place: Place, cores: int) -> dict[str, str]:
    """Builds the environment of the ranks: ours, without torchrun's variables, which the command line replaces."""
    inherited = {name: value for name, value in environment.items() if not name.startswith("PET_")}
    return {
        # Shared out among the ranks; torch would take every core of the machine for each.
        "OMP_NUM_THREADS": str(max(1, cores // place.processes)),
        # Waiting threads sleep: spinning, they would take the cores from pods that have work to do.
        "OMP_WAIT_POLICY": "PASSIVE",
        **inherited,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": LINE_PREFIX,
        "PYTHONUNBUFFERED": "1",
    }


def count_cores(affinity: int, quota: str) -> int:
    """Counts the cores that this container may use, given `cpu.max` of its control group (`max 100000`)."""
    limit, _, period = quota.partition(" ")
    if not limit.isdigit() or not period.strip().isdigit():
        return affinity
    # Rounded down: a thread more than the quota allows makes all of them wait.
    return max(1, min(affinity, int(limit) // int(period)))


def cores_here() -> int:
    """Counts the cores that this container may use."""
    quota = _CGROUP_QUOTA.read_text() if _CGROUP_QUOTA.exists() else ""
    return count_cores(len(os.sched_getaffinity(0)), quota)


class Ranks:
    """The running processes of this node."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        # A session of its own: what is left of it can be ended as a whole.
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._relay = Relay(cast(IO[str], self._process.stdout), "output")

    def exit_code(self) -> int | None:
        """Returns torchrun's exit code, None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> None:
        """Waits until torchrun has ended, but not longer than this."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def stop(self, pids: list[int]) -> None:
        """Asks the ranks to save and end. torchrun itself would kill them half a minute after being asked."""
        for pid in pids or [self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """Ends whatever is still there."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._relay.join(_LAST_LINES_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
