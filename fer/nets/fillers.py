"""What Caffe demands of a filler of weights, whoever draws them."""

from fer.errors import nearest
from fer.schema import caffe_pb2

FILLERS = ("constant", "gaussian", "uniform", "xavier", "msra", "positive_unitball", "bilinear")


def filler_fault(filler: caffe_pb2.FillerParameter) -> str | None:
    """A sentence on what of a filler Caffe refuses, whatever blob it fills; None where it takes it."""
    if filler.type not in FILLERS:
        return f"Unknown filler name: {filler.type} (known: {', '.join(FILLERS)}){nearest(filler.type, FILLERS)}"
    if filler.sparse != -1 and filler.type != "gaussian":
        return f"sparsity is not supported by the {filler.type} filler (only by gaussian)"
    if filler.type == "gaussian" and not filler.std > 0:
        return f"a gaussian filler's std is {filler.std:g}; it must be above 0"
    if filler.sparse < -1:
        return f"a gaussian filler's sparse is {filler.sparse}; it must be 0 or more"
    if filler.type == "uniform" and not filler.min <= filler.max:
        return f"a uniform filler's min {filler.min:g} is above its max {filler.max:g}"
    return None
