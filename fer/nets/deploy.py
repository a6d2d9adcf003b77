"""The net for use (deploy), derived from the net for training."""

from __future__ import annotations

from fer.errors import FerError
from fer.nets.states import State, filter_net
from fer.schema import caffe_pb2

TRAINED, TESTED = State("TRAIN"), State("TEST")
OF_CLASSES = ("Accuracy", "SoftmaxWithLoss", "InfogainLoss", "MultinomialLogisticLoss", "HingeLoss")
"""The layers that compare scores, their first bottom, with labels."""
_KEEP_LABELS = ("Split", "Reshape", "Flatten")
_FOR_TRAINING = ("include", "exclude", "phase", "param", "loss_weight", "propagate_down", "blobs", "loss_param")


def derive_deploy(
    net: caffe_pb2.NetParameter, shape: tuple[int, int, int], state: State = TESTED
) -> caffe_pb2.NetParameter:
    """The net of a TEST state from an image to its probabilities.

    An Input layer takes the place of the data layer, of one image of `shape` (channels, height, width; height and
    width replaced by the data layer's crop_size); a Softmax called "prob" that of the last loss. Layers that do not
    lead to it (Accuracy, other losses, auxiliary heads) and all that only training needs (fillers, rates) are left
    out. Raises FerError where the net has no data layer or no loss, or takes its scores from two data layers.
    """
    tested = filter_net(net, state)
    judge = find_judge(tested)
    front = front_of(tested, judge.bottom[0])
    kept = [_input(front, shape)]
    kept += [for_use(layer) for layer in leading_to(tested, judge.bottom[0]) if layer is not front]
    if kept[-1].type == "Softmax":
        kept[-1].name, kept[-1].top[0] = "prob", "prob"
    else:
        kept.append(caffe_pb2.LayerParameter(name="prob", type="Softmax", bottom=[judge.bottom[0]], top=["prob"]))
    return caffe_pb2.NetParameter(name=net.name, layer=kept)


def front_layer(net: caffe_pb2.NetParameter, state: State = TESTED) -> caffe_pb2.LayerParameter:
    """The layer that the images come from which the net scores in a TEST state: a Data layer, as a rule.

    Raises FerError as `derive_deploy` does.
    """
    tested = filter_net(net, state)
    return front_of(tested, find_judge(tested).bottom[0])


def training_front(
    net: caffe_pb2.NetParameter, state: State = TRAINED, tested: State = TESTED
) -> caffe_pb2.LayerParameter:
    """The layer that the images come from which the net learns by in a TRAIN state.

    Losses are not asked, which may be of any layers; the blob that its tests judge is. Raises FerError as
    `derive_deploy` does.
    """
    return front_of(filter_net(net, state), find_judge(filter_net(net, tested)).bottom[0])


def find_judge(tested: caffe_pb2.NetParameter) -> caffe_pb2.LayerParameter:
    """The layer of a tested (filtered) net that compares its scores with the labels.

    The Accuracy layer of the best class alone, of several the one called "accuracy" or else the last; the last loss
    where there is none. Raises FerError for a net with neither.
    """
    losses = [layer for layer in tested.layer if layer.type.endswith("Loss") and layer.bottom]
    accuracies = [
        layer
        for layer in tested.layer
        if layer.type == "Accuracy" and layer.accuracy_param.top_k <= 1 and len(layer.bottom) > 1
    ]
    named = [layer for layer in accuracies if "accuracy" in layer.top]
    judges = named or accuracies or losses
    if not judges:
        raise FerError(f"net {tested.name!r} has no loss and no Accuracy in its TEST phase: which blob are the scores?")
    return judges[-1]


def input_of(deploy: caffe_pb2.NetParameter, name: str) -> tuple[str, tuple[int, int, int]]:
    """The blob that a deploy net, called `name`, takes images in, and their (channels, height, width).

    Raises FerError where it takes none.
    """
    for layer in deploy.layer:
        if layer.type == "Input" and layer.input_param.shape:
            dims = list(layer.input_param.shape[0].dim)
            if len(dims) == 4 and dims[1] in (1, 3):
                return layer.top[0], (dims[1], dims[2], dims[3])
            given = " x ".join(map(str, dims))
            raise FerError(f"{name}: its input is {given}; images are N x 1 or 3 x height x width")
    raise FerError(
        f"{name}: no deploy net: looked for an Input layer or input_dim, which say what it takes\n"
        'add  input: "data" input_shape { dim: 1 dim: CHANNELS dim: HEIGHT dim: WIDTH }  at its beginning'
    )


def label_fault(tested: caffe_pb2.NetParameter, classes: int) -> str | None:
    """Why a tested (filtered) net is not judged by all of the labels beside its images; None where it is."""
    judge = find_judge(tested)
    front = front_of(tested, judge.bottom[0])
    if len(judge.bottom) < 2 or judge.type not in OF_CLASSES:
        return None
    param = judge.accuracy_param if judge.type == "Accuracy" else judge.loss_param
    if param.HasField("ignore_label") and 0 <= param.ignore_label < classes:
        return f"{judge.name!r} leaves images of label {param.ignore_label} out (ignore_label)"
    for layer in reversed(list(leading_to(tested, judge.bottom[1]))):
        if layer is front or layer.type in _KEEP_LABELS:
            continue
        return f"{judge.name!r} judges by labels that layer {layer.name!r} ({layer.type}) makes"
    return None


def front_of(net: caffe_pb2.NetParameter, blob: str) -> caffe_pb2.LayerParameter:
    """The layer of a filtered net that the images come from which a blob is made of.

    Raises FerError where none leads to it, or several.
    """
    fronts = [layer for layer in leading_to(net, blob) if not layer.bottom and layer.type != "Parameter"]
    if not fronts:
        raise FerError(f"net {net.name!r} has no data layer that leads to {blob!r}")
    if len(fronts) > 1:
        names = " and ".join(repr(layer.name) for layer in fronts)
        raise FerError(f"net {net.name!r} takes what it scores from {names}; fer scores images of one data layer")
    return fronts[0]


def leading_to(net: caffe_pb2.NetParameter, blob: str) -> list[caffe_pb2.LayerParameter]:
    """The layers of a filtered net that a blob is made by, in order."""
    needed, found = {blob}, []
    for layer in reversed(net.layer):
        if not needed.isdisjoint(layer.top):
            needed.update(layer.bottom)
            found.append(layer)
    return found[::-1]


def _input(layer: caffe_pb2.LayerParameter, shape: tuple[int, int, int]) -> caffe_pb2.LayerParameter:
    top = layer.top[0]
    front = caffe_pb2.LayerParameter(name=top, type="Input", top=[top])
    channels, height, width = shape
    crop = layer.transform_param.crop_size
    front.input_param.shape.add(dim=[1, channels, crop or height, crop or width])
    return front


def for_use(layer: caffe_pb2.LayerParameter) -> caffe_pb2.LayerParameter:
    """A copy of a layer without what only training needs: phases, rates, fillers."""
    copy = caffe_pb2.LayerParameter()
    copy.CopyFrom(layer)
    for name in _FOR_TRAINING:
        copy.ClearField(name)
    for field, value in copy.ListFields():
        if field.name.endswith("_param"):
            for filler in ("weight_filler", "bias_filler", "filler"):
                if filler in value.DESCRIPTOR.fields_by_name:
                    value.ClearField(filler)
    return copy
