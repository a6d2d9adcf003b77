"""fer nets and fer runs: what they list, and the copy of a net."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import made_run
import pytest
import training

from fer import cli
from fer.errors import FerError
from fer.formats.prototxt import read_solver
from fer.nets.catalog import KNOWN
from fer.nets.zoo import NETS, find_net, net_names, recommended_solver, solver_names
from fer.report.table import Column, Table
from fer.runs.run import Run
from fer.system.records import write_record

ROOT = Path(__file__).resolve().parent.parent


def test_every_shipped_net_recommends_a_solver() -> None:
    assert {name: recommended_solver(name) for name in net_names()} == {
        "alexnet": "s3", "alexnet227": "s3", "alexnetbn": "s1", "googlenet": "s1", "googlenetbn": "s1", "lenet": "s2",
        "resnet18": "s1", "resnet18h": "s1", "tang": "s1", "vgg13": "s1", "vgg8": "s1",
    }  # fmt: skip


def test_the_known_accuracies_are_those_of_the_readme() -> None:
    rows = [line.split("|") for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    told = {
        (re.sub(r"[\s*]", "", row[1]).lower(), row[2].strip(), row[8].strip(" *")) for row in rows if len(row) == 14
    }
    for name, known in KNOWN.items():
        assert (name, known.solver, f"{100 * known.val:.2f} / {100 * known.test:.2f}") in told


def test_the_list_of_nets(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["nets", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert list(listed) == net_names()
    lenet, vgg8 = listed["lenet"], listed["vgg8"]
    assert (lenet["solvers"], lenet["recommended"], lenet["parameters"]) == (["s1", "s2"], "s2", 1629577)
    assert (lenet["input"], sorted(lenet["engines"])) == ([1, 44, 44], ["caffe", "pytorch", "tensorflow"])
    assert vgg8["engines"] == ["pytorch", "tensorflow"] and vgg8["known"]["val"] == 0.6988
    assert all(each["parameters"] for each in listed.values())
    assert cli.main(["nets"]) == 0
    said = capsys.readouterr().out
    assert "s1 s2*" in said and "57.62 / 57.82" in said


def test_a_net_is_copied_and_trained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fake: None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["nets", "lenet", "--copy", "my nets/one"]) == 0
    assert "Next: fer train 'my nets/one'" in capsys.readouterr().out
    copied = Path("my nets/one")
    assert solver_names(find_net("my nets/one")) == ["s1", "s2"] and recommended_solver(copied) == "s2"
    assert read_solver(copied / "solver_s2.prototxt").net == "my nets/one/train_val.prototxt"
    assert (copied / "train_val.prototxt").read_bytes() == (NETS / "lenet" / "train_val.prototxt").read_bytes()
    assert not (copied / "deploy.prototxt").exists()
    assert cli.main(["nets", "vgg8", "--copy", "my nets/one"]) == 1
    assert "is there already" in capsys.readouterr().err
    (copied / "train_val.prototxt").write_text(training.NET)
    text = (copied / "solver_s2.prototxt").read_text()
    (copied / "solver_s2.prototxt").write_text(text.replace("test_iter: 37", "test_iter: 5"))
    assert cli.main(["train", "my nets/one", "--data", str(data), "--engine", "fake", "--max-iter", "3"]) == 0
    run = Run("runs/one-s2")
    assert (run.record.solver, run.record.max_iter, run.record.given) == ("s2", 3, {"max_iter": 3})


def test_a_net_that_recommends_nothing(tmp_path: Path) -> None:
    shutil.copytree(NETS / "lenet", tmp_path / "mine")
    (tmp_path / "mine" / "README.md").unlink()
    with pytest.raises(FerError, match="name one of s1, s2, or"):
        recommended_solver(tmp_path / "mine")
    (tmp_path / "mine" / "solver_s1.prototxt").unlink()
    assert recommended_solver(tmp_path / "mine") == "s2"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An old scored run, one whose log alone tells its accuracy, and one that was killed."""
    monkeypatch.chdir(tmp_path)
    for name, started in (("lenet-s2", "2026-11-24T10:00"), ("lenet-s1", "2026-11-25T10:00"), ("odd", "2026-11-26")):
        run = made_run.make_run(tmp_path, name)
        run.update(started=started)
    (tmp_path / "runs" / "lenet-s1" / "scores" / "val_by_snapshot.json").unlink()
    odd = Run("runs/odd")
    write_record(odd.dir / "run.json", replace(odd.record, state="training", iteration=120, snapshots={}))
    shutil.rmtree(odd.dir / "scores")
    (odd.dir / "train.log").write_text("")
    return tmp_path / "runs"


def test_the_list_of_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == ["odd", "lenet-s1", "lenet-s2"]
    assert [each["state"] for each in listed] == ["broken off", "finished", "finished"]
    assert [each["measured"] for each in listed] == [None, "log", "scored"]
    assert (listed[2]["val_accuracy"], listed[2]["at"], listed[2]["iteration"]) == (0.5, "200", 400)
    assert cli.main(["runs", "--sort", "accuracy"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:4]][-1] == "odd" and "120 of 400" in said[3]
    assert any("~" in line for line in said[1:3]) and said[-1].startswith("~ by the log's tests")
    with Run("runs/odd").locked():
        assert cli.main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "training"


def test_the_untrained_net_s_accuracy_is_no_run_s(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run that was killed before its first test but for that at iteration 0."""
    (runs / "odd" / "train.log").write_text(made_run.log_text(made_run.log_events(10, 1.0, 1)))
    assert cli.main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["val_accuracy"] is None


def test_a_folder_of_runs_is_told_by_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", runs.name]) == 1
    assert "a folder of runs: give runs/lenet-s1, runs/lenet-s2, runs/odd" in capsys.readouterr().err


def test_a_run_that_cannot_be_read_hides_no_other(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "odd" / "run.json").write_text("{")
    assert cli.main(["runs"]) == 1
    said = capsys.readouterr()
    assert "lenet-s2" in said.out and "odd/run.json: damaged" in said.err


@pytest.mark.parametrize("width", [40, 80])
def test_a_table_is_no_wider_than_the_terminal(width: int) -> None:
    columns = (Column("run", left=True), *(Column(f"column {number}") for number in range(7)), Column("of words"))
    long = "a name of a run that is longer than most"
    table = Table(columns, ((long, *range(7), "mean of 17 snapshots, 6,000 to 27,000"),), note="a note of more " * 7)
    lines = table.text(width)
    assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).split())
    assert all(f"column {number}" in said for number in range(7))
    assert {"mean", "of", "17", "snapshots,", "6,000", "to", "27,000"} <= set(said.split())
    assert table.text(1000)[:2] == table.text()[:2] and len(table.text()) == 3


def test_a_net_of_ones_own_need_not_be_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(NETS / "lenet", tmp_path / "mine")
    net, solver, readme = (
        tmp_path / "mine" / name for name in ("train_val.prototxt", "solver_s1.prototxt", "README.md")
    )
    net.write_bytes("# Gesichter, größer\n".encode("latin-1") + net.read_bytes())
    solver.write_bytes(b'# \xfc\nnet: "elsewhere.prototxt" base_lr: 0.5 max_iter: 7 lr_policy: "fixed"\n')
    readme.write_bytes("# Größe\n\n    fer train --net lenet --solver s1\n".encode("latin-1"))
    assert cli.main(["nets", "mine"]) == 0
    assert cli.main(["nets", "mine", "--copy", "two"]) == 0
    copied = tmp_path / "two" / "solver_s1.prototxt"
    assert copied.read_bytes().startswith(b"# \xfc\n") and read_solver(copied).max_iter == 7
    assert read_solver(copied).net == "two/train_val.prototxt"
    assert (tmp_path / "two" / "train_val.prototxt").read_bytes() == net.read_bytes()
    readme.write_bytes(b"")
    capsys.readouterr()
    assert cli.main(["nets", "mine"]) == 0
    assert "LeNet" in capsys.readouterr().out


def test_trainings_without_a_date_come_last(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run(runs / "lenet-s1").update(started="unknown")
    assert cli.main(["runs", str(runs), "--json"]) == 0
    assert [run["name"] for run in json.loads(capsys.readouterr().out)][-1] == "lenet-s1"
