"""A form of an exported model as a classifier: what a device will say, before one is bought."""

from pathlib import Path

import numpy as np

from fer.errors import FerError, UsageError
from fer.export.form import BYTES, Server, given
from fer.export.forms import FORMS
from fer.inference.classifier import Classifier, find_model
from fer.inference.model_record import EXPORT_AGAIN, MODEL_JSON, read_model_json
from fer.system.hashes import check_file


class FormClassifier(Classifier):
    """By the form `name` of the export in `directory`, in its own runtime; a context manager.

    Raises UsageError where the export has no such form, FerError where a file of it has changed.
    """

    def __init__(self, directory: Path, name: str):
        if not (directory / MODEL_JSON).is_file():
            raise UsageError(f"--runtime {name}: {directory} is no export; fer export RUN --format {name} makes one")
        self.model, record = find_model(directory), read_model_json(directory)
        if name not in record.forms or name not in FORMS:
            there = f"there is {', '.join(record.forms)}" if record.forms else "there is none"
            raise UsageError(f"--runtime {name}: {directory} has no such form; {there}; fer export --format adds them")
        for file, digest in record.files.items():
            if file.startswith(f"{name}/"):
                check_file(directory / file, digest, "it was exported", EXPORT_AGAIN)
        self._server: Server = FORMS[name].serve(directory / name)
        self._name = name

    def __enter__(self) -> "FormClassifier":
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 [N, K] of uint8 [N, C, H, W], H and W being the model's, N of 1 or more."""
        answer = self.outputs(images)
        if answer.shape != (len(images), len(self.model.classes)) or not np.isfinite(answer).all():
            raise FerError(f"{self._name} gives no probabilities of {len(self.model.classes)} classes")
        return answer

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """What the form gives of the same, float32 [N, K], whatever it is."""
        return self._server(given(images, self.model.transform, BYTES))
