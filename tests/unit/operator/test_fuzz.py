"""Whatever the schema lets through, the operator decides; what it cannot do, it says in a condition."""

import os
from typing import Any

from hypothesis import HealthCheck, given, settings

from customizer_operator.cli.schema import fill_in
from tests.support import fuzz, samples
from tests.unit.operator.simulator import World
from tests.unit.trainer.test_memory import SMOLLM2

_EXAMPLES = int(os.environ.get("CUSTOMIZER_FUZZ_EXAMPLES", "60"))
_SCHEMA = fuzz.spec_schema()
_FIELDS = list(fuzz.find_fields(_SCHEMA))


@settings(
    max_examples=_EXAMPLES,
    deadline=None,
    derandomize=_EXAMPLES < 100,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(fuzz.jobs(_FIELDS))
def test_no_spec_makes_the_operator_raise_and_none_is_left_without_a_word(job: dict[str, Any]) -> None:
    job["spec"] = fill_in(job["spec"], _SCHEMA)
    world = World(job)
    world.settle()
    assert world.condition("Accepted")[0]
    assert world.status["message"]
    if world.condition("Accepted")[0] == "False" or world.condition("Suspended")[0] == "True":
        return
    world.pass_preflight(samples.passed(dtype="bfloat16", shape=SMOLLM2, size_bytes=2**28))
    world.run(60)
    assert world.status["message"]
    assert world.status["state"]
