"""Every layer type in several settings: the table that test_layers.py holds against real Caffe.

A row: layer type, its parameters as prototxt, its bottoms (shape and how their numbers are drawn), and what is special.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bottom:
    """How one bottom is drawn; `gradient`: whether the layer passes it one."""

    shape: tuple[int, ...]
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    gradient: bool = True


@dataclass(frozen=True)
class Case:
    type: str
    param: str
    bottoms: tuple[Bottom, ...]
    tops: int = 1
    phase: str = "TRAIN"
    backward: bool = True
    gradcheck: bool = True
    """Off where Caffe's gradient is not quite the mathematical one, and ours is Caffe's."""

    def __str__(self) -> str:
        shapes = ",".join("x".join(map(str, bottom.shape)) for bottom in self.bottoms)
        tops = f" -> {self.tops}" if self.tops != 1 else ""
        return f"{self.type} {shapes}{tops} {'' if self.phase == 'TRAIN' else 'TEST '}{self.param}".strip()


def normal(*shape: int) -> Bottom:
    """Any numbers, spread so that maxima and roots are clear."""
    return Bottom(shape, lambda rng, shape: rng.normal(size=shape) * 1.5)


def positive(*shape: int) -> Bottom:
    return Bottom(shape, lambda rng, shape: rng.uniform(0.2, 3, shape))


def ties(*shape: int) -> Bottom:
    """Small whole numbers: many are equal."""
    return Bottom(shape, lambda rng, shape: rng.integers(-2, 3, shape).astype(float))


def probabilities(*shape: int) -> Bottom:
    """Sums to 1 over axis 1."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = rng.uniform(0.05, 1, shape)
        shares: np.ndarray = values / values.sum(1, keepdims=True)
        return shares

    return Bottom(shape, draw)


def labels(classes: int, *shape: int, ignored: int | None = None) -> Bottom:
    """Whole numbers below `classes`; with `ignored`, about a third are that one."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        drawn = rng.integers(0, classes, shape)
        return (drawn if ignored is None else np.where(rng.random(shape) < 0.35, ignored, drawn)).astype(float)

    return Bottom(shape, draw, gradient=False)


def fixed(bottom: Bottom) -> Bottom:
    """The same numbers, but no gradient goes there."""
    return Bottom(bottom.shape, bottom.draw, gradient=False)


def _windows(count: int) -> list[Case]:
    """Pooling over windows of all kinds: Caffe's rounding and clipping have many corners."""
    rng = np.random.default_rng(3)
    cases: list[Case] = []
    while len(cases) < count:
        size, kernel, stride = (rng.integers(low, high, 2) for low, high in ((4, 10), (1, 5), (1, 4)))
        pad = [int(rng.integers(0, k)) for k in kernel]
        place = (
            f"kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} stride_w: {stride[1]} "
            f"pad_h: {pad[0]} pad_w: {pad[1]}"
        )
        # Without padding Caffe reads beyond the image in a window that begins there: no answer to compare with.
        starts = [-(-(n + 2 * p - k) // s) * s - p for n, k, s, p in zip(size, kernel, stride, pad, strict=True)]
        if any(pad) or all(start < n for start, n in zip(starts, size, strict=True)):
            kind, floor = ("MAX", "AVE")[len(cases) % 2], " round_mode: FLOOR" if len(cases) % 5 == 4 else ""
            tied = len(cases) % 3 == 0
            image = (ties if tied else normal)(2, 3, *map(int, size))
            param = f"pooling_param {{ pool: {kind} {place}{floor} }}"
            cases.append(Case("Pooling", param, (image,), gradcheck=not tied or kind == "AVE"))
    return cases


def _losses(type_: str, *bottoms: Bottom) -> list[Case]:
    """Every normalization, also the old spelling (InfogainLoss refuses it), plain and with weight and ignored label."""
    modes = ["", *(f"normalization: {mode}" for mode in ("FULL", "VALID", "BATCH_SIZE", "NONE"))]
    if type_ != "InfogainLoss":
        modes += ["normalize: true", "normalize: false", "normalize: true normalization: NONE"]
    ignoring = "ignore_label: 2 "
    return [
        Case(type_, f"loss_weight: {weight} loss_param {{ {ignore}{mode} }}", bottoms)
        for weight, ignore in ((1, ""), (2.5, ignoring))
        for mode in modes
    ]


X, H = normal(2, 4, 5, 6), normal(1, 1, 4, 4)
PAIR, PAIR4 = (normal(6, 3), normal(6, 3)), (normal(6, 3, 1, 1), normal(6, 3, 1, 1))
CONVOLUTIONS = [
    ("num_output: 6 kernel_size: 3", X),
    ("num_output: 6 kernel_size: 3 pad: 1 stride: 2", X),
    ("num_output: 6 kernel_size: 3 group: 2 bias_term: false", X),
    ("num_output: 4 kernel_size: 1 group: 4", X),
    ("num_output: 3 kernel_size: 2 dilation: 2 pad: 2", X),
    ("num_output: 3 kernel_h: 2 kernel_w: 3 pad_h: 1 pad_w: 0 stride_h: 1 stride_w: 2", X),
    ("num_output: 3 kernel_size: 2 kernel_size: 3 stride: 2 stride: 1 dilation: 1 dilation: 2 pad: 0 pad: 1", X),
    ("num_output: 4 kernel_size: 3 pad: 1", normal(2, 3, 9)),
    ("num_output: 4 kernel_size: 2 stride: 2", normal(2, 3, 4, 5, 4)),
    ("num_output: 4 kernel_size: 3 axis: 2", normal(2, 2, 3, 5, 6)),
    ("num_output: 4 kernel_size: 2 axis: -2", normal(3, 4, 7)),
]
CASES = [
    *(Case("Convolution", f"convolution_param {{ {param} }}", (x,)) for param, x in CONVOLUTIONS),
    Case("Convolution", "convolution_param { num_output: 3 kernel_size: 3 }", (X, X), tops=2),
    *(Case("Deconvolution", f"convolution_param {{ {param} }}", (x,)) for param, x in CONVOLUTIONS[:9]),
    *(
        Case("Im2col", f"convolution_param {{ {param} }}", (x,))
        for param, x in [
            ("kernel_size: 3", X),
            ("kernel_size: 2 pad: 1 stride: 2 dilation: 2", X),
            ("kernel_h: 2 kernel_w: 3 pad_h: 1 pad_w: 0", X),
            ("kernel_size: 3 pad: 1", normal(2, 3, 7)),
            ("kernel_size: 2", normal(1, 2, 3, 4, 3)),
        ]
    ),
    *_windows(30),
    Case("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", (normal(2, 3, 8, 7),)),
    Case("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", (normal(2, 3, 8, 7),), tops=2),
    Case("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 2 }", (ties(2, 3, 8, 7),), tops=2, gradcheck=False),
    *(  # windows larger than the image, cut at its edge
        Case("Pooling", f"pooling_param {{ pool: {kind} {window} }}", (normal(2, 3, 4, 5),), tops=tops)
        for kind, tops in (("MAX", 1), ("AVE", 1), ("MAX", 2))
        for window in (
            "kernel_size: 6 stride: 3",
            "kernel_size: 8 stride: 4 pad: 1",
            "kernel_h: 5 kernel_w: 2 stride: 2",
        )
    ),
    Case("Pooling", "pooling_param { pool: MAX global_pooling: true }", (ties(2, 3, 4, 5),), gradcheck=False),
    Case("Pooling", "pooling_param { pool: AVE global_pooling: true }", (normal(2, 3, 4, 5),)),
    *(
        Case("SPP", f"spp_param {{ {param} }}", (x,))
        for param in ("pyramid_height: 1", "pyramid_height: 3", "pyramid_height: 2 pool: AVE")
        for x in (normal(2, 3, 9, 7), normal(2, 2, 8, 8))
    ),
    *(
        Case("LRN", f"lrn_param {{ {param} }}", (normal(2, 7, 4, 3),))
        for param in [
            "",
            "local_size: 5 alpha: 0.0001 beta: 0.75",
            "local_size: 3 alpha: 0.5 beta: 0.5 k: 2",
            "local_size: 9 alpha: 0.8 beta: 1.2",
            "norm_region: WITHIN_CHANNEL local_size: 3 alpha: 0.5",
            "norm_region: WITHIN_CHANNEL local_size: 5 beta: 0.5 k: 3",
        ]
    ),
    *(
        Case("BatchNorm", param, (x,), phase=phase)
        for phase in ("TRAIN", "TEST")
        for param, x in [
            ("", normal(4, 3, 5, 4)),
            ("batch_norm_param { moving_average_fraction: 0.9 }", normal(4, 3, 2, 2)),
            ("batch_norm_param { eps: 0.1 use_global_stats: true }", normal(4, 3, 2, 2)),
            ("", normal(6, 5)),
            ("batch_norm_param { use_global_stats: true }", normal(4, 3, 2)),
            ("batch_norm_param { use_global_stats: false }", normal(3, 2, 2, 2, 2)),
        ]
    ),
    *(
        Case(kind, f"{kind.lower()}_param {{ {param} {more} }}", bottoms)
        for kind, mores in (("Scale", ("", "bias_term: true")), ("Bias", ("",)))
        for more in mores
        for param, bottoms in [
            ("", (X,)),
            ("axis: 0", (X,)),
            ("axis: 1 num_axes: 2", (X,)),
            ("axis: -2 num_axes: -1", (X,)),
            ("num_axes: 0", (X,)),
            ("", (X, normal(4))),
            ("axis: 0", (X, normal(2, 4))),
            ("axis: -1", (X, normal(6))),
            ("axis: 0", (X, normal(2, 4, 5, 6))),
        ]
    ),
    Case("MVN", "", (X,)),
    Case("MVN", "mvn_param { across_channels: true }", (X,)),
    Case("MVN", "mvn_param { normalize_variance: false }", (X,)),
    Case("MVN", "mvn_param { normalize_variance: false across_channels: true }", (X,)),
    Case("MVN", "mvn_param { eps: 0.3 }", (X,), gradcheck=False),
    *(
        Case("InnerProduct", f"inner_product_param {{ num_output: 7 {param} }}", (x,))
        for param in ("", "bias_term: false", "transpose: true", "axis: 2", "axis: -1 transpose: true bias_term: false")
        for x in (normal(3, 4, 5), X)
    ),
    *(
        Case("Embed", f"embed_param {{ num_output: 4 input_dim: 6 {param} }}", (x,))
        for param in ("", "bias_term: false")
        for x in (labels(6, 5), labels(6, 2, 3))
    ),
    Case("Parameter", "parameter_param { shape { dim: 3 dim: 4 } }", ()),
    Case("Parameter", "parameter_param { shape { dim: 2 dim: 3 dim: 1 dim: 5 } }", ()),
    *(
        Case("Softmax", f"softmax_param {{ {param} }}", (x,))
        for param in ("", "axis: -1", "axis: 0")
        for x in (normal(4, 6), X)
    ),
    *(
        Case("Eltwise", f"eltwise_param {{ {param} }}", bottoms)
        for param in ("", "operation: PROD", "operation: PROD stable_prod_grad: false", "operation: MAX")
        for bottoms in ((X, X), (X, X, X))
    ),
    Case("Eltwise", "eltwise_param { coeff: 1 coeff: -1 }", (X, X)),
    Case("Eltwise", "eltwise_param { coeff: 0.5 coeff: 2 coeff: -3 }", (X, X, X)),
    Case("Eltwise", "eltwise_param { operation: MAX }", (ties(3, 5), ties(3, 5), ties(3, 5)), gradcheck=False),
    *(
        Case("Reduction", f"reduction_param {{ operation: {operation} {param} }}", (X,))
        for operation in ("SUM", "ASUM", "SUMSQ", "MEAN")
        for param in ("", "axis: 1", "axis: -1 coeff: -2.5")
    ),
    *(
        Case("ArgMax", f"argmax_param {{ {param} }}", (x,), backward=False)
        for param in (
            "",
            "top_k: 3",
            "out_max_val: true top_k: 2",
            "axis: 1",
            "axis: -1 top_k: 3",
            "axis: 1 out_max_val: true top_k: 2",
        )
        for x in (ties(3, 5, 4), normal(3, 4, 2, 3))
    ),
    *(Case(kind, "", (x,)) for kind in ("Sigmoid", "TanH", "AbsVal", "BNLL", "ReLU") for x in (normal(4, 6), X)),
    Case("ReLU", "", (ties(5, 4),), gradcheck=False),
    Case("ReLU", "relu_param { negative_slope: 0.1 }", (X,)),
    Case("ReLU", "relu_param { negative_slope: -0.5 }", (X,)),
    Case("PReLU", "", (X,)),
    Case("PReLU", "prelu_param { channel_shared: true }", (X,)),
    Case("PReLU", "", (normal(3, 5),)),
    Case("PReLU", "", (ties(4, 3),), gradcheck=False),
    Case("ELU", "", (X,)),
    Case("ELU", "elu_param { alpha: 0.3 }", (X,)),
    Case("Clip", "clip_param { min: -0.5 max: 1.25 }", (X,)),
    Case("Clip", "clip_param { min: -1 max: 1 }", (ties(2, 4, 5, 6),), gradcheck=False),  # at its very ends
    Case("Clip", "clip_param { min: 1 max: -1 }", (ties(2, 4, 5, 6),), gradcheck=False),
    Case("Swish", "", (X,)),
    Case("Swish", "swish_param { beta: 1.7 }", (X,)),
    *(
        Case("Power", f"power_param {{ {param} }}", (positive(3, 4, 2),))
        for param in (
            "",
            "power: 2",
            "power: 0.37 scale: 0.83 shift: 2",
            "power: -1.5",
            "scale: -3 shift: 1",
            "power: 2 scale: 0.5 shift: -4",
            "power: 0",
            "scale: 0 shift: 2 power: 3",
            "scale: 0 power: -1",
            "scale: 0 shift: -1 power: 0.5",
        )
    ),
    *(
        Case(kind, f"{kind.lower()}_param {{ {param} }}", (positive(3, 4, 2),))
        for kind in ("Exp", "Log")
        for param in ("", "base: 2", "base: 3 scale: 0.5 shift: 1", "scale: 2 shift: 0.5")
    ),
    Case("Threshold", "", (X,), backward=False),
    Case("Threshold", "threshold_param { threshold: 1 }", (ties(4, 5),), backward=False),
    Case("Dropout", "", (X,), phase="TEST"),
    Case("Dropout", "dropout_param { dropout_ratio: 0.3 }", (normal(4, 5),), phase="TEST"),
    Case("Concat", "", (normal(2, 3, 4), normal(2, 2, 4), normal(2, 1, 4))),
    Case("Concat", "concat_param { axis: 0 }", (normal(2, 3), normal(4, 3))),
    Case("Concat", "concat_param { axis: -1 }", (normal(2, 3), normal(2, 1))),
    Case("Concat", "concat_param { concat_dim: 2 }", (normal(2, 3, 2, 2), normal(2, 3, 4, 2))),
    Case("Concat", "", (X,)),
    Case("Slice", "", (X,), tops=2),
    Case("Slice", "slice_param { slice_point: 1 slice_point: 2 }", (X,), tops=3),
    Case("Slice", "slice_param { axis: 2 slice_point: 3 }", (X,), tops=2),
    Case("Slice", "slice_param { slice_dim: 3 }", (X,), tops=3),
    Case("Split", "", (X,), tops=3),
    Case("Silence", "", (X, normal(3)), tops=0),
    *(Case("Flatten", param, (X,)) for param in ("", "flatten_param { axis: 0 end_axis: 1 }")),
    Case("Flatten", "flatten_param { axis: -3 end_axis: -2 }", (X,)),
    *(
        Case("Reshape", f"reshape_param {{ {param} }}", (X,))
        for param in (
            "shape { dim: 0 dim: -1 }",
            "shape { dim: 6 dim: 5 } axis: 2 num_axes: 2",
            "shape { dim: 2 dim: -1 dim: 2 } axis: 1 num_axes: 1",
            "shape { dim: 1 dim: 1 } axis: -1 num_axes: 0",
            "shape { dim: 0 dim: 0 dim: 30 }",
        )
    ),
    Case("Crop", "", (normal(2, 3, 6, 5), fixed(normal(1, 1, 4, 3)))),
    Case("Crop", "crop_param { offset: 1 }", (normal(2, 3, 6, 5), fixed(normal(1, 1, 4, 3)))),
    Case("Crop", "crop_param { axis: 1 offset: 1 offset: 0 offset: 2 }", (X, fixed(normal(2, 2, 4, 3)))),
    Case("Crop", "crop_param { axis: -1 offset: 2 }", (X, fixed(normal(2, 1, 1, 3)))),
    Case("Tile", "tile_param { tiles: 3 }", (X,)),
    Case("Tile", "tile_param { axis: 0 tiles: 2 }", (normal(3, 4),)),
    Case("Tile", "tile_param { axis: -1 tiles: 2 }", (X,)),
    Case("BatchReindex", "", (X, labels(2, 5))),
    Case("BatchReindex", "", (normal(4, 3), labels(4, 3))),
    Case("Filter", "", (normal(6, 4), labels(2, 6))),
    Case("Filter", "", (normal(6, 4), normal(6, 2, 3), labels(2, 6, 1, 1, 1)), tops=2),
    *_losses("SoftmaxWithLoss", normal(6, 5), labels(5, 6, ignored=2)),
    *_losses("SoftmaxWithLoss", normal(3, 5, 2, 3), labels(5, 3, 1, 2, 3, ignored=2)),
    Case("SoftmaxWithLoss", "softmax_param { axis: 2 }", (normal(3, 2, 5), labels(5, 3, 2))),
    Case("SoftmaxWithLoss", "softmax_param { axis: -1 }", (normal(3, 2, 5), labels(5, 3, 2))),
    Case("SoftmaxWithLoss", "loss_param { ignore_label: 0 }", (normal(6, 3), labels(1, 6))),
    Case(
        "SoftmaxWithLoss",
        "",
        (Bottom((6, 4), lambda rng, shape: rng.normal(size=shape) * 200), labels(4, 6)),
        gradcheck=False,
    ),
    *_losses("InfogainLoss", normal(6, 5), labels(5, 6, ignored=2), fixed(normal(1, 1, 5, 5))),
    Case(
        "InfogainLoss",
        "loss_weight: 3 loss_weight: 0",
        (normal(6, 5), labels(5, 6), fixed(positive(1, 1, 5, 5))),
        tops=2,
    ),
    Case(
        "InfogainLoss",
        "infogain_loss_param { axis: -1 }",
        (normal(3, 2, 4), labels(4, 3, 2), fixed(H)),
    ),
    Case("InfogainLoss", "", (normal(3, 4, 2, 2), labels(4, 3, 1, 2, 2), fixed(H))),
    *_losses("SigmoidCrossEntropyLoss", normal(4, 3, 2), labels(2, 4, 3, 2, ignored=2)),
    Case("SigmoidCrossEntropyLoss", "", (normal(4, 3), fixed(probabilities(4, 3)))),
    Case("MultinomialLogisticLoss", "", (probabilities(6, 5), labels(5, 6))),
    Case("MultinomialLogisticLoss", "loss_weight: 3", (probabilities(6, 5, 1, 1), labels(5, 6, 1, 1, 1))),
    *(Case("EuclideanLoss", f"loss_weight: {weight}", (normal(4, 3, 2), normal(4, 3, 2))) for weight in (1, 0.2)),
    *(
        Case("HingeLoss", f"loss_weight: {weight} hinge_loss_param {{ norm: {norm} }}", (normal(6, 5), labels(5, 6)))
        for weight in (1, 2)
        for norm in ("L1", "L2")
    ),
    *(
        Case("ContrastiveLoss", f"contrastive_loss_param {{ {param} }}", bottoms, gradcheck="legacy" in param)
        for param in ("", "margin: 4", "legacy_version: true margin: 6")
        for bottoms in (
            (normal(6, 3), normal(6, 3), labels(2, 6)),
            (normal(6, 3, 1, 1), normal(6, 3, 1, 1), labels(2, 6)),
        )
    ),
    *(
        Case("Accuracy", f"accuracy_param {{ {param} }}", bottoms, tops=tops, phase="TEST", backward=False)
        for param in ("", "top_k: 3", "ignore_label: 2", "top_k: 2 ignore_label: 2")
        for tops in (1, 2)
        for bottoms in (
            (normal(12, 5), labels(5, 12, ignored=2)),
            (ties(13, 5), labels(5, 13)),
            (normal(3, 5, 2, 2), labels(5, 3, 1, 2, 2)),
        )
    ),
    Case("Accuracy", "accuracy_param { axis: -1 }", (normal(4, 3, 6), labels(6, 4, 3)), phase="TEST", backward=False),
]
# Layer type, parameters, bottoms, and what the error says.
REFUSED = [
    ("Convolution", "convolution_param { num_output: 4 }", [(1, 3, 5, 5)], "kernel"),
    ("Convolution", "convolution_param { num_output: 4 kernel_size: 9 }", [(1, 3, 5, 5)], "does not fit"),
    ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 group: 2 }", [(1, 3, 5, 5)], "groups"),
    ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 axis: 7 }", [(1, 3, 5, 5)], "axis 7"),
    ("Convolution", "convolution_param { kernel_size: 3 }", [(1, 3, 5, 5)], "num_output"),
    (
        "Convolution",
        'convolution_param { num_output: 1 kernel_size: 3 weight_filler { type: "x" } }',
        [(1, 3, 5, 5)],
        "filler",
    ),
    ("Deconvolution", "convolution_param { num_output: 4 kernel_size: 1 pad: 3 }", [(1, 3, 5, 5)], "pad"),
    ("Pooling", "", [(1, 3, 5, 5)], "kernel_size"),
    ("Pooling", "pooling_param { kernel_size: 2 pad: 2 }", [(1, 3, 5, 5)], "less than the kernel"),
    ("Pooling", "pooling_param { kernel_size: 7 }", [(1, 3, 5, 5)], "does not fit"),
    ("Pooling", "pooling_param { kernel_size: 6 stride: 2 round_mode: FLOOR }", [(1, 3, 5, 5)], "does not fit"),
    ("Pooling", "pooling_param { kernel_size: 2 kernel_h: 2 kernel_w: 2 }", [(1, 3, 5, 5)], "or kernel_h and kernel_w"),
    ("Pooling", "pooling_param { kernel_size: 2 pad_h: 1 }", [(1, 3, 5, 5)], "takes pad, or pad_h and pad_w"),
    ("Pooling", "pooling_param { kernel_size: 2 }", [(3, 5)], "needs images"),
    ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 pad: 1 }", [(1, 3, 5, 5)], "no pad"),
    ("LRN", "lrn_param { local_size: 4 }", [(1, 3, 5, 5)], "odd"),
    ("InnerProduct", "inner_product_param { num_output: 3 axis: 4 }", [(2, 3)], "axis 4"),
    ("Eltwise", "", [(2, 3), (3, 2)], "differ in shape"),
    ("Concat", "", [(2, 3), (3, 3)], "differ beside axis 1"),
    ("Slice", "slice_param { slice_point: 9 }", [(2, 3)], "slice_point"),
    ("Reshape", "reshape_param { shape { dim: 5 } }", [(2, 3)], "does not reshape"),
    ("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }", [(2, 3)], "one -1"),
    ("Crop", "crop_param { axis: 0 offset: 2 }", [(2, 3), (1, 3)], "outside"),
    ("Tile", "", [(2, 3)], "tiles"),
    ("ArgMax", "argmax_param { top_k: 9 }", [(2, 3)], "top_k"),
    ("SoftmaxWithLoss", "", [(4, 3), (5,)], "5 labels"),
    ("EuclideanLoss", "", [(4, 3), (4, 2)], "differ"),
    ("InfogainLoss", "loss_param { normalize: true }", [(4, 3), (4,), (3, 3)], "normalization"),
    ("Accuracy", "accuracy_param { top_k: 4 }", [(4, 3), (4,)], "top_k"),
    ("Scale", "scale_param { num_axes: 9 }", [(4, 3)], "num_axes"),
    ("BatchNorm", "param { lr_mult: 1 }", [(4, 3)], "lr_mult"),
    ("Dropout", "dropout_param { dropout_ratio: 1 }", [(4, 3)], "dropout_ratio"),
    ("Log", "log_param { base: -3 }", [(4, 3)], "base"),
    ("ReLU", "", [], "takes 1 bottoms, not 0"),
]
