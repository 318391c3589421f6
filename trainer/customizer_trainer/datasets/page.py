"""The report of preflight as one HTML page that needs nothing else."""

from collections.abc import Iterable, Sequence
from html import escape

from customizer_contract.result import DatasetFacts, SplitFacts
from customizer_trainer.datasets.report import Bucket, Repetition, Report

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}
td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}th{border-bottom:1px solid #ccc;font-weight:600}
.bad{color:#a00}rect.t{fill:#3b6ea5}rect.v{fill:#e0913a}text{font-size:11px;fill:#555}
"""
_WIDTH, _HEIGHT = 860, 200


def render_page(report: Report, title: str) -> str:
    """Renders the page."""
    parts = [f"<h1>{escape(title)}</h1>"]
    if report.problem_counts:
        parts += ["<h2 class=bad>Records that cannot be trained on</h2>", _render_problems(report)]
    if report.warnings:
        items = "".join(f"<li>{escape(warning)}</li>" for warning in report.warnings)
        parts += ["<h2>Warnings</h2>", f"<ul>{items}</ul>"]
    if report.dataset is not None:
        parts += ["<h2>Data</h2>", _render_facts(report.dataset)]
    if report.histogram:
        parts += ["<h2>Tokens of a sample, before truncation</h2>", _render_histogram(report.histogram)]
        rows = [[split, *map(str, values.values())] for split, values in report.percentiles.items()]
        heads = ["", *next(iter(report.percentiles.values()))]
        parts.append(_render_table(heads, rows))
    if report.duplicates:
        parts += ["<h2>Training records that repeat others</h2>", _render_repetitions(report.duplicates)]
    if report.overlap:
        parts += ["<h2>Validation records that occur in training</h2>", _render_repetitions(report.overlap)]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"{head}<body>{''.join(parts)}</body></html>\n"


def _render_problems(report: Report) -> str:
    counts = [[kind, str(number)] for kind, number in report.problem_counts.items()]
    first = [
        [problem.file, f"{problem.unit} {problem.line}", problem.field or "", problem.message]
        for problem in report.problems
    ]
    return _render_table(["Kind", "Records"], counts) + _render_table(["File", "Place", "Field", "What"], first)


def _render_facts(facts: DatasetFacts) -> str:
    def row(name: str, read: str) -> list[str]:
        values = [_read(split, read) for split in (facts.training, facts.validation)]
        return [name, *values]

    rows = [
        row("Samples", "samples"),
        row("Tokens, after truncation", "tokens"),
        row("Shortened", "truncated"),
        row("Dropped", "dropped"),
        row("Exact duplicates", "duplicates"),
    ]
    table = _render_table(["", "Training", "Validation"], rows)
    notes = [f"Format: {facts.format}.", f"Blank lines: {facts.empty_rows}."]
    notes.append(f"Validation samples that occur in training: {facts.overlap}.")
    if (packing := facts.packing) is not None:
        notes.append(
            f"Packing: {packing.packs} packs of {packing.size} tokens hold {packing.samples_per_pack} samples each and"
            f" are {packing.fill:.0%} full; unpacked, {packing.padding_without:.0%} of a micro batch would be padding."
        )
    return table + "".join(f"<p>{escape(note)}</p>" for note in notes)


def _read(split: SplitFacts, name: str) -> str:
    return f"{getattr(split, name):,}"


def _render_histogram(buckets: Sequence[Bucket]) -> str:
    highest = max(bucket.training + bucket.validation for bucket in buckets)
    wide = _WIDTH / len(buckets)
    shapes = []
    for index, bucket in enumerate(buckets):
        x = index * wide
        trained = bucket.training / highest * _HEIGHT
        validated = bucket.validation / highest * _HEIGHT
        label = f"{bucket.least} to {bucket.most}" if bucket.most is not None else f"{bucket.least} and more"
        shapes.append(
            f"<g><title>{label}: {bucket.training} training, {bucket.validation} validation</title>"
            f'<rect class=t x="{x:.1f}" y="{_HEIGHT - trained:.1f}" width="{wide - 1:.1f}" height="{trained:.1f}"/>'
            f'<rect class=v x="{x:.1f}" y="{_HEIGHT - trained - validated:.1f}" width="{wide - 1:.1f}"'
            f' height="{validated:.1f}"/></g>'
        )
        if index % 4 == 0:
            shapes.append(f'<text x="{x:.1f}" y="{_HEIGHT + 14}">{bucket.least}</text>')
    picture = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 20}" role=img>{"".join(shapes)}</svg>'
    return f"{picture}<p>Blue: training. Orange: validation.</p>"


def _render_repetitions(repetitions: Iterable[Repetition]) -> str:
    rows = [[found.file, str(found.line), f"{found.repeats_file}, {found.repeats_line}"] for found in repetitions]
    return _render_table(["File", "Line or row", "Repeats"], rows)


def _render_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cell(text: str) -> str:
        is_number = text.replace(",", "").isdigit()
        return f"<td{' class=n' if is_number else ''}>{escape(text)}</td>"

    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"
