"""Write train_val.prototxt and deploy.prototxt of the larger nets in prototxt/ from the short descriptions below.

    python scripts/make_nets.py [NET ...] [--out prototxt] [--augment PARAM_STR]

Solvers and READMEs are written by hand. --augment puts the Augment layer, with these settings, behind the training
data of the nets that are trained with it.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from net_builder import CLASSES, CROP, SCALE, SIDE, SMALL, Builder

from fer.formats.prototxt import to_text
from fer.nets.deploy import derive_deploy

ROOT = Path(__file__).resolve().parent.parent
AUGMENT = "rotation: 12, shift: 0.08, scale: 0.12, brightness: 0.2, contrast: 0.2, erase: 0.2"
"""The Augment layer's param_str; no such layer where it is empty."""


def vgg(net: Builder, widths: Sequence[int], hidden: int = 0) -> None:
    """Blocks of two 3x3 convolutions and a max pooling that halves: 44, 22, 11, 5, 2 pixels a side.

    An odd side is halved by windows of 3, which lie evenly; Caffe's own rounding would let the last window of 2 hang
    over the edge.
    """
    side = CROP
    for block, width in enumerate(widths, 1):
        net.conv_bn(f"conv{block}_1", width, 3, 1)
        net.conv_bn(f"conv{block}_2", width, 3, 1)
        net.pool(f"pool{block}", "MAX", 2 + side % 2)
        side //= 2
    last = len(widths) + 1
    if hidden:
        net.full_bn(f"fc{last}", hidden)
    net.dropout(f"drop{last}", 0.5)
    net.classify(f"fc{last + bool(hidden)}")


def alexnet(net: Builder) -> None:
    """The layers of prototxt/alexnet with batch normalisation in place of its LRN: 44, 22, 11, 5, 2 pixels a side."""
    net.conv_bn("conv1", 96, 7, 3, 2)
    net.pool("pool1", "MAX", 3)
    net.conv_bn("conv2", 256, 5, 2, group=2)
    net.pool("pool2", "MAX", 3)
    net.conv_bn("conv3", 384, 3, 1)
    net.conv_bn("conv4", 384, 3, 1, group=2)
    net.conv_bn("conv5", 256, 3, 1, group=2)
    net.pool("pool5", "MAX", 3)
    for name in ("fc6", "fc7"):
        net.full_bn(name, 1024)
        net.dropout(f"drop{name[2:]}", 0.5)
    net.classify("fc8")


def resnet18(net: Builder, widths: Sequence[int]) -> None:
    """A 3x3 convolution, then four stages of two residual blocks: 44, 22, 11, 6 pixels a side."""
    net.conv_bn("conv1", widths[0], 3, 1)
    for stage, width in enumerate(widths, 2):
        halves = stage > 2
        _residual(net, f"res{stage}a", width, 2 if halves else 1, changes=halves)
        _residual(net, f"res{stage}b", width, 1, changes=False)
    net.pool_all("pool6")
    net.classify("fc7")


def _residual(net: Builder, name: str, width: int, stride: int, *, changes: bool) -> None:
    """Two 3x3 convolutions, added to what went in (through a 1x1 convolution where the block changes its shape)."""
    before = net.top
    shortcut = net.conv_bn(f"{name}/shortcut", width, 1, 0, stride, relu=False) if changes else before
    net.top = before
    net.conv_bn(f"{name}/conv1", width, 3, 1, stride)
    residual = net.conv_bn(f"{name}/conv2", width, 3, 1, relu=False)
    net.layer(name, "Eltwise", [shortcut, residual])
    net.relu(name)


# Szegedy et al. 2014, table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip
LRN = {"local_size": 5, "alpha": 0.0001, "beta": 0.75}


def googlenet(net: Builder, *, bn: bool = False) -> None:
    """Inception v1 behind a 3x3 convolution of stride 1 instead of the 7x7 of stride 2: 44, 22, 11, 5, 2 a side.

    With `bn`, batch normalisation behind each convolution and the auxiliary classifiers' hidden layer, and no
    LRN.
    """
    conv = net.conv_bn if bn else net.conv
    conv("conv1", 64, 3, 1)
    net.pool("pool1", "MAX", 2)
    if not bn:
        net.layer("norm1", "LRN", lrn_param=LRN)
    conv("conv2/reduce", 64, 1)
    conv("conv2/3x3", 192, 3, 1)
    if not bn:
        net.layer("norm2", "LRN", lrn_param=LRN)
    net.pool("pool2", "MAX", 2)
    for name, maps in INCEPTIONS.items():
        _inception(net, conv, f"inception_{name}", *maps)
        if name in ("4a", "4d"):
            _side_classifier(net, f"side_{name}", bn)
        if name in ("3b", "4e"):
            net.pool(f"pool{name[0]}", "MAX", 3)
    net.pool_all("pool5")
    net.dropout("drop5", 0.4)
    net.classify("classifier")


def _inception(
    net: Builder, conv: Callable[..., str], name: str, one: int, reduce3: int, three: int, reduce5: int, five: int,
    pool: int,
) -> None:  # fmt: skip
    bottom = net.top
    tops = [conv(f"{name}/1x1", one, 1)]
    for kernel, reduced, maps in ((3, reduce3, three), (5, reduce5, five)):
        net.top = bottom
        conv(f"{name}/reduce{kernel}", reduced, 1)
        tops.append(conv(f"{name}/{kernel}x{kernel}", maps, kernel, kernel // 2))
    net.pool(f"{name}/pool", "MAX", 3, 1, 1, bottom)
    tops.append(conv(f"{name}/project", pool, 1))
    net.layer(name, "Concat", tops)


def _side_classifier(net: Builder, name: str, bn: bool) -> None:
    """A loss on the way, of weight 0.3 and in training only."""
    trunk, first = net.top, len(net.net.layer)
    net.pool(f"{name}/pool", "AVE", 3)
    if bn:
        net.conv_bn(f"{name}/conv", 128, 1)
        net.full_bn(f"{name}/fc", 1024)
    else:
        net.conv(f"{name}/conv", 128, 1)
        net.full(f"{name}/fc", 1024)
        net.relu(f"{name}/fc")
    net.dropout(f"{name}/drop", 0.7)
    net.full(f"{name}/classifier", CLASSES, SMALL)
    net.layer(f"{name}/loss", "SoftmaxWithLoss", [net.top, "label"], loss_weight=[0.3])
    for layer in net.net.layer[first:]:
        layer.include.add(phase="TRAIN")
    net.top = trunk


def tang(net: Builder) -> None:
    """Three convolutions, one hidden layer, and linear machines with squared hinge loss on top."""
    net.conv("conv1", 32, 5, 2)
    net.pool("pool1", "MAX", 3)
    net.conv("conv2", 32, 4, 1)
    net.pool("pool2", "AVE", 3)
    net.conv("conv3", 64, 5, 2)
    net.pool("pool3", "AVE", 3)
    net.full("fc4", 3072)
    net.relu("fc4")
    net.dropout("drop4", 0.2)
    net.classify("fc5", "HingeLoss", hinge_loss_param={"norm": "L2"})


@dataclass(frozen=True)
class Description:
    """A net's name, what its file says first, how to build it, whether Augment is for it."""

    name: str
    about: str
    build: Callable[[Builder], None]
    augmented: bool = True


NETS = {
    "vgg8": Description(
        "VGG8",
        "eight 3x3 convolutions with batch normalisation",
        lambda net: vgg(net, (32, 64, 128, 256), hidden=256),
    ),
    "vgg13": Description(
        "VGG13",
        "ten 3x3 convolutions with batch normalisation",
        lambda net: vgg(net, (64, 128, 256, 512, 512)),
    ),
    "resnet18": Description(
        "ResNet-18",
        "eight residual blocks of two 3x3 convolutions",
        lambda net: resnet18(net, (64, 128, 256, 512)),
    ),
    "resnet18h": Description(
        "ResNet-18 half",
        "ResNet-18 of half the width",
        lambda net: resnet18(net, (32, 64, 128, 256)),
    ),
    "alexnetbn": Description(
        "AlexNet BN",
        "AlexNet with batch normalisation",
        alexnet,
    ),
    "googlenet": Description(
        "GoogLeNet",
        "nine inception modules and two auxiliary classifiers",
        googlenet,
        augmented=False,
    ),
    "googlenetbn": Description(
        "GoogLeNet BN",
        "GoogLeNet with batch normalisation",
        lambda net: googlenet(net, bn=True),
    ),
    "tang": Description(
        "Tang 2013",
        "three convolutions under squared hinge loss",
        tang,
        augmented=False,
    ),
}


def texts(folder: str, augment: str = AUGMENT) -> dict[str, str]:
    """The files of a net by name."""
    made = NETS[folder]
    builder = Builder(made.name, augment if made.augmented else "")
    made.build(builder)
    deploy = derive_deploy(builder.net, (1, SIDE, SIDE))
    head = f"# {made.name} for 48x48 grey faces: {made.about}. See README.md beside this file.\n"
    source = "# Written by scripts/make_nets.py: change it there.\n"
    use = f"# {made.name} for use: an image less the mean, times {SCALE:g}, in; seven probabilities out.\n"
    return {
        "train_val.prototxt": head + source + to_text(builder.net),
        "deploy.prototxt": use + source + to_text(deploy),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"which of {', '.join(NETS)} (all)")
    parser.add_argument("--out", type=Path, default=ROOT / "prototxt", metavar="DIR")
    parser.add_argument("--augment", default=AUGMENT, metavar="PARAM_STR", help="settings of the Augment layer")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.nets) - set(NETS)):
        parser.error(f"no net {unknown[0]!r}; there are {', '.join(NETS)}")
    for folder in arguments.nets or NETS:
        (arguments.out / folder).mkdir(parents=True, exist_ok=True)
        for name, text in texts(folder, arguments.augment).items():
            (arguments.out / folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
