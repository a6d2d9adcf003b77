"""A form of an exported model as a classifier: what a device will say, before one is bought."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer.errors import FerError, UsageError
from fer.export.form import Form, Job
from fer.export.forms import FORMS
from fer.export.tool import Server
from fer.formats.prototxt import read_net
from fer.inference.classifier import Classifier, find_model
from fer.inference.model_record import EXPORT_AGAIN, MODEL_JSON, read_model_json
from fer.system.hashes import check_file


class FormClassifier(Classifier):
    """By the form `name` of the export in `directory`, in its own runtime; a context manager.

    Raises UsageError where the export has no such form, FerError where a file of it has changed.
    """

    def __init__(self, directory: Path, name: str):
        if not (directory / MODEL_JSON).is_file():
            raise UsageError(f"--runtime {name}: {directory} is no export; fer export --format makes one")
        self.model, record = find_model(directory), read_model_json(directory)
        form = FORMS.get(name)
        if name not in record.forms or form is None:
            there = f"there is {', '.join(record.forms)}" if record.forms else "there is none"
            raise UsageError(f"--runtime {name}: {directory} has no such form; {there}; fer export --format adds them")
        for file, digest in record.files.items():
            if file == form.file or file.startswith(f"{form.file}/"):
                check_file(directory / file, digest, "it was exported", EXPORT_AGAIN)
        form.tool.need(name) if form.tool else form.need()
        self._name, self._stack = name, contextlib.ExitStack()
        self._read = self._reader(form, directory)

    def _reader(self, form: Form, directory: Path) -> Callable[[np.ndarray], np.ndarray]:
        if form.tool:
            server = self._stack.enter_context(Server(form.tool, directory / form.camera_file))
            return lambda images: server(images.astype(np.float32))
        job = Job(self.model, read_net(self.model.deploy), _no_calibration, lambda stage, done, total: None)
        return next(iter(form.readers(job)[0].values()))

    def __enter__(self) -> "FormClassifier":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 [N, K] of uint8 [N, C, H, W], H and W being the model's, N of 1 or more."""
        answer = self.outputs(images)
        if answer.shape != (len(images), len(self.model.classes)) or not np.isfinite(answer).all():
            raise FerError(f"{self._name} gives no probabilities of {len(self.model.classes)} classes")
        return answer

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """What the form gives of the same, float32 [N, K], whatever it is."""
        return self._read(images)


def _no_calibration() -> np.ndarray:
    raise FerError("an exported form is read, not made")
