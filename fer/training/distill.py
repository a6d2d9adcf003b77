"""A student's net with trained nets inside that teach it, and their weights.

distill("vgg8", [Run("runs/vgg13-s1"), Run("runs/googlenet-s1")], Path("my/train_val.prototxt"))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer.data.classes import CLASSES
from fer.errors import Faults, FerError
from fer.evaluation.score import score_run
from fer.evaluation.splits import READ_LAYERS, Reading, layer_source, reading_of
from fer.formats.blobs import blobs_by_layer
from fer.formats.database import read_mean
from fer.formats.prototxt import read_net, read_weights
from fer.formats.prototxt_text import encode
from fer.nets.deploy import derive_deploy, training_front
from fer.nets.distilled import Teacher, distilled, teachers_weights, trained_states
from fer.nets.fold import fold
from fer.nets.lint import lint_net, states_named
from fer.nets.shapes import UnknownShapeError, infer_shapes
from fer.nets.zoo import TRAIN_VAL, find_net
from fer.runs.opened import scores_can_be_kept
from fer.runs.run import Run, Snapshot
from fer.runs.scores import chosen_snapshot
from fer.runs.snapshots import check_start_weights
from fer.runs.unchanged import data_dir
from fer.schema import caffe_pb2
from fer.system.escapes import escaped, some_names
from fer.system.files import write_bytes
from fer.system.progress import StageProgress
from fer.system.shell import command
from fer.training.run_prototxts import net_for_run

_BY = ": by fer distill."  # at the end of the first line of what is written


@dataclass(frozen=True)
class Distilled:
    """The two files, what the student's net is, and the snapshot of each teacher."""

    net: Path
    weights: Path
    student: Path
    data: Path
    snapshots: tuple[Snapshot, ...]


def distill(
    student: str | Path,
    runs: Sequence[Run],
    out: Path,
    *,
    temperature: float = 4.0,
    share: float = 0.9,
    start: Path | None = None,
    progress: StageProgress | None = None,
) -> Distilled:
    """Write a student's net with the nets of finished runs inside, and beside it a .caffemodel of theirs.

    `student` is a net as `fer train` takes it. Of each run the snapshot or mean that is best on val teaches; it is
    scored there first, unless it is scored already. `share` is that of the soft loss. `start` is a .caffemodel of a
    trained student, which joins theirs. Raises FerError where a run is not finished or has no snapshot, where the runs
    and the student do not learn the same classes from the same data and images, or where `start` does not fit.
    """
    net_path = find_net(student)
    out = out / TRAIN_VAL if out.is_dir() else out
    weights_path = out.with_name("teachers.caffemodel" if out.name == TRAIN_VAL else f"{out.stem}_teachers.caffemodel")
    _check_place(out, weights_path)
    net = read_net(net_path)
    if faults := lint_net(net, net_path):
        raise Faults(faults)
    for run in runs:
        _check_finished(run)
    readings = [reading_of(run) for run in runs]
    _check_teachers(runs, readings)
    _check_images(net, str(student), runs, readings)
    shape = readings[0].sources["val"].shape
    _check_classes(net, str(student), runs[0], shape)
    weights = _start_weights(start, net, shape) if start else caffe_pb2.NetParameter()
    taught = [_teacher(run, progress) for run in runs]
    teachers = [teacher for teacher, _ in taught]
    header = f"# {escaped(str(student))} as a student of {some_names([run.name for run in runs])}{_BY}\n"
    text = header + distilled(net, teachers, temperature=temperature, share=share)
    weights.MergeFrom(teachers_weights(teachers))
    write_bytes(weights_path, weights.SerializeToString(deterministic=True), parents=True)
    write_bytes(out, encode(text))
    return Distilled(out, weights_path, net_path, data_dir(runs[0]), tuple(snapshot for _, snapshot in taught))


def _check_place(out: Path, weights: Path) -> None:
    """That nothing is written over but what an earlier call has made."""
    for path in (out, weights):
        if path.exists() and not (
            out.is_file() and _BY in out.read_bytes().decode(errors="replace").partition("\n")[0]
        ):
            made_by = "did not make it" if path == out else f"made no {out.name} beside it"
            raise FerError(f"{path} is there already, and fer distill {made_by}: choose another --out, or remove it")


def _check_finished(run: Run) -> None:
    if run.record.state != "finished":
        resume = command("fer", "train", "--resume", run.dir)
        raise FerError(
            f"{run.dir} is not finished ({run.record.state} at iteration {run.record.iteration:,} of "
            f"{run.record.max_iter:,}): a teacher must be; {resume}"
        )
    if not (run.snapshots() or run.averages()):
        raise FerError(f"{run.dir} has no verified snapshot that could teach: train it anew, or take another run")
    Teacher(str(run.dir), read_net(run.deploy), caffe_pb2.NetParameter()).layers()  # raises


def _teacher(run: Run, progress: StageProgress | None) -> tuple[Teacher, Snapshot]:
    """A run's net with the snapshot that is best on val, by as few layers as give its numbers."""
    with scores_can_be_kept(run, asked=True):
        score_run(run, val_only=True, progress=progress)
        snapshot, _ = chosen_snapshot(run)
    name = f"{escaped(run.name)}, snapshot {snapshot.name}"
    folded = fold(read_net(run.deploy), blobs_by_layer(read_weights(snapshot.weights), snapshot.weights))
    return Teacher(name, folded.net, folded.weights()), snapshot


def _check_teachers(runs: Sequence[Run], readings: Sequence[Reading]) -> None:
    """That all have learnt the same classes, and are judged by the same images: what one trained on, another must not
    choose or test by."""
    first = runs[0]
    for run, reading in zip(runs[1:], readings[1:], strict=True):
        if _classes(run) != _classes(first):
            raise FerError(
                f"{run.dir} knows the classes {some_names(_classes(run))}\n"
                f"and {first.dir} {some_names(_classes(first))}: teachers must know the same, in the same order"
            )
        for split, source in reading.sources.items():
            if source.sha256 != readings[0].sources[split].sha256:
                raise FerError(
                    f"{run.dir} has other images of {split} than {first.dir}: one may have been trained on what the "
                    "other is judged by; take teachers of the same data"
                )


def _classes(run: Run) -> tuple[str, ...]:
    return run.record.data.classes or CLASSES


def _check_images(net: caffe_pb2.NetParameter, name: str, runs: Sequence[Run], readings: Sequence[Reading]) -> None:
    """That the student's images are as its teachers know them."""
    net = net_for_run(net, data_dir(runs[0]), states_named(net))
    for state in trained_states(net):
        front = training_front(net, state)
        if front.type not in READ_LAYERS:
            raise FerError(
                f"{name}: layer {front.name!r} ({front.type}) gives it its images; a student is trained on those of a "
                "Data or ImageData layer, as its teachers"
            )
        own = _given(front, layer_source(front).shape)
        for run, reading in zip(runs, readings, strict=True):
            theirs = _given(reading.layer, reading.sources["val"].shape)
            for what, value in own.items():
                if not np.array_equal(value, theirs[what]):
                    known = _shown(theirs[what])
                    raise FerError(
                        f"{name} is given images with {what} {_shown(value)}, and {run.dir} with {known}\n"
                        "a teacher sees the student's own: set transform_param alike, or take other teachers"
                    )


def _check_classes(net: caffe_pb2.NetParameter, name: str, run: Run, shape: tuple[int, int, int]) -> None:
    """That the student answers with as many scores as its teachers."""
    classes = _classes(run)
    try:
        scores = infer_shapes(derive_deploy(net, shape)).blobs["prob"][1]
    except UnknownShapeError:  # then the training itself looks
        return
    if scores != len(classes):
        copy = command("fer", "nets", name, "--copy", "mynet", "--classes", len(classes))
        raise FerError(
            f"{name} gives {scores} scores, and its teachers know {len(classes)} classes ({some_names(classes)})\n"
            f"{copy} makes a net that fits"
        )


def _start_weights(path: Path, net: caffe_pb2.NetParameter, shape: tuple[int, int, int]) -> caffe_pb2.NetParameter:
    """The parameters of a trained student, of the layers that its net has."""
    check_start_weights(path, infer_shapes(derive_deploy(net, shape)).params)
    own = {layer.name for layer in net.layer}
    return caffe_pb2.NetParameter(layer=(layer for layer in read_weights(path).layer if layer.name in own))


def _given(layer: caffe_pb2.LayerParameter, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """What a data layer makes of images of a shape, as far as it must be alike where two nets are to see the same."""
    param = layer.transform_param
    mean = np.array(param.mean_value, np.float32)
    if param.mean_file:
        mean = read_mean(param.mean_file)
    numbers = {"size": shape, "crop_size": param.crop_size, "scale": param.scale}
    return {what: np.array(number) for what, number in numbers.items()} | {"mean": mean}


def _shown(values: np.ndarray) -> str:
    """`none`, one to three numbers, or of more their mean."""
    if values.size > 3:
        return f"around {values.mean():.6g}"
    return ", ".join(f"{value:.6g}" for value in values.ravel()) or "none"
