"""What kopf is told: to write nothing, and to hold and copy little of what it watches."""

import asyncio

import kopf
import pytest

from customizer_operator.main import configure, find_death
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, POD
from customizer_operator.selectors import find_selector
from tests.support import samples


def configured() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    configure(settings, (CUSTOMIZATION_JOB, POD))
    return settings


def test_an_event_costs_no_copy_of_the_object_and_no_write() -> None:
    persistence = configured().persistence
    body = kopf.Body(samples.job())  # type: ignore[arg-type]
    assert persistence.diffbase_storage.build(body=body) == {}
    assert persistence.diffbase_storage.fetch(body=body) is None
    essence = kopf.BodyEssence(spec={})
    assert persistence.progress_storage.clear(essence=essence) is essence
    patch = kopf.Patch()
    persistence.diffbase_storage.store(body=body, patch=patch, essence=essence)
    persistence.progress_storage.touch(body=body, patch=patch, value="now")
    assert not patch


def test_pods_of_others_are_not_watched() -> None:
    selectors = {selector.plural: value for selector, value in configured().watching.label_selectors.items()}
    assert list(selectors.values()) == [find_selector(POD)]


@pytest.mark.parametrize(
    ("working", "watching", "told"),
    [("lives", "lives", None), ("ends", "lives", "the reconciler has stopped"), ("lives", "ends", "nobody watches")],
)
async def test_an_operator_lives_while_all_of_it_works_and_watches(
    working: str, watching: str, told: str | None
) -> None:
    lives = [asyncio.create_task(asyncio.Event().wait()), asyncio.create_task(asyncio.Event().wait())]
    ends = [lives[0], asyncio.create_task(asyncio.sleep(0))]
    await ends[1]
    tasks = {"lives": lives, "ends": ends}
    found = find_death(tasks[working], tasks[watching])
    assert (found is None) if told is None else told in (found or "")
    for task in lives:
        task.cancel()
