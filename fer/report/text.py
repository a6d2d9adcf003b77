"""A result in words, for the terminal."""

from collections.abc import Sequence

from fer.report.results import AnyResult, ComparisonResult, EnsembleResult, LogResult, McNemarResult, RunResult
from fer.report.tables import ACCURACY, RECALLS, accuracy_table, class_table, runs_table
from fer.report.words import mcnemar_sentence, percent, snapshot_text, training_facts


def summary_text(result: AnyResult) -> str:
    """What the terminal shows of a result."""
    notes = [f"Note: {note}" for note in result.notes]
    warnings = [f"WARNING: {warning}" for warning in result.warnings]
    lines = [*warnings, *([""] if warnings else []), *_body(result), *([""] if notes else []), *notes]
    return "\n".join([*lines, "", f"Report: {result.report}/report.html"])


def _body(result: AnyResult) -> list[str]:
    match result:
        case RunResult():
            return [f"{result.name} · {result.data.title} · {snapshot_text(result)}", "", *_splits(result)]
        case ComparisonResult():
            title = f"{len(result.runs)} runs · {result.data.title}"
            return [title, "", *runs_table(result.runs).text(), *_mcnemar(result.mcnemar)]
        case EnsembleResult():
            title, members = f"{result.name} · {result.data.title}", runs_table(result.members).text()
            return [title, "", *_splits(result), "", *members, *_mcnemar(result.mcnemar)]
        case LogResult():
            facts = training_facts(result.training)
            width = max(len(name) for name, _ in facts)
            return [result.name, "", *(f"{name:<{width}}  {text}" for name, text in facts)]


def _splits(result: RunResult | EnsembleResult) -> list[str]:
    lines = accuracy_table(result.splits).first(ACCURACY).text()
    lines.append(f"always the commonest class: {percent(result.commonest_class_accuracy, 2)} on val")
    for split in result.splits.values():
        lines += ["", *class_table(split).first(RECALLS).text()]
    return lines


def _mcnemar(pairs: Sequence[McNemarResult]) -> list[str]:
    return ["", "McNemar's exact test on PublicTest (val):", *(f"  {mcnemar_sentence(pair)}" for pair in pairs)]
