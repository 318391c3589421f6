"""`plan`, `render`, `validate`: each reads manifests and prints; nothing else is touched."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence

import yaml

from customizer_contract.model_config import find_text_config, parse_dtype, parse_shape
from customizer_contract.result import ModelFacts
from customizer_operator.api.base import Object, Resource
from customizer_operator.api.customization_job import CustomizationJob, CustomizationJobSpec
from customizer_operator.api.customization_job_status import PlannedGroup, PlannedTransfers, TrainingPlan
from customizer_operator.api.scheduling import Asked, Domain
from customizer_operator.cli.admission import Verdict, admit, find_kind
from customizer_operator.cli.documents import UnreadableError, read, read_json
from customizer_operator.cli.rendering import NOT_YET_GIVEN, render_deployment, render_job, render_job_file
from customizer_operator.cli.suggestions import suggest
from customizer_operator.objects.images import Images
from customizer_operator.plan.batching import plan_training
from customizer_operator.plan.job_view import parse_status

FINE, REFUSED, NO_ANSWER = 0, 1, 2

_UNKNOWN = {
    "steps_per_epoch": "Give --samples N.",
    "total_steps": "Give --samples N.",
    "pack_size": "Preflight chooses it, if samples are packed.",
    "estimated_memory_per_gpu": "Give --model-config FILE.",
    "transfers": "Give --samples N and --model-config FILE.",
}
"""What would tell a number that is not known. A job of a cluster brings what its preflight has found."""

_NEARNESS: Mapping[str | None, str] = {
    Asked.REQUIRED: "within",
    Asked.PREFERRED: "rather within",
    None: "for want of a way to ask the scheduler for it, by chance within",
}
"""How surely the pods of a group will be near each other."""

Judged = tuple[type[Resource], Verdict]


def run(arguments: Sequence[str] | None) -> int:
    """Runs a command and returns its exit code."""
    chosen = _build_parser().parse_args(arguments)
    command = {"plan": _plan, "render": _render, "validate": _validate}[chosen.command]
    try:
        judged = _judge(chosen)
        lines = command(judged, chosen)
    except UnreadableError as error:
        sys.stderr.write(f"{error}\n")
        return NO_ANSWER
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return REFUSED if any(verdict.refusals for _, verdict in judged) else FINE


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="customizer", description=__doc__, epilog="exit codes: 0 fine, 1 refused, 2 unreadable"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, words in (
        ("plan", "how a job is spread over pods and GPUs, and how many steps it takes"),
        ("render", "every object that the operator would make, as YAML"),
        ("validate", "what the apiserver would refuse, and why"),
    ):
        command = commands.add_parser(name, help=words, description=f"Prints {words}.")
        command.add_argument("-f", "--filename", action="append", required=True, help="a manifest; - is standard input")
        command.add_argument("-n", "--namespace", default="default", help="for objects that name none")
        if name == "plan":
            command.add_argument("--samples", type=_count, help="samples to train on, those for validation left out")
            command.add_argument("--model-config", help="the model's config.json, to estimate memory and transfers")
        if name == "render":
            command.add_argument(
                "--job-file", action="store_true", help="print only the trainer's job file of a CustomizationJob"
            )
            for field in dataclasses.fields(Images):
                option = f"--{field.name.replace('_', '-')}-image"
                command.add_argument(option, default=f"customizer-{field.name}".replace("_", "-"), help="image to name")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _judge(chosen: argparse.Namespace) -> list[Judged]:
    """Reads the objects of ours and judges each; those of other kinds are passed over, and that is said."""
    judged: list[Judged] = []
    for item in read(chosen.filename):
        kind = find_kind(item)
        if kind is None:
            sys.stderr.write(f"{item['apiVersion']} {item['kind']}: not a kind of Customizer, passed over\n")
            continue
        if isinstance(metadata := item.get("metadata"), dict) and not metadata.get("namespace"):
            item = {**item, "metadata": {**metadata, "namespace": chosen.namespace}}
        judged.append((kind, admit(item, kind)))
    if not judged:
        raise UnreadableError("there is no CustomizationJob and no ModelDeployment to look at")
    return judged


def _validate(judged: Sequence[Judged], chosen: argparse.Namespace) -> list[str]:
    lines = []
    for kind, verdict in judged:
        lines += _tell_refusals(kind, verdict) or [f"{_name(kind, verdict.item)}: valid"]
    return lines


def _plan(judged: Sequence[Judged], chosen: argparse.Namespace) -> list[str]:
    lines = []
    model = None if chosen.model_config is None else _read_model(chosen.model_config)
    for kind, verdict in judged:
        if refused := _tell_refusals(kind, verdict):
            lines += refused
            continue
        plan = _find_plan(verdict, chosen.samples, model) if kind is CustomizationJob else None
        if plan is None:
            lines.append(f"{_name(kind, verdict.item)}: trains nothing")
            continue
        lines += [_name(kind, verdict.item), *_tell_plan(plan)]
    return lines


def _render(judged: Sequence[Judged], chosen: argparse.Namespace) -> list[str]:
    if chosen.job_file:
        return _render_job_files(judged)
    images = Images(**{field.name: getattr(chosen, f"{field.name}_image") for field in dataclasses.fields(Images)})
    lines = [f"# The uid {NOT_YET_GIVEN} stands for the one that the apiserver gives."]
    for kind, verdict in judged:
        if refused := _tell_refusals(kind, verdict):
            lines += [f"# {line}" for line in refused]
            continue
        if kind is CustomizationJob:
            objects, unknown = render_job(verdict.item, images), None
        else:
            objects, unknown = render_deployment(verdict.item, images)
        lines += ["---\n" + _dump(item) for item in objects]
        if unknown is not None:
            lines.append(f"# {_name(kind, verdict.item)}: {unknown}")
    return lines


def _render_job_files(judged: Sequence[Judged]) -> list[str]:
    """Returns a line for each job, which is all of the file; what is refused is told elsewhere."""
    lines = []
    for kind, verdict in judged:
        if refused := _tell_refusals(kind, verdict):
            sys.stderr.write("".join(f"{line}\n" for line in refused))
        elif kind is CustomizationJob:
            lines.append(render_job_file(verdict.item))
    return lines


def _tell_refusals(kind: type[Resource], verdict: Verdict) -> list[str]:
    if not verdict.refusals:
        return []
    lines = [f"{_name(kind, verdict.item)} is refused:", *(f"  {refusal}" for refusal in verdict.refusals)]
    if suggestions := suggest(verdict, kind):
        lines += ["  The nearest that works, one change each:", *(f"    {change}" for change in suggestions)]
    return lines


def _read_model(path: str) -> ModelFacts:
    """Reads what is known of a model by its configuration alone."""
    document = read_json(path)
    shape, dtype = parse_shape(find_text_config(document)), parse_dtype(document)
    if shape is None or dtype is None:
        raise UnreadableError(f"{path}: no measures of a model, or no dtype, in the words of most configurations")
    architecture = str((document.get("architectures") or ["unknown"])[0])
    return ModelFacts(architecture=architecture, parameters=shape.parameters, dtype=dtype, shape=shape)


def _find_plan(verdict: Verdict, samples: int | None, model: ModelFacts | None) -> TrainingPlan | None:
    """Plans by what is given; for what is not, by what preflight has found, if the job comes from a cluster."""
    found = parse_status({"status": verdict.status})
    dataset = found.dataset if samples is None else None
    spec = CustomizationJobSpec.model_validate(verdict.item["spec"])
    return plan_training(spec, samples=samples, dataset=dataset, model=model or found.model)


def _tell_plan(plan: TrainingPlan) -> list[str]:
    return [*_tell_numbers(plan), *(_tell_group(group) for group in plan.placement or ())]


def _tell_numbers(numbers: TrainingPlan | PlannedTransfers, prefix: str = "") -> list[str]:
    lines = []
    for name, field in type(numbers).model_fields.items():
        value = getattr(numbers, name)
        if isinstance(value, PlannedTransfers):
            lines += _tell_numbers(value, f"{field.alias or name}.")
        elif name != "placement":
            words = _UNKNOWN.get(name, "") if value is None else field.description or ""
            shown = "-" if value is None else str(value)
            lines.append(f"  {prefix + (field.alias or name):26} {shown:>12}  {' '.join(words.split())}")
    return lines


def _tell_group(group: PlannedGroup) -> str:
    number = f"{group.groups} x {group.pods}"
    pods = "pods each" if group.pods > 1 else "pod each"
    if group.label is None:
        where = "within the node" if group.domain == Domain.NODE else "anywhere: no label is named that tells more"
    else:
        where = f"{_NEARNESS[group.asked]} one value of {group.label}"
    return f"  {f'placement {group.parallelism}':26} {number:>12}  {pods}, {where}"


def _dump(item: Object) -> str:
    """Writes an object; by way of JSON, since a value that stands twice would become an anchor."""
    return yaml.safe_dump(json.loads(json.dumps(item)), sort_keys=False, width=120).rstrip()


def _name(kind: type[Resource], item: Object) -> str:
    metadata = item.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{kind.names.kind}/{name or '(without a name)'}"
