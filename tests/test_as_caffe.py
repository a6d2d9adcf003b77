"""What Caffe trains is taken, and what ends it is refused, by the linter or as the PyTorch engine builds the net.

Real Caffe judges every net of the table, too (marked `full`): forward and backward.
"""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import training

from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.lint import lint_net
from fer.nets.states import State

DATA = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 6 dim: 5 dim: 5 } shape { dim: 4 } data_filler { type: "gaussian" } data_filler { value: 1 } } }
"""
IP = """layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 7
  weight_filler { type: "xavier" } } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }\n'
FULL = IP.replace('"x"', '"data"')


def ends(bottoms: str, tops: str) -> str:
    words = [("bottom", bottoms), ("top", tops)]
    return " ".join(f'{word}: "{name}"' for word, names in words for name in names.split())


def layer(kind: str, body: str = "", bottoms: str = "data", tops: str = "x", name: str = "one") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" {ends(bottoms, tops)} {body} }}\n'


def first(kind: str, body: str = "", bottoms: str = "data", tops: str = "x") -> str:
    """A net that begins with a layer."""
    return DATA + layer(kind, body, bottoms, tops) + IP + LOSS


def last(text: str) -> str:
    """A net with something behind it."""
    return DATA + FULL + LOSS + text


def between(text: str) -> str:
    """A net with something before its loss."""
    return DATA + FULL + text + LOSS


def pool(window: str, tops: str = "x") -> str:
    return first("Pooling", f"pooling_param {{ {window} }}", tops=tops)


def filled(filler: str) -> str:
    return first("Convolution", f"convolution_param {{ num_output: 3 kernel_size: 1 weight_filler {{ {filler} }} }}")


HALF = layer("Power", "power_param { scale: 0.5 }", "loss", "loss")
# Of each net what is said where it is refused; "" where it is taken.
NETS = {
    "a window larger than the image": (pool("kernel_size: 7 stride: 3"), ""),
    "a padded one": (pool("pool: AVE kernel_size: 9 stride: 3 pad: 1"), ""),
    "one too large": (pool("kernel_size: 7 stride: 2"), "does not fit"),
    "kernel_size and kernel_h": (pool("kernel_size: 2 kernel_h: 2 kernel_w: 2"), "kernel_size, or kernel_h and"),
    "pad and pad_h": (pool("kernel_size: 2 pad: 1 pad_h: 1 pad_w: 1"), "takes pad, or pad_h and pad_w"),
    "stride_h alone": (pool("kernel_size: 2 stride_h: 2"), "takes stride, or stride_h and stride_w"),
    "a mask of averages": (pool("pool: AVE kernel_size: 2", "x mask"), "takes 1 top"),
    "std 0": (filled('type: "gaussian" std: 0'), "std is 0; it must be above 0"),
    "std below 0": (filled('type: "gaussian" std: -1'), "std is -1"),
    "min above max": (filled('type: "uniform" min: 2 max: 1'), "min 2 is above its max 1"),
    "sparse below -1": (filled('type: "gaussian" sparse: -2'), "sparse is -2"),
    "sparse beyond the outputs": (filled('type: "gaussian" sparse: 4'), "keeps 4 of 3"),
    "Flatten in place": (between(layer("Flatten", "", "ip", "ip")), "Flatten does not work in place"),
    "AbsVal in place": (between(layer("AbsVal", "", "ip", "ip")), "AbsVal does not work in place"),
    "ReLU in place": (between(layer("ReLU", "", "ip", "ip")), ""),
    "in place behind another reader": (last(layer("ReLU", "", "ip", "ip")), "which is read on line 6 as well"),
    "in place before another reader": (between(layer("ReLU", "", "ip", "ip")) + layer("Silence", "", "ip", ""), ""),
    "in place on a weighted loss": (
        DATA + FULL + LOSS.replace('top: "loss"', 'top: "loss" loss_weight: 1') + HALF, "which has a loss weight"),
    "in place on a loss": (last(HALF), ""),
    "a loss in place": (DATA + FULL + LOSS.replace('top: "loss"', 'top: "ip"'), "does not work in place"),
    "Accuracy as a loss": (
        last(layer("Accuracy", "loss_weight: 1", "ip label", "a")), "Accuracy has no gradient"),
    "Accuracy beside a loss": (last(layer("Accuracy", "", "ip label", "a")), ""),
    "Threshold before a loss": (between(layer("Threshold", "", "ip", "ip")), "Threshold has no gradient"),
    "Threshold before what learns": (first("Threshold"), ""),
    "labels that learn": (
        DATA + FULL + LOSS.replace('"label"', '"ip"'), "passes no gradient to 'ip'"),
    "propagate_down to labels": (
        DATA + FULL + LOSS.replace('top: "loss"', 'top: "loss" propagate_down: true propagate_down: true'),
        "passes no gradient to 'label'"),
    "a param of a ReLU": (
        between(layer("ReLU", "param { lr_mult: 1 }", "ip", "ip")), "ReLU layers have no parameters"),
    "a Silence of nothing": (last(layer("Silence", "", "", "")), "a Silence takes 1 or more bottom"),
    "a Silence with a top": (last(layer("Silence", "", "ip", "s")), "a Silence takes 0 top"),
    "two tops of a Parameter": (
        layer("Parameter", "parameter_param { shape { dim: 2 } }", "", "p q", "p") + DATA + FULL + LOSS,
        "a Parameter takes 1 top"),
    "two tops of a loss": (
        DATA + FULL + LOSS.replace('top: "loss"', 'top: "loss" top: "prob"'), "a SoftmaxWithLoss takes 0 to 1 top"),
    "two loss weights": (
        DATA + FULL + LOSS.replace('top: "loss"', 'top: "loss" loss_weight: 1 loss_weight: 2'), "given 2 times"),
    "blobs": (DATA + FULL.replace("bottom", "blobs { shape { dim: 7 } } bottom") + LOSS, "holds blobs"),
    "a sign by itself": (
        last(layer("Power", "power_param { scale: - 0.5 shift: -# less\n .5 power: -\n1 }", "ip", "p")), ""),
    "minus infinity": (last(layer("Power", "power_param { scale: 0 shift: - inf }", "ip", "p")), ""),
    "an axis of - 1": (last(layer("Softmax", "softmax_param { axis: - 1 }", "ip", "p")), ""),
    "- 1 where no sign is taken": (DATA + FULL.replace("7", "- 7") + LOSS, "Value out of range: -7"),
    "a plus": (last(layer("Power", "power_param { scale: +1 }", "ip", "p")), "no + in front of a number"),
    "a low line in a number": (DATA + FULL.replace("7", "1_0") + LOSS, "no _ within"),
    "digits of another script": (DATA + FULL.replace("7", "٧") + LOSS, "outside of strings and comments"),
    "a no-break space": (DATA + FULL.replace("{ name", "{\u00a0name", 1) + LOSS, r"'\xa0' outside of strings"),
    "forms of numbers": (
        last(layer("Power", "power_param { scale: 1.f shift: .5F power: 1E+0 }", "ip", "p")).replace("7", "0x7"), ""),
    "an octal": (DATA + FULL.replace("7", "07") + LOSS, ""),
    "an octal float": (last(layer("Power", "power_param { scale: 01 }", "ip", "p")), "octal"),
    "forms of truth": (
        last(layer("Scale", "scale_param { bias_term: t }", "ip", "p")).replace("xavier", "xav' \"ier").replace(
            '"xav', "'xav"), ""),
    "lists, commas, semicolons": (
        last('layer < name: "p", type: "Concat"; bottom: ["ip", \'ip\'] top: ["p"] loss_weight: [] >;\n'), ""),
    "a list of one that is none": (last(layer("Power", "power_param { scale: [1] }", "ip", "p")), "parse float"),
    "a filler of no bias": (
        DATA + FULL.replace("num", 'bias_term: false bias_filler { type: "what" } num') + LOSS, ""),
    "another layer's filler": (
        last(layer("ReLU", 'convolution_param { weight_filler { type: "what" } }', "ip", "p")), ""),
    "equal names": (between(layer("ReLU", "", "ip", "ip", "data")), ""),
    "no name": (between(layer("ReLU", "", "ip", "ip", "")), ""),
    "no name, but weights": (DATA + FULL.replace('name: "ip"', "") + LOSS, ""),
    "top_k above the classes": (
        last(layer("Accuracy", "accuracy_param { top_k: 8 }", "ip label", "a")), "top_k must be 1 to 7, not 8"),
    "slices that do not divide": (first("Slice", tops="x b c d"), "does not divide into 4"),
    "coefficients": (first("Eltwise", "eltwise_param { coeff: 1 }", "data data"), "coeff"),
    "a share of another shape": (
        DATA + FULL.replace("bottom", 'param { name: "w" } bottom')
        + FULL.replace('"ip"', '"q"').replace("bottom", 'param { name: "w" } bottom').replace("7", "3") + LOSS,
        "shape mismatch"),
}  # fmt: skip
# What Caffe takes and computes wrong without a word, so that it is refused all the same.
WRONG = {
    "an InnerProduct's name for a ReLU, too": (between(layer("ReLU", "", "ip", "ip", "ip")), "two layers are called"),
    "two InnerProducts of one name": (
        DATA + FULL.replace('top: "ip"', 'top: "q"') + FULL + LOSS, "Caffe finds weights by name"),
    "two InnerProducts without a name": (
        DATA + (FULL.replace('top: "ip"', 'top: "q"') + FULL).replace('name: "ip"', "") + LOSS, "layers have no name"),
    "LRN in place": (DATA + layer("LRN", "", "data", "data") + FULL + LOSS, "LRN does not work in place"),
}  # fmt: skip


def verdict(path: Path) -> str:
    """What is said against a net, or ""."""
    try:
        net = read_net(path)
        if faults := lint_net(net, path, states=[State("TRAIN")]):
            return "\n".join(faults)
        Net(net, Context(seeds=Seeds(1)), path=path).forward().backward()
    except FerError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", [*NETS, *WRONG])
def test_a_net_is_taken_or_refused_with_its_line(tmp_path: Path, name: str) -> None:
    text, reason = (NETS | WRONG)[name]
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    said = verdict(path)
    assert reason in said and bool(said) == bool(reason), said
    assert not said or said.startswith(f"{path}:")


@pytest.mark.full
def test_real_caffe_takes_and_refuses_the_same(tmp_path: Path) -> None:
    cases = [
        {"model": text, "phase": "TRAIN", "backward": True, "needs_gradient": [], "tops": []}
        for text, _ in NETS.values()
    ]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    for number in range(len(cases)):
        np.savez(tmp_path / f"case_{number}.npz")
    engine = training.real_caffe()
    oracle = Path(__file__).with_name("caffe_oracle.py")
    subprocess.run([engine.command[0], oracle, tmp_path], env=dict(engine.environment), check=True)
    taken = {name for number, name in enumerate(NETS) if (tmp_path / f"out_{number}.npz").exists()}
    assert taken == {name for name, (_, reason) in NETS.items() if not reason}
