"""Each layer of the PyTorch engine against real Caffe (forward and backward), and its gradient in float64."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from layer_cases import CASES, REFUSED, Case

from fer.engines.interpreter import CaffePython
from fer.engines.pytorch.registry import Context, Layer, Seeds, create, known_types
from fer.errors import FerError
from fer.nets.lint import KNOWN_LAYERS
from fer.schema import caffe_pb2

ORACLE = Path(__file__).with_name("caffe_oracle.py")
WANTED = 1e-4
# fmt: off
ELSEWHERE = frozenset([
    "Data", "ImageData", "Input", "DummyData", "MemoryData", "HDF5Data", "HDF5Output", "WindowData", "RNN", "LSTM",
    "LSTMUnit", "Python",
])
# fmt: on
"""Types that feed data (test_pytorch_data.py), that the engine has not, and Python (below)."""
IDS = [str(case) for case in CASES]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def layer_proto(case: Case) -> caffe_pb2.LayerParameter:
    proto = caffe_pb2.LayerParameter(name="it", type=case.type)
    proto.bottom.extend(f"x{i}" for i in range(len(case.bottoms)))
    proto.top.extend(f"y{i}" for i in range(case.tops))
    return text_format.Merge(case.param, proto)


class Trial:
    """One row of the table with its numbers drawn, set up as a layer of ours in any precision."""

    def __init__(self, number: int, dtype: torch.dtype = torch.float32) -> None:
        self.case, self.dtype = CASES[number], dtype
        rng = np.random.default_rng(number)
        self.proto = layer_proto(self.case)
        context = Context(phase=self.case.phase, dtype=dtype, seeds=Seeds(1))
        self.layer: Layer = create(self.proto, context)
        self.shapes = [tuple(shape) for shape in self.layer.setup([bottom.shape for bottom in self.case.bottoms])]
        self.bottoms = [bottom.draw(rng, bottom.shape).astype(np.float32) for bottom in self.case.bottoms]
        with torch.no_grad():
            tops = [tuple(top.shape) for top in self.layer.forward(*self.tensors())]
        assert self.shapes == tops or self.case.type == "Filter", "setup foretells the shapes"
        self.blobs = [rng.normal(size=tuple(blob.shape)).astype(np.float32) for blob in self.layer.blobs]
        if self.case.type == "BatchNorm":
            self.blobs = [self.blobs[0], np.abs(self.blobs[1]) + 1, np.array([2.5], np.float32)]
        self.losses = self.layer.loss_layer or bool(self.proto.loss_weight)
        self.diffs = [] if self.losses else [np.asarray(rng.normal(size=shape), np.float32) for shape in tops]
        with torch.no_grad():
            for blob, values in zip(self.layer.blobs, self.blobs, strict=True):
                blob.copy_(torch.from_numpy(values))

    def tensors(self, channels_last: bool = False) -> list[torch.Tensor]:
        made = [torch.from_numpy(values).to(self.dtype) for values in self.bottoms]
        if channels_last:
            made = [x.to(memory_format=torch.channels_last) if x.dim() == 4 else x for x in made]
        wanted = [bottom.gradient and self.case.backward for bottom in self.case.bottoms]
        return [x.requires_grad_(want) for x, want in zip(made, wanted, strict=True)]

    def run(self, channels_last: bool = False) -> dict[str, np.ndarray]:
        """Tops, gradients of bottoms and blobs, and the blobs afterwards, by the oracle's names."""
        bottoms = self.tensors(channels_last)
        tops = self.layer.forward(*bottoms)
        found = {f"top/y{i}": top.detach().numpy() for i, top in enumerate(tops)}
        found |= {f"param/it/{i}": blob.detach().numpy() for i, blob in enumerate(self.layer.blobs)}
        if not self.case.backward:
            return found
        if self.losses:
            total: torch.Tensor | int = tops[0] * (self.proto.loss_weight[0] if self.proto.loss_weight else 1)
        else:
            pairs = zip(tops, self.diffs, strict=False)
            total = sum((top * torch.from_numpy(diff).to(top)).sum() for top, diff in pairs if top.requires_grad)
        if isinstance(total, torch.Tensor):
            total.backward()
        found |= {f"diff/x{i}": _grad(x) for i, x in enumerate(bottoms) if x.requires_grad}
        found |= {f"param_diff/it/{i}": _grad(b) for i, b in enumerate(self.layer.blobs) if b.requires_grad}
        return found

    # ---- the same for real Caffe

    def model(self) -> str:
        """A net of this one layer.

        Bottoms that want a gradient are learnable, and some top counts as a loss: else Caffe skips the way back.
        """
        net = caffe_pb2.NetParameter()
        for i, bottom in enumerate(self.case.bottoms):
            kind = "parameter_param" if self._learns(i) else "input_param"
            source = net.layer.add(name=f"x{i}", type="Parameter" if self._learns(i) else "Input", top=[f"x{i}"])
            shape = getattr(source, kind).shape if self._learns(i) else source.input_param.shape.add()
            shape.dim.extend(bottom.shape)
            shape.SetInParent()
        net.layer.append(self.proto)
        if self.case.backward and self.case.tops and not self.losses:
            net.layer[-1].loss_weight.extend([1] + [0] * (self.case.tops - 1))
        return text_format.MessageToString(net)

    def _learns(self, i: int) -> bool:
        return self.case.bottoms[i].gradient and self.case.backward

    def arrays(self) -> dict[str, np.ndarray]:
        given = {f"blob/x{i}/0" if self._learns(i) else f"bottom/x{i}": x for i, x in enumerate(self.bottoms)}
        given |= {f"blob/it/{i}": blob for i, blob in enumerate(self.blobs)}
        # A top's gradient that our layer cuts, Caffe's ignores too, so it may be anything.
        return given | {f"diff/y{i}": diff for i, diff in enumerate(self.diffs) if i < self.case.tops}

    def request(self) -> dict[str, object]:
        return {
            "model": self.model(),
            "phase": self.case.phase,
            "backward": self.case.backward,
            "tops": list(self.proto.top),
            "needs_gradient": [f"x{i}" for i in range(len(self.bottoms)) if self._learns(i)],
        }


def _grad(x: torch.Tensor) -> np.ndarray:
    return (torch.zeros_like(x) if x.grad is None else x.grad).detach().numpy()


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest of `theirs` (1e-2 where all of those are smaller)."""
    assert ours.shape == theirs.shape
    if not theirs.size:
        return 0.0
    return float(np.max(np.abs(ours.astype(np.float64) - theirs)) / max(np.max(np.abs(theirs)), 1e-2))


@pytest.fixture(scope="module")
def caffe_says(tmp_path_factory: pytest.TempPathFactory, caffe: CaffePython) -> list[dict[str, np.ndarray] | str]:
    """For every case what real Caffe computes, or how it refused: all in one process."""
    folder = tmp_path_factory.mktemp("oracle")
    trials = [Trial(number) for number in range(len(CASES))]
    (folder / "cases.json").write_text(json.dumps([trial.request() for trial in trials]))
    for number, trial in enumerate(trials):
        arrays: dict[str, Any] = {**trial.arrays()}
        np.savez(folder / f"case_{number}.npz", **arrays)
    subprocess.run([caffe.python, ORACLE, folder], check=True, env=caffe.environment)
    answers: list[dict[str, np.ndarray] | str] = []
    for number in range(len(CASES)):
        out = folder / f"out_{number}.npz"
        if out.exists():
            with np.load(out, allow_pickle=False) as arrays:
                answers.append(dict(arrays))
        else:
            answers.append((folder / f"refused_{number}.txt").read_text())
    return answers


def takes_batch_statistics(case: Case) -> bool:
    """BatchNorm in training: the wheel's Caffe has lost that half of the layer, and leaves its buffers unfilled."""
    if case.type != "BatchNorm" or "use_global_stats: true" in case.param:
        return False
    return case.phase == "TRAIN" or "use_global_stats: false" in case.param


@pytest.mark.full
@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_a_layer_computes_what_caffe_computes(
    number: int, caffe: CaffePython, caffe_says: list[dict[str, np.ndarray] | str]
) -> None:
    if caffe.build is None and takes_batch_statistics(CASES[number]):
        pytest.skip("the wheel's BatchNorm does not train")
    if caffe.build is None and CASES[number].type == "Clip":
        pytest.skip("the wheel has no Clip")
    theirs = caffe_says[number]
    assert isinstance(theirs, dict), theirs
    ours = Trial(number).run()
    differences = {name: difference(values, theirs[name]) for name, values in ours.items()}
    assert max(differences.values(), default=0) <= WANTED, differences
    assert CASES[number].tops == 0 or "top/y0" in ours
    missing = {name for name in theirs if name.startswith("diff/")} - ours.keys()
    assert not missing, "Caffe passes gradients that ours does not"


@pytest.mark.parametrize("number", [i for i, case in enumerate(CASES) if takes_batch_statistics(case)])
def test_batch_norm_in_training_is_caffes_mvn_over_the_batch(number: int) -> None:
    """MVN of [1, C, the rest], which the table holds against real Caffe; the sums by BVLC Caffe's formula."""
    trial = Trial(number)
    before, fraction = trial.blobs, trial.proto.batch_norm_param.moving_average_fraction
    found = trial.run()
    rows = torch.from_numpy(trial.bottoms[0]).transpose(0, 1).flatten(1)[None].requires_grad_()
    (top,) = build("MVN", "", tuple(rows.shape)).forward(rows)
    top.backward(torch.from_numpy(trial.diffs[0]).transpose(0, 1).flatten(1)[None])
    assert rows.grad is not None
    for name, wanted in (("top/y0", top.detach()), ("diff/x0", rows.grad)):
        ours = torch.from_numpy(found[name]).transpose(0, 1).flatten(1)[None]
        assert difference(ours.numpy(), wanted.numpy()) < WANTED
    values = rows.detach().double().numpy()[0]
    fresh = [values.mean(1), values.var(1, ddof=1), np.ones(1)]
    for i in range(3):
        assert difference(found[f"param/it/{i}"], before[i] * fraction + fresh[i]) < 1e-6


@pytest.mark.parametrize("number", [i for i, case in enumerate(CASES) if case.gradcheck and case.backward])
def test_gradient_in_float64(number: int) -> None:
    trial = Trial(number, torch.float64)
    bottoms = trial.tensors()
    inputs = [x for x in [*bottoms, *trial.layer.blobs] if x.requires_grad]
    if not inputs:
        pytest.skip("nothing here learns")

    def tops(*_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(top for top in trial.layer.forward(*bottoms) if top.requires_grad)

    if not tops():
        assert CASES[number].type in ("Power", "Silence"), "no gradient at all"
        return
    small = sum(x.numel() for x in inputs) <= 60
    assert torch.autograd.gradcheck(tops, inputs, fast_mode=not small, check_undefined_grad=False)


@pytest.mark.parametrize("number", [i for i, case in enumerate(CASES) if any(len(b.shape) == 4 for b in case.bottoms)])
def test_channels_last_gives_the_same(number: int) -> None:
    plain, last = Trial(number).run(), Trial(number).run(channels_last=True)
    assert plain.keys() == last.keys()
    assert max(difference(last[name], plain[name]) for name in plain) < 1e-5


@pytest.mark.parametrize(
    "type_", ["Convolution", "Pooling", "LRN", "BatchNorm", "Scale", "MVN", "ReLU", "PReLU", "ELU"]
)
def test_channels_last_stays_channels_last(type_: str) -> None:
    number = next(
        i for i, case in enumerate(CASES) if case.type == type_ and [len(b.shape) for b in case.bottoms] == [4]
    )
    trial = Trial(number)
    (top,) = trial.layer.forward(*trial.tensors(channels_last=True))
    assert top.is_contiguous(memory_format=torch.channels_last)


def test_every_type_is_here_and_in_the_table() -> None:
    wanted = KNOWN_LAYERS - ELSEWHERE
    assert wanted <= known_types() | {"Python"}
    assert {case.type for case in CASES} == wanted
    assert len(IDS) == len(set(IDS)), "a row is there twice"


def build(
    type_: str, param: str, *shapes: tuple[int, ...], tops: int = 1, phase: str = "TRAIN", seed: int = 5
) -> Layer:
    case = Case(type_, param, (), tops=tops)
    layer = create(layer_proto(case), Context(phase=phase, seeds=Seeds(seed)))
    layer.setup(list(shapes))
    return layer


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9])
def test_dropout_drops_its_share_and_scales_the_rest(ratio: float) -> None:
    layer = build("Dropout", f"dropout_param {{ dropout_ratio: {ratio} }}", (200, 500))
    x = torch.ones(200, 500, requires_grad=True)
    (top,) = layer.forward(x)
    top.sum().backward()
    kept = top.detach() != 0
    assert abs(kept.float().mean().item() - (1 - ratio)) < 5 * (ratio * (1 - ratio) / x.numel()) ** 0.5
    assert torch.allclose(top.detach()[kept], torch.tensor(1 / (1 - ratio)))
    assert x.grad is not None and torch.equal(x.grad, top.detach())
    assert not torch.equal(layer.forward(x)[0].detach(), top.detach()), "the same mask twice"
    (again,) = build("Dropout", f"dropout_param {{ dropout_ratio: {ratio} }}", (200, 500)).forward(x)
    assert torch.equal(again, top), "the same seed must give the same mask"


def test_stochastic_pooling_draws_by_share_and_tests_by_mean() -> None:
    param = "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }"
    window = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    images = window.expand(100, 100, 2, 2).clone().requires_grad_()
    (top,) = build("Pooling", param, (100, 100, 2, 2)).forward(images)
    top.sum().backward()
    shares = torch.bincount(top.detach().long().reshape(-1), minlength=5) / top.numel()
    assert torch.allclose(shares, torch.tensor([0, 0.1, 0.2, 0.3, 0.4]), atol=0.025)
    assert images.grad is not None
    assert torch.equal((images.grad * images).sum((2, 3), keepdim=True).detach(), top.detach())
    (tested,) = build("Pooling", param, (100, 100, 2, 2), phase="TEST").forward(images)
    assert torch.allclose(tested, torch.tensor(30 / 10.0))


def test_stochastic_pooling_never_draws_from_beyond_the_image() -> None:
    layer = build("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", (8, 8, 3, 3))
    (top,) = layer.forward(torch.rand(8, 8, 3, 3) + 0.5)
    assert top.shape == (8, 8, 2, 2)
    assert (top > 0).all()


def test_infogain_matrix_from_a_file(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).random((3, 3)).astype(np.float32)
    file = tmp_path / "H.binaryproto"
    file.write_bytes(
        caffe_pb2.BlobProto(num=1, channels=1, height=3, width=3, data=matrix.ravel().tolist()).SerializeToString()
    )
    scores, labels = torch.randn(4, 3), torch.tensor([0.0, 2.0, 1.0, 1.0])
    from_file = build("InfogainLoss", f'infogain_loss_param {{ source: "{file}" }}', (4, 3), (4,))
    from_bottom = build("InfogainLoss", "", (4, 3), (4,), (1, 1, 3, 3))
    (wanted,) = from_bottom.forward(scores, labels, torch.from_numpy(matrix)[None, None])
    assert torch.equal(from_file.forward(scores, labels)[0], wanted)
    for damage in (file.read_bytes()[:-3], file.read_bytes()[:20], b""):
        file.write_bytes(damage)
        with pytest.raises(FerError, match="infogain matrix"):
            build("InfogainLoss", f'infogain_loss_param {{ source: "{file}" }}', (4, 3), (4,))


def test_softmax_loss_gives_its_probabilities_without_a_gradient() -> None:
    """Caffe's code means to; its own loss_weight checks then refuse every net that asks for them."""
    scores, labels = torch.randn(4, 3, 2, requires_grad=True), torch.tensor([[0.0, 2.0]] * 4)
    loss, probabilities = build("SoftmaxWithLoss", "", (4, 3, 2), (4, 2), tops=2).forward(scores, labels)
    assert torch.equal(loss, build("SoftmaxWithLoss", "", (4, 3, 2), (4, 2)).forward(scores, labels)[0])
    assert torch.allclose(probabilities, torch.softmax(scores, 1)) and not probabilities.requires_grad


def test_python_layer_by_its_registered_equivalent() -> None:
    proto = 'python_param { module: "pyloss" layer: "EuclideanLossLayer" }'
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    (loss,) = build("Python", proto, (3, 4), (3, 4)).forward(a, b)
    assert torch.isclose(loss, ((a - b) ** 2).sum() / 6)
    with pytest.raises(FerError, match="EuclideanLossLayer"):
        build("Python", 'python_param { module: "pyloss" layer: "EuclidianLossLayer" }', (3, 4), (3, 4))


@pytest.mark.parametrize(("type_", "param", "shapes", "says"), REFUSED)
def test_what_does_not_fit_is_said_with_the_layers_name(
    type_: str, param: str, shapes: list[tuple[int, ...]], says: str
) -> None:
    with pytest.raises(FerError, match=says) as error:
        build(type_, param, *shapes, tops=2 if type_ == "Slice" else 1)
    assert str(error.value).startswith(f"layer 'it' ({type_}): ")


@pytest.mark.parametrize(
    "type_", ["SoftmaxWithLoss", "InfogainLoss", "MultinomialLogisticLoss", "HingeLoss", "Accuracy"]
)
@pytest.mark.parametrize("label", [-1, 3, 1e9])
def test_a_label_of_no_class_is_an_error(type_: str, label: float) -> None:
    shapes = [(2, 3), (2,)] + [(3, 3)] * (type_ == "InfogainLoss")
    layer = build(type_, "", *shapes)
    bottoms = [torch.ones(2, 3), torch.tensor([1.0, label]), torch.eye(3)][: len(shapes)]
    with pytest.raises(FerError, match=r"is outside of 0\.\.2"):
        layer.forward(*bottoms)
