"""The README of an exported model: what it is, and the lines that use it from pycaffe, OpenCV and onnxruntime."""

from collections.abc import Sequence

from fer.data.dataset import SIDE, SPLIT_NAMES
from fer.export.form import Form
from fer.inference.model_record import ExportedSnapshot, ModelRecord
from fer.report.table import Table
from fer.report.tables import forms_table
from fer.runs.record import average_text

_TEXT = """\
# {net}, trained on {data}

{accuracy}; {snapshot}, which is
the best on val. `run.json` says how it was trained, `model.json` which programs gave the same probabilities on val.

The classes, in the order of the probabilities (`labels.txt`): {classes}.

The input is one {kind} face, cropped closely as FER2013's are:

```python
import cv2
import numpy as np
{face}  # [{channels}, {height}, {width}], 0..255
```

With pycaffe:

```python
import caffe
net = caffe.Net("deploy.prototxt", caffe.TEST, weights="weights.caffemodel")
net.blobs["{input}"].data[...] = {pixels}
probabilities = net.forward()["{output}"][0]
```

With OpenCV (4, not 5):

```python
net = cv2.dnn.readNetFromCaffe("deploy.prototxt", "weights.caffemodel")
net.setInput({pixels}[np.newaxis])
probabilities = net.forward()[0]
```
"""
_FOLDED = """
`folded/` holds the same net without its BatchNorm and Scale layers, which are part of the weights there: what the
toolchains of devices want.
"""
_PROVED = """
Each form was read back by its own runtime and scored val:

{table}

Agreement is the share of faces with the run's own class, difference the largest of a probability from the run's own, ms
the median of one face by one thread of the processor that it was exported on.
"""
_CALIBRATED = """
The images of `calibration/` set the ranges of the integers; keep them for a toolchain of your own.
"""


def readme(record: ModelRecord, forms: Sequence[Form]) -> str:
    """Markdown for the directory that `record` is about; its code runs there, on a `face.png`."""
    height, width = record.image.height, record.image.width
    crop, scale = record.transform.crop_size, record.transform.scale
    window = ""
    if crop:
        top, left = (height - crop) // 2, (width - crop) // 2
        window = f"[:, {top}:{top + crop}, {left}:{left + crop}]"
    accuracy = (
        f"{SPLIT_NAMES[split]} {each.accuracy:.2%} of {each.images:,}" for split, each in record.accuracy.items()
    )
    text = _TEXT.format(
        net=record.net,
        data=record.data,
        accuracy=", ".join(accuracy),
        snapshot=_snapshot(record.snapshot),
        classes=", ".join(record.classes),
        kind="colour" if record.colour else "gray",
        face=_face(record),
        channels=record.image.channels,
        height=height,
        width=width,
        pixels=f'((face - np.load("mean.npy")) * {scale:.9g}){window}',
        input=record.input,
        output=record.output,
    )
    text += _FOLDED if record.folded else ""
    return text + "".join(form.readme(record) for form in forms) + _forms(record)


def _forms(record: ModelRecord) -> str:
    if not record.forms:
        return ""
    text = _PROVED.format(table=table_of(record).markdown().rstrip())
    return text + (_CALIBRATED if record.calibration else "")


def table_of(record: ModelRecord) -> Table:
    """The forms of an export."""
    return forms_table({split: each.accuracy for split, each in record.accuracy.items()}, record.forms)


def _face(record: ModelRecord) -> str:
    """The lines that read `face.png` as the net's images were read."""
    channels, height, width = record.image.shape
    if record.colour:
        read = f'face = cv2.resize(cv2.imread("face.png", cv2.IMREAD_COLOR), ({width}, {height}))\n'
        return read + "face = face.transpose(2, 0, 1).astype(np.float32)"
    size, area = f"({SIDE}, {SIDE})", "interpolation=cv2.INTER_AREA"
    read = f'face = cv2.resize(cv2.imread("face.png", cv2.IMREAD_GRAYSCALE), {size}, {area})\n'
    if (height, width) != (SIDE, SIDE):
        read += f"face = cv2.resize(face, ({width}, {height}))\n"
    if channels > 1:
        return read + f"face = face[np.newaxis].repeat({channels}, axis=0).astype(np.float32)"
    return read + "face = face[np.newaxis].astype(np.float32)"


def _snapshot(snapshot: ExportedSnapshot) -> str:
    if snapshot.averaged:
        return f"the {average_text(snapshot.averaged)}"
    return f"the snapshot of iteration {snapshot.iteration:,}"
