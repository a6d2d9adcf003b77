"""The forms of an exported model by name; Caffe's files are always there."""

from collections.abc import Sequence

from fer.errors import UsageError, nearest
from fer.export.form import Form
from fer.export.onnx_form import Onnx
from fer.export.tensorflow_forms import FORMS as TENSORFLOW

_ALL: tuple[Form, ...] = (Onnx(), *TENSORFLOW)
FORMS = {form.name: form for form in _ALL}


def forms_called(names: Sequence[str]) -> list[Form]:
    """The forms of these names, in the order of the table, each once. Raises UsageError with the names that there are,
    and FerError for one whose tools are not installed."""
    for name in names:
        if name not in FORMS:
            hint = nearest(name, FORMS)
            raise UsageError(f"--format {name}: there is no such form{hint}; there are {', '.join(FORMS)}")
    chosen = [form for name, form in FORMS.items() if name in names]
    for form in chosen:
        form.need()
    return chosen
