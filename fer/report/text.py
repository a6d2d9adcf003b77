"""A result in words, for the terminal."""

import textwrap
from collections.abc import Sequence

from fer.report.results import AnyResult, ComparisonResult, EnsembleResult, LogResult, McNemarResult, RunResult
from fer.report.tables import ACCURACY, RECALLS, accuracy_table, class_table, runs_table
from fer.report.words import mcnemar_sentence, percent, snapshot_text, training_facts


def summary_text(result: AnyResult, width: int | None = None) -> str:
    """What the terminal shows of a result, in lines of `width` characters at most (but for paths and commands)."""
    title, body = _body(result, width)
    notes = [f"Note: {note}" for note in result.notes]
    warnings = [f"WARNING: {warning}" for warning in result.warnings]
    verdict = [result.verdict] if result.verdict else []
    said = [*warnings, *([""] if warnings else []), title, *verdict, "", *body, *([""] if notes else []), *notes]
    lines = [part for line in said for part in (_wrapped(line, width) if line not in body else [line])]
    return "\n".join([*lines, "", f"Report: {result.report}/report.html"])


def _wrapped(line: str, width: int | None) -> list[str]:
    if width is None or not line:
        return [line]
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)


def _body(result: AnyResult, width: int | None) -> tuple[str, list[str]]:
    """The title, and what stands below it."""
    match result:
        case RunResult():
            return f"{result.name} · {result.data.title} · {snapshot_text(result)}", _splits(result, width)
        case ComparisonResult():
            title = f"{len(result.runs)} runs · {result.data.title}"
            return title, [*runs_table(result.runs).text(width), *_mcnemar(result.mcnemar, width)]
        case EnsembleResult():
            title, members = f"{result.name} · {result.data.title}", runs_table(result.members).text(width)
            return title, [*_splits(result, width), "", *members, *_mcnemar(result.mcnemar, width)]
        case LogResult():
            facts = training_facts(result.training)
            longest = max(len(name) for name, _ in facts)
            return result.name, [f"{name:<{longest}}  {text}" for name, text in facts]


def _splits(result: RunResult | EnsembleResult, width: int | None) -> list[str]:
    lines = accuracy_table(result.splits).first(ACCURACY).text(width)
    lines += _wrapped(f"always the commonest class: {percent(result.commonest_class_accuracy, 2)} on val", width)
    for split in result.splits.values():
        lines += ["", *class_table(split).first(RECALLS).text(width)]
    return lines


def _mcnemar(pairs: Sequence[McNemarResult], width: int | None) -> list[str]:
    sentences = [part for pair in pairs for part in _wrapped(f"  {mcnemar_sentence(pair)}", width)]
    return ["", *_wrapped("McNemar's exact test on PublicTest (val):", width), *sentences]
