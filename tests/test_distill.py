"""fer distill: nets that learn from trained ones inside them; their loss is checked with NumPy."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from solver_cases import ENGINES, backend, write_database
from training import train, write_net

from fer import cli
from fer.engines.pytorch.device import computing
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.formats.blobs import to_blob
from fer.formats.prototxt import read_net, read_weights
from fer.nets.deploy import TESTED, TRAINED, derive_deploy, training_front
from fer.nets.distilled import SOFT_LOSS, Teacher, distilled, teachers_weights
from fer.nets.lint import lint_net
from fer.nets.shapes import infer_shapes
from fer.nets.states import State, filter_net
from fer.nets.vote_loss import with_votes
from fer.nets.wiring import loss_weights
from fer.nets.zoo import find_net, net_names
from fer.runs.run import Run
from fer.schema import caffe_pb2

Layers = dict[str, caffe_pb2.LayerParameter]


def parsed(text: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(text, caffe_pb2.NetParameter())


def teacher_of(net: caffe_pb2.NetParameter, side: int = 44, name: str = "a teacher") -> Teacher:
    """A net with drawn weights that keep the size of numbers, whose answers differ from image to image."""
    deploy = derive_deploy(net, (1, side, side))
    rng, kinds = np.random.default_rng(len(name)), {layer.name: layer.type for layer in deploy.layer}
    weights = caffe_pb2.NetParameter()
    for layer, shapes in infer_shapes(deploy).params.items():
        made = weights.layer.add(name=layer)
        for shape in shapes:
            spread = 0.1 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[1:]))
            around = float(kinds[layer] in ("BatchNorm", "Scale"))  # their statistics and factors
            made.blobs.append(to_blob(rng.normal(around, spread, shape).astype(np.float32)))
    return Teacher(name, deploy, weights)


def layers_of(net: caffe_pb2.NetParameter, state: State = TRAINED) -> Layers:
    return {layer.name: layer for layer in filter_net(net, state).layer}


# ---- the net


@pytest.fixture(scope="module")
def shipped() -> list[Teacher]:
    """All layers that the shipped nets are made of, side heads and dropout among them."""
    return [teacher_of(read_net(find_net(name)), name=name) for name in ("googlenet", "resnet18h", "lenet")]


@pytest.mark.parametrize("name", net_names())
def test_each_shipped_net_may_be_a_student(name: str, shipped: list[Teacher], tmp_path: Path) -> None:
    student = read_net(find_net(name))
    text = distilled(student, shipped, temperature=4, share=0.9)
    (tmp_path / "net.prototxt").write_text(text)
    assert lint_net(parsed(text), tmp_path / "net.prototxt") == []
    net = parsed(text)
    train = State("TRAIN", ("batch100",))
    own, trained = layers_of(student, train), layers_of(net, train)
    infer_shapes(filter_net(net, train), (1, 48, 48))
    tested, before = layers_of(net, TESTED), layers_of(student, TESTED)
    assert list(tested) == list(before)
    for layer in (*tested.values(), *before.values()):
        del layer.include[:]
    assert tested == before
    made = [layer for name, layer in trained.items() if name not in own]
    taught = [layer for layer in made if layer.name.startswith("teacher")]
    assert not {layer.type for layer in taught} & {"Dropout", "Data", "Input", "Accuracy", "SoftmaxWithLoss", "Softmax"}
    assert all(spec.lr_mult == spec.decay_mult == 0 for layer in taught for spec in layer.param)
    assert all(layer.batch_norm_param.use_global_stats for layer in taught if layer.type == "BatchNorm")
    assert not any("loss" in layer.name for layer in taught)  # no side heads
    weights = teachers_weights(shipped)
    assert {layer.name: len(layer.blobs) for layer in weights.layer} == {
        layer.name: len(layer.param) for layer in taught if layer.param
    }
    for layer in own.values():
        if any(loss_weights(layer)):
            assert loss_weights(trained[layer.name]) == pytest.approx([0.1 * w for w in loss_weights(layer)])
    assert trained[SOFT_LOSS].loss_weight == [pytest.approx(0.9 * 16)]


def test_teachers_see_what_the_student_is_trained_on(shipped: list[Teacher]) -> None:
    net = parsed(distilled(read_net(find_net("vgg8")), shipped[:1], temperature=4, share=1))
    names = [layer.name for layer in filter_net(net, TRAINED).layer]
    assert names.index("data") < names.index("augment") < names.index("teacher1/conv1") < names.index("conv1_1")
    assert layers_of(net)["loss"].loss_weight == [0]


def test_a_net_for_votes_keeps_its_targets(shipped: list[Teacher]) -> None:
    path = find_net("vgg8")
    student = parsed(with_votes(path.read_text(), read_net(path)))
    assert training_front(student).name == "data"
    trained = layers_of(parsed(distilled(student, shipped, temperature=2, share=0.25)))
    assert trained["loss/mean"].loss_weight == [0.75] and trained[SOFT_LOSS].loss_weight == [1]


DATA = """name: "Student"
layer { name: "data" type: "Data" top: "data" top: "label" RULES
  transform_param { scale: 0.0078125 mean_value: 128 } data_param { source: "lmdb" backend: LMDB batch_size: 5 } }
"""
HEAD = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" param { lr_mult: 1 }
  inner_product_param { num_output: 7 weight_filler { type: "gaussian" std: STD } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
STUDENT = DATA.replace("RULES", "") + HEAD
TEACHER = """name: "Teacher"
layer { name: "data" type: "Data" top: "data" top: "label" }
layer { name: "minus" type: "Power" bottom: "data" top: "data" power_param { scale: -1 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 bias_term: true } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 3 } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "dropped" }
layer { name: "tanh" type: "TanH" bottom: "dropped" top: "dropped" }
layer { name: "score" type: "Convolution" bottom: "dropped" top: "score"
  convolution_param { num_output: 7 kernel_size: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def with_weights(net: caffe_pb2.NetParameter, weights: caffe_pb2.NetParameter, phase: str) -> Net:
    made = Net(net, Context(phase=phase, seeds=Seeds(1)))
    for layer in weights.layer:
        for index, (blob, mine) in enumerate(zip(layer.blobs, made.params[layer.name], strict=True)):
            made.set_blob(layer.name, index, np.array(blob.data, np.float32).reshape(mine.shape))
    return made


@pytest.mark.parametrize(
    ("count", "temperature", "share", "std"), [(1, 1, 1, 0.1), (3, 4, 0.9, 0.1), (2, 2.5, 0.3, 300)]
)
def test_loss_and_gradient_are_those_of_numpy(
    count: int, temperature: float, share: float, std: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With teachers as they score by themselves; of scores of thousands, whose exponentials overflow, all is finite."""
    monkeypatch.chdir(tmp_path)
    write_database(tmp_path / "lmdb")
    teachers = [teacher_of(parsed(TEACHER), 8, "t" * k) for k in range(1, count + 1)]
    text = distilled(parsed(STUDENT.replace("STD", str(std))), teachers, temperature=temperature, share=share)
    net = with_weights(parsed(text), teachers_weights(teachers), "TRAIN")
    loss = net.forward()
    loss.backward()
    scores, labels = net.blobs["ip"].detach().double().numpy(), net.blobs["label"].detach().long().numpy()
    answers = []
    for teacher in teachers:
        alone = with_weights(teacher.deploy, teacher.weights, "TEST")
        alone.infer(net.blobs["data"].detach().numpy(), "prob")
        answers.append(softmax(alone.blobs[teacher.scores()].double().numpy().reshape(5, 7) / temperature))
    targets, softened = np.mean(answers, 0), softmax(scores / temperature)
    assert np.ptp(targets, 0).max() > 0.01  # teachers that answer all images alike would show little
    soft = -(targets * np.log(softened + 1e-30)).sum(1).mean()
    hard = -np.log(np.maximum(softmax(scores)[range(5), labels], np.finfo(np.float32).tiny)).mean()
    assert net.blobs[SOFT_LOSS].item() == pytest.approx(soft, rel=1e-5)
    assert loss.item() == pytest.approx(share * temperature**2 * soft + (1 - share) * hard, rel=1e-5)
    flow = share * temperature * (softened - targets) / 5 if std < 1 else None
    gradient = net.params["ip"][1].grad
    assert gradient is not None and gradient.isfinite().all()
    if flow is not None:
        own = (softmax(scores) - np.eye(7)[labels]) / 5
        assert gradient.double().numpy() == pytest.approx((flow + (1 - share) * own).sum(0), rel=1e-4, abs=1e-6)
    assert all(
        blob.grad is None and not blob.requires_grad
        for name, blobs in net.params.items()
        for blob in blobs
        if "/" in name
    )
    assert not any(
        net.blobs[name].requires_grad for name in net.blobs if name.startswith(("teacher", "distill/teacher"))
    )


def noted(forward: Callable[..., Any], name: str, ran: list[str]) -> Callable[..., Any]:
    def run(*bottoms: Any) -> Any:
        ran.append(name)
        return forward(*bottoms)

    return run


def test_statistics_are_measured_without_the_teachers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_database(tmp_path / "lmdb")
    norm = 'layer { name: "norm" type: "BatchNorm" bottom: "data" top: "normed" }'
    student = changed(STUDENT, (HEAD, norm + HEAD.replace('bottom: "data"', 'bottom: "normed"')))
    teacher = teacher_of(parsed(TEACHER), 8)
    net = with_weights(
        parsed(distilled(student, [teacher], temperature=4, share=1)), teachers_weights([teacher]), "TRAIN"
    )
    ran: list[str] = []
    for node in net.nodes:
        monkeypatch.setattr(node.layer, "forward", noted(node.layer.forward, node.name, ran))
    before = [net.blob("teacher1/bn", index) for index in range(3)]
    net.measure_statistics(2)
    assert [name for name in ran if "split" not in name] == ["data", "norm"] * 2
    assert net.blob("norm", 2) == 2
    assert all((net.blob("teacher1/bn", index) == blob).all() for index, blob in enumerate(before))


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
def test_the_soft_loss_keeps_32_bits_in_bf16(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradient is a small difference of answers, which would be lost in 8 bits."""
    monkeypatch.chdir(tmp_path)
    write_database(tmp_path / "lmdb")
    teachers = [teacher_of(parsed(TEACHER.replace("STOCHASTIC", "MAX")), 8)]
    text = distilled(parsed(STUDENT.replace("STD", "0.1")), teachers, temperature=4, share=0.9)
    made: Any = backend(engine)
    net = replace(made, precision="bf16").net(parsed(text), TRAINED, seed=1)
    if engine == "pytorch":
        with computing("bf16", torch.device("cpu")):
            net.forward()
        found = {name: str(blob.dtype) for name, blob in net.blobs.items()}
    else:
        found = {name: symbol.dtype for name, symbol in net.model.symbols.items()}
    kinds = {name: kind.removeprefix("torch.") for name, kind in found.items()}
    wide = ("distill/teacher1", "distill/student", "distill/log", "distill/product", "distill/each", SOFT_LOSS)
    assert {kinds[name] for name in wide} == {"float32"} and kinds["ip"] == "bfloat16"


@pytest.mark.parametrize(
    ("rules", "trained", "tested"),
    [
        ("include { phase: TRAIN } include { phase: TEST }", "phase: TRAIN", "phase: TEST"),
        ("include { not_stage: 'x' }", "phase: TRAIN not_stage: 'x'", "phase: TEST not_stage: 'x'"),
        ("exclude { phase: TEST }", None, None),
        ("include { phase: TEST }", None, None),
    ],
)
def test_a_loss_is_parted_where_both_phases_take_it(
    rules: str, trained: str | None, tested: str | None, shipped: list[Teacher]
) -> None:
    extra = f'layer {{ name: "more" type: "EuclideanLoss" bottom: "ip" bottom: "ip" loss_weight: 0.5 {rules} }}'
    student = parsed(STUDENT.replace("STD", "1") + extra)
    net = parsed(distilled(student, shipped, temperature=4, share=0.6))
    more = [layer for layer in net.layer if layer.name == "more"]
    weights = [layer.loss_weight[0] for layer in more]
    if trained is None or tested is None:
        assert len(more) == 1 and weights == [pytest.approx(0.2 if "exclude" in rules else 0.5)]
        return
    assert weights == [pytest.approx(0.2), 0.5]
    wanted = [[text_format.Parse(rule, caffe_pb2.NetStateRule())] for rule in (trained, tested)]
    assert [list(layer.include) for layer in more] == wanted


def changed(net: str, *changes: tuple[str, str]) -> caffe_pb2.NetParameter:
    for old, new in changes:
        assert old in net
        net = net.replace(old, new)
    return parsed(net.replace("STD", "1"))


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (changed(STUDENT, ('name: "ip"', 'name: "teacher1/conv"')), "has the name 'teacher1/conv', which"),
        (changed(STUDENT, ('top: "loss"', 'top: "soft_loss"')), "has the name 'soft_loss', which its teachers need"),
        (
            changed(STUDENT, (HEAD, 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }' + HEAD)),
            "layer 'r' works in place on 'data', which the teachers take as well",
        ),
        (changed(STUDENT, ('name: "ip"', 'name: "ip" include { phase: TEST }')), "nothing makes 'ip', the scores of"),
        (parsed(DATA.replace("RULES", "")), "no loss and no Accuracy in its TEST phase"),
    ],
)  # fmt: skip
def test_students_that_cannot_be_taught(student: caffe_pb2.NetParameter, said: str) -> None:
    with pytest.raises(FerError, match=said):
        distilled(student, [teacher_of(parsed(TEACHER), 8)], temperature=4, share=0.9)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ('type: "Python" python_param { module: "m" layer: "L" }', "layer 'tanh' is a Python layer"),
        ('type: "Fancy"', "layer 'tanh' is of the unknown type 'Fancy'"),
    ],
)
def test_teachers_are_made_of_caffe_s_own_layers(kind: str, said: str) -> None:
    teacher = teacher_of(parsed(TEACHER), 8)
    layer = next(layer for layer in teacher.deploy.layer if layer.name == "tanh")
    layer.MergeFrom(text_format.Parse(kind, caffe_pb2.LayerParameter()))
    with pytest.raises(FerError, match=f"a teacher: {said}; a teacher is made of Caffe's own layers alone"):
        teacher.layers()


# ---- the command


RUN = """name: "Teacher"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 crop_size: 44 mirror: true mean_file: "mean.binaryproto" }
  data_param { source: "train_lmdb" backend: LMDB batch_size: 16 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 crop_size: 44 mean_file: "mean.binaryproto" }
  data_param { source: "val_lmdb" backend: LMDB batch_size: 7 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 5 stride: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "side" type: "InnerProduct" bottom: "conv" top: "side" include { phase: TRAIN }
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "side/loss" type: "SoftmaxWithLoss" bottom: "side" bottom: "label" top: "side/loss" loss_weight: 0.3
  include { phase: TRAIN } }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "dropped" }
layer { name: "ip" type: "InnerProduct" bottom: "dropped" top: "ip"
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Run:
    """A finished run of a net with BatchNorm, dropout and a side head, scored on val."""
    folder = tmp_path_factory.mktemp("taught")
    net, solver = write_net(folder, net=RUN, max_iter=4, snapshot=2, test_interval=4)
    run = train(net, solver, data, engine="pytorch", seed=1, runs_dir=folder / "runs", name="teacher")
    score_run(run, val_only=True)
    return run


@pytest.fixture
def teachers(taught: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Two copies of it, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return [Run(shutil.copytree(taught.dir, tmp_path / "runs" / name)) for name in ("one", "two")]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that is refused; what it says, on one line."""

    def refused(*words: object, code: int = 1) -> str:
        assert cli.main(list(map(str, words))) == code
        return " ".join(capsys.readouterr().err.split())

    return refused


def command(student: Path, *runs: Run, out: str = "out/train_val.prototxt") -> list[object]:
    return ["distill", "--student", student, "--teachers", *(run.dir for run in runs), "--out", out]


@pytest.mark.full
def test_a_student_from_its_teachers_to_its_export(
    teachers: list[Run],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its snapshots load wherever a plain net's do, and what is exported is the student alone."""
    student, solver = write_net(tmp_path, net=RUN.replace("Teacher", "Student"), max_iter=4, snapshot=2)
    assert cli.main(["average", str(teachers[1].dir)]) == 0
    assert cli.main(list(map(str, command(student, *teachers)))) == 0
    told = capsys.readouterr().out
    out, weights = tmp_path / "out" / "train_val.prototxt", tmp_path / "out" / "teachers.caffemodel"
    trains = f"--net out/train_val.prototxt --solver solver.prototxt --weights out/teachers.caffemodel --data {data}"
    assert f"Next: fer train {trains}" in told and out.is_file()
    given = {layer.name: layer for layer in read_weights(weights).layer}
    assert set(given) == {f"teacher{k}/{name}" for k in (1, 2) for name in ("conv", "ip")}  # bn and scale folded
    train_it = ["train", "--net", out, "--solver", solver, "--data", data, "--engine", "pytorch", "--seed", "1"]
    assert cli.main(list(map(str, train_it))) == 1
    assert (
        "layer teacher1/conv, teacher1/ip, teacher2/conv, ... (4 in all) would be 0 for good" in capsys.readouterr().err
    )
    assert cli.main([*map(str, train_it), "--weights", str(weights)]) == 0
    run = Run(tmp_path / "runs" / "out-solver")
    assert cli.main(["train", "--resume", str(run.dir), "--max-iter", "6"]) == 0
    assert cli.main(["average", str(run.dir), "--last", "2"]) == 0
    run = Run(run.dir)
    for snapshot in (*run.snapshots(), *run.averages()):
        found = {layer.name: layer for layer in read_weights(snapshot.weights).layer}
        for name, layer in given.items():
            assert [blob.data for blob in found[name].blobs] == [blob.data for blob in layer.blobs]
        assert "bn" in found and "teacher1/bn" not in found
    log = run.log.read_text()
    assert "soft_loss = " in log and "(* 14.4 = " in log and "Test net output #1: loss = " in log
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    assert cli.main(["report", str(run.dir), "--val-only"]) == 0
    assert cli.main(["export", str(run.dir), "--no-onnx", "--out", "exported"]) == 0
    exported = {layer.name for layer in read_weights(tmp_path / "exported" / "weights.caffemodel").layer}
    assert exported == {"conv", "bn", "scale", "ip"}
    assert not any("/" in layer.name for layer in read_net(tmp_path / "exported" / "deploy.prototxt").layer)


def test_a_trained_student_learns_on(teachers: list[Run], tmp_path: Path, said: Callable[..., str]) -> None:
    student, _ = write_net(tmp_path, net=RUN.replace("Teacher", "Student"))
    start = teachers[0].snapshots()[-1].weights
    own = {layer.name: layer for layer in read_weights(start).layer if layer.blobs}
    words = [str(word) for word in (*command(student, *teachers), "--start")]
    assert cli.main([*words, str(start)]) == 0
    given = {layer.name: layer for layer in read_weights(tmp_path / "out" / "teachers.caffemodel").layer}
    assert set(own) - set(given) == set() and {"teacher1/conv", "teacher2/ip"} < set(given)
    for name, layer in own.items():
        assert given[name] == layer
    taught = tmp_path / "out" / "teachers.caffemodel"  # of a file with teachers inside, the student's part alone
    assert cli.main([*words[:-1], "--out", "again/train_val.prototxt", "--start", str(taught)]) == 0
    assert read_weights(tmp_path / "again" / "teachers.caffemodel") == read_weights(taught)
    net = caffe_pb2.NetParameter(layer=[own["ip"]])
    net.layer[0].name = "conv"
    (tmp_path / "other.caffemodel").write_bytes(net.SerializeToString())
    assert "layer 'conv': shape mismatch" in said(*words, "other.caffemodel")
    net.layer[0].name = "another"
    (tmp_path / "other.caffemodel").write_bytes(net.SerializeToString())
    assert "no layer of it has the name" in said(*words, "other.caffemodel")
    assert "nowhere.caffemodel" in said(*words, "nowhere.caffemodel")


def test_what_no_teacher_or_student_is_refused(
    teachers: list[Run], data: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    one, two = teachers
    net, _ = write_net(tmp_path, net=RUN)

    def student(old: str, new: str) -> Path:
        assert old in RUN
        (tmp_path / "other.prototxt").write_text(RUN.replace(old, new))
        return tmp_path / "other.prototxt"

    assert "a run is given twice" in said(*command(net, one, one))
    assert "no net called 'vgg9' (did you mean vgg8?)" in said(*command(Path("vgg9"), one))
    assert "vgg8 is given images with scale 0.015625, and" in said(*command(Path("vgg8"), one))
    assert "with crop_size 40, and" in said(*command(student("crop_size: 44", "crop_size: 40"), one))
    mean = said(*command(student('mean_file: "mean.binaryproto"', "mean_value: 128"), one))
    assert f"with mean 128, and {one.dir} with around " in mean
    assert "gives 8 scores, and its teachers know 7 classes" in said(
        *command(student("num_output: 7", "num_output: 8"), one)
    )
    clash = student('"side"', '"teacher1/ip"')
    assert "has the name 'teacher1/ip', which its teachers need" in said(*command(clash, one))
    assert "unknown layer type 'ReLu' (did you mean ReLU?)" in said(*command(student('"ReLU"', '"ReLu"'), one))
    assert f"{net} is there already, and fer distill did not make it" in said(*command(net, one, out=str(net)))
    (tmp_path / "teachers.caffemodel").write_bytes(b"another's")
    assert "teachers.caffemodel is there already" in said(*command(net, one, out=str(tmp_path)))
    assert "'0' is not a number from 0.1 to 100" in said(*command(net, one), "--temperature", 0, code=2)
    two.update(state="interrupted", iteration=3)
    assert f"{two.dir} is not finished (interrupted at iteration 3 of 4)" in said(*command(net, one, two))
    two.update(state="finished", snapshots={})
    assert f"{two.dir} has no verified snapshot" in said(*command(net, one, two))
    two.update(snapshots=one.record.snapshots, data=replace(two.record.data, classes=tuple("abcdefg")))
    assert f"{two.dir} knows the classes a, b, c, d, e, f, g" in said(*command(net, one, two))
    assert not (tmp_path / "out").exists()


def test_teachers_of_other_data_are_refused(
    teachers: list[Run], data: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    """Another division of the same faces: what one was trained on may choose and judge the other."""
    one, two = teachers
    net, _ = write_net(tmp_path, net=RUN)
    shutil.copytree(data, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "val_lmdb")
    shutil.copytree(data / "test_lmdb", tmp_path / "data" / "val_lmdb")
    two.replace_prototxt(
        "train_val.prototxt", two.net.read_bytes().replace(str(data).encode(), str(tmp_path / "data").encode())
    )
    two.update(data=replace(two.record.data, dir=str(tmp_path / "data")))
    assert f"{two.dir} has other images of val than {one.dir}" in said(*command(net, one, two))
