"""`customizer render`: the very objects that the operator makes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from customizer_operator.api.base import Object
from customizer_operator.cli.__main__ import main
from customizer_operator.cli.rendering import NOT_YET_GIVEN
from customizer_operator.plan.plan import CONFIG_MAP, DEPLOYMENT, DISRUPTION_BUDGET, JOB, PYTORCH_JOB, SERVICE
from tests.support import samples
from tests.unit.operator import simulator
from tests.unit.serving import world as serving

_GIVEN_BY_THE_APISERVER = ("uid", "resourceVersion", "creationTimestamp", "generation")
_IMAGES = ("--io-image=io:1", "--automodel-image=automodel:1", "--vllm-image=vllm:1")


def render(item: Object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[Any]]:
    """Returns the exit code, what was printed, and the objects in it."""
    file = tmp_path / "manifest.yaml"
    file.write_text(json.dumps(item))
    code = main(["render", "-f", str(file), "-n", "team", *_IMAGES])
    text = capsys.readouterr().out
    return code, text, [item for item in yaml.safe_load_all(text) if item is not None]


def strip(item: Object) -> Object:
    """Returns an object as the operator sent it."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in _GIVEN_BY_THE_APISERVER}
    return {key: value for key, value in {**item, "metadata": metadata}.items() if key != "status"}


def test_a_job_becomes_what_the_operator_makes_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    item = samples.job()
    world = simulator.World({**item, "metadata": {"name": "tickets", "uid": NOT_YET_GIVEN}})
    world.settle()
    preflight = world.objects[JOB, "tickets-preflight"]
    world.pass_preflight(samples.passed())
    world.settle()
    made = [world.objects[CONFIG_MAP, "tickets"], preflight, world.objects[PYTORCH_JOB, "tickets-a1"]]
    code, text, objects = render(item, tmp_path, capsys)
    assert code == 0
    assert objects == [strip(item) for item in made]
    assert "&id" not in text


def test_the_job_file_is_what_the_pods_mount(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, objects = render(samples.job(), tmp_path, capsys)
    assert main(["render", "-f", str(tmp_path / "manifest.yaml"), "-n", "team", "--job-file"]) == 0
    assert capsys.readouterr().out == f"{objects[0]['data']['job.json']}\n"


def test_there_is_no_job_file_of_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.yaml").write_text(json.dumps(samples.job(model={})))
    assert main(["render", "-f", str(tmp_path / "manifest.yaml"), "--job-file"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "is refused" in told.err


def test_an_attempt_that_volcano_places_has_its_pod_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, objects = render(samples.job(scheduling={"scheduler": "Volcano"}), tmp_path, capsys)
    assert [item["kind"] for item in objects] == ["ConfigMap", "Job", "PyTorchJob", "PodGroup"]
    assert objects[-1]["spec"] == {"minMember": 2, "queue": "default"}


def test_a_deployment_of_a_base_model_becomes_what_the_operator_makes_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = serving.build_deployment(model={"s3": {"uri": "s3://demo/base"}})
    item["metadata"]["uid"] = NOT_YET_GIVEN
    world = serving.World(item, listed=["bot"])
    world.verdict = serving.Result(command="verify")
    world.settle()
    code, _, objects = render(item, tmp_path, capsys)
    assert code == 0
    made = [
        world.get(JOB, "bot-verify"),
        world.get(DEPLOYMENT, "bot"),
        world.get(SERVICE, "bot"),
        world.get(DISRUPTION_BUDGET, "bot"),
    ]
    assert objects == [strip(item) for item in made]


def test_what_depends_on_a_manifest_is_not_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, objects = render(serving.build_deployment(**serving.ARTIFACT), tmp_path, capsys)
    assert code == 0
    assert [item["kind"] for item in objects] == ["Job"]
    assert "# ModelDeployment/bot: its Deployment and Service follow from the artifact's manifest" in text


def test_a_deployment_of_a_job_waits_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, objects = render(serving.build_deployment(), tmp_path, capsys)
    assert (code, objects) == (0, [])
    assert "follow when CustomizationJob tickets has published" in text


def test_nothing_is_rendered_of_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, objects = render(samples.job(model={}), tmp_path, capsys)
    assert (code, objects) == (1, [])
    assert "# CustomizationJob/tickets is refused:" in text
