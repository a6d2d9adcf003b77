"""Reports of hand-made runs and golden logs: what is in them, and what is refused."""

import csv
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_report import comparison_of, report_of
from made_run import log_events, log_text, make_run, write_by_snapshot, write_scores

from fer.data.classes import CLASSES
from fer.data.manifest import read_manifest
from fer.errors import FerError
from fer.formats import log_lines
from fer.report.build import build_ensemble, build_report, report_log
from fer.report.results import EnsembleResult, RunResult, SnapshotResult
from fer.report.tables import best_on_val, runs_table
from fer.report.text import summary_text
from fer.runs.record import HashedFile, SnapshotFiles
from fer.runs.run import Run
from fer.system.hashes import file_hash
from fer.system.records import SEAL, read_record, write_record

GOLDEN = Path(__file__).parent / "golden"
Made = tuple[Run, RunResult, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run, its report's result, and the report's folder."""
    run = make_run(tmp_path_factory.mktemp("report"), ten_crop=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
        result = report_of(run)
    return run, result, run.report_dir


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not rendered: for tests that look at everything else."""
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")


@pytest.fixture
def run(tmp_path: Path, quick: None) -> Run:
    return make_run(tmp_path)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def edit_info(run: Run, **fields: object) -> Run:
    run.update(**fields)
    return Run(run.dir)


def test_every_file_is_there_and_named(made: Made) -> None:
    _, result, out = made
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert there == set(result.files)
    for name in ("overview", "learning_rate", "training_loss", "validation", "mistakes_val", "class_counts"):
        assert {f"figures/{name}.png", f"figures/{name}.svg"} <= there
    for split in ("val", "test"):
        for name in (f"confusion_{split}", f"confusion_{split}_normalised", f"roc_{split}", f"classes_{split}"):
            assert {f"figures/{name}.png", f"figures/{name}.svg"} <= there
    assert {"train.csv", "test.csv", "scores_val.csv", "scores_test.csv", "report.html"} <= there


def test_the_result_is_metrics_json(made: Made) -> None:
    _, result, out = made
    assert read_record(out / "metrics.json", RunResult) == result


def test_the_numbers_are_the_scores(made: Made) -> None:
    run, result, _ = made
    with np.load(run.scores("val")) as scores:
        right = int((scores["probs"].argmax(axis=1) == scores["labels"]).sum())
    val = result.splits["val"]
    assert (val.correct, val.count, val.accuracy) == (right, 210, right / 210)
    assert val.ten_crop is not None and val.ten_crop.count == 210 and val.ten_crop.accuracy != val.accuracy
    assert (val.crop, val.ten_crop.crop) == ("centre crop", "ten-crop")
    assert sum(map(sum, val.confusion)) == 210
    assert result.snapshot == SnapshotResult(
        iteration=200, averaged=None, weights="lenet_iter_200.caffemodel", weights_sha256="ab", chosen_on="val"
    )


def test_scores_csv(made: Made) -> None:
    run, result, out = made
    table = rows(out / "scores_val.csv")
    assert list(table[0]) == ["file", "label", "prediction", *CLASSES]
    assert len(table) == 210 and table[3]["file"] == "00003.jpg"
    correct = 0
    with np.load(run.scores("val")) as scores:
        for row, probs, label in zip(table, scores["probs"], scores["labels"], strict=True):
            assert np.array([row[name] for name in CLASSES], np.float32).tolist() == probs.tolist()  # to the last digit
            assert int(row["label"]) == label
            correct += row["label"] == row["prediction"]
    assert correct == result.splits["val"].correct


def test_curve_csvs_have_parse_logs_columns(made: Made) -> None:
    _, _, out = made
    train, test = rows(out / "train.csv"), rows(out / "test.csv")
    assert list(train[0]) == ["NumIters", "Seconds", "LearningRate", "loss"]
    assert list(test[0]) == ["NumIters", "Seconds", "LearningRate", "accuracy", "loss"]
    assert [int(row["NumIters"]) for row in test] == [0, 100, 200, 300, 400]
    assert [float(row["LearningRate"]) for row in test] == [0.01, 0.01, 0.005, 0.005, 0.005]
    assert [float(row["LearningRate"]) for row in train][9:11] == [0.01, 0.005]


def test_the_page_is_whole_and_needs_nothing_from_outside(made: Made) -> None:
    run, result, out = made
    page = (out / "report.html").read_text()
    assert not re.search(r"""src=["'](?!data:)""", page) and "url(" not in page and "@import" not in page
    anchors = {f"#{anchor}" for anchor in re.findall(r'id="([^"]+)"', page)}
    links = set(re.findall(r'href="([^"]*)"', page))
    assert {"#accuracy", "#training", "#publictest-val", "#the-run", "figures/overview.svg"} <= links
    assert links <= anchors | set(result.files)
    assert page.index("<details>") > page.index('href="figures/overview.svg"')
    assert page.index("figures/learning_rate.svg") > page.index("<details>")
    assert page.count("<img ") == len([name for name in result.files if name.endswith(".svg")])
    for fact in ("PublicTest (val)", "PrivateTest (test)", "drawn sample, not FER2013", "fer train --net lenet"):
        assert fact in page
    for fact in (
        "a CPU",
        "cd" * 32,
        "1 h 02 min",
        "The same seed",
        "PublicTest (val), centre crop",
        "– ten-crop",
        "width=device-width",
    ):
        assert fact in page
    assert f"{100 * result.splits['test'].accuracy:.2f}%" in page
    assert str(run.dir) in page


def test_what_a_user_writes_is_escaped(run: Run) -> None:
    edit_info(run, warnings=("<script>alert(1)</script>",), engine="<b>")
    report_of(Run(run.dir))
    page = (run.report_dir / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;" in page and "<b>" not in page.split("The run</h2>")[1]


def test_the_summary(made: Made) -> None:
    _, result, out = made
    text = summary_text(result)
    val = result.splits["val"]
    assert f"{100 * val.accuracy:.2f}%" in text and f"{100 * val.misclassification:.2f}%" in text
    assert "PublicTest (val), centre crop" in text and "– ten-crop" in text
    happy = val.classes[3]
    assert happy.recall is not None
    assert re.search(rf"Happy +{happy.correct} +{happy.support} +{100 * happy.recall:.1f}%", text)
    assert re.search(rf"all +{val.correct} +210", text)
    assert "snapshot 200 of 400 iterations, chosen on PublicTest (val)" in text
    assert str(out / "report.html") in text


def test_a_second_report_takes_the_place_of_the_first(run: Run) -> None:
    report_of(run)
    (run.report_dir / "left.txt").write_text("of the first")
    report_of(run)
    assert not (run.report_dir / "left.txt").exists()
    assert [path.name for path in run.dir.iterdir() if path.name.startswith(".")] == []


def test_a_report_that_fails_leaves_the_old_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    report_of(run)
    before = {path: path.read_bytes() for path in run.report_dir.rglob("*") if path.is_file()}

    def full(self: object, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fer.system.files.os.fsync", full)
    with pytest.raises(FerError, match="No space left on device"):
        report_of(run)
    assert {path: path.read_bytes() for path in run.report_dir.rglob("*") if path.is_file()} == before
    assert [path.name for path in run.dir.iterdir() if path.name.startswith(".")] == []


def test_a_folder_with_other_things_is_not_replaced(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.tex").write_text("years of work")
    with pytest.raises(FerError, match="is no report"):
        report_of(run, other)
    assert (other / "chapter1.tex").exists()


def test_the_early_collapse_is_said_and_drawn(tmp_path: Path, quick: None) -> None:
    run = make_run(tmp_path, "lenet-s1", gamma=0.1, stepsize=20)
    result = report_of(run)
    sentence = "The learning rate fell below 1% of its start after 60 of 400 iterations"
    assert result.training.lr_below_1_percent_at == 60
    assert any(note.startswith(sentence) for note in result.notes)
    assert sentence in summary_text(result) and sentence in (run.report_dir / "report.html").read_text()


def test_ten_crops_of_another_snapshot_are_left_out_and_that_is_said(tmp_path: Path, quick: None) -> None:
    run = make_run(tmp_path, ten_crop=True)
    with np.load(run.scores("val")) as stored:
        write_scores(run.scores("val", ten_crop=True), "val", stored["labels"], 3.0, weights_sha256="cd")
    result = report_of(run)
    assert result.splits["val"].ten_crop is None and result.splits["test"].ten_crop
    assert any("Ten-crop scores of another snapshot are left out" in note for note in result.notes)


def test_a_snapshot_asked_for_is_not_called_chosen_on_val(run: Run) -> None:
    write_by_snapshot(run.dir, {200: 0.4, 300: 0.6})
    better = SnapshotFiles(HashedFile("cd", "snapshots/lenet_iter_300.caffemodel"))
    run.update(snapshots={**run.record.snapshots, 300: better})
    run.weights_file(300).parent.mkdir(exist_ok=True)
    run.weights_file(300).touch()
    result = report_of(run)
    assert result.snapshot.chosen_on is None
    assert "chosen by hand" in summary_text(result)


def test_a_better_snapshot_that_is_gone_was_not_there_to_be_chosen(run: Run) -> None:
    write_by_snapshot(run.dir, {200: 0.4, 300: 0.6})
    assert not run.weights_file(300).exists()
    assert report_of(run).snapshot.chosen_on == "val"


def test_without_the_data_directory_counts_and_images_are_left_out_and_that_is_said(run: Run, tmp_path: Path) -> None:
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    result = report_of(run)
    assert "figures/mistakes_val.png" not in result.files and "figures/class_counts.png" not in result.files
    assert any("gone or unreadable" in note for note in result.notes)
    assert result.data.title == "drawn sample, not FER2013"


def test_data_made_anew_is_not_taken_for_the_old(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_record(data / "manifest.json", replace(read_manifest(data), title="FER2013"))
    result = report_of(run)
    assert any("was made anew since" in note for note in result.notes)
    assert "drawn" in result.data.title and "figures/mistakes_val.png" not in result.files


def test_what_was_done_to_the_data_stands_under_data(run: Run, tmp_path: Path) -> None:
    manifest, note = read_manifest(tmp_path / "data"), "test/ was halved into val and test"
    write_record(tmp_path / "data" / "manifest.json", replace(manifest, notes=(note,)))
    run.update(data=replace(run.record.data, manifest_sha256=file_hash(tmp_path / "data" / "manifest.json")))
    result = report_of(run)
    assert result.data.notes == (note,)
    assert f"<td>{note}</td>" in (run.report_dir / "report.html").read_text().split('<h2 id="data">')[1]


def test_mistakes_are_the_surest_wrong_answers(made: Made) -> None:
    from fer.report.mistakes import find_mistakes
    from fer.report.scored_run import read_scored_run

    scored = read_scored_run(made[0])
    mistakes = find_mistakes(scored)
    assert mistakes and all(m.true != m.predicted for m in mistakes)
    sureness = [m.probability for m in mistakes]
    assert sureness == sorted(sureness, reverse=True)
    scores = scored.scores["val"]
    drawn = [i for i in range(40) if not scores.correct[i]]  # the fixture has images of the first forty only
    assert sureness[0] == pytest.approx(max(float(scores.probs[i].max()) for i in drawn))


@pytest.mark.parametrize("file", ["train.log", "scores/val.npz", "scores/test.npz"])
def test_a_missing_file_is_named(run: Run, file: str) -> None:
    (run.dir / file).unlink()
    with pytest.raises(FerError, match=rf"{re.escape(str(run.dir / file))} is missing"):
        report_of(run)
    assert not run.report_dir.exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("scores/val.npz", b"PK\3\4 cut"),
        ("scores/val_by_snapshot.json", b"{"),
        ("scores/val_by_snapshot.json", b'{"1":2}'),
    ],
)
def test_a_damaged_file_is_named(run: Run, file: str, content: bytes) -> None:
    (run.dir / file).write_bytes(content)
    with pytest.raises(FerError, match=rf"{re.escape(Path(file).name)}: damaged: "):
        report_of(run)


def test_scores_of_a_diverged_net_are_refused(run: Run) -> None:
    with np.load(run.scores("val")) as stored:
        arrays = dict(stored)
    arrays["probs"] = np.full_like(arrays["probs"], np.nan)
    meta = json.loads(str(arrays["meta"]))
    arrays["meta"] = json.dumps({key: meta[key] for key in meta if key not in ("arrays_sha256", SEAL)})
    np.savez(run.scores("val"), **arrays)
    with pytest.raises(FerError, match="not a finite number"):
        report_of(run)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"iteration": 300, "weights_sha256": "cd"}, "different snapshots"),
        ({"split": "val"}, "holds the scores of 'val'"),
    ],
)
def test_scores_that_do_not_belong_together_are_refused(run: Run, meta: dict[str, Any], message: str) -> None:
    with np.load(run.scores("test")) as stored:
        labels = stored["labels"]
    write_scores(run.scores("test"), meta.pop("split", "test"), labels, 1.0, **meta)
    with pytest.raises(FerError, match=message):
        report_of(run)


def test_scores_of_other_weights_are_refused(run: Run) -> None:
    stale = edit_info(run, snapshots={200: SnapshotFiles(HashedFile("other", "x"))})
    with pytest.raises(FerError, match="of other weights than snapshot 200's"):
        report_of(stale)


def test_a_run_that_was_interrupted_says_so(run: Run) -> None:
    result = report_of(edit_info(run, state="interrupted", max_iter=10000))
    assert "The run is interrupted: 400 of 10,000 iterations." in result.notes


def test_a_log_that_ends_before_the_first_iteration(run: Run) -> None:
    fatal = [log_lines.Solving("LeNet"), log_lines.Fatal("Check failed: error == cudaSuccess (35 vs. 0)")]
    run.log.write_text(log_text(fatal))
    with pytest.raises(FerError, match=r"before the first displayed iteration; its last words: Check failed: error =="):
        report_of(run)


def test_no_run_and_one_run_twice(run: Run) -> None:
    with pytest.raises(FerError, match="no run"):
        build_report([])
    with pytest.raises(FerError, match="given twice"):
        build_report([run, Run(run.dir)])


def test_comparison(tmp_path: Path, quick: None) -> None:
    runs = [
        make_run(tmp_path, "lenet-s1", skill=0.3, gamma=0.1, stepsize=20),
        make_run(tmp_path, "lenet-s2", skill=2, ten_crop=True),
    ]
    result = comparison_of(runs)
    out = tmp_path / "runs" / "compare-lenet-s1-lenet-s2"
    assert result.report == str(out) and result.kind == "comparison"
    assert {"metrics.json", "report.html", "figures/overlay.svg", "figures/side_by_side.png"} <= set(result.files)
    (pair,) = result.mcnemar
    assert (pair.a, pair.b, pair.split) == ("LeNet s1", "LeNet s2", "val")
    assert pair.only_a is not None and pair.only_b is not None and pair.p_value is not None
    assert pair.only_b > pair.only_a and pair.p_value < 1e-4
    assert sum(count or 0 for count in (pair.only_a, pair.only_b, pair.both, pair.neither)) == 210
    text, page = summary_text(result), (out / "report.html").read_text()
    assert "p < 0.0001" in text and "p &lt; 0.0001" in page
    assert "LeNet s1: The learning rate fell below" in text
    for each in (text, page):
        assert [each.count(f"LeNet {s}, centre crop") for s in ("s1", "s2")] == [1, 1] and each.count("– ten-crop") == 1
    assert not re.search(r"""src=["'](?!data:)""", page)
    best = re.findall(r'<tr class="best"><th[^>]*>([^<]*)<mark>best on val</mark>', page)
    assert best == ["LeNet s2, centre crop"]


def test_the_best_of_several(tmp_path: Path, quick: None) -> None:
    """Equal ones are all the best, and none is where the data differ."""
    runs = [make_run(tmp_path, name, skill=2) for name in ("a-s1", "a-s2")]
    result = comparison_of(runs)
    assert best_on_val(result.runs) == {"a s1", "a s2"}
    assert runs_table(result.runs).best == {0, 1}
    other = replace(result.runs[1], data=replace(result.runs[1].data, title="other faces"))
    assert best_on_val([result.runs[0], other]) == best_on_val(result.runs[:1]) == set()


def test_without_test_nothing_of_it_is_told(tmp_path: Path, quick: None) -> None:
    runs = [make_run(tmp_path, name, skill=skill, ten_crop=True) for name, skill in (("a-s1", 1), ("a-s2", 2))]
    for split in ("test", "test_tencrop"):
        (runs[0].scores("val").parent / f"{split}.npz").unlink()
    with pytest.raises(FerError, match=r"test\.npz"):
        report_of(runs[0])
    one, several = report_of(runs[0], val_only=True), comparison_of(runs, val_only=True)
    ensemble = build_ensemble(runs, val_only=True)
    measured: list[RunResult | EnsembleResult] = [one, *several.runs, ensemble, *ensemble.members]
    for each in measured:
        assert list(each.splits) == ["val"] and each.splits["val"].ten_crop
    for result in (one, several, ensemble):
        assert not any("confusion_test" in name or "scores_test" in name for name in result.files)
        page = (Path(result.report) / "report.html").read_text()
        for text in (summary_text(result), page):
            assert "PrivateTest (test) is left out, as asked for by --val-only." in text
            assert text.count("PrivateTest") == text.count("is left out, as asked for")


def test_three_runs_have_three_tests_and_each_its_own_name(tmp_path: Path, quick: None) -> None:
    runs = [make_run(tmp_path, name) for name in ("lenet-s1", "lenet-s2", "try")]
    result = comparison_of(runs, tmp_path / "out")
    assert [(pair.a, pair.b) for pair in result.mcnemar] == [
        ("LeNet s1", "LeNet s2"),
        ("LeNet s1", "try"),
        ("LeNet s2", "try"),
    ]
    assert all(pair.p_value == 1.0 for pair in result.mcnemar)  # equal scores


def test_runs_on_other_images_are_not_comparable_and_that_is_said(tmp_path: Path, quick: None) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", counts={"train": 9, "val": 150, "test": 150})
    result = comparison_of([one, two], tmp_path / "out")
    assert "same images: 60 files" in str(result.mcnemar[0].not_comparable)
    assert "not comparable" in summary_text(result)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.log")), ids=lambda path: path.stem)
def test_a_report_of_a_log_alone(path: Path, tmp_path: Path, quick: None) -> None:
    result = report_log(path, tmp_path / "report")
    assert {"train.csv", "test.csv", "metrics.json", "report.html", "figures/training_loss.svg"} <= set(result.files)
    json.loads((tmp_path / "report" / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert path.name in summary_text(result)


def test_nan_stays_nan_in_the_csv(tmp_path: Path, quick: None) -> None:
    report_log(GOLDEN / "diverged.log", tmp_path / "report")
    losses = [float(row["loss"]) for row in rows(tmp_path / "report" / "train.csv")]
    assert losses[0] == 1.9 and math.isinf(losses[1]) and math.isnan(losses[2])


def test_a_second_test_net_has_its_own_csv(tmp_path: Path, quick: None) -> None:
    report_log(GOLDEN / "bvlc_2015_new_year.log", tmp_path / "report")
    (row,) = rows(tmp_path / "report" / "test_1.csv")
    assert (row["prob"], row["prob#2"]) == ("0.25", "0.75")


def test_a_log_of_2014_has_its_displayed_loss_in_the_csv(tmp_path: Path, quick: None) -> None:
    report_log(GOLDEN / "bvlc_2014.log", tmp_path / "report")
    table = rows(tmp_path / "report" / "train.csv")
    assert [(row["NumIters"], row["LearningRate"], row["loss"]) for row in table] == [
        ("20", "0.01", "6.55607"),
        ("40", "0.01", "6.5"),
        ("60", "0.001", "nan"),
    ]


def test_a_log_without_iterations_and_one_that_is_none(tmp_path: Path) -> None:
    log = tmp_path / "dead.log"
    log.write_text(log_text([log_lines.Fatal("Unknown layer type: Convolutoin")]))
    with pytest.raises(FerError, match="last words: Unknown layer type: Convolutoin"):
        report_log(log, tmp_path / "report")
    log.write_text("hello\n")
    with pytest.raises(FerError, match="is no Caffe training log"):
        report_log(log, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.full
def test_every_figure_is_a_picture(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    result = report_of(run)
    pictures = [name for name in result.files if name.startswith("figures/")]
    assert len(pictures) == 2 * 17
    for name in pictures:
        data = (run.report_dir / name).read_bytes()
        assert len(data) > 5000 and (data.startswith(b"\x89PNG") if name.endswith("png") else b"</svg>" in data[-10:])


def test_progress_is_told(run: Run) -> None:
    told: list[tuple[str, int, int]] = []
    report_of(run, progress=lambda stage, done, total: told.append((stage, done, total)))
    assert told[0][1] == 0 and told[-1][1] == told[-1][2] == len(told) - 1


# ---- a run's facts are those of its record


@pytest.mark.parametrize(
    ("end", "state", "iteration", "note"),
    [(450, "finished", 450, None), (450, "interrupted", 72, "The run is interrupted: 72 of 450 iterations.")],
)
def test_iterations_are_those_of_the_record_and_not_of_the_last_display(
    tmp_path: Path, quick: None, end: int, state: str, iteration: int, note: str | None
) -> None:
    run = make_run(tmp_path, iterations=end)  # displayed each 20
    run = edit_info(run, state=state, iteration=iteration)
    if state == "interrupted":
        run.log.write_text(log_text(log_events(60, 0.5, 200)[:-1]))
    result = report_of(run)
    assert result.training.iterations == iteration
    assert f"snapshot 200 of {iteration} iterations" in summary_text(result)
    assert result.notes == ((note,) if note else ())


def test_a_training_without_a_display_has_a_report(run: Run) -> None:
    run.log.write_text(log_text([log_lines.Solving("LeNet"), log_lines.Done()]))
    result = report_of(run)
    assert result.training.iterations == 400 and result.training.last_loss is None
    assert "figures/validation.png" in result.files and "figures/training_loss.png" not in result.files
    run.log.write_text(log_text([log_lines.Solving("LeNet")]))
    with pytest.raises(FerError, match="ends before the first displayed iteration"):
        report_of(run)


def test_each_note_is_said_once(tmp_path: Path, quick: None) -> None:
    run = make_run(tmp_path, gamma=0.1, stepsize=20)
    (run.dir / "train.log").write_text(run.log.read_text() + log_text([log_lines.StoppedEarly()]))
    early, uneven = "lr falls below 1% of base_lr after 60 of 400 iterations", "test_iter 1 x batch_size 7 = ..."
    resumed = "resumed at iteration 72 with the data from its start"
    run = edit_info(run, warnings=(early, uneven), notes=(resumed, resumed), iteration=300, ended="it has not risen")
    notes = report_of(run).notes
    assert sum("1% of" in note for note in notes) == 1 and early not in notes
    assert notes[-3:] == ("The run ended early: it has not risen.", uneven, resumed) and len(notes) == 4


def test_the_last_accuracy_logged_has_its_iteration(run: Run) -> None:
    run.log.write_text(log_text(log_events(90, 0.5, 200)))  # tested at 0 alone
    report_of(run)
    html = (run.report_dir / "report.html").read_text()
    assert "<td>last val accuracy logged</td><td>25.00% at 0</td>" in html
