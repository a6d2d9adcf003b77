"""Well-known nets, each written anew from the tables of its paper by a small function; no file of anyone's is copied.

NETS["resnet50"].write()     # a prototxt with one image as its Input
"""

from collections.abc import Callable
from dataclasses import dataclass


class Writer:
    """Writes layers one after the other; `top` is where the next one begins."""

    def __init__(self, name: str, channels: int, side: int) -> None:
        self.lines = [f'name: "{name}"']
        self.top = "data"
        self.layer("data", "Input", (), f"input_param {{ shape {{ dim: 1 dim: {channels} dim: {side} dim: {side} }} }}")

    def layer(self, name: str, kind: str, bottoms: tuple[str, ...] | None = None, body: str = "", top: str = "") -> str:
        """Add a layer on `bottoms` (the last top where None); gives its top."""
        bottoms = (self.top,) if bottoms is None else bottoms
        self.top = top or name
        reads = "".join(f'bottom: "{bottom}" ' for bottom in bottoms)
        self.lines.append(f'layer {{ name: "{name}" type: "{kind}" {reads}top: "{self.top}" {body} }}')
        return self.top

    def conv(self, name: str, outputs: int, kernel: int, stride: int = 1, pad: int = 0, *, group: int = 1,
             bias: bool = True, bottom: str | None = None) -> str:  # fmt: skip
        body = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} group: {group}"
        body += "" if bias else " bias_term: false"
        return self.layer(name, "Convolution", (bottom,) if bottom else None, f"convolution_param {{ {body} }}")

    def pool(self, name: str, kind: str, kernel: int, stride: int, pad: int = 0, bottom: str | None = None) -> str:
        body = f"pooling_param {{ pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad} }}"
        return self.layer(name, "Pooling", (bottom,) if bottom else None, body)

    def full(self, name: str, outputs: int) -> str:
        return self.layer(name, "InnerProduct", None, f"inner_product_param {{ num_output: {outputs} }}")

    def in_place(self, kind: str, body: str = "") -> str:
        return self.layer(f"{self.top}/{kind}", kind, None, body, self.top)

    def relu(self) -> str:
        return self.in_place("ReLU")

    def dropout(self, ratio: float) -> str:
        return self.in_place("Dropout", f"dropout_param {{ dropout_ratio: {ratio} }}")

    def norm(self, name: str) -> str:
        return self.layer(name, "LRN", None, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")

    def text(self) -> str:
        return "\n".join([*self.lines, ""])


def lenet() -> str:
    """LeNet-5 (LeCun et al. 1998, section II.B), every map of C3 on every map of S2."""
    net = Writer("LeNet-5", 1, 32)
    for number, maps in ((1, 6), (3, 16)):
        net.conv(f"C{number}", maps, 5)
        net.in_place("TanH")
        net.pool(f"S{number + 1}", "AVE", 2, 2)
    net.conv("C5", 120, 5)
    net.in_place("TanH")
    net.full("F6", 84)
    net.in_place("TanH")
    net.full("output", 10)
    net.layer("prob", "Softmax")
    return net.text()


def _alexnet(name: str, norm_first: bool) -> str:
    net = Writer(name, 3, 227)
    # maps, kernel, stride, pad, groups; the first two and the last are pooled, the first two normalised
    rows = ((96, 11, 4, 0, 1), (256, 5, 1, 2, 2), (384, 3, 1, 1, 1), (384, 3, 1, 1, 2), (256, 3, 1, 1, 2))
    for number, (maps, kernel, stride, pad, group) in enumerate(rows, 1):
        net.conv(f"conv{number}", maps, kernel, stride, pad, group=group)
        net.relu()
        if number < 3 and norm_first:
            net.norm(f"norm{number}")
        if number in (1, 2, 5):
            net.pool(f"pool{number}", "MAX", 3, 2)
        if number < 3 and not norm_first:
            net.norm(f"norm{number}")
    for number in (6, 7):
        net.full(f"fc{number}", 4096)
        net.relu()
        net.dropout(0.5)
    net.full("fc8", 1000)
    net.layer("prob", "Softmax")
    return net.text()


def alexnet() -> str:
    """Krizhevsky et al. 2012, figure 2: convolutions 2, 4 and 5 in two groups."""
    return _alexnet("AlexNet", norm_first=True)


def caffenet() -> str:
    """Caffe's reference net: AlexNet with pooling before normalisation."""
    return _alexnet("CaffeNet", norm_first=False)


def vgg16() -> str:
    """Simonyan and Zisserman 2014, table 1, column D."""
    net = Writer("VGG-16", 3, 224)
    for block, (count, maps) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for number in range(1, count + 1):
            net.conv(f"conv{block}_{number}", maps, 3, pad=1)
            net.relu()
        net.pool(f"pool{block}", "MAX", 2, 2)
    for number in (6, 7):
        net.full(f"fc{number}", 4096)
        net.relu()
        net.dropout(0.5)
    net.full("fc8", 1000)
    net.layer("prob", "Softmax")
    return net.text()


# Szegedy et al. 2014, table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def _inception(net: Writer, name: str) -> None:
    bottom = net.top
    one, reduce3, three, reduce5, five, project = INCEPTIONS[name]
    tops = []
    for kernel, reduced, maps in ((1, 0, one), (3, reduce3, three), (5, reduce5, five)):
        net.top = bottom
        if reduced:
            net.conv(f"{name}/reduce{kernel}", reduced, 1)
            net.relu()
        net.conv(f"{name}/{kernel}x{kernel}", maps, kernel, pad=kernel // 2)
        tops.append(net.relu())
    net.pool(f"{name}/pool", "MAX", 3, 1, 1, bottom)
    net.conv(f"{name}/project", project, 1)
    tops.append(net.relu())
    net.layer(f"{name}/all", "Concat", tuple(tops))


def _side_classifier(net: Writer, name: str) -> None:
    trunk = net.top
    net.pool(f"side{name}/pool", "AVE", 5, 3)
    net.conv(f"side{name}/conv", 128, 1)
    net.relu()
    net.full(f"side{name}/fc", 1024)
    net.relu()
    net.dropout(0.7)
    net.full(f"side{name}/classifier", 1000)
    net.layer(f"side{name}/prob", "Softmax")
    net.top = trunk


def googlenet() -> str:
    """Szegedy et al. 2014, table 1 and section 5, with both side classifiers (after 4a and 4d)."""
    net = Writer("GoogLeNet", 3, 224)
    net.conv("conv1", 64, 7, 2, 3)
    net.relu()
    net.pool("pool1", "MAX", 3, 2)
    net.norm("norm1")
    net.conv("conv2/reduce", 64, 1)
    net.relu()
    net.conv("conv2", 192, 3, pad=1)
    net.relu()
    net.norm("norm2")
    net.pool("pool2", "MAX", 3, 2)
    for name in INCEPTIONS:
        _inception(net, name)
        if name in ("4a", "4d"):
            _side_classifier(net, name)
        if name in ("3b", "4e"):
            net.pool(f"pool{name[0]}", "MAX", 3, 2)
    net.pool("pool5", "AVE", 7, 1)
    net.dropout(0.4)
    net.full("classifier", 1000)
    net.layer("prob", "Softmax")
    return net.text()


def _normalised(
    net: Writer, name: str, maps: int, kernel: int, stride: int, pad: int, bottom: str | None = None
) -> str:
    """Convolution without bias, BatchNorm, and Scale for its affine part."""
    net.conv(name, maps, kernel, stride, pad, bias=False, bottom=bottom)
    net.in_place("BatchNorm")
    return net.in_place("Scale", "scale_param { bias_term: true }")


def resnet50() -> str:
    """He et al. 2015, table 1, 50-layer; the first 1x1 of stages 3 to 5 has stride 2."""
    net = Writer("ResNet-50", 3, 224)
    _normalised(net, "conv1", 64, 7, 2, 3)
    net.relu()
    net.pool("pool1", "MAX", 3, 2)
    for stage, (blocks, maps) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 2):
        for block in range(blocks):
            name, before = f"{stage}{'abcdef'[block]}", net.top
            stride = 2 if block == 0 and stage > 2 else 1
            shortcut = before if block else _normalised(net, f"{name}/shortcut", 4 * maps, 1, stride, 0)
            _normalised(net, f"{name}/1", maps, 1, stride, 0, before)
            net.relu()
            _normalised(net, f"{name}/2", maps, 3, 1, 1)
            net.relu()
            residual = _normalised(net, f"{name}/3", 4 * maps, 1, 1, 0)
            net.layer(name, "Eltwise", (shortcut, residual))
            net.relu()
    net.layer("pool5", "Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
    net.full("fc1000", 1000)
    net.layer("prob", "Softmax")
    return net.text()


def squeezenet() -> str:
    """Iandola et al. 2016, table 1: SqueezeNet 1.0."""
    net = Writer("SqueezeNet", 3, 227)
    net.conv("conv1", 96, 7, 2)
    net.relu()
    net.pool("pool1", "MAX", 3, 2)
    for number, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        net.conv(f"fire{number}/squeeze", squeeze, 1)
        bottom = net.relu()
        tops = []
        for kernel in (1, 3):
            net.conv(f"fire{number}/expand{kernel}", 4 * squeeze, kernel, pad=kernel // 2, bottom=bottom)
            tops.append(net.relu())
        net.layer(f"fire{number}", "Concat", tuple(tops))
        if number in (4, 8):
            net.pool(f"pool{number}", "MAX", 3, 2)
    net.dropout(0.5)
    net.conv("conv10", 1000, 1)
    net.relu()
    net.layer("pool10", "Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
    net.layer("prob", "Softmax")
    return net.text()


@dataclass(frozen=True)
class PublicNet:
    """How to write it, and how many parameters are published for it (BatchNorm's statistics not among them)."""

    write: Callable[[], str]
    parameters: int


NETS = {
    "lenet": PublicNet(lenet, 61_706),
    "alexnet": PublicNet(alexnet, 60_965_224),
    "caffenet": PublicNet(caffenet, 60_965_224),
    "googlenet": PublicNet(googlenet, 13_378_280),  # 6,998,552 without the side classifiers
    "resnet50": PublicNet(resnet50, 25_557_032),
    "vgg16": PublicNet(vgg16, 138_357_544),
    "squeezenet": PublicNet(squeezenet, 1_248_424),
}
