"""The forms of an exported model by name; Caffe's files are always there."""

from collections.abc import Sequence

from fer.errors import UsageError, nearest
from fer.export.device_forms import FORMS as DEVICES
from fer.export.form import Form
from fer.export.onnx_form import Onnx
from fer.export.simulated_forms import FORMS as CHIPS
from fer.export.tensorflow_forms import FORMS as TENSORFLOW

_FORMS: tuple[Form, ...] = (Onnx(), *DEVICES, *CHIPS, *TENSORFLOW)
FORMS = {form.name: form for form in _FORMS}
BY_HAND = {
    "mnn": "MNN 3.6 reads the shipped Caffe files; its command installs packages and reports its use: call _tools",
    "coreml": "coremltools 9 runs on macOS only, and reads neither Caffe nor ONNX",
    "sophgo": "tpu-mlir 1.30 (Python 3.10) reads the shipped Caffe files",
    "c": "emx-onnx-cgen 1.4 writes plain C from model.onnx",
}
"""Named, and not written: what was tried by hand."""


def forms_called(names: Sequence[str]) -> list[Form]:
    """The forms of these names, in the order of the table, each once. Raises UsageError for one that is not there."""
    for name in names:
        if name in BY_HAND:
            raise UsageError(f"--format {name}: by hand alone: {BY_HAND[name]}")
        if name not in FORMS:
            hint = nearest(name, FORMS)
            there = f"there are {', '.join(FORMS)}; by hand {', '.join(BY_HAND)}"
            raise UsageError(f"--format {name}: there is no such form{hint}; {there}")
    return [form for name, form in FORMS.items() if name in names]
