"""The README of an exported model: what it is, and the lines that use it from pycaffe, OpenCV and onnxruntime."""

from collections.abc import Mapping
from typing import Any

from fer.data.dataset import SIDE, SPLIT_NAMES

_TEXT = """\
# {net}, trained on {data}

{accuracy}; {snapshot}, which is
the best on val. `run.json` says how it was trained, `model.json` which programs gave the same probabilities on val.

The classes, in the order of the probabilities (`labels.txt`): {classes}.

The input is one gray face, cropped closely as FER2013's are:

```python
import cv2
import numpy as np
face = cv2.resize(cv2.imread("face.png", cv2.IMREAD_GRAYSCALE), ({side}, {side}), interpolation=cv2.INTER_AREA)
{resize}face = face[np.newaxis].astype(np.float32)  # [1, {height}, {width}], 0..255
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
_ONNX = """
`model.onnx` does the {parts} itself. With OpenCV or onnxruntime:

```python
net = cv2.dnn.readNetFromONNX("model.onnx")
net.setInput(face[np.newaxis])
probabilities = net.forward()[0]
```

```python
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
probabilities = session.run(None, {{"pixels": face[np.newaxis]}})[0][0]
```
"""


def readme(facts: Mapping[str, Any]) -> str:
    """Markdown for the directory that model.json's `facts` are about; its code runs there, on a `face.png`."""
    image, transform = facts["image"], facts["transform"]
    height, width = image["height"], image["width"]
    crop, scale = transform["crop_size"], transform["scale"]
    window = ""
    if crop:
        top, left = (height - crop) // 2, (width - crop) // 2
        window = f"[:, {top}:{top + crop}, {left}:{left + crop}]"
    accuracy = (
        f"{SPLIT_NAMES[split]} {each['accuracy']:.2%} of {each['images']:,}"
        for split, each in facts["accuracy"].items()
    )
    text = _TEXT + (_ONNX if facts["onnx"] else "")
    return text.format(
        net=facts["net"],
        data=facts["data"],
        accuracy=", ".join(accuracy),
        snapshot=_snapshot(facts["snapshot"]),
        classes=", ".join(facts["classes"]),
        side=SIDE,
        resize="" if height == SIDE else f"face = cv2.resize(face, ({width}, {height}))\n",
        height=height,
        width=width,
        pixels=f'((face - np.load("mean.npy")) * {scale:.9g}){window}',
        input=facts["input"],
        output=facts["output"],
        parts="crop, mean and scale" if crop else "mean and scale",
    )


def _snapshot(facts: Mapping[str, Any]) -> str:
    averaged = facts["averaged"]
    if averaged:
        return f"the mean of the {len(averaged)} snapshots of iterations {averaged[0]:,} to {averaged[-1]:,}"
    return f"the snapshot of iteration {facts['iteration']:,}"
