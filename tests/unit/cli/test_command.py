"""The command as a whole: what it reads, and its exit codes."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from customizer_operator.cli.__main__ import main
from customizer_operator.cli.documents import UnreadableError, read
from tests.support import samples

ROOT = Path(__file__).parents[3]
PYTHON = [sys.executable, "-P"]


def call(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'trainer'}"}
    return subprocess.run(
        [*PYTHON, *command], input=stdin, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(yaml.safe_dump(samples.job()), 0, id="a job that is fine"),
        pytest.param(yaml.safe_dump(samples.job(model={})), 1, id="a job that is refused"),
        pytest.param(yaml.safe_dump_all([samples.job(), samples.job(model={})]), 1, id="one of two is refused"),
        pytest.param("a: [", 2, id="no YAML"),
        pytest.param("", 2, id="nothing"),
        pytest.param("apiVersion: v1\nkind: Secret\n", 2, id="nothing of ours"),
    ],
)
def test_the_exit_code_tells_a_pipeline(text: str, code: int) -> None:
    done = call("-m", "customizer_operator.cli", "validate", "-f", "-", stdin=text)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stdout if code < 2 else done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["validate"], ["guess", "-f", "x"], ["plan", "-f", "x", "--samples", "0"]], ids=" ".join
)
def test_a_wrong_call_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


def test_a_file_that_is_not_there_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "-f", "/nowhere/job.yaml"]) == 2
    assert "/nowhere/job.yaml" in capsys.readouterr().err


def test_without_its_libraries_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['cel_expr_python'] = None; from customizer_operator.cli.__main__ import main"
    done = call("-c", f"{program}; sys.exit(main(['validate', '-f', '-']))")
    assert done.returncode == 2
    assert "pip install 'customizer[cli]'" in done.stderr


def test_it_is_also_a_plugin_of_kubectl() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["customizer"] == scripts["kubectl-customizer"] == f"{main.__module__}:{main.__name__}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1e-4", 0.0001, id="a number with an exponent and no point"),
        pytest.param("1.0e-4", 0.0001, id="a number with both"),
        pytest.param("12", 12, id="a whole number"),
        pytest.param("2026-11-23", "2026-11-23", id="a date, which is a text"),
        pytest.param("{1: a, no: b}", {"1": "a", "false": "b"}, id="keys, which are texts"),
        pytest.param("s3://a/b", "s3://a/b", id="a text"),
    ],
)
def test_a_manifest_is_read_as_kubectl_reads_it(text: str, value: object, tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(f"---\n---\napiVersion: v1\nkind: Any\nvalue: {text}\n")
    assert read([str(file)]) == [{"apiVersion": "v1", "kind": "Any", "value": value}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("apiVersion: v1\nkind: A\nspec:\n  a: 1\n  a: 2\n", "line 4: key a stands there twice"),
        ("- a\n", "not a Kubernetes object"),
        ("kind: A\n", "apiVersion and kind are missing"),
    ],
)
def test_what_is_no_manifest_is_not_read(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(text)
    with pytest.raises(UnreadableError, match=words):
        read([str(file)])


def test_objects_of_others_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "all.yaml"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3"}}
    file.write_text(yaml.safe_dump_all([secret, samples.job()]))
    assert main(["validate", "-f", str(file)]) == 0
    told = capsys.readouterr()
    assert told.out == "CustomizationJob/tickets: valid\n"
    assert "v1 Secret: not a kind of Customizer" in told.err
