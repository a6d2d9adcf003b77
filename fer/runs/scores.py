"""A run's files of scores, as far as they say which snapshot they are of."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fer.errors import FerError
from fer.runs.run import Run, Snapshot
from fer.system.files import sha256
from fer.system.shell import command


def chosen_snapshot(run: Run) -> Snapshot:
    """The snapshot or average that scores/val.npz is of: the best on val, unless another was asked for.

    Raises FerError.
    """
    meta, report = read_meta(run.scores("val")), command("fer", "report", run.dir)
    for snapshot in (*run.snapshots(), *run.averages()):
        if str(snapshot.weights.relative_to(run.dir)) == meta.get("weights"):
            if sha256(snapshot.weights) != meta.get("weights_sha256"):
                raise FerError(f"{snapshot.weights} changed since it was scored; {report} scores again")
            return snapshot
    raise FerError(f"{run.dir} is not scored, so no snapshot of it is chosen; {report} does both")


def read_meta(path: Path) -> dict[str, Any]:
    """What a scores file says of itself; {} where it is missing or damaged."""
    try:
        # Opened here: numpy leaves a damaged archive that it opened itself open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as scores:
            meta: dict[str, Any] = json.loads(str(scores["meta"]))
            return meta
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
