"""Write train_val.prototxt and deploy.prototxt of the larger nets in prototxt/ from the short descriptions below.

    python scripts/make_nets.py [NET ...] [--out prototxt] [--augment PARAM_STR]

Solvers and READMEs are written by hand. --augment puts the Augment layer, with these settings, behind the training
data of the nets that are trained with it.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.prototxt import derive_deploy, to_text
from fer.schema import caffe_pb2

ROOT = Path(__file__).resolve().parent.parent
AUGMENT = ""  # the Augment layer's param_str; no such layer where it is empty
SIDE, CROP, CLASSES = 48, 44, 7
VAL_BATCH = 97  # 37 of them are the 3,589 images of PublicTest
SCALE = 1 / 64  # pixels less their mean come to a deviation near 1

Layer = caffe_pb2.LayerParameter
LEARNED, BIAS, STATISTIC = (
    {"lr_mult": 1, "decay_mult": 1},
    {"lr_mult": 2, "decay_mult": 0},
    {"lr_mult": 0, "decay_mult": 0},
)
AFFINE = {"lr_mult": 1, "decay_mult": 0}


class Builder:
    """Adds layers one after the other; `top` is where the next one begins."""

    def __init__(self, name: str, batch: int, augment: str):
        self.net = caffe_pb2.NetParameter(name=name)
        self.top = ""
        self._data("TRAIN", "train_lmdb", batch)
        if augment:
            param = {"module": "augment", "layer": "Augment", "param_str": augment}
            self.layer("augment", "Python", ["data"], "data", include=[{"phase": "TRAIN"}], python_param=param)
        self._data("TEST", "val_lmdb", VAL_BATCH)

    def _data(self, phase: str, source: str, batch: int) -> None:
        transform = {"crop_size": CROP, "mean_file": "data/fer2013/mean.binaryproto", "scale": SCALE}
        if phase == "TRAIN":
            transform["mirror"] = True
        data = {"source": f"data/fer2013/{source}", "batch_size": batch, "backend": "LMDB"}
        layer = self.layer("data", "Data", [], include=[{"phase": phase}], transform_param=transform, data_param=data)
        layer.top.append("label")

    def layer(
        self, name: str, kind: str, bottoms: Sequence[str] | None = None, top: str = "", **fields: object
    ) -> Layer:
        """Add a layer on `bottoms` (the last top where None)."""
        bottoms = [self.top] if bottoms is None else bottoms
        self.top = top or name
        return self.net.layer.add(name=name, type=kind, bottom=bottoms, top=[self.top], **fields)

    def in_place(self, name: str, kind: str, **fields: object) -> None:
        self.layer(name, kind, None, self.top, **fields)

    def conv(self, name: str, outputs: int, kernel: int, stride: int = 1, pad: int = 0, *, normalise: bool) -> None:
        """A convolution, and what is in place behind it: BatchNorm, Scale (which has the bias)."""
        param = {"num_output": outputs, "kernel_size": [kernel], "weight_filler": {"type": "msra"}}
        param |= {"stride": [stride]} if stride > 1 else {}
        param |= {"pad": [pad]} if pad else {}
        if not normalise:
            param["bias_filler"] = {"type": "constant"}
            self.layer(name, "Convolution", param=[LEARNED, BIAS], convolution_param=param)
            return
        self.layer(name, "Convolution", param=[LEARNED], convolution_param=param | {"bias_term": False})
        self.normalise(name)

    def normalise(self, name: str) -> None:
        """BatchNorm and its affine part; statistics are the mean of about the last hundred batches."""
        average = {"moving_average_fraction": 0.99}
        self.in_place(f"{name}/bn", "BatchNorm", param=[STATISTIC] * 3, batch_norm_param=average)
        self.in_place(f"{name}/scale", "Scale", param=[AFFINE] * 2, scale_param={"bias_term": True})

    def relu(self, name: str) -> None:
        self.in_place(f"{name}/relu", "ReLU")

    def pool(self, name: str, kernel: int, stride: int = 2) -> None:
        self.layer(name, "Pooling", pooling_param={"pool": "MAX", "kernel_size": kernel, "stride": stride})

    def full(self, name: str, outputs: int, filler: dict[str, object]) -> None:
        param = {"num_output": outputs, "weight_filler": filler, "bias_filler": {"type": "constant"}}
        self.layer(name, "InnerProduct", param=[LEARNED, BIAS], inner_product_param=param)

    def dropout(self, name: str, ratio: float) -> None:
        self.in_place(name, "Dropout", dropout_param={"dropout_ratio": ratio})

    def classify(self, name: str) -> None:
        """The last layer, with Accuracy and SoftmaxWithLoss on it."""
        self.full(name, CLASSES, {"type": "gaussian", "std": 0.01})
        self.layer("accuracy", "Accuracy", [name, "label"], include=[{"phase": "TEST"}])
        self.layer("loss", "SoftmaxWithLoss", [name, "label"])


def vgg(net: Builder, widths: Sequence[int], hidden: int) -> None:
    """Blocks of two 3x3 convolutions and a max pooling that halves: 44, 22, 11, 5, 2 pixels a side.

    An odd side is halved by windows of 3, which lie evenly; Caffe's own rounding would let the last window of 2 hang
    over the edge.
    """
    side = CROP
    for block, width in enumerate(widths, 1):
        for number in (1, 2):
            net.conv(f"conv{block}_{number}", width, 3, pad=1, normalise=True)
            net.relu(f"conv{block}_{number}")
        net.pool(f"pool{block}", 2 + side % 2)
        side //= 2
    last = len(widths) + 1
    if hidden:
        net.full(f"fc{last}", hidden, {"type": "msra"})
        net.relu(f"fc{last}")
    net.dropout(f"drop{last}", 0.5)
    net.classify(f"fc{last + bool(hidden)}")


@dataclass(frozen=True)
class Description:
    """A net's name, what its file says first, how to build it, its training batch, whether Augment is for it."""

    name: str
    about: str
    build: Callable[[Builder], None]
    batch: int = 128
    augmented: bool = True


NETS = {
    "vgg8": Description(
        "VGG8",
        "eight 3x3 convolutions with batch normalisation",
        lambda net: vgg(net, (32, 64, 128, 256), hidden=256),
    ),
}


def texts(folder: str, augment: str = AUGMENT) -> dict[str, str]:
    """The files of a net by name."""
    made = NETS[folder]
    builder = Builder(made.name, made.batch, augment if made.augmented else "")
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
