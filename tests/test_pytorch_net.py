"""The PyTorch engine's nets: wiring, splits, sharing, outputs and fillers as Caffe has them."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training
from google.protobuf import text_format

from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds, create, known_types
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.states import State
from fer.nets.zoo import NETS
from fer.schema import caffe_pb2


def build(text: str, phase: str = "TRAIN", **options: Any) -> Net:
    net = text_format.Parse(text, caffe_pb2.NetParameter())
    return Net(net, Context(phase, seeds=Seeds(1)), **options)  # stages, level, path


DATA = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" } data_filler { value: 1 } } }
"""


def ip(name: str, bottom: str, more: str = "", outputs: int = 3) -> str:
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {more} inner_product_param {{ '
        f'num_output: {outputs} weight_filler {{ type: "xavier" }} }} }}\n'
    )


LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "a" bottom: "label" top: "loss" }'


# ---- wiring

# Nets whose splits, outputs and names are not obvious.
WIRED = {
    "a blob read twice": DATA + ip("a", "data") + ip("b", "a") + LOSS + 'layer { name: "l2" type: "EuclideanLoss" '
    'bottom: "b" bottom: "a" top: "l2" loss_weight: 0.5 }',
    "split behind an in-place layer": DATA + ip("a", "data")
    + 'layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }' + ip("b", "a") + LOSS,
    "a loss that is read on": DATA + ip("a", "data") + LOSS.replace('top: "loss"', 'top: "loss" loss_weight: 2')
    + 'layer { name: "power" type: "Power" bottom: "loss" top: "twice" power_param { scale: 2 } }',
    "an inner blob with a loss weight": DATA + ip("a", "data")
    + 'layer { name: "sum" type: "Reduction" bottom: "a" top: "sum" loss_weight: 0.25 }' + LOSS,
    "outputs by name": DATA + ip("zeta", "data") + ip("Alpha", "data") + ip("beta", "data") + ip("a", "data") + LOSS,
    "shared parameters": DATA + ip("a", "data", 'param { name: "w" } param { name: "b" }')
    + ip("b", "a", 'param { name: "w" } param { name: "b" }') + LOSS,
    "a loss without a top": DATA + ip("a", "data") + LOSS.replace('top: "loss"', ""),
    "a batch norm": DATA + ip("a", "data")
    + 'layer { name: "bn" type: "BatchNorm" bottom: "a" top: "bn" } layer { name: "scale" type: "Scale" '
    'bottom: "bn" top: "bn" scale_param { bias_term: true } }' + LOSS,
    "silenced": DATA + ip("a", "data") + ip("b", "data") + LOSS + 'layer { name: "s" type: "Silence" bottom: "b" }',
}  # fmt: skip


def real_caffe_describes(path: Path, phase: str) -> dict[str, dict[str, object]]:
    engine = training.real_caffe()
    argv = [*engine.command, "describe", "--model", str(path), "--phase", phase]
    said = subprocess.run(argv, env=dict(engine.environment), capture_output=True, text=True, check=True).stdout
    described: dict[str, dict[str, object]] = json.loads(said.strip().splitlines()[-1])
    return described


def assert_described_alike(path: Path, phase: str) -> None:
    net = Net(read_net(path), Context(phase), path=path)
    theirs = real_caffe_describes(path, phase)
    ours = {name: list(shape) for name, shape in net.shapes.items() if not name.startswith("(automatic")}
    assert ours == {name: shape for name, shape in theirs["blobs"].items() if name != "(automatic)"}
    assert list(ours) == [name for name in theirs["blobs"] if name != "(automatic)"]
    assert {name: [list(b.shape) for b in blobs] for name, blobs in net.params.items()} == theirs["params"]
    assert {node.name: node.type for node in net.nodes} == theirs["types"]


@pytest.mark.full
@pytest.mark.parametrize("name", WIRED)
def test_blobs_layers_and_parameters_are_real_caffe_s(tmp_path: Path, name: str) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(WIRED[name])
    assert_described_alike(path, "TEST")


@pytest.mark.full
@pytest.mark.parametrize("path", sorted(NETS.glob("*/deploy.prototxt")), ids=lambda path: path.parent.name)
def test_the_shipped_nets_are_real_caffe_s(path: Path) -> None:
    assert_described_alike(path, "TEST")


def test_outputs_are_the_blobs_nobody_reads_by_name() -> None:
    net = build(WIRED["outputs by name"])
    assert net.outputs == [("Alpha", None), ("beta", None), ("loss", 1.0), ("zeta", None)]
    assert build(WIRED["a loss that is read on"]).outputs == [("loss_loss_0_split_0", 2.0), ("twice", None)]
    assert build(WIRED["a loss without a top"]).outputs == []


def test_the_loss_is_the_weighted_sum() -> None:
    net = build(WIRED["a blob read twice"])
    loss = net.forward()
    assert loss.item() == pytest.approx((net.blobs["loss"] + 0.5 * net.blobs["l2"]).item())
    net = build(WIRED["an inner blob with a loss weight"])
    assert net.forward().item() == pytest.approx((net.blobs["loss"] + 0.25 * net.blobs["sum"].sum()).item(), rel=1e-5)
    net = build(WIRED["a loss without a top"])
    assert net.forward().item() > 0


def test_letting_blobs_go_changes_no_gradient() -> None:
    gradients = []
    for lean in (False, True):
        net = build(WIRED["a blob read twice"])
        if lean:
            net.run_lean()
        net.forward().backward()
        gradients.append([learned.parameter.grad for learned in net.learnable])
        assert ("data" in net.blobs) is not lean and "loss" in net.blobs
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_no_gradient_flows_down_where_the_net_says_so() -> None:
    def gradient(more: str) -> torch.Tensor | None:
        net = build(DATA + ip("first", "data") + ip("a", "first", more) + LOSS)
        net.forward().backward()
        return net.params["first"][0].grad

    assert gradient("propagate_down: false") is None
    whole = gradient("propagate_down: true")
    assert whole is not None and whole.abs().sum() > 0
    with pytest.raises(FerError, match="propagate_down is given 2 times for 1 bottoms"):
        gradient("propagate_down: false propagate_down: false")


def test_forced_backward_reaches_the_data() -> None:
    net = build("force_backward: true " + DATA + ip("a", "data") + LOSS)
    net.forward().backward()
    assert net.blobs["data"].grad is not None


def test_frozen_parameters_get_no_gradient_and_still_count() -> None:
    frozen = "param { lr_mult: 0 } param { lr_mult: 2 decay_mult: 0 }"
    net = build(DATA + ip("a", "data", frozen) + LOSS)
    assert [(p.lr_mult, p.decay_mult, p.owner) for p in net.learnable] == [(0, 1, "a"), (2, 0, "a")]
    net.forward().backward()
    assert net.params["a"][0].grad is None and net.params["a"][1].grad is not None
    assert all(not p.parameter.requires_grad for p in build(DATA + ip("a", "data") + LOSS, "TEST").learnable)


# ---- shared parameters


def test_shared_parameters_are_one_and_gradients_add_up() -> None:
    net = build(WIRED["shared parameters"])
    assert net.params["a"][0] is net.params["b"][0]
    assert [p.name for p in net.learnable] == ["w", "b"]


def test_a_permissive_share_reads_the_owner_s_numbers_in_another_shape() -> None:
    net = build(
        DATA + ip("a", "data", 'param { name: "w" }', outputs=4)
        + 'layer { name: "wide" type: "Reshape" bottom: "a" top: "wide" reshape_param { shape { dim: -1 dim: 4 } } }'
        + ip("b", "wide", 'param { name: "w" share_mode: PERMISSIVE }')
        + LOSS.replace('"a"', '"b"')
    )  # fmt: skip
    net.forward().backward()
    owner = net.params["a"][0]
    assert owner.shape == (4, 3)
    with torch.no_grad():
        owner.copy_(torch.arange(12.0).reshape(4, 3))
    net.forward()
    assert net.params["b"][0].tolist() == torch.arange(12.0).reshape(3, 4).tolist()
    assert owner.grad is not None and len(net.learnable) == 3  # w, a's bias, b's bias


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ('param { name: "w" }', 'param { name: "w" }', "PERMISSIVE compares the counts only"),
        ('param { name: "w" lr_mult: 1 }', 'param { name: "w" lr_mult: 2 share_mode: PERMISSIVE }', "lr_mult: 1 there"),
        (
            'param { name: "w" decay_mult: 1 }',
            'param { name: "w" decay_mult: 0 share_mode: PERMISSIVE }',
            "mismatched decay_mult",
        ),
    ],
)
def test_shares_that_do_not_fit_are_errors(first: str, second: str, message: str) -> None:
    with pytest.raises(FerError, match=message):
        build(DATA + ip("a", "data", first, outputs=4) + ip("b", "a", second))


def test_a_rate_given_only_by_a_later_share_counts() -> None:
    more = 'param { name: "w" lr_mult: 3 }'
    net = build(DATA + ip("a", "data", 'param { name: "w" }') + ip("b", "a", more) + LOSS)
    assert net.learnable[0].lr_mult == 3


def test_a_test_net_uses_the_train_net_s_parameters() -> None:
    train, test = build(WIRED["shared parameters"]), build(WIRED["shared parameters"], "TEST")
    test.share(train)
    assert test.params["b"][0] is train.params["a"][0]
    other = build(DATA + ip("a", "data", outputs=5) + LOSS, "TEST")
    with pytest.raises(FerError, match="shapes in the test net differ"):
        other.share(train)


# ---- phases, old formats, inputs, faults


def test_stages_and_levels_choose_layers() -> None:
    text = DATA + ip("a", "data") + ip("extra", "data", 'include { stage: "more" }') + LOSS
    assert "extra" not in build(text).params
    assert "extra" in build(text, state=State("TRAIN", ("more",))).params


def test_old_nets_are_upgraded() -> None:
    net = build(
        'input: "data" input_dim: 2 input_dim: 1 input_dim: 5 input_dim: 5 '
        'layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2 weight_decay: 1 '
        "weight_decay: 0 convolution_param { num_output: 3 kernel_size: 3 } }",
        "TEST",
    )
    assert net.inputs == ["data"] and net.shapes["conv"] == (2, 3, 3, 3)
    assert [(p.lr_mult, p.decay_mult) for p in net.learnable] == [(1, 1), (2, 0)]


def test_inputs_of_another_shape_reshape_the_net() -> None:
    net = build('input: "data" input_shape { dim: 2 dim: 3 } ' + ip("a", "data"), "TEST")
    net.forward(data=torch.ones(7, 3))
    assert net.blobs["a"].shape == (7, 3) and net.shapes["a"] == (7, 3)
    with pytest.raises(FerError, match="no input 'picture'; its inputs: data"):
        net.forward(picture=torch.ones(7, 3))


def test_a_layer_in_place_on_an_input_is_run() -> None:
    power = 'layer { name: "p" type: "Power" bottom: "data" top: "data" power_param { scale: 3 shift: 1 } }'
    net = build('input: "data" input_shape { dim: 2 dim: 1 dim: 2 dim: 2 } ' + power + ip("a", "data"), "TEST")
    images = np.random.default_rng(1).normal(size=(5, 1, 2, 2)).astype(np.float32)
    weights, bias = net.blob("a", 0), net.blob("a", 1)
    assert net.infer(images, "a") == pytest.approx((3 * images.reshape(5, 4) + 1) @ weights.T + bias, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DATA + ip("a", "dat"), r"net\.prototxt:4: .*'dat'.*data"),
        (DATA + ip("a", "data").replace("InnerProduct", "InerProduct"), r"net\.prototxt:4: .*InnerProduct"),
        (DATA + ip("a", "data", "loss_weight: 1 loss_weight: 2"), r"net\.prototxt:4: .*loss_weight is given 2 times"),
        (DATA + ip("a", "data", "param {} param {} param {}"), r"net\.prototxt:4: .*Too many params specified"),
        (DATA + ip("a", "data") + ip("a", "data"), r"net\.prototxt:5: two layers are called 'a'"),
        (DATA + ip("a", "data").replace("xavier", "xavierr"), r"net\.prototxt:4: .*xavierr"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    with pytest.raises(FerError, match=message):
        Net(read_net(path), Context(), path=path)


def test_an_unknown_type_names_the_nearest() -> None:
    with pytest.raises(FerError, match=r"Unknown layer type: Convolutoin .*did you mean Convolution"):
        create(caffe_pb2.LayerParameter(name="x", type="Convolutoin"), Context())
    assert {"Convolution", "Data", "SoftmaxWithLoss"} <= known_types()


# ---- fillers and seeds


def drawn(text: str, shape: tuple[int, ...], seed: int = 3) -> torch.Tensor:
    return Context(seeds=Seeds(seed)).fill(text_format.Parse(text, caffe_pb2.FillerParameter()), shape)


@pytest.mark.parametrize(
    ("text", "mean", "deviation", "bound"),
    [
        ("value: 2", 2.0, 0.0, 2.0),
        ('type: "gaussian" mean: 1 std: 0.5', 1.0, 0.5, None),
        ('type: "uniform" min: -1 max: 3', 1.0, 4 / math.sqrt(12), 3.0),
        ('type: "xavier"', 0.0, math.sqrt(1 / 60), math.sqrt(3 / 60)),
        ('type: "xavier" variance_norm: FAN_OUT', 0.0, math.sqrt(1 / 1200), math.sqrt(3 / 1200)),
        ('type: "xavier" variance_norm: AVERAGE', 0.0, math.sqrt(1 / 630), math.sqrt(3 / 630)),
        ('type: "msra"', 0.0, math.sqrt(2 / 60), None),
    ],
)
def test_fillers_draw_from_caffe_s_distributions(text: str, mean: float, deviation: float, bound: float | None) -> None:
    values = drawn(text, (400, 20, 3, 1))  # 24,000 numbers, fan in 60, fan out 1,200
    assert values.mean().item() == pytest.approx(mean, abs=4 * deviation / 150 + 1e-6)
    assert values.std().item() == pytest.approx(deviation, rel=0.03, abs=1e-6)
    if bound is not None:
        assert values.abs().max().item() <= bound * (1 + 1e-6)


def test_special_fillers() -> None:
    rows = drawn('type: "positive_unitball"', (5, 7))
    assert torch.allclose(rows.sum(1), torch.ones(5)) and (rows >= 0).all()
    sparse = drawn('type: "gaussian" sparse: 20', (200, 500))
    assert (sparse != 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    slopes = ([0.5, 0.5], [0.5, 1, 0.5], [0.25, 0.75, 0.75, 0.25], np.array([1, 3, 5, 5, 3, 1]) / 6)  # the wheel's own
    for slope in slopes:
        kernel = drawn('type: "bilinear"', (2, 1, len(slope), len(slope)))
        assert np.allclose(kernel[1, 0], np.outer(slope, slope))


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ('type: "gausian"', (2, 2), "Unknown filler name: gausian .known: .*gaussian"),
        ('type: "xavier" sparse: 1', (2, 2), "sparsity"),
        ('type: "bilinear"', (2, 2), "4-D blob of square kernels"),
    ],
)
def test_bad_fillers_are_errors(text: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(FerError, match=message):
        drawn(text, shape)


def test_generators_are_apart_and_repeatable() -> None:
    seeds, again, other = Seeds(5, scope="train"), Seeds(5, scope="train"), Seeds(5, scope="test0")

    def draw(owner: Seeds, name: str) -> float:
        return torch.rand((), generator=owner.generator(name)).item()

    first = draw(seeds, "drop")
    assert draw(again, "other") != first and draw(again, "drop") == first and draw(other, "drop") != first
    state, following = seeds.state(), draw(seeds, "drop")
    seeds.load_state(state)
    assert draw(seeds, "drop") == following
    assert Seeds(-1).seed != Seeds(-1).seed
    with pytest.raises(FerError, match="state of the random generator 'drop'"):
        seeds.load_state({"drop": torch.zeros(3, dtype=torch.uint8)})
