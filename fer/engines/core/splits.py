"""Caffe's automatic Split layers: they name a net's outputs and stand in every .caffemodel."""

from collections import Counter

from fer.errors import FerError
from fer.schema import caffe_pb2

Top = tuple[int, int]


def insert_splits(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The net with a Split layer behind every top that is used more than once, as Caffe writes it.

    A loss weight in the prototxt counts as one use. Raises FerError for a bottom that nothing makes.
    """
    sources, uses, weights = _uses(net)
    taken: Counter[Top] = Counter()
    split = caffe_pb2.NetParameter()
    split.CopyFrom(net)
    del split.layer[:]
    for i, original in enumerate(net.layer):
        layer = split.layer.add()
        layer.CopyFrom(original)
        for j, blob in enumerate(layer.bottom):
            source = sources[i, j]
            if uses[source] > 1:
                layer.bottom[j] = f"{_split_name(net.layer[source[0]].name, blob, source[1])}_{taken[source]}"
                taken[source] += 1
        for j, blob in enumerate(layer.top):
            if uses[i, j] > 1:
                split.layer.append(_split_layer(layer.name, blob, j, uses[i, j], weights.get((i, j), 0)))
                if weights.get((i, j)):
                    layer.ClearField("loss_weight")
                    taken[i, j] += 1
    return split


def _uses(net: caffe_pb2.NetParameter) -> tuple[dict[Top, Top], Counter[Top], dict[Top, float]]:
    """The top that each bottom reads, how often each top is used, and the tops' loss weights."""
    maker: dict[str, Top] = {}
    sources: dict[Top, Top] = {}
    uses: Counter[Top] = Counter()
    weights: dict[Top, float] = {}
    for i, layer in enumerate(net.layer):
        for j, blob in enumerate(layer.bottom):
            if blob not in maker:
                raise FerError(f"Unknown bottom blob '{blob}' (layer '{layer.name}', bottom index {j})")
            sources[i, j] = maker[blob]
            uses[maker[blob]] += 1
        for j, blob in enumerate(layer.top):
            maker[blob] = (i, j)
        for j, weight in enumerate(layer.loss_weight[: len(layer.top)]):
            weights[i, j] = weight
            uses[i, j] += weight != 0
    return sources, uses, weights


def _split_name(layer: str, blob: str, index: int) -> str:
    return f"{blob}_{layer}_{index}_split"


def _split_layer(layer: str, blob: str, index: int, count: int, loss_weight: float) -> caffe_pb2.LayerParameter:
    name = _split_name(layer, blob, index)
    split = caffe_pb2.LayerParameter(name=name, type="Split", bottom=[blob])
    split.top.extend(f"{name}_{k}" for k in range(count))
    if loss_weight:
        split.loss_weight.extend([loss_weight] + [0.0] * (count - 1))
    return split
