"""Which output is the accuracy: by the net, by the log alone, in reports, displays and early stopping alike."""

from pathlib import Path

import pytest
from google.protobuf import text_format

from fer.commands.display import TrainingDisplay
from fer.formats.log import parse_log
from fer.formats.log_outputs import find_accuracy, find_loss
from fer.formats.log_records import Log, LogRecord
from fer.nets.accuracy import accuracy_outputs
from fer.report.build import report_log
from fer.report.curves import make_curves
from fer.report.frames import curve_csv
from fer.report.measure import training_result
from fer.report.notes import log_notes
from fer.runs.record import TrainedOn
from fer.schema import caffe_pb2
from fer.training import events
from fer.training.early_stopping import find_early_stopping
from fer.training.loss_watch import LossWatch

GOLDEN = Path(__file__).parent / "golden"
LOW, MIDDLE, HIGH = (0.1, 0.4), (0.2, 0.6), (0.5, 0.95)
Values = dict[str, tuple[float, ...]]


def records_of(values: Values, *losses: str) -> list[LogRecord]:
    return [
        LogRecord(i, "test", 0.0, outputs=dict(zip(values, row, strict=True)), weights=dict.fromkeys(losses, 1.0))
        for i, row in enumerate(zip(*values.values(), strict=True))
    ]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        *(("accuracy@1", "accuracy@5"), ("accuracy", "accuracy_top_5"), ("accuracy", "accuracy_5"), ("top1", "top5")),
        *(("Accuracy1", "Accuracy5"), ("accuracy_1", "accuracy_5"), ("acc/top-1", "acc/top-5"), ("acc/1", "acc/5")),
        *(("prec1", "prec5"), ("prec@1", "prec@5"), ("loss3/top-1", "loss3/top-5"), ("top1/acc", "top5/acc")),
        *(("top_1_accuracy", "top_5_accuracy"), ("accuracy_top1", "accuracy"), ("acc", "acc_top10")),
        *(("accuracy", "5_accuracy"), ("accuracy_at_1", "accuracy_at_5"), ("accuracy", "accuracy_top_five")),
        *(("accuracy_k1", "accuracy_k5"), ("accuracy-top1", "accuracy-top5"), ("Top1", "Top3"), ("val_acc", "top-5")),
    ],
)
def test_no_top_k_beside_a_top_1(low: str, high: str) -> None:
    for values in ({low: LOW, high: HIGH}, {high: HIGH, low: LOW}):
        chosen = find_accuracy(records_of({**values, "loss": (2.0, 1.0)}, "loss"))
        assert chosen.name == low and chosen.note and high in chosen.note


@pytest.mark.parametrize(
    ("values", "losses", "known", "name", "note"),
    [
        ({"accuracy": LOW}, (), {}, "accuracy", None),
        ({"acc_reg_loss": (1.7, 1.5), "accuracy": LOW}, ("acc_reg_loss",), {}, "accuracy", None),
        ({"acc_reg": HIGH}, ("acc_reg",), {}, "", None),
        ({"acc_loss": HIGH, "acc_x": LOW}, (), {}, "acc_x", None),  # 2014: no weight is shown
        ({"top1_error": LOW, "top5_error": LOW}, (), {}, "", None),
        ({"acc-err": LOW, "accErr": LOW, "errorTop5": LOW, "err/top-1": LOW, "acc": MIDDLE}, (), {}, "acc", None),
        ({"acc": (41.0, 87.0)}, (), {}, "", "No accuracy is shown: acc is called so, but lies between 41 and 87"),
        ({"accuracy5": HIGH}, (), {}, "accuracy5", "by its name it counts the best 5 answers"),
        ({"accuracy": HIGH}, (), {"accuracy": 5}, "accuracy", "by its layer it counts the best 5 answers"),
        ({"hits": LOW, "accuracy": HIGH}, (), {"hits": 1, "accuracy": 5}, "hits", None),
        ({"a": LOW, "b": MIDDLE}, (), {"a": 1, "b": 1}, "b", "b is taken for the accuracy, of 2 Accuracy layers"),
        ({"accuracy": LOW, "b": MIDDLE}, (), {"accuracy": 1, "b": 1}, "accuracy", "the others: b"),
        ({"loss1/top-1": LOW, "loss3/top-1": MIDDLE, "loss3/top-5": HIGH}, (), {}, "loss3/top-1", "of 3 outputs"),
        # Three heads, as what must rise from top-1 to top-3 does not; else what is least.
        ({"accuracy1": (0.3, 0.2), "accuracy2": (0.1, 0.5), "accuracy3": MIDDLE}, (), {}, "accuracy3", "of 3 outputs"),
        ({"accuracy1": LOW, "accuracy2": MIDDLE, "accuracy3": HIGH}, (), {}, "accuracy1", "of 3 outputs"),
        ({"accuracy_fc7": LOW, "accuracy_fc8": MIDDLE}, (), {}, "accuracy_fc8", "the others: accuracy_fc7"),
        ({"acc": LOW, "class_acc": HIGH, "class_acc#2": HIGH}, (), {}, "acc", None),
        ({"class_acc": HIGH, "class_acc#2": HIGH}, (), {}, "", "class_acc is called so, but has several values"),
        ({"accumulated": LOW, "prob": HIGH}, (), {}, "", None),
        ({"score#0": LOW, "score#1": (2.0, 1.0)}, (), {}, "score#0", "Test score #0 is taken for the accuracy"),
        ({"score#0": (2.0, 1.0), "score#1": LOW}, (), {}, "", None),
        ({"accuracy": (float("nan"), 0.4)}, (), {}, "accuracy", None),
    ],
)
def test_the_accuracy(values: Values, losses: tuple[str, ...], known: dict[str, int], name: str, note: str) -> None:
    chosen = find_accuracy(records_of(values, *losses), known)
    assert chosen.name == name and (note in (chosen.note or "") if note else chosen.note is None)


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ({"loss": 0.3, "aux": 1.0}, "loss"),
        ({"cross_entropy": 1.0, "aux": 0.3, "l2_loss": 0.3}, "cross_entropy"),
        ({"loss1/loss1": 0.3, "loss3/loss3": 1.0}, "loss3/loss3"),
    ],
)
def test_the_loss(weights: dict[str, float], name: str) -> None:
    assert find_loss([LogRecord(0, "test", 0.0, outputs=dict.fromkeys(weights, 1.0), weights=weights)]) == name


def test_the_net_s_accuracies_are_those_of_the_net_that_is_tested() -> None:
    net = text_format.Parse(
        """
        layer { name: "a" type: "Accuracy" bottom: "x" bottom: "y" top: "top1" include { phase: TEST stage: "val" } }
        layer { name: "b" type: "Accuracy" bottom: "x" bottom: "y" top: "top5" top: "by_class"
                accuracy_param { top_k: 5 } include { phase: TEST } }
        layer { name: "c" type: "Accuracy" bottom: "x" bottom: "y" top: "unseen" include { phase: TEST } }
        layer { name: "d" type: "Silence" bottom: "unseen" include { phase: TEST } }
        layer { name: "e" type: "Accuracy" bottom: "x" bottom: "y" top: "training" include { phase: TRAIN } }""",
        caffe_pb2.NetParameter(),
    )
    solver = text_format.Parse('test_iter: 1 test_state { stage: "val" }', caffe_pb2.SolverParameter())
    assert accuracy_outputs(net) == {"top5": 5} and accuracy_outputs(net, solver) == {"top1": 1, "top5": 5}


@pytest.mark.parametrize(
    ("name", "best", "output", "note"),
    [
        ("top_5", 0.4, "accuracy@1", "accuracy@1 is taken for the accuracy, of 2 outputs"),
        ("bvlc_march_2014", 0.75, "score#0", "Test score #0 is taken for the accuracy"),
        ("wrapped_80", 0.7644, "accuracy", "wrapped at 80 columns"),
        (
            "two_trainings",
            0.3,
            "accuracy",
            "holds 2 trainings: all here is of the one that began",
        ),
    ],
)
def test_a_log_s_notes_say_what_was_taken(name: str, best: float, output: str, note: str) -> None:
    log = parse_log(GOLDEN / f"{name}.log")
    curves = make_curves(log, held_out="test net")
    result = training_result(log, curves)
    assert (result.best_accuracy, result.accuracy_output) == (best, output)
    (said,) = log_notes(log, curves)
    assert note in said
    if log.others:
        assert "(second). Left out: training 1 (first), to iteration 1,000, best test net accuracy 60.00%." in said


def test_a_report_says_it_too(tmp_path: Path) -> None:
    result = report_log(GOLDEN / "top_5.log", tmp_path / "report")
    assert result.training.best_accuracy == 0.4 and "accuracy@1 is taken" in result.notes[0]


def test_early_stopping_waits_for_the_top_1() -> None:
    net = text_format.Parse(
        """
        layer { name: "a" type: "Accuracy" bottom: "x" bottom: "y" top: "accuracy" accuracy_param { top_k: 5 } }
        layer { name: "b" type: "Accuracy" bottom: "x" bottom: "y" top: "hits" }""",
        caffe_pb2.NetParameter(),
    )
    solver = caffe_pb2.SolverParameter(test_iter=[1], test_interval=10)
    data = TrainedOn(dir="data", title="", manifest_sha256="", train_count=1, files={})
    found = find_early_stopping(1, solver, net, data, records_of({"accuracy": HIGH, "hits": LOW[::-1]}))
    assert found.output == "hits" and found.best == 0
    assert str(found) == "val hits has not risen for 1 test, since iteration 0"


def test_a_test_of_many_outputs_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {f"unused#{i}": 0.0 for i in range(30_000)} | {"top": 0.5}
    with TrainingDisplay() as display:
        display(events.Validation(20, outputs, "top"))
    said = capsys.readouterr().err
    assert said.startswith("iteration 20: val top 0.5, unused#0 0") and "and 29,993 more outputs" in said
    assert len(said) < 200


def test_a_table_of_many_outputs() -> None:
    names = [f"unused#{i}" for i in range(3_000)]
    log = Log((LogRecord(0, "train", 0.5, lr=0.1, outputs=dict.fromkeys(names, 0.25)),))
    head, row = curve_csv(log, "train").splitlines()
    assert head.count(",") == row.count(",") == 2 + len(names) and row.startswith("0,0.500000,0.1,0.25,0.25,")


@pytest.mark.parametrize(("losses", "said"), [((2.0, 87.3365, 87.3365), True), ((2.0, 87.3365, 2.0), False)])
def test_a_loss_that_stays_at_the_largest_is_explained(losses: tuple[float, ...], said: bool) -> None:
    log = parse_log(
        f"I1124 05:29:0{i}.0  1 solver.cpp:239] Iteration {10 * i}, loss = {loss:g}" for i, loss in enumerate(losses)
    )
    notes = log_notes(log, make_curves(log))
    assert any("training loss stays at 87.3365" in note and "from iteration 10 on" in note for note in notes) == said


def test_training_is_stopped_by_it_in_the_same_words() -> None:
    watch = LossWatch()
    assert watch.verdict(2.0) is None and watch.verdict(87.3365) is None
    verdict = watch.verdict(87.3365)
    assert verdict and verdict.startswith("loss stays at 87.3365 (-log of the smallest float: outputs are nan")
