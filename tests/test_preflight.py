"""What a run is refused for before it starts, and what is only warned of."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer.data.options import PrepareOptions
from fer.data.prepare import prepare
from fer.errors import FerError
from fer.formats.database import Database, encode_datum, write_mean
from fer.formats.prototxt import read_solver, write_text
from fer.nets.zoo import find_net, find_solver
from fer.schema import caffe_pb2
from fer.training.overrides import Overrides
from fer.training.preflight.plan import Plan, preflight
from fer.training.prototxts import read_prototxts
from fer.training.run_prototxts import net_for_run
from fer.training.warnings import nearest_divisor

SPLITS = {"Training": 21, "PublicTest": 14, "PrivateTest": 7}


@pytest.fixture(scope="module")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data directory of random faces, made by `fer prepare`: 21 train, 14 val, 7 test."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(3)
    rows = ["emotion,pixels,Usage"]
    for split, count in SPLITS.items():
        for i in range(count):
            pixels = " ".join(map(str, generator.integers(0, 256, 2304)))
            rows.append(f"{i % 7},{pixels},{split}")
    source = folder / "faces.csv"
    source.write_text("\n".join(rows) + "\n")
    prepare(source, folder / "faces", PrepareOptions())
    return folder / "faces"


@dataclass(frozen=True)
class Lab:
    """A current folder with LeNet's files to spoil, the data, and the preflight to run on them."""

    solver: Path
    net: Path
    data: Path
    folder: Path

    def edit(self, path: Path, old: str, new: str, count: int = 1) -> int:
        """Replace the text; the line it stood on."""
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, count))
        return text[: text.index(old)].count("\n") + 1

    def check(self, data: Path | None = None, **more: Any) -> Plan:
        return preflight(read_prototxts(Path("solver.prototxt")), data or self.data, **more)


@pytest.fixture
def lab(tmp_path: Path, made_data: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.chdir(tmp_path)
    solver, net = tmp_path / "solver.prototxt", tmp_path / "train_val.prototxt"
    shutil.copy(find_solver("lenet", "s2"), solver)
    shutil.copy(find_net("lenet"), net)
    text = solver.read_text().replace("prototxt/lenet/train_val", "train_val").replace("test_iter: 37", "test_iter: 2")
    solver.write_text(text.replace('snapshot_prefix: "data/lenet_s2"', 'snapshot_prefix: "lenet"'))
    net.write_text(net.read_text().replace("batch_size: 97", "batch_size: 7"))
    return Lab(solver, net, made_data, tmp_path)


def faults_of(lab: Lab, **more: Any) -> list[str]:
    with pytest.raises(FerError) as caught:
        lab.check(**more)
    return str(caught.value).splitlines()


def test_a_plan(lab: Lab) -> None:
    plan = lab.check(seed=5)
    assert plan.warnings == ()
    assert plan.solver.net == "train_val.prototxt"
    assert plan.solver.snapshot_prefix == f"snapshots/{lab.folder.name}"
    assert plan.solver.random_seed == 5
    assert plan.solver.solver_mode == caffe_pb2.SolverParameter.CPU
    train, test = plan.net.layer[:2]
    assert train.data_param.source == str(lab.data / "train_lmdb")
    assert test.data_param.source == str(lab.data / "val_lmdb")
    assert test.transform_param.mean_file == str(lab.data / "mean.binaryproto")
    assert (plan.batch_size, plan.train_count) == (64, 21)
    assert plan.snapshot_bytes == 10 * 2 * 4 * 1629577
    assert plan.deploy.layer[0].input_param.shape[0].dim == [1, 1, 44, 44]
    assert plan.manifest.splits["train"].count == 21


def test_the_command_lines_settings_take_the_place_of_the_solvers(lab: Lab) -> None:
    lab.edit(lab.solver, "solver_mode: CPU", "solver_mode: CPU random_seed: 3 snapshot_after_train: false iter_size: 2")
    plan = lab.check(overrides=Overrides(max_iter=30), gpus=(2,), snapshot_prefix="elsewhere/<net>")
    assert plan.solver.max_iter == 30
    assert (plan.solver.solver_mode, plan.solver.device_id) == (caffe_pb2.SolverParameter.GPU, 2)
    assert plan.solver.random_seed == 3
    assert plan.solver.snapshot_after_train, "a run shorter than its snapshot interval must leave a snapshot"
    assert plan.solver.snapshot_prefix == f"elsewhere/{lab.folder.name}"
    assert plan.batch_size == 128


@pytest.mark.parametrize(
    ("given", "iter_size", "gpus", "max_iter", "images"),
    [
        ({"epochs": 10}, 1, (), 4, 64),  # 21 images an epoch
        ({"epochs": 10, "batch_size": 7}, 1, (), 30, 7),
        ({"epochs": 10, "batch_size": 7}, 3, (), 10, 21),
        ({"epochs": 10, "batch_size": 7}, 3, (0, 1), 5, 42),
        ({"epochs": 0.5, "batch_size": 7}, 1, (), 2, 7),
        ({"lr": 0.5, "batch_size": 7}, 1, (0, 1, 2), 10000, 21),
    ],
)
def test_epochs_rate_and_batch_by_the_command_line(
    lab: Lab, given: dict[str, float], iter_size: int, gpus: tuple[int, ...], max_iter: int, images: int
) -> None:
    lab.edit(lab.solver, "solver_mode: CPU", f"solver_mode: CPU iter_size: {iter_size}")
    overrides = Overrides(**given)  # type: ignore[arg-type]
    plan = lab.check(overrides=overrides, gpus=gpus)
    assert (plan.solver.max_iter, plan.batch_size, plan.given) == (max_iter, images, given)
    assert plan.solver.base_lr == pytest.approx(given.get("lr", 0.01)) and plan.solver.stepsize == 5000
    train, test = plan.net.layer[:2]
    assert train.data_param.batch_size == given.get("batch_size", 64)
    assert test.data_param.batch_size == 7, "test_iter covers val with this one"
    remarks = "\n".join(plan.remarks)
    assert ("epochs" in given) == (f"max_iter {max_iter}" in remarks) == ("ends at 100% of base_lr" in remarks)
    assert ("base_lr stays 0.01" in remarks) == ("batch_size" in given and "lr" not in given)


def test_epochs_of_data_that_cannot_be_counted(lab: Lab) -> None:
    layer = 'layer { name: "d" type: "DummyData" top: "data" top: "label" include { phase: TRAIN } dummy_data_param { '
    text = lab.net.read_text()
    start, end = text.index("layer {"), text.index("layer {", text.index("layer {") + 1)
    shapes = "shape { dim: 4 dim: 1 dim: 44 dim: 44 } shape { dim: 4 } } }\n"
    lab.net.write_text(text[:start] + layer + shapes + text[end:])
    assert "give --max-iter" in faults_of(lab, overrides=Overrides(epochs=2))[0]
    assert "--batch-size: no layer of this net" in faults_of(lab, overrides=Overrides(batch_size=2))[0]


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("solver", "base_lr: 0.01", "", "solver.prototxt:1: base_lr is missing"),
        ("solver", "base_lr", "baselr", "has no field 'baselr' (did you mean base_lr?)"),
        ("solver", '"step"', '"stpe"', "no lr_policy 'stpe' (did you mean step?)"),
        ("solver", "stepsize: 5000", "", "lr_policy 'step' needs stepsize"),
        ("solver", '"SGD"', '"Adm"', "no solver type 'Adm' (did you mean Adam?)"),
        ("solver", '"SGD"', '"RMSProp"', "RMSProp takes no momentum"),
        ("solver", "max_iter: 10000", "", "max_iter is missing"),
        ("solver", "max_iter: 10000", "max_iter: 0", "max_iter is 0"),
        ("solver", "display: 100", "display: -1", "display is -1"),
        ("solver", "momentum: 0.9", "momentum: 9", "momentum is 9"),
        ("solver", "test_interval: 500", "", "test_interval is not"),
        ("solver", "test_iter: 2", "test_iter: 0", "test_iter is 0"),
        ("solver", "test_iter: 2", "test_iter: 2 test_state {} test_state {}", "2 test_state for 1 test_iter"),
        ("solver", "train_val.prototxt", "other.prototxt", "the net it names, other.prototxt, is not there"),
        ("solver", "solver_mode: CPU", 'weights: "a,b"', "weights names several files"),
        ("solver", '"SGD"', '"RMSProp" rms_decay: 1.5', "RMSProp wants 0 <= rms_decay < 1"),
        ("solver", "solver_mode: CPU", 'regularization_type: "L3"', "there are L1, L2"),
        ("net", '"Convolution"', '"Convolutoin"', "(did you mean Convolution?)"),
        ("net", "num_output: 7", "num_output: 8", "gives 8 scores to 'loss' for 7 classes (Angry, Disgust,"),
        ("net", "crop_size: 44", "crop_size: 49", "crop_size 49 does not fit images of 48x48"),
        ("net", "kernel_size: 5", "kernel_size: 50", "a kernel of 50x50 does not fit an input of 44x44"),
        ("net", "SoftmaxWithLoss", "Softmax", "no loss layer takes part in TRAIN"),
        ("solver", "solver_mode: CPU", 'train_net: "a"', "net and train_net are given; Caffe takes one of them"),
        ("net", "phase: TRAIN", "phase: TEST", "its top 'data' is made already by 'data' on line"),
        ("net", 'top: "label"', 'top: "lable"', "nothing makes its bottom 'label' (did you mean lable?)"),
        ("net", "{", "", "Expected"),
    ],
)
def test_a_run_is_refused(lab: Lab, file: str, old: str, new: str, fault: str) -> None:
    path = getattr(lab, file)
    lab.edit(path, old, new)
    faults = faults_of(lab)
    found = [text for text in faults if fault in text]
    assert found, faults
    assert all(re.match(r"(solver|train_val)\.prototxt:(\d+:)? ", text) for text in found)


def test_a_stage_that_the_net_does_not_know(lab: Lab) -> None:
    """Caffe takes it; it is a slip where the net has none of its layers without it."""
    line = lab.edit(lab.solver, "solver_mode: CPU", 'train_state { stage: "big" }')
    assert lab.check().warnings == (f"solver.prototxt:{line}: the net has no stage 'big'",)
    lab.edit(lab.net, "phase: TRAIN", 'phase: TRAIN stage: "bgi"')
    assert faults_of(lab) == [f"solver.prototxt:{line}: the net has no stage 'big' (did you mean bgi?)"]


def test_the_backend_is_that_of_the_data_directory(lab: Lab) -> None:
    lab.edit(lab.net, "backend: LMDB", "")
    plan = lab.check()
    assert all(layer.data_param.backend == caffe_pb2.DataParameter.LMDB for layer in plan.net.layer[:2])
    assert plan.adapted == (f"layer 'data' reads {lab.data / 'train_lmdb'}, with  backend: LMDB",)


def test_an_own_database_wants_its_backend(lab: Lab) -> None:
    shutil.copytree(lab.data / "train_lmdb", lab.folder / "own")
    lab.edit(lab.net, "data/fer2013/train_lmdb", "own")
    lab.edit(lab.net, "backend: LMDB", "")
    assert any("has no  backend: LMDB" in fault for fault in faults_of(lab))


def test_faults_have_the_line_of_their_field_or_layer(lab: Lab) -> None:
    rate = lab.edit(lab.solver, '"step"', '"stpe"')
    text = lab.net.read_text()
    pool = text[: text.index('layer {\n  name: "pool1"')].count("\n") + 1
    lab.edit(lab.net, 'bottom: "conv1"', 'bottom: "conv"')
    faults = faults_of(lab)
    assert any(fault.startswith(f"solver.prototxt:{rate}: no lr_policy") for fault in faults)
    assert any(fault.startswith(f"train_val.prototxt:{pool}: layer 'pool1'") for fault in faults)


def test_include_beside_exclude_has_its_line(lab: Lab) -> None:
    lab.edit(lab.net, "include {", "exclude { phase: TEST } include {")
    with pytest.raises(FerError, match=r"train_val\.prototxt:3: layer 'data' has include and exclude rules"):
        lab.check()


def test_all_faults_come_at_once(lab: Lab, tmp_path: Path) -> None:
    lab.edit(lab.solver, "base_lr: 0.01", "")
    lab.edit(lab.net, '"Convolution"', '"Conv"')
    faults = faults_of(lab, data=tmp_path / "absent")
    assert any("base_lr is missing" in fault for fault in faults)
    assert any("unknown layer type 'Conv'" in fault for fault in faults)
    assert any("no such data directory" in fault for fault in faults)


def test_one_database_for_both_phases_is_refused(lab: Lab) -> None:
    text = lab.net.read_text()
    first, second = text.index("layer {"), text.index("layer {", text.index("layer {") + 1)
    third = text.index("layer {", second + 1)
    lab.net.write_text(
        text[:first] + text[first:second].replace("include {\n    phase: TRAIN\n  }\n", "") + text[third:]
    )
    assert any("feeds training and testing alike" in fault for fault in faults_of(lab))


def test_a_database_changed_after_prepare_is_refused(lab: Lab, tmp_path: Path) -> None:
    """A truncated data.mdb would be a SIGBUS in Caffe, a short Datum or label 7 a wrong result without a word."""
    data = tmp_path / "copy"
    shutil.copytree(lab.data, data)
    with (data / "train_lmdb" / "data.mdb").open("r+b") as file:
        file.truncate(8192)
    assert any("data.mdb" in fault for fault in faults_of(lab, data=data))


@pytest.mark.parametrize(("label", "cut"), [(7, 0), (2_000_000, 0), (3, 100)])
def test_a_label_out_of_range_and_a_short_datum_are_refused(lab: Lab, tmp_path: Path, label: int, cut: int) -> None:
    """A user's own database is read whole too."""
    environment = lmdb.open(str(tmp_path / "own_train"), map_size=1 << 22)
    datum = caffe_pb2.Datum(channels=1, height=48, width=48, data=bytes(2304 - cut), label=label)
    with environment.begin(write=True) as transaction:
        transaction.put(b"00000000_a.jpg", encode_datum(np.zeros((1, 48, 48), np.uint8), 1))
        transaction.put(b"00000001_b.jpg", datum.SerializeToString())
    environment.close()
    lab.edit(lab.net, "data/fer2013/train_lmdb", "own_train")
    faults = faults_of(lab)
    assert any("own_train" in fault and "00000001_b.jpg" in fault for fault in faults), faults


def test_a_mean_of_another_shape_is_refused(lab: Lab, tmp_path: Path) -> None:
    write_mean(tmp_path / "own.binaryproto", np.zeros((1, 32, 32)))
    lab.edit(lab.net, "data/fer2013/mean.binaryproto", "own.binaryproto", 2)
    assert any("is 1x32x32, its images are 1x48x48" in fault for fault in faults_of(lab))
    (tmp_path / "own.binaryproto").write_bytes(b"\x08")
    assert any("own.binaryproto" in fault for fault in faults_of(lab))


def test_a_full_disk_is_found_before_the_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 << 20))
    faults = faults_of(lab)
    assert any("10 snapshots of 12 MiB need 124 MiB" in fault and "100 MiB free" in fault for fault in faults), faults
    assert "snapshots less often" in faults[-1]
    lab.edit(lab.solver, "snapshot: 1000", "snapshot: 5000")
    assert lab.check().snapshot_bytes == 2 * 2 * 4 * 1629577


def test_adam_keeps_two_histories(lab: Lab) -> None:
    lab.edit(lab.solver, '"SGD"', '"Adam"')
    assert lab.check().snapshot_bytes == 10 * 3 * 4 * 1629577
    assert lab.check(ema=True).snapshot_bytes == 10 * 4 * 4 * 1629577  # and the average of the weights


@pytest.mark.parametrize(
    ("written", "set_to"),
    [((2, 7), (2, 7)), ((14, 1), (14, 1)), ((1, 7), (2, 7)), ((2, 8), (2, 7)), ((1, 6), (2, 7)), ((37, 97), (1, 14))],
)
def test_a_test_is_made_to_cover_val_once(lab: Lab, written: tuple[int, int], set_to: tuple[int, int]) -> None:
    lab.edit(lab.solver, "test_iter: 2", f"test_iter: {written[0]}")
    lab.edit(lab.net, "batch_size: 7", f"batch_size: {written[1]}")
    plan = lab.check()
    assert (*plan.solver.test_iter, plan.net.layer[1].data_param.batch_size) == set_to
    assert plan.net.layer[0].data_param.batch_size == 64
    assert plan.warnings == ()
    assert len(plan.adapted) == (written != set_to)
    if plan.adapted:
        assert plan.adapted[0].startswith(
            f"each test covers its 14 images once, with test_iter {set_to[0]} and batch_size {set_to[1]} in place of "
            f"{written[0]} and {written[1]}"
        )


@pytest.mark.parametrize(
    ("count", "batch", "divisor"), [(3589, 100, 97), (3571, 97, 1), (347, 97, 1), (251, 97, 251), (350, 97, 70)]
)
def test_the_divisor_nearest_to_a_batch(count: int, batch: int, divisor: int) -> None:
    assert nearest_divisor(count, batch) == divisor


def test_every_test_of_an_image_list_is_covered(lab: Lab) -> None:
    """Two test nets share the layer."""
    lab.edit(lab.solver, "test_iter: 2", "test_iter: 3 test_iter: 1 test_state { } test_state { level: 1 }")
    lab.edit(lab.net, 'type: "Data"', 'type: "ImageData"', 2)
    lab.edit(lab.net, 'type: "ImageData"', 'type: "Data"')
    images = f'source: "{lab.data}/val.txt" root_folder: "{lab.data}/val/" batch_size: 4 is_color: false'
    lab.edit(lab.net, "phase: TEST\n  }", f"phase: TEST\n  }}\n  image_data_param {{ {images} }}")
    plan = lab.check()
    assert list(plan.solver.test_iter) == [2, 2]
    assert plan.net.layer[1].image_data_param.batch_size == 7
    assert [text.partition(" in place of ")[2] for text in plan.adapted] == [
        "3 and 4 (12 images)",
        "1 and 4 (4 images)",
    ]
    assert plan.warnings == ()


def test_a_test_batch_that_the_net_counts_on_stays(lab: Lab) -> None:
    """Here in a Reshape; it is warned of then."""
    lab.edit(lab.net, "batch_size: 7", "batch_size: 8")
    shape = (
        'layer { name: "eight" type: "Reshape" bottom: "ip2" top: "eight" reshape_param { shape { dim: 8 dim: 7 } } }'
    )
    lab.net.write_text(f"{lab.net.read_text()}\n{shape.replace('top:', 'include { phase: TEST } top:')}")
    plan = lab.check()
    assert (*plan.solver.test_iter, plan.net.layer[1].data_param.batch_size) == (2, 8)
    assert plan.adapted == ()
    assert plan.warnings == (
        "test_iter 2 x batch_size 8 = 16 of 14 test images: 2 are counted twice or more; "
        "batch_size 7 with test_iter 2 covers each once",
    )


def test_the_lesson_is_warned_of(lab: Lab) -> None:
    lab.edit(lab.solver, "stepsize: 5000", "stepsize: 40")
    assert lab.check().warnings == ("lr falls below 1% of base_lr after 120 of 10,000 iterations",)


def test_a_run_without_tests_or_display_is_warned_of(lab: Lab) -> None:
    lab.edit(lab.solver, "test_iter: 2\ntest_interval: 500\ndisplay: 100", "")
    warnings = lab.check().warnings
    assert any("no test_iter" in warning for warning in warnings)
    assert any("display is 0" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("net", "solver", "batch"), [("lenet", "s1", 64), ("alexnet", "s2", 256), ("alexnet", "s3", 100)]
)
def test_shipped_nets_pass(made_data: Path, net: str, solver: str, batch: int) -> None:
    plan = preflight(read_prototxts(find_solver(net, solver), find_net(net)), made_data)
    assert plan.batch_size == batch
    assert plan.solver.snapshot_prefix == f"snapshots/{net}"
    assert list(plan.solver.test_iter) == [1] and "14 images once" in plan.adapted[0]


def test_the_classic_net_names_the_data_it_wants(made_data: Path) -> None:
    with pytest.raises(FerError, match="fer prepare --resize 256"):
        preflight(read_prototxts(find_solver("alexnet227", "s1"), find_net("alexnet227")), made_data)


def test_an_engine_that_lacks_a_layer_type(lab: Lab) -> None:
    faults = faults_of(
        lab, known_types={"Data", "Convolution", "Pooling", "InnerProduct", "SoftmaxWithLoss", "Accuracy"}
    )
    assert any("unknown layer type 'ReLU'" in fault for fault in faults)


def test_a_net_whose_sizes_are_not_known_still_runs(lab: Lab) -> None:
    lab.edit(lab.net, 'name: "relu1"\n  type: "ReLU"', 'name: "relu1"\n  type: "Python"')
    assert lab.check(python_layers=True).snapshot_bytes == 0


def test_a_users_own_data_is_kept(tmp_path: Path, made_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_lmdb").mkdir()
    (tmp_path / "list.txt").write_text("")
    net = caffe_pb2.NetParameter()
    train = net.layer.add(name="a", type="Data", include=[caffe_pb2.NetStateRule(phase=caffe_pb2.TRAIN)])
    train.data_param.source = "mine_lmdb"
    train.transform_param.mean_file = "elsewhere/mean.binaryproto"
    images = net.layer.add(name="b", type="ImageData", include=[caffe_pb2.NetStateRule(phase=caffe_pb2.TEST)])
    images.image_data_param.source, images.image_data_param.root_folder = "list.txt", "pictures/"
    gone = net.layer.add(name="c", type="Data", exclude=[caffe_pb2.NetStateRule(phase=caffe_pb2.TRAIN)])
    gone.data_param.source = "somewhere/else_lmdb"
    ours = net_for_run(net, made_data)
    assert ours.layer[0].data_param.source == str(tmp_path / "mine_lmdb")
    assert ours.layer[0].transform_param.mean_file == str(made_data / "mean.binaryproto")
    assert ours.layer[1].image_data_param.source == str(tmp_path / "list.txt")
    assert ours.layer[1].image_data_param.root_folder == str(tmp_path / "pictures") + "/"
    assert ours.layer[2].data_param.source == str(made_data / "val_lmdb")


# What real Caffe aborts on, in the midst of a training or at its start, or takes for the label 0.
BAD_LISTS = {
    "": ": the list of images is empty",
    "\n": ":1: Caffe takes an empty line for an image without a name",
    "a b.jpg 6\n\nc.jpg 0\n": ":2: Caffe takes an empty line for an image without a name",
    "a b.jpg 6\nc.jpg 0\n\n": ":3: Caffe takes an empty line",
    "a b.jpg 6\n \n": ":2: Caffe takes an empty line",
    "a b.jpg 6\nc.jpg 7\n": ":2: label 7 is not 0..6",
    "c.jpg -1\n": ":1: label -1 is not 0..6",
    "c.jpg\n": ":1: no whole number behind the last space",
    "c.jpg happy\n": ":1: no whole number behind the last space",
    "c.jpg 1.5\n": ":1: no whole number behind the last space",
    "a b.jpg 6\nc.jpg 0 \n": ":2: Caffe takes what is behind the last space",
    "c.jpg\t0\n": ":1: Caffe wants a space in front of the label, not a tab",
    "a b.jpg 6\nd.jpg 0\n": ":2: d.jpg: cannot be read",
    "c.jpg  0\n": ":1: c.jpg : cannot be read",
    "a b.jpg 6\ntext.jpg 0\n": ":2: text.jpg: the image cannot be decoded",
    "a b.jpg 6\ncut.jpg 0\n": ":2: cut.jpg: the image cannot be decoded",
}


def test_images_of_several_sizes_want_a_size_or_a_crop(lab: Lab) -> None:
    for name, side in (("a.png", 48), ("b.png", 50)):
        cv2.imwrite(str(lab.folder / name), np.zeros((side, side), np.uint8))
    (lab.folder / "faces.txt").write_text("a.png 6\nb.png 0\n")
    text = lab.net.read_text()
    first, second = text.index("layer {"), text.index("layer {", text.index("layer {") + 1)
    layer = 'layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TRAIN } '
    source = 'image_data_param { source: "faces.txt" is_color: false batch_size: 2 }'
    lab.net.write_text(f"{text[:first]}{layer}{source} }}\n{text[second:]}")
    assert any("faces.txt:2: b.png: 1 x 50 x 50, where the first is 1 x 48 x 48" in each for each in faults_of(lab))


def test_image_lists_are_checked(lab: Lab) -> None:
    text = lab.net.read_text()
    first, second = text.index("layer {"), text.index("layer {", text.index("layer {") + 1)
    source = 'source: "faces.txt" batch_size: 4 is_color: false new_height: 48 new_width: 48'
    layer = 'layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TRAIN }'
    lab.net.write_text(f"{text[:first]}{layer} image_data_param {{ {source} }} }}\n{text[second:]}")
    assert any("faces.txt: cannot read the list" in fault for fault in faults_of(lab))
    faces = lab.folder / "faces.txt"
    for name, side in (("a b.jpg", 48), ("c.jpg", 48), ("small.png", 40)):
        cv2.imwrite(str(lab.folder / name), np.zeros((side, side), np.uint8))
    (lab.folder / "cut.jpg").write_bytes((lab.folder / "c.jpg").read_bytes()[:99])
    (lab.folder / "text.jpg").write_text("no image")
    for lines, fault in BAD_LISTS.items():
        faces.write_text(lines)
        assert any(f"faces.txt{fault}" in found for found in faults_of(lab)), lines
    faces.write_text("a b.jpg 6\r\nsmall.png 0")
    plan = lab.check()
    assert (plan.batch_size, plan.train_count) == (4, 2)
    assert plan.net.layer[0].image_data_param.source == str(faces)


WORDS = re.compile(r"[\w.]+|\S")
SPOILT = [
    "",
    "0",
    "-1",
    "99999999999",
    '""',
    "}",
    "{",
    "nan",
    "1e30",
    '"Concat"',
    '"PReLU"',
    '"Flatten"',
    '"data"',
    "TEST",
]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["solver", "net"]), st.integers(0, 10**6), st.integers(1, 2), st.sampled_from(SPOILT))
def test_spoilt_files_are_refused_or_planned(lab: Lab, file: str, at: int, count: int, word: str) -> None:
    """Whatever a few words of solver or net are replaced by, the answer is a plan or a FerError."""
    path = getattr(lab, file)
    whole = path.read_text()
    spans = [match.span() for match in WORDS.finditer(whole)]
    start, end = spans[at % len(spans)][0], spans[min(at % len(spans) + count, len(spans)) - 1][1]
    path.write_text(f"{whole[:start]}{word}{whole[end:]}")
    try:
        lab.check()
    except FerError as error:
        assert str(error)
    finally:
        path.write_text(whole)


def test_plans_files_are_read_back(lab: Lab, tmp_path: Path) -> None:
    plan = lab.check()
    write_text(tmp_path / "again.prototxt", plan.solver)
    assert read_solver(tmp_path / "again.prototxt") == plan.solver
    with Database(Path(plan.net.layer[0].data_param.source)) as database:
        assert len(database) == plan.train_count


def test_a_faulty_param_str_has_its_file_and_line(lab: Lab) -> None:
    layer = (
        'layer { name: "turn" type: "Python" bottom: "data" top: "data" include { phase: TRAIN }\n'
        '  python_param { module: "augment" layer: "Augment" param_str: "rotatoin: 15" } }\n'
    )
    line = lab.edit(lab.net, 'layer {\n  name: "conv1"', layer + 'layer {\n  name: "conv1"')
    with pytest.raises(FerError, match=rf"train_val\.prototxt:{line}: layer 'turn': param_str: 'rotatoin' is no key"):
        lab.check()
