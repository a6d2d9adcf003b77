"""scripts/compare_losses.py: only the loss of training differs between the nets that it compares."""

from pathlib import Path

import compare_losses
import pytest
from compare_losses import RECIPES, net_with_loss, table

from fer import cli
from fer.formats.prototxt import read_net, write_text
from fer.nets.infogain import infogain_matrix, read_infogain
from fer.nets.lint import lint_net
from fer.nets.states import State, filter_net
from fer.nets.zoo import find_net, find_solver


@pytest.mark.parametrize("name", ["lenet", "alexnet", "vgg8"])
def test_only_the_loss_of_training_differs(name: str, tmp_path: Path) -> None:
    net = read_net(find_net(name))
    made = net_with_loss(net, tmp_path / "h.binaryproto")
    write_text(tmp_path / "train_val.prototxt", made)
    assert lint_net(made, tmp_path / "train_val.prototxt") == []
    *before, plain = filter_net(net, State("TEST")).layer
    *after, tested = filter_net(made, State("TEST")).layer
    tested.ClearField("include")
    assert before == after and plain == tested
    *before, plain = filter_net(net, State("TRAIN")).layer
    *after, loss = filter_net(made, State("TRAIN")).layer
    assert before == after and (plain.type, loss.type) == ("SoftmaxWithLoss", "InfogainLoss")
    assert (loss.bottom, loss.top) == (plain.bottom, plain.top)
    assert loss.infogain_loss_param.source == str(tmp_path / "h.binaryproto")


def test_the_table_names_each_recipe_and_tests_it_against_the_first() -> None:
    val = {"accuracy": 0.5, "balanced_accuracy": 0.4, "log_loss": 1.25, "classes": [{"name": "Disgust", "recall": 0.3}]}
    runs = [{"name": f"run {recipe}", "splits": {"val": val}} for recipe in RECIPES]
    pairs = [{"a": "run plain", "b": run["name"], "p_value": 0.25} for run in runs[1:]]
    lines = table(
        list(RECIPES), {"runs": runs, "mcnemar": [*pairs, {"a": "x", "b": "y", "p_value": 1.0}]}
    ).splitlines()[2:]
    assert lines[0] == "| plain | 50.00% | 40.00% | 30.0% | 1.250 |  |"
    assert [line.split(" | ")[0][2:] for line in lines] == list(RECIPES) and all("0.2500" in line for line in lines[1:])


def test_each_recipe_is_trained_with_the_net_s_own_solver_and_none_is_scored_on_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands are taken down but for infogain, which is run."""
    monkeypatch.chdir(tmp_path)
    asked: list[list[str]] = []

    def take_down(*words: object) -> str:
        command = list(map(str, words))
        asked.append(command)
        if command[0] == "infogain":
            assert cli.main(command) == 0
        return '{"mcnemar": [], "runs": [{"name": ""}]}'

    monkeypatch.setattr(compare_losses, "fer", take_down)
    monkeypatch.setattr(compare_losses, "table", lambda recipes, result: " ".join(recipes))
    compare_losses.main(["smoothing-0.1"])
    assert capsys.readouterr().out.splitlines()[-1] == "plain smoothing-0.1"
    infogain, report = (next(each for each in asked if each[0] == name) for name in ("infogain", "report"))
    assert (read_infogain(tmp_path / infogain[1], 7) == infogain_matrix(7, 0.1)).all()
    assert "--val-only" in report and report[1:3] == ["runs/lenet-s2-plain", "runs/lenet-s2-smoothing-0.1"]
    for command in (each for each in asked if each[0] == "train"):
        given = dict(zip(command[1::2], command[2::2], strict=False))
        assert find_net(given["--net"]).is_file() and find_solver(given["--net"], given["--solver"]).is_file()
