"""The stage `shuffle`: a new order of the database each epoch, on the PyTorch engine and in `fer train`."""

from pathlib import Path

import numpy as np
import pytest
import training
from data_layers import COUNT, batches, data_text, make_layer, make_sources
from google.protobuf import text_format
from training import resume, train

from fer.engines.choice import Wish, choose_engine
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.engines.registry import ENGINES
from fer.errors import UsageError
from fer.formats.prototxt import read_solver
from fer.nets.states import SHUFFLE, State
from fer.runs.run import Run
from fer.schema import caffe_pb2
from fer.training.events import Notice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.make_data(tmp_path_factory.mktemp("data"))


# ---- the data layer


def test_each_epoch_has_every_image_once_in_a_new_order(folder: Path) -> None:
    text = data_text(folder, batch=COUNT)
    images, labels = batches(make_layer(text, "TRAIN", stages=(SHUFFLE,)), 2)
    in_order, their_labels = batches(make_layer(text, "TRAIN"), 1)
    sums, known = (values.reshape(len(values), -1).sum(1) for values in (images, in_order))
    assert len(set(known)) == COUNT
    label_of = dict(zip(known, their_labels, strict=True))
    for epoch in (slice(0, COUNT), slice(COUNT, None)):
        assert sorted(sums[epoch]) == sorted(known) and list(sums[epoch]) != list(known)
        assert [label_of[value] for value in sums[epoch]] == list(labels[epoch])
    assert list(sums[:COUNT]) != list(sums[COUNT:])


def test_the_order_is_the_seeds_and_a_resume_goes_on_in_it(folder: Path) -> None:
    text = data_text(folder, batch=5)
    walked, sought = (make_layer(text, "TRAIN", stages=(SHUFFLE,)) for _ in range(2))
    other = make_layer(text, "TRAIN", seed=2, stages=(SHUFFLE,))
    first = batches(walked, 11)[1]
    assert not np.array_equal(first, batches(other, 11)[1])
    sought.load_state(walked.state())
    np.testing.assert_array_equal(batches(walked, 4)[0], batches(sought, 4)[0])


def test_images_that_test_come_in_the_databases_order(folder: Path) -> None:
    text = data_text(folder, batch=COUNT)
    tested, plain = (batches(make_layer(text, "TEST", stages=stages), 1)[0] for stages in ((SHUFFLE,), ()))
    np.testing.assert_array_equal(tested, plain)


@pytest.mark.parametrize("stages", [(SHUFFLE,), ("other", SHUFFLE), ("other",)])
def test_a_net_tells_its_data_layer(folder: Path, stages: tuple[str, ...]) -> None:
    proto = text_format.Parse(f"layer {{ {data_text(folder, batch=COUNT)} }}", caffe_pb2.NetParameter())
    net = Net(proto, Context("TRAIN", seeds=Seeds(1)), state=State("TRAIN", stages))
    net.forward()
    in_order = batches(make_layer(data_text(folder, batch=COUNT), "TRAIN"), 1)[1]
    assert (net.blobs["label"].tolist() == in_order.tolist()) == (SHUFFLE not in stages)


# ---- fer train


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FER_CAFFE", "FAKE_FAULT", "FAKE_SECONDS", "FAKE_ARGV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(ENGINES, "caffe", training.fake_pycaffe)
    monkeypatch.setitem(ENGINES, "pytorch", training.fake_pytorch)


def stages(run: Run) -> list[str]:
    return list(read_solver(run.solver).train_state.stage)


@pytest.mark.usefixtures("fakes")
def test_the_run_s_solver_has_the_stage_and_a_resume_keeps_it(tmp_path: Path, data: Path) -> None:
    run = training.train_small(tmp_path, data, engine="auto", shuffle=True, max_iter=20)
    assert run.record.engine == "pytorch" and stages(run) == [SHUFFLE]
    run = resume(run.dir, max_iter=40)
    assert stages(run) == [SHUFFLE] and run.record.engine == "pytorch"
    told: list[object] = []
    resume(run.dir, max_iter=60, engine="caffe", progress=told.append)
    assert Notice("the solver's stage 'shuffle' is lost on Caffe, which reads a database in its own order") in told


@pytest.mark.usefixtures("fakes")
def test_a_solver_may_ask_for_it_itself(tmp_path: Path, data: Path) -> None:
    net, solver = training.write_net(tmp_path, train_state='{ stage: "shuffle" }', max_iter=5)
    run = train(net, solver, data, runs_dir=tmp_path / "runs", shuffle=True)
    assert run.record.engine == "pytorch" and stages(run) == [SHUFFLE]
    told: list[object] = []
    train(net, solver, data, engine="caffe", runs_dir=tmp_path / "runs", progress=told.append)
    assert any("'shuffle' is lost on Caffe" in str(event) for event in told)
    solver.write_text(solver.read_text().replace("shuffle", "shuffel"))
    train(net, solver, data, runs_dir=tmp_path / "runs", progress=told.append)
    assert "the net has no stage 'shuffel'" in str(told)


@pytest.mark.usefixtures("fakes")
def test_caffe_is_not_asked_to_shuffle(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UsageError, match=r"--shuffle: Caffe reads a database in its own order\ntake --engine pytorch"):
        training.train_small(tmp_path, data, engine="caffe", shuffle=True)
    training.assert_nothing_left(tmp_path)


@pytest.mark.usefixtures("fakes")
def test_auto_says_why_it_takes_pytorch() -> None:
    said: list[str] = []
    assert choose_engine(Wish(shuffle=True), said.append).name == "pytorch"
    assert said == ["engine: PyTorch, which shuffles the database"]


@pytest.mark.full
def test_real_caffe_reads_a_solver_with_the_stage(tmp_path: Path, data: Path) -> None:
    files = training.write_net(tmp_path, train_state='{ stage: "shuffle" }', max_iter=2)
    run = train(*files, data, engine="caffe", runs_dir=tmp_path / "runs")
    assert run.record.state == "finished" and stages(run) == [SHUFFLE]
