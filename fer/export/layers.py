"""Layers that a form does not hold: each named by its line in the prototxt, with the forms that do."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fer.errors import Faults, FerError, Interrupted
from fer.export.form import Form, Job
from fer.export.forms import FORMS
from fer.nets.lint import net_lines

_LAYER = re.compile(r"layer (['\"])(?P<name>.+?)\1")


def check_layers(job: Job, wanted: Sequence[Form], prototxt: Path) -> None:
    """Raises Faults, a line a layer that one of the forms is known not to hold."""
    refused = {form.name: form.refused(job) for form in wanted}
    if not any(refused.values()):
        return
    refused = {name: form.refused(job) for name, form in FORMS.items()} | refused
    faults: dict[tuple[str, str], list[str]] = {}
    for form in wanted:
        for layer, what in refused[form.name].items():
            faults.setdefault((layer, what), []).append(form.name)
    lines = _lines(job, prototxt)
    told = [
        f"{prototxt}:{lines[layer]}: layer {layer!r}: {', '.join(forms)} {_has(forms)} no {what}; "
        + _there([name for name, layers in refused.items() if layer not in layers])
        for (layer, what), forms in faults.items()
    ]
    without = ["--no-onnx leaves ONNX out"] if refused.get("onnx") and wanted[0].name == "onnx" else []
    raise Faults([*told, *without])


@contextmanager
def told_where(job: Job, prototxt: Path, form: Form | None = None) -> Iterator[None]:
    """A FerError that names a layer gets its place in the prototxt, and of a form's the other forms that hold it."""
    try:
        yield
    except FerError as error:
        if isinstance(error, Interrupted):
            raise
        text = str(error).replace(str(job.model.deploy), str(prototxt))  # what it reads is a copy that will be gone
        found, lines = _LAYER.search(text), _lines(job, prototxt)
        if found is None or found["name"] not in lines:
            raise FerError(text) from error
        text = f"{prototxt}:{lines[found['name']]}: {text}"
        if form:
            # What one form meets at writing, its sisters do too.
            others = [each for each in FORMS.values() if (type(each), each.integers) != (type(form), form.integers)]
            text += f"\n{_there([each.name for each in others if found['name'] not in each.refused(job)])}"
        raise FerError(text) from error


def _lines(job: Job, prototxt: Path) -> dict[str, int]:
    return dict(zip((layer.name for layer in job.deploy.layer), net_lines(job.deploy, prototxt), strict=True))


def _there(forms: Sequence[str]) -> str:
    """Which have it: onnx stands for onnx-int8, too, where both do."""
    first = [name for name in forms if not any(name.startswith(f"{other}-") for other in forms)]
    return f"{', '.join(first)} {_has(first)} it" if first else "no form has it"


def _has(forms: Sequence[str]) -> str:
    return "has" if len(forms) == 1 else "have"
