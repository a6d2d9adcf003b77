"""The folded net as files of its own: what the toolchains of devices want."""

import shutil
from dataclasses import replace

from fer.export.form import Job
from fer.export.onnx_model import to_onnx
from fer.export.proof import HeldOut, check_caffe_files
from fer.formats.prototxt import write_text
from fer.inference.classifier import MEAN, ONNX, WEIGHTS

FOLDED = "folded"


def write_folded(job: Job, val: HeldOut, *, onnx: bool) -> None:
    """Write `folded/`: the net without its BatchNorm and Scale layers, proved as the whole one is.

    Tells which layers could not be folded, and why. Raises FerError as the proof does.
    """
    folded, folder = job.folded, job.model.directory / FOLDED
    for name, reason in folded.left.items():
        job.tell(f"{name} is not folded: {reason}", 0, 1)
    folder.mkdir()
    shutil.copy(job.model.directory / MEAN, folder)
    made = replace(job.model, directory=folder, deploy=folder / job.model.deploy.name, weights=folder / WEIGHTS)
    write_text(made.deploy, folded.net)
    made.weights.write_bytes(folded.weights().SerializeToString(deterministic=True))
    if onnx:
        written = to_onnx(folded.net, folded.blobs, job.model.transform, job.batch)
        (folder / ONNX).write_bytes(written.SerializeToString(deterministic=True))
    check_caffe_files(replace(job, model=made), val)
