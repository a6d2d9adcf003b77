"""build_report, whose result is of one run or of several, where a test knows which."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer.report.build import build_report
from fer.report.results import ComparisonResult, RunResult
from fer.runs.run import Run


def report_of(run: Run, out: Path | None = None, **options: Any) -> RunResult:
    """The report of one run."""
    result = build_report([run], out, **options)
    assert isinstance(result, RunResult)
    return result


def comparison_of(runs: Sequence[Run], out: Path | None = None, **options: Any) -> ComparisonResult:
    """The comparison of several runs."""
    result = build_report(runs, out, **options)
    assert isinstance(result, ComparisonResult)
    return result
