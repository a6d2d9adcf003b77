"""What a report shows of a run's export: the table of its forms, of the same weights alone."""

import re
from pathlib import Path
from typing import Any

import made_model
import pytest
from made_report import report_of
from made_run import make_run

from fer.data.classes import CLASSES
from fer.data.manifest import ImageSize
from fer.engines.registry import ENGINES
from fer.evaluation.scores import load_scores
from fer.export.exported import export_run
from fer.inference.model_record import MODEL_JSON, ExportedSnapshot, FormRecord, ModelRecord, Preprocessing
from fer.report.exported import read_export
from fer.report.kept import find_report
from fer.report.results import ExportResult, RunResult
from fer.runs.run import Run
from fer.system.records import read_record, write_record

FORM = FormRecord("ncnn-int8", 1_448_000, True, 0.6979, 0.982, 0.26, test=0.7136, milliseconds=2.71,
                  versions={"ncnn": "1.0.20261020"})  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("fer.report.build.run_figures", lambda scored: {})
    return make_run(tmp_path)


def export(run: Run, sha256: str = "ab", averaged: tuple[int, ...] = (), **fields: Any) -> None:
    """A model.json in the run's folder, of weights with that hash."""
    record = ModelRecord(
        fer_version="0.1.0", net="lenet", snapshot=ExportedSnapshot(200, averaged, sha256), classes=CLASSES,
        image=ImageSize(1, 48, 48), transform=Preprocessing(44, 1.0), input="data", output="prob", onnx=True,
        data="drawn sample", accuracy={}, largest_difference_on_val={}, not_checked={}, probe=(), files={},
        **{"forms": {"ncnn-int8": FORM}} | fields,
    )  # fmt: skip
    run.export_dir.mkdir(exist_ok=True)
    write_record(run.export_dir / MODEL_JSON, record)


def page_of(run: Run) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", (run.report_dir / "report.html").read_text()))


@pytest.mark.parametrize("val_only", [False, True])
def test_the_forms_of_an_export_are_shown(run: Run, val_only: bool) -> None:
    export(run)
    out = run.report_dir
    result = report_of(run, out, val_only=val_only)
    assert result.export is not None and set(result.export.forms) == {"ncnn-int8"}
    shown = result.export.forms["ncnn-int8"]
    assert (shown.accuracy, shown.agreement, shown.milliseconds) == (0.6979, 0.982, 2.71)
    assert shown.test == (None if val_only else 0.7136)
    assert read_record(out / "metrics.json", RunResult) == result
    page, test = page_of(run), "" if val_only else "71.36% "
    assert f"ncnn-int8 ncnn-int8 1,448,000 69.79% {test}98.20% 0.26 2.71 ncnn 1.0.20261020" in page
    own = " ".join(f"{100 * each.accuracy:.2f}%" for each in result.splits.values())
    assert f"the run itself – {own} – – –" in page
    assert ("71.36%" in page) is ("0.7136" in (out / "metrics.json").read_text()) is not val_only


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sha256": "cd"}, r"is of snapshot 200, other weights .* not shown: fer export \S+lenet-s2 makes it anew\."),
        ({"sha256": "cd", "averaged": (100, 200)}, "is of the mean of 2 snapshots, 100 to 200, other weights"),
        (None, r"is not shown: \S+model.json[: ].*"),
        ({"forms": {}}, None),
    ],
)
def test_an_export_of_other_weights_is_said_and_not_shown(
    run: Run, fields: dict[str, Any] | None, words: str | None
) -> None:
    export(run, **fields or {})
    if fields is None:
        (run.export_dir / MODEL_JSON).write_text("{}")
    result = report_of(run)
    assert result.export is None and "Exported forms" not in page_of(run)
    said = [note for note in result.notes if "export" in note]
    assert [bool(re.search(words, note)) for note in said] == [True] if words else not said


def test_an_export_made_since_is_a_reason_to_make_the_report_again(run: Run) -> None:
    report_of(run)
    assert find_report([run], run.report_dir) is not None
    export(run)
    assert find_report([run], run.report_dir) is None


def test_what_was_just_exported_is_of_the_weights_that_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "pytorch", made_model.here)
    made = made_model.make_run(tmp_path)
    for name in list(ENGINES):
        monkeypatch.delitem(ENGINES, name)  # OpenCV alone checks Caffe's files
    record = export_run(made, made.export_dir)
    scored = load_scores(made.scores("val")).meta
    assert read_export(made, scored.weights_sha256, val_only=False) == (
        ExportResult(dir=str(made.export_dir), forms=record.forms), None
    )  # fmt: skip
