"""Writes a net for 48x48 grey faces layer by layer, with the data layers that all nets of make_nets.py share."""

from collections.abc import Sequence
from typing import Any

from fer.schema import caffe_pb2

SIDE, CROP, CLASSES = 48, 44, 7
TRAIN_BATCH, VAL_BATCH = 128, 97  # 37 of the latter are the 3,589 images of PublicTest
SCALE = 1 / 64  # pixels less their mean come to a deviation near 1

# param blocks: what is learnt of the base rate and of the weight decay
WEIGHTS, BIAS = {"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}
AFFINE, FIXED = {"lr_mult": 1, "decay_mult": 0}, {"lr_mult": 0, "decay_mult": 0}
MSRA, SMALL = {"type": "msra"}, {"type": "gaussian", "std": 0.01}
STATISTICS = {"moving_average_fraction": 0.99}  # over about the last hundred batches; Caffe's default is a thousand


class Builder:
    """Adds layers one after the other; `top` is where the next one begins."""

    def __init__(self, name: str, augment: str) -> None:
        self.net = caffe_pb2.NetParameter(name=name)
        self.top = ""
        self._data("TRAIN", "train_lmdb", TRAIN_BATCH)
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
        self, name: str, kind: str, bottoms: Sequence[str] | None = None, top: str = "", **fields: Any
    ) -> caffe_pb2.LayerParameter:
        """Add a layer on `bottoms` (the last top where None)."""
        bottoms = [self.top] if bottoms is None else bottoms
        self.top = top or name
        return self.net.layer.add(name=name, type=kind, bottom=bottoms, top=[self.top], **fields)

    def in_place(self, name: str, kind: str, **fields: Any) -> None:
        self.layer(name, kind, None, self.top, **fields)

    def conv(self, name: str, outputs: int, kernel: int, pad: int = 0) -> str:
        """A convolution with a bias, and ReLU; its top."""
        param = self._window(outputs, kernel, pad) | {"bias_filler": {"type": "constant"}}
        self.layer(name, "Convolution", param=[WEIGHTS, BIAS], convolution_param=param)
        return self.relu(name)

    def conv_bn(
        self, name: str, outputs: int, kernel: int, pad: int = 0, stride: int = 1, *, group: int = 1, relu: bool = True
    ) -> str:
        """A convolution, BatchNorm with Scale (whose term is the bias), and ReLU; its top."""
        param = self._window(outputs, kernel, pad, stride) | {"bias_term": False}
        if group > 1:
            param["group"] = group
        self.layer(name, "Convolution", param=[WEIGHTS], convolution_param=param)
        self._normalise(name)
        return self.relu(name) if relu else self.top

    def full_bn(self, name: str, outputs: int) -> str:
        """A fully connected layer, BatchNorm with Scale (whose term is the bias), and ReLU; its top."""
        param = {"num_output": outputs, "bias_term": False, "weight_filler": MSRA}
        self.layer(name, "InnerProduct", param=[WEIGHTS], inner_product_param=param)
        self._normalise(name)
        return self.relu(name)

    def _normalise(self, name: str) -> None:
        self.in_place(f"{name}/bn", "BatchNorm", param=[FIXED] * 3, batch_norm_param=STATISTICS)
        self.in_place(f"{name}/scale", "Scale", param=[AFFINE] * 2, scale_param={"bias_term": True})

    def _window(self, outputs: int, kernel: int, pad: int, stride: int = 1) -> dict[str, Any]:
        param = {"num_output": outputs, "kernel_size": [kernel], "weight_filler": MSRA}
        return param | ({"pad": [pad]} if pad else {}) | ({"stride": [stride]} if stride > 1 else {})

    def relu(self, name: str) -> str:
        self.in_place(f"{name}/relu", "ReLU")
        return self.top

    def pool(self, name: str, kind: str, kernel: int, stride: int = 2, pad: int = 0, bottom: str = "") -> None:
        param = {"pool": kind, "kernel_size": kernel, "stride": stride} | ({"pad": pad} if pad else {})
        self.layer(name, "Pooling", [bottom] if bottom else None, pooling_param=param)

    def pool_all(self, name: str) -> None:
        self.layer(name, "Pooling", pooling_param={"pool": "AVE", "global_pooling": True})

    def full(self, name: str, outputs: int, filler: dict[str, Any] = MSRA) -> None:
        param = {"num_output": outputs, "weight_filler": filler, "bias_filler": {"type": "constant"}}
        self.layer(name, "InnerProduct", param=[WEIGHTS, BIAS], inner_product_param=param)

    def dropout(self, name: str, ratio: float) -> None:
        self.in_place(name, "Dropout", dropout_param={"dropout_ratio": ratio})

    def classify(self, name: str, loss: str = "SoftmaxWithLoss", **param: Any) -> None:
        """The last layer, with Accuracy and the loss on it."""
        self.full(name, CLASSES, SMALL)
        self.layer("accuracy", "Accuracy", [name, "label"], include=[{"phase": "TEST"}])
        self.layer("loss", loss, [name, "label"], **param)
