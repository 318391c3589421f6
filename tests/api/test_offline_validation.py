"""`customizer validate` against the real apiserver: the same verdict, the same places, the same stored object."""

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from customizer_operator.api.kinds import KINDS
from customizer_operator.cli.admission import Verdict, admit, find_kind
from customizer_operator.cli.schema import Refusal
from customizer_operator.crds import build_crd
from tests.api.control_plane import ApiRefusedError
from tests.api.test_validation import BAD_NAMES, MISTAKES
from tests.api.world import OURS, World
from tests.support import samples

EXAMPLES = [
    item
    for path in sorted((Path(__file__).parents[2] / "manifests" / "examples").glob("*.yaml"))
    for item in yaml.safe_load_all(path.read_text())
]
_ODD = (
    None,
    "",
    "x",
    "../..",
    "nvidia.com/gpu",
    True,
    0,
    -1,
    1,
    3,
    7,
    1.5,
    10**6,
    [],
    ["x"],
    {},
    {"name": "x"},
    {"x": 1},
)
_MUTANTS = 300


def find_rules(node: Any) -> Iterator[dict[str, str]]:
    """Finds the rules of a CRD."""
    if isinstance(node, dict):
        yield from node.get("x-kubernetes-validations", ())
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from find_rules(item)


RULES = {rule["message"] for kind in KINDS for rule in find_rules(build_crd(kind))}


def judge(item: dict[str, Any]) -> Verdict:
    kind = find_kind(item)
    assert kind is not None
    return admit(item, kind)


def ask(world: World, item: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Returns what the apiserver would store, or its refusal; nothing is created."""
    item = {**item, "metadata": {key: value for key, value in item["metadata"].items() if key != "namespace"}}
    path = f"{OURS}/namespaces/{world.namespace}/{item['kind'].lower()}s?fieldValidation=Strict&dryRun=All"
    try:
        return dict(world.plane.call("POST", path, item)), ""
    except ApiRefusedError as refusal:
        return None, refusal.message


def compare(world: World, item: dict[str, Any]) -> str:
    """Returns how verdicts differ; nothing when they agree."""
    stored, message = ask(world, item)
    verdict = judge(item)
    if stored is not None:
        if verdict.refusals:
            return f"only refused here: {[str(refusal) for refusal in verdict.refusals]}"
        return "" if stored["spec"] == verdict.item["spec"] else f"{stored['spec']} is {verdict.item['spec']} here"
    if not verdict.refusals:
        return f"only refused there: {message}"
    absent = [refusal for refusal in verdict.refusals if not _is_told(refusal, message)]
    return f"{message} does not tell {[str(refusal) for refusal in absent]}" if absent else ""


def _is_told(refusal: Refusal, message: str) -> bool:
    """Tells whether a refusal is part of the apiserver's: its place, and its words where they are ours or a name."""
    words = refusal.message.removeprefix("Invalid value: ")
    matters = words in RULES or words.startswith("unknown field") or words == "Required value"
    return refusal.path in message and (not matters or words in message)


def mutate(item: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Returns an object with one or two things in its spec gone, odd, or new."""
    item = copy.deepcopy(item)
    for _ in range(chance.randint(1, 2)):
        holder, key = chance.choice(list(_find_places(item["spec"])))
        match chance.randrange(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder["unheardOf"] = 1
            case _:
                holder[key] = copy.deepcopy(chance.choice(_ODD))
        if not item["spec"]:
            break
    return item


def _find_places(node: Any) -> Iterator[tuple[Any, Any]]:
    pairs = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    for key, value in pairs:
        yield node, key
        yield from _find_places(value)


@pytest.mark.parametrize("spec", [spec for spec, _ in MISTAKES], ids=[words for _, words in MISTAKES])
def test_both_refuse_a_mistake_in_the_same_place(world: World, spec: dict[str, Any]) -> None:
    assert ask(world, samples.job(**spec))[0] is None
    assert compare(world, samples.job(**spec)) == ""


@pytest.mark.parametrize("name", [*BAD_NAMES, "Capital", "-dash", "a" * 300])
def test_both_refuse_a_name(world: World, name: str) -> None:
    assert ask(world, samples.job(name))[0] is None
    assert compare(world, samples.job(name)) == ""


@pytest.mark.parametrize("item", EXAMPLES, ids=lambda item: f"{item['kind']} {item['metadata']['name']}")
def test_both_store_the_same(world: World, item: dict[str, Any]) -> None:
    assert ask(world, item)[0] is not None
    assert compare(world, item) == ""


def test_both_agree_on_whatever_somebody_may_write(world: World) -> None:
    chance = random.Random(7)
    originals = [*EXAMPLES, samples.job(automodel={"training": {"lora": {}}, "batch": {"globalBatchSize": 8}})]
    differences = []
    for _ in range(_MUTANTS):
        item = mutate(chance.choice(originals), chance)
        if difference := compare(world, item):
            differences.append(f"{item['spec']}: {difference}")
    assert not differences, "\n".join(differences)
