"""What is PyTorch's own of its layers: gradients in float64, memory formats, what is drawn (see test_layers.py)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from layer_cases import CASES, Case
from layer_trials import TorchTrial, difference, layer_proto

from fer.engines.pytorch.registry import Context, Layer, Seeds, create
from fer.errors import FerError
from fer.schema import caffe_pb2


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("number", [i for i, case in enumerate(CASES) if case.gradcheck and case.backward])
def test_gradient_in_float64(number: int) -> None:
    trial = TorchTrial(number, torch.float64)
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
    plain, last = TorchTrial(number).run(), TorchTrial(number).run(channels_last=True)
    assert plain.keys() == last.keys()
    assert max(difference(last[name], plain[name]) for name in plain) < 1e-5


@pytest.mark.parametrize(
    "type_", ["Convolution", "Pooling", "LRN", "BatchNorm", "Scale", "MVN", "ReLU", "PReLU", "ELU"]
)
def test_channels_last_stays_channels_last(type_: str) -> None:
    number = next(
        i for i, case in enumerate(CASES) if case.type == type_ and [len(b.shape) for b in case.bottoms] == [4]
    )
    trial = TorchTrial(number)
    (top,) = trial.layer.forward(*trial.tensors(channels_last=True))
    assert top.is_contiguous(memory_format=torch.channels_last)


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
