"""Scored runs side by side, as fer report compares them."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from fer.report.results import McNemarResult
from fer.report.table import Table
from fer.runs.run import Run


@dataclass(frozen=True)
class Comparison:
    """`table` and `recalls` (a table for each split) are of those runs that are scored."""

    table: Table | None = None
    recalls: tuple[Table, ...] = ()
    mcnemar: tuple[McNemarResult, ...] = ()
    unscored: tuple[str, ...] = ()


def compare(runs: Mapping[str, Run]) -> Comparison:
    """Compare runs by their names. Test is shown where each scored run has its scores.

    Raises FerError for scores that are damaged.
    """
    scored = {name: run for name, run in runs.items() if run.scores("val").is_file()}
    unscored = tuple(name for name in runs if name not in scored)
    if not scored:
        return Comparison(unscored=unscored)
    from fer.report.measure import mcnemar_result, run_result  # here, as the first page does without
    from fer.report.scored_run import read_scored_run
    from fer.report.tables import recall_table, runs_table

    val_only = not all(run.scores("test").is_file() for run in scored.values())
    read = {name: read_scored_run(run, val_only=val_only) for name, run in scored.items()}
    results = [run_result(each, name) for name, each in read.items()]
    same = {each.classes for each in read.values()}
    recalls = [recall_table(results, split) for split in results[0].splits] if len(same) == 1 else []
    pairs = itertools.combinations(read.items(), 2)
    return Comparison(
        table=runs_table(results),
        recalls=tuple(recalls),
        mcnemar=tuple(mcnemar_result(*a, *b) for a, b in pairs),
        unscored=unscored,
    )
