"""What Flux and kpt see: kstatus' rules, in their order, over the statuses that the plans wrote."""

from collections.abc import Callable

import pytest

from customizer_operator.api.base import Object
from tests.unit.operator import test_argocd as objects
from tests.unit.serving.world import build_deployment


def find_kstatus(item: Object) -> str:
    """Returns kstatus' word for a custom resource: Terminating, InProgress, Failed or Current."""
    metadata, status = item["metadata"], item.get("status", {})
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != metadata["generation"]:
        return "InProgress"
    for condition in status.get("conditions", ()):  # the first of them that holds decides
        if condition["status"] == "True" and condition["type"] in ("Reconciling", "Stalled"):
            return "InProgress" if condition["type"] == "Reconciling" else "Failed"
    ready = next((each["status"] for each in status.get("conditions", ()) if each["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (objects.new_job, "Current"),  # kstatus knows no better of what has no status
        (objects.job_in_preflight, "InProgress"),
        (objects.job_without_its_secret, "Failed"),
        (objects.job_that_no_node_fits, "InProgress"),
        (objects.job_that_trains, "InProgress"),
        (objects.suspended_job, "Current"),
        (objects.planned_job, "Current"),
        (objects.failed_job, "Failed"),
        (objects.misunderstood_job, "Failed"),
        (objects.complete_job, "Current"),
        (objects.complete_job_whose_spec_changed, "InProgress"),
        (objects.complete_job_whose_change_was_observed, "Current"),
        (objects.failed_job_that_is_deleted, "Terminating"),
        (build_deployment, "Current"),
        (objects.waiting_deployment, "InProgress"),
        (objects.lonely_deployment, "Failed"),
        (objects.verifying_deployment, "InProgress"),
        (objects.starting_deployment, "InProgress"),
        (objects.refused_deployment, "Failed"),
        (objects.ready_deployment, "Current"),
        (objects.ready_deployment_whose_spec_changed, "InProgress"),
        (objects.stopped_deployment, "InProgress"),
    ],
)
def test_kstatus_sees_what_argo_cd_sees(build: Callable[[], Object], word: str) -> None:
    item = build()
    assert find_kstatus(item) == word
    holds = {each["type"] for each in item.get("status", {}).get("conditions", ()) if each["status"] == "True"}
    assert not {"Reconciling", "Stalled"} <= holds, "the order of the conditions must not matter"
