"""What the chosen snapshot looks at, its first filters, and a batch of its training, kept beside the scores."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer.engines.engine import Engine
from fer.engines.pytorch_engine import PyTorch
from fer.errors import FerError, Interrupted
from fer.evaluation.occlusion import occlusion_maps
from fer.evaluation.scores import Scores
from fer.formats.blobs import from_blob
from fer.formats.prototxt import read_net, read_solver, read_weights, write_text
from fer.nets.files import with_paths
from fer.nets.preview import data_part
from fer.nets.states import train_state
from fer.runs.explained import Explained, ExplainedMeta, read_explained
from fer.runs.run import Run, Snapshot
from fer.schema import caffe_pb2
from fer.system.arrays import read_arrays, write_array
from fer.system.records import NewerFormat

FACES = 24  # at most; three of each class where these are few
BATCH = 48  # images shown of a batch; of large ones fewer
_MOST = 1_000_000  # numbers in them
_NONE = np.zeros((0, 0, 0, 0), np.float32)
_OURS = ("caffe", "pytorch", "tensorflow")  # engines with whose weights PyTorch computes the same


@dataclass(frozen=True)
class Explainer:
    """A run's chosen snapshot, the engine that scores it, on `gpu` or the CPU, and a folder to work in
    by its absolute path."""

    run: Run
    snapshot: Snapshot
    engine: Engine
    gpu: int | None
    transform: caffe_pb2.TransformationParameter
    scratch: Path

    def explain(self, scores: Scores, images: NDArray[np.uint8], meta: ExplainedMeta) -> Explained:
        """Of val's `scores` and images [N,C,H,W]. Raises FerError where the engine cannot score any more."""
        rows = choose_faces(scores)
        faces, classes = images[rows], scores.predictions[rows]
        grad_cam, no_grad_cam = self._grad_cam(faces, classes)
        filters, no_filters = self._filters()
        batch, labels, no_batch = self._batch()
        return Explained(
            meta=replace(
                meta,
                files=tuple(scores.files[row] for row in rows),
                grad_cam=no_grad_cam,
                filters=no_filters,
                batch=no_batch,
                batch_of=self.engine.title,
            ),
            images=faces,
            labels=scores.labels[rows],
            classes=classes,
            probs=scores.probs[rows, classes],
            occlusion=occlusion_maps(faces, self._predict, classes.tolist()),
            grad_cam=grad_cam,
            filters=filters,
            batch=batch,
            batch_labels=labels,
        )

    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        source, out = self._stored(images), self.scratch / "views.npz"
        files = self.run.deploy.absolute(), [self.snapshot.weights.absolute()], source, self.transform, [out]
        self.engine.predict(*files, gpu=self.gpu, folder=self.run.dir)
        return read_arrays(out, ["probs"])["probs"]

    def _stored(self, images: NDArray[np.uint8]) -> Path:
        path = self.scratch / "views.npy"
        write_array(path, images)
        return path

    def _grad_cam(self, faces: NDArray[np.uint8], classes: NDArray[np.int64]) -> tuple[NDArray[np.float32], str]:
        out = self.scratch / "grad_cam.npz"
        try:
            if self.engine.name not in _OURS:
                raise FerError(f"the engine {self.engine.name} gives none")
            PyTorch().set_up().grad_cam(
                self.run.deploy.absolute(),
                self.snapshot.weights.absolute(),
                self._stored(faces),
                self.transform,
                classes.tolist(),
                out,
                folder=self.run.dir,
            )
            return read_arrays(out, ["maps"])["maps"], ""
        except Interrupted:
            raise
        except FerError as error:
            return np.zeros((0, *faces.shape[2:]), np.float32), str(error)

    def _filters(self) -> tuple[NDArray[np.float32], str]:
        """Those of the first convolution that sees the images themselves."""
        net = read_net(self.run.deploy)
        name = next((layer.name for layer in net.layer if layer.type == "Convolution"), None)
        stored = {layer.name: layer for layer in read_weights(self.snapshot.weights).layer}
        if name is None or name not in stored or not stored[name].blobs:
            return _NONE, "the net has no convolution"
        filters = from_blob(stored[name].blobs[0], name)
        return (filters, "") if filters.ndim == len(_NONE.shape) else (_NONE, "the first filters are no pictures")

    def _batch(self) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
        """What the data layers of the training give, and the labels beside it."""
        model, out = self.scratch / "data_part.prototxt", self.scratch / "batch.npz"
        try:
            solver = read_solver(self.run.solver)
            state = train_state(solver)
            part = data_part(with_paths(read_net(self.run.net), self.run.moved), state)
            write_text(model, part)
            seed = max(self.run.record.seed, 0)
            self.engine.batch(model, out, state=state, seed=seed, folder=self.run.dir)
            outputs = read_arrays(out).values()
        except Interrupted:
            raise
        except FerError as error:
            return _NONE, np.zeros(0, np.float32), str(error)
        images = next((each for each in outputs if each.ndim == len(_NONE.shape)), _NONE)
        labels = next((each for each in outputs if each.shape == (len(images),)), np.zeros(0, np.float32))
        shown = int(np.clip(_MOST // max(images[:1].size, 1), 8, BATCH))
        return images[:shown], labels[:shown], "" if len(images) else "the training's data layers give no images"


def choose_faces(scores: Scores) -> NDArray[np.int64]:
    """Rows of some images of each class: the right answer that the net was surest of, the wrong one, and the right one
    that it was least sure of. Of more than eight classes fewer each; of more than 24 the worst and the best ones."""
    labels, correct, surest = scores.labels, scores.correct, scores.probs.max(axis=1)
    present = np.unique(labels)
    each = int(np.clip(FACES // max(len(present), 1), 1, 3))
    if len(present) > FACES:
        recalls = np.array([correct[labels == label].mean() for label in present])
        order = present[np.argsort(recalls, kind="stable")]
        present = np.sort(np.concatenate([order[: FACES // 2], order[-FACES // 2 :]]))
    rows: list[int] = []
    for label in present:
        right, wrong = np.flatnonzero((labels == label) & correct), np.flatnonzero((labels == label) & ~correct)
        wanted = [_extreme(right, surest, 1), _extreme(wrong, surest, 1), _extreme(right, surest, -1)]
        rows += list(dict.fromkeys(row for row in wanted if row is not None))[:each]
    return np.array(rows, np.int64)


def _extreme(rows: NDArray[np.int64], values: NDArray[np.float32], sign: int) -> int | None:
    return int(rows[(sign * values[rows]).argmax()]) if len(rows) else None


def is_explained(path: Path, meta: ExplainedMeta) -> bool:
    """Whether the file is there, whole and made of the same. Raises NewerFormat."""
    try:
        found = read_explained(path).meta
    except NewerFormat:
        raise
    except FerError:
        return False
    names = ("weights_sha256", "database_sha256", "deploy_sha256", "transform_sha256", "net_sha256", "classes")
    return all(getattr(found, name) == getattr(meta, name) for name in names)
