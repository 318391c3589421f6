"""Every reason of the catalogue is provoked by a test, and is told so that a person knows what to do."""

import ast
from pathlib import Path

import pytest

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import Reason

TESTS = Path(__file__).parents[2]
PROVOKED = {
    Reason.JOB_FILE_INVALID: "train/test_preflight.py::test_a_job_file_of_another_release_is_refused_with_the_field",
    Reason.DATASET_NOT_FOUND: "unit/trainer/test_inputs.py::test_a_folder_without_training_data_is_refused",
    Reason.DATASET_INVALID: "train/test_preflight.py::test_a_broken_record_is_named_by_file_line_and_field",
    Reason.DATASET_EMPTY: "unit/trainer/datasets/test_prepare.py::test_too_little_data_is_refused",
    Reason.MODEL_NOT_FOUND: "train/test_preflight.py::test_what_is_not_there_or_in_the_way_is_named",
    Reason.MODEL_INVALID: "unit/trainer/test_model.py::test_what_generates_no_text_is_refused",
    Reason.REPOSITORY_GATED: "unit/trainer/storage/test_hub.py::test_the_hub_s_failures_are_of_the_catalogue",
    Reason.ARCHITECTURE_UNSUPPORTED: (
        "unit/trainer/test_model_checks.py::test_an_architecture_must_be_known_or_come_as_code_that_is_trusted"
    ),
    Reason.TOKENIZER_INVALID: "unit/trainer/test_model.py::test_a_broken_tokenizer_is_refused",
    Reason.CHAT_TEMPLATE_MISSING: "unit/trainer/test_model.py::test_chat_data_need_a_chat_template",
    Reason.TEACHER_UNFIT: "unit/trainer/test_teacher_checks.py::test_a_teacher_is_refused_whose",
    Reason.LORA_UNFIT: "unit/trainer/test_lora_checks.py::test_an_adapter_that_the_model_cannot_take_is_refused",
    Reason.SEQUENCE_TOO_LONG: "unit/trainer/test_model_checks.py::test_a_model_cannot_be_trained_with",
    Reason.PARALLELISM_INVALID: "unit/trainer/test_model_checks.py::test_a_model_cannot_be_trained_with",
    Reason.MEMORY_INSUFFICIENT: (
        "unit/trainer/test_model_checks.py::test_what_does_not_fit_into_the_gpu_is_refused_with_what_would"
    ),
    Reason.OUTPUT_NOT_FOUND: "train/test_preflight.py::test_what_is_not_there_or_in_the_way_is_named",
    Reason.OUTPUT_EXISTS: "unit/trainer/test_model.py::test_an_output_of_another_job_is_refused",
    Reason.ACCESS_DENIED: "train/test_storage.py::test_wrong_keys_are_access_denied",
    Reason.STORAGE_UNAVAILABLE: "unit/trainer/storage/test_patience.py::test_a_store_that_stays_away_is_given_up",
    Reason.ARTIFACT_NOT_FOUND: "train/test_serving.py::test_an_artifact_that_is_not_published_yet_is_not_found",
    Reason.ADAPTER_INCOMPATIBLE: "unit/trainer/serving/test_compatibility.py::test_matrices_that_do_not_fit_are_named",
    Reason.ADAPTER_NOT_LOADED: "unit/trainer/serving/test_live_adapters.py::test_a_refusal_of_the_server_is_quoted",
    Reason.EVALUATION_FAILED: (
        "unit/trainer/serving/test_evaluator.py::test_a_server_that_does_not_answer_gets_no_score"
    ),
    Reason.ARTIFACT_INVALID: "train/test_storage.py::test_a_file_that_differs_from_its_manifest_is_refused_and_removed",
    Reason.DEVICE_UNAVAILABLE: "train/test_training.py::test_a_job_that_asks_for_gpus_never_trains_on_a_cpu",
    Reason.OUT_OF_MEMORY: "train/test_failures.py::test_a_failure_of_torch_is_of_the_catalogue",
    Reason.GPU_OUT_OF_MEMORY: "unit/trainer/training/test_verdict.py::test_exceptions_are_of_the_catalogue",
    Reason.DISK_FULL: (
        "train/test_interruptions.py::test_a_disk_that_fills_up_ends_the_attempt_and_loses_no_more_than_an_interval"
    ),
    Reason.TRAINING_DIVERGED: "train/test_training.py::test_a_loss_that_is_not_finite_ends_the_attempt_for_good",
    Reason.CHECKPOINT_MISMATCH: "train/test_failures.py::test_a_failure_of_torch_is_of_the_catalogue",
    Reason.INPUTS_CHANGED: (
        "unit/trainer/test_pinning.py::test_what_was_changed_since_another_pod_fetched_it_is_refused"
    ),
    Reason.RESULT_MISMATCH: "unit/trainer/test_reloading.py::test_a_result_is_refused_with",
    Reason.RENDEZVOUS_TIMEOUT: "train/test_failures.py::test_a_failure_of_torch_is_of_the_catalogue",
    Reason.COLLECTIVE_TIMEOUT: "train/test_failures.py::test_a_failure_of_torch_is_of_the_catalogue",
    Reason.PREEMPTED: (
        "train/test_interruptions.py"
        "::test_two_nodes_without_a_shared_disk_have_the_losses_of_one_process_whatever_happens_to_them"
    ),
    Reason.PEER_LOST: (
        "train/test_interruptions.py"
        "::test_two_nodes_without_a_shared_disk_have_the_losses_of_one_process_whatever_happens_to_them"
    ),
    Reason.CRASHED: (
        "unit/trainer/test_outcome.py::test_anything_else_is_a_crash_with_its_last_line_and_a_stack_trace_in_the_log"
    ),
}
"""For each reason the test that brings it about."""


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_explained_and_provoked(reason: Reason) -> None:
    entry = CATALOGUE[reason]
    assert entry.meaning.endswith(".")
    assert entry.remedy.endswith(".")
    assert reason in PROVOKED, f"no test provokes {reason}: write one, and name it here"
    file, _, test = PROVOKED[reason].partition("::")
    source = (TESTS / file).read_text()
    functions = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
    assert test in functions, f"{file} has no test of this name"
    assert f"Reason.{reason.name}" in source, f"{file} does not name the reason"


def test_the_advice_for_a_full_gpu_is_the_batch_that_its_memory_follows() -> None:
    remedy = CATALOGUE[Reason.GPU_OUT_OF_MEMORY].remedy
    assert "microBatchSize" in remedy
    assert "not the global one" in remedy
