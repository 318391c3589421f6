"""What kopf is told: to write nothing, and to hold and copy little of what it watches."""

import kopf

from customizer_operator.main import configure
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
