"""What a sidecar does to a server, step by step; the server is one that keeps its promises and forgets on restart."""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customizer_contract.adapters import AdapterInput, AdapterReport, ProbeInput, SidecarReport, Wish
from customizer_contract.artifact import AdapterReference, BaseModelReference, JobReference, Manifest
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.evaluation import EvaluationInput, EvaluationReport
from customizer_contract.serving import API_KEY, ArtifactInput, Serving, SidecarInput
from customizer_trainer.commands.sidecar import Sidecar, run
from customizer_trainer.serving import engines
from customizer_trainer.serving.artifacts import Artifact
from customizer_trainer.serving.engines import CallEngine, Engine, FolderEngine
from customizer_trainer.serving.evaluator import Evaluator
from customizer_trainer.serving.live_adapters import LiveAdapters
from customizer_trainer.serving.prober import Prober
from customizer_trainer.serving.report_server import ReportServer
from tests.unit.trainer.serving.vllm import Vllm

PATIENCE = 30.0


def describe(uri: str) -> Artifact:
    """Returns an artifact whose digest is told by its address."""
    manifest = Manifest(
        name="any",
        type="adapter",
        files=[],
        base_model=BaseModelReference(uri="s3://bucket/base", digest="0"),
        adapter=AdapterReference(rank=8, alpha=16, target_modules=["q_proj"]),
        prompt_format="completion",
        dataset_digest="0",
        job=JobReference(name="j", namespace="n", uid="1", spec_hash="0"),
        step=1,
        metrics={},
        packages={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Artifact(uri, uri.rpartition("/")[2], manifest)


@dataclass
class Disk:
    """A store whose artifacts can be missing or wrong, and a clock that is set by hand."""

    wrong: dict[str, CustomizerError] = field(default_factory=dict)
    slow: dict[str, threading.Event] = field(default_factory=dict)
    """Artifacts whose download ends only with the event."""
    brought: list[str] = field(default_factory=list)
    now: float = 0.0

    def find(self, wanted: AdapterInput) -> Artifact:
        """Reads a manifest."""
        if wanted.artifact.uri in self.wrong:
            raise self.wrong[wanted.artifact.uri]
        return describe(wanted.artifact.uri)

    def bring(self, artifact: Artifact, folder: Path) -> None:
        """Brings what is not there yet."""
        if artifact.uri in self.slow:
            self.slow[artifact.uri].wait(PATIENCE)
        if not (folder / "weights").exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "weights").write_text(artifact.digest)
            self.brought.append(artifact.uri)


@pytest.fixture
def server() -> Iterator[Vllm]:
    """A server."""
    vllm = Vllm()
    yield vllm
    vllm.close()


@dataclass
class Keeper:
    """What keeps the adapters of a server, and its disk."""

    adapters: LiveAdapters
    disk: Disk

    def settle(self, **wished: str) -> dict[str, AdapterReport]:
        """Steps until nothing is under way, and returns what is told."""
        wish = of(**wished)
        end = time.monotonic() + PATIENCE
        self.adapters.step(wish)
        while time.monotonic() < end:
            report = self.adapters.step(wish)
            if self.adapters.is_settled and not self.adapters.is_busy:
                return told(report)
            time.sleep(0.01)
        raise AssertionError(f"it does not settle: {report}")


def told(report: SidecarReport) -> dict[str, AdapterReport]:
    return {adapter.name: adapter for adapter in report.adapters}


def of(**wished: str) -> Wish:
    """Wishes adapters by name and address."""
    return Wish(adapters=[AdapterInput(name=name, artifact=ArtifactInput(uri=uri)) for name, uri in wished.items()])


def build(engine: Engine) -> Keeper:
    disk = Disk()
    return Keeper(LiveAdapters(engine, disk.find, disk.bring, lambda: disk.now), disk)


@pytest.fixture
def sidecar(server: Vllm, tmp_path: Path) -> Keeper:
    """A sidecar of that server."""
    return build(CallEngine(server.port, tmp_path, frozenset()))


def test_adapters_come_and_go(server: Vllm, sidecar: Keeper, tmp_path: Path) -> None:
    report = sidecar.settle(french="s3://bucket/one", german="s3://bucket/two")
    assert {name: adapter.state for name, adapter in report.items()} == {"french": "Loaded", "german": "Loaded"}
    assert server.loaded["french"] == "/model-store/live/french@one"
    assert (tmp_path / "live" / "french@one" / "weights").read_text() == "one"
    sidecar.settle(german="s3://bucket/two")
    assert set(server.loaded) == {"german"}
    assert [path.name for path in (tmp_path / "live").iterdir()] == ["german@two"]


def test_another_artifact_replaces_an_adapter_without_a_moment_in_which_the_name_is_unknown(
    server: Vllm, sidecar: Keeper, tmp_path: Path
) -> None:
    sidecar.settle(french="s3://bucket/one")
    sidecar.settle(french="s3://bucket/two")
    assert server.loaded == {"french": "/model-store/live/french@two"}
    assert [what for what, _ in server.calls] == ["load_lora_adapter", "load_lora_adapter"]
    assert [path.name for path in (tmp_path / "live").iterdir()] == ["french@two"]


def test_a_server_that_was_started_anew_gets_its_adapters_back_without_a_download(
    server: Vllm, sidecar: Keeper
) -> None:
    sidecar.settle(french="s3://bucket/one")
    server.restart()
    sidecar.disk.now += 100
    sidecar.settle(french="s3://bucket/one")
    assert set(server.loaded) == {"french"}
    assert sidecar.disk.brought == ["s3://bucket/one"]


def test_a_wrong_adapter_harms_no_other_and_is_tried_again_later(server: Vllm, sidecar: Keeper) -> None:
    sidecar.disk.wrong["s3://bucket/two"] = CustomizerError(Reason.ADAPTER_INCOMPATIBLE, "Its rank is 64.")
    report = sidecar.settle(french="s3://bucket/one", german="s3://bucket/two")
    assert (report["french"].state, report["german"].state) == ("Loaded", "Refused")
    assert report["german"].reason == Reason.ADAPTER_INCOMPATIBLE
    assert set(server.loaded) == {"french"}
    del sidecar.disk.wrong["s3://bucket/two"]
    sidecar.disk.now += 100
    assert sidecar.settle(french="s3://bucket/one", german="s3://bucket/two")["german"].state == "Loaded"


def test_what_was_served_stays_when_its_successor_is_wrong(server: Vllm, sidecar: Keeper) -> None:
    sidecar.settle(french="s3://bucket/one")
    sidecar.disk.wrong["s3://bucket/two"] = CustomizerError(Reason.ARTIFACT_INVALID, "It was changed.")
    assert sidecar.settle(french="s3://bucket/two")["french"].state == "Refused"
    assert server.loaded == {"french": "/model-store/live/french@one"}


def test_a_refusal_of_the_server_is_quoted(server: Vllm, sidecar: Keeper) -> None:
    server.refuses.add("french")
    report = sidecar.settle(french="s3://bucket/one", german="s3://bucket/two")
    assert (report["french"].state, report["german"].state) == ("Loading", "Loaded")
    assert report["french"].reason == Reason.ADAPTER_NOT_LOADED
    assert "500" in (report["french"].message or "")


def test_what_nobody_wished_is_unloaded(server: Vllm, sidecar: Keeper) -> None:
    server.loaded["stranger"] = "/somewhere"
    sidecar.settle()
    assert server.loaded == {}


def test_what_the_server_was_started_with_stays(server: Vllm, tmp_path: Path) -> None:
    server.loaded["tickets"] = "/model-store/adapters/tickets"
    build(CallEngine(server.port, tmp_path, frozenset({"tickets"}))).settle()
    assert set(server.loaded) == {"tickets"}


def test_a_server_that_asks_for_a_key_is_shown_it(
    server: Vllm, sidecar: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "sesame"
    assert sidecar.adapters.step(Wish()).models is None
    monkeypatch.setenv(API_KEY, "sesame")
    sidecar.settle(french="s3://bucket/one")
    assert set(server.loaded) == {"french"}
    assert sidecar.adapters.step(of(french="s3://bucket/one")).models == ["base", "french"]


def test_an_empty_key_is_refused_before_strangers_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY, "")
    serving = Serving(
        name="bot", namespace="team", artifact=ArtifactInput(uri="s3://bucket/one"), sidecar=SidecarInput(port=1)
    )
    with pytest.raises(CustomizerError, match="empty key"):
        run(serving, tmp_path, tmp_path / "wish", 0)


def test_nothing_is_settled_before_the_server_answers(tmp_path: Path) -> None:
    vllm = Vllm()
    vllm.close()
    sidecar = build(CallEngine(vllm.port, tmp_path, frozenset()))
    wish = Wish(adapters=[AdapterInput(name="french", artifact=ArtifactInput(uri="s3://bucket/one"))])
    assert told(sidecar.adapters.step(wish))["french"].state == "Loading"
    assert not sidecar.adapters.is_settled


def follow(sidecar: Keeper, digest: str, until: Callable[[], bool]) -> AdapterReport:
    """Steps until something holds while another artifact is wished; returns what is told of it."""
    wish = Wish(adapters=[AdapterInput(name="french", artifact=ArtifactInput(uri=f"s3://bucket/{digest}"))])
    end = time.monotonic() + PATIENCE
    report = sidecar.adapters.step(wish)
    while not until():
        assert time.monotonic() < end
        sidecar.disk.now += 1
        report = sidecar.adapters.step(wish)
    return told(report)["french"]


def test_a_folder_gets_whole_adapters_only_and_loses_them_when_they_are_forgotten(server: Vllm, tmp_path: Path) -> None:
    source = tmp_path / "adapters"
    source.mkdir()
    engine = FolderEngine(server.port, tmp_path, frozenset())
    sidecar = build(engine)
    wish = Wish(adapters=[AdapterInput(name="french", artifact=ArtifactInput(uri="s3://bucket/one"))])
    end = time.monotonic() + PATIENCE
    while not (source / "french").exists():
        assert time.monotonic() < end
        sidecar.adapters.step(wish)
    assert (source / "french" / "weights").read_text() == "one"
    assert told(sidecar.adapters.step(wish))["french"].state == "Loading"
    server.loaded["french"] = str(source / "french")
    assert told(sidecar.adapters.step(wish))["french"].state == "Loaded"
    follow(sidecar, "two", until=lambda: not (source / "french").exists())
    report = follow(sidecar, "two", until=lambda: sidecar.disk.brought[-1].endswith("two"))
    assert (report.state, (source / "french").exists()) == ("Loading", False)
    del server.loaded["french"]
    follow(sidecar, "two", until=(source / "french").exists)
    assert (source / "french" / "weights").read_text() == "two"
    server.loaded["french"] = str(source / "french")
    assert follow(sidecar, "two", until=lambda: True).state == "Loaded"
    sidecar.adapters.step(Wish())
    assert not (source / "french").exists()
    # Wished again before the server has forgotten it: what it still has is not what was wished.
    report = follow(sidecar, "two", until=lambda: len(sidecar.disk.brought) == 3)
    assert (report.state, (source / "french").exists()) == ("Loading", False)
    del server.loaded["french"]
    follow(sidecar, "two", until=(source / "french").exists)
    server.loaded["french"] = str(source / "french")
    assert follow(sidecar, "two", until=lambda: True).state == "Loaded"
    sidecar.adapters.step(Wish())
    del server.loaded["french"]
    sidecar.adapters.step(Wish())
    assert list(source.iterdir()) == []
    assert list((tmp_path / ".staging").iterdir()) == []


@pytest.fixture(params=["it hangs", "it is unwell"])
def trouble(request: pytest.FixtureRequest, server: Vllm, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes a running server tell nobody what it has."""

    def make() -> None:
        if request.param == "it hangs":
            monkeypatch.setattr(engines, "_PATIENCE_SECONDS", 0.1)
            server.is_free.clear()
        else:
            server.lists = 500

    return make


def test_files_stay_while_it_is_not_known_whether_the_server_has_them(
    server: Vllm, sidecar: Keeper, tmp_path: Path, trouble: Callable[[], None]
) -> None:
    sidecar.settle(french="s3://bucket/one")
    trouble()
    with pytest.raises(CustomizerError) as refusal:
        sidecar.adapters.engine.unload("french")
    assert refusal.value.reason == Reason.ADAPTER_NOT_LOADED
    assert (tmp_path / "live" / "french@one" / "weights").exists()


def never(wanted: EvaluationInput, stop: threading.Event) -> EvaluationReport:
    raise AssertionError("nothing is evaluated")


@dataclass
class Readiness:
    """A whole sidecar, as the kubelet sees it."""

    keeper: Keeper
    port: int
    shown: ReportServer = field(default_factory=lambda: ReportServer(0))
    sidecar: Sidecar = field(init=False)

    def __post_init__(self) -> None:
        prober = Prober(self.port, time.monotonic)
        self.sidecar = Sidecar(self.keeper.adapters, prober, Evaluator(never, time.monotonic))

    def ask(self, wish: Wish) -> int:
        """Returns what `/ready` answers after a step."""
        self.sidecar.step(wish, self.shown)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.shown.port}/ready", timeout=PATIENCE) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code

    def follow(self, wish: Wish, until: Callable[[int], bool]) -> list[int]:
        """Steps until it holds for an answer of `/ready`; returns all of them."""
        end = time.monotonic() + PATIENCE
        answers = [self.ask(wish)]
        while not until(answers[-1]):
            assert time.monotonic() < end
            answers.append(self.ask(wish))
        return answers


@pytest.fixture
def readiness(server: Vllm, sidecar: Keeper) -> Iterator[Readiness]:
    """The readiness of that server's pod."""
    readiness = Readiness(sidecar, server.port)
    yield readiness
    readiness.shown.close()


def test_a_pod_is_ready_when_its_first_adapters_are_there_and_stays_so_while_more_come(
    server: Vllm, sidecar: Keeper, readiness: Readiness
) -> None:
    first, both = of(french="s3://bucket/one"), of(french="s3://bucket/one", german="s3://bucket/two")
    for uri in ("s3://bucket/one", "s3://bucket/two"):
        sidecar.disk.slow[uri] = threading.Event()
    assert {readiness.ask(first) for _ in range(3)} == {503}
    sidecar.disk.slow["s3://bucket/one"].set()
    readiness.follow(first, lambda status: status == 200)
    assert {readiness.ask(both) for _ in range(3)} == {200}
    assert set(server.loaded) == {"french"}
    sidecar.disk.slow["s3://bucket/two"].set()
    assert set(readiness.follow(both, lambda _: "german" in server.loaded)) == {200}


def test_a_server_that_is_slow_to_tell_what_it_has_is_no_new_one(
    server: Vllm, sidecar: Keeper, readiness: Readiness, trouble: Callable[[], None]
) -> None:
    probe = ProbeInput(model="base", prompt="?", expected_text="Paris", max_tokens=4, timeout_seconds=20)
    wish = of(french="s3://bucket/one").model_copy(update={"probe": probe})
    readiness.follow(wish, lambda status: status == 200)
    state, server.says = sidecar.adapters.state, "Rome"
    trouble()
    assert readiness.ask(wish) == 200
    server.is_free.set()
    server.lists = 200
    assert {readiness.ask(wish) for _ in range(3)} == {200}
    assert sidecar.adapters.state == state


def test_an_adapter_is_confirmed_as_it_is_given_and_a_server_at_rest_is_asked_once_a_step(
    server: Vllm, sidecar: Keeper, readiness: Readiness
) -> None:
    wish = of(french="s3://bucket/one")
    end = time.monotonic() + PATIENCE
    while told(report := sidecar.adapters.step(wish))["french"].state != "Loaded":
        assert time.monotonic() < end
        assert report.models == ["base"]
    assert report.models == ["base", "french"]
    looks = server.looks
    assert readiness.ask(wish) == 200
    assert server.looks == looks + 1


def test_a_server_that_starts_anew_is_not_ready_before_its_adapters_are_back(
    server: Vllm, sidecar: Keeper, readiness: Readiness
) -> None:
    wish = of(french="s3://bucket/one")
    readiness.follow(wish, lambda status: status == 200)
    server.close()
    assert readiness.ask(wish) == 503
    sidecar.disk.slow["s3://bucket/one"] = threading.Event()
    server.restart()
    assert {readiness.ask(wish) for _ in range(3)} == {503}
    sidecar.disk.slow["s3://bucket/one"].set()
    readiness.follow(wish, lambda status: status == 200)
    assert set(server.loaded) == {"french"}
