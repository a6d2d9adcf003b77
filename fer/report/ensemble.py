"""Several runs as one net: the mean of the probabilities that their chosen snapshots give."""

from collections.abc import Sequence

from fer.errors import FerError
from fer.evaluation.metrics import compute_metrics
from fer.evaluation.scores import mean_scores
from fer.report.scored_run import Scored, ScoredRun

NAMED = 3  # members; of more only the number is told


def read_ensemble(members: Sequence[ScoredRun], names: Sequence[str]) -> Scored:
    """The ensemble of scored runs; over ten crops too where all of them were scored so.

    Raises FerError for one run alone, and for runs that did not score the same images.
    """
    if len(members) < 2:
        raise FerError("an ensemble needs two runs or more: fer report --ensemble RUN RUN ...")
    first = members[0]
    try:
        scores = {split: mean_scores([member.scores[split] for member in members]) for split in first.scores}
        ten_crop = {
            split: mean_scores([member.ten_crop[split] for member in members])
            for split in scores
            if all(split in member.ten_crop for member in members)
        }
    except FerError as error:
        raise FerError(f"no ensemble of {', '.join(names)}: {error}") from error
    notes = [f"{name}: {note}" for name, member in zip(names, members, strict=True) for note in member.notes]
    without = [name for name, member in zip(names, members, strict=True) if not member.ten_crop]
    if without and len(without) < len(members):
        notes.append(f"Not over ten crops, as {', '.join(without)} was not scored so: fer report --ten-crop does it.")
    return Scored(
        name="Ensemble of " + (", ".join(names) if len(names) <= NAMED else f"{len(names)} runs"),
        data=first.data,
        data_dir=first.data_dir,
        classes=first.classes,
        scores=scores,
        metrics={split: compute_metrics(each, first.classes) for split, each in scores.items()},
        ten_crop=ten_crop,
        in_training={
            split: frozenset().union(*(member.in_training[split] for member in members))
            for split in scores
            if all(split in member.in_training for member in members)
        },
        manifest=first.manifest,
        warnings=tuple(
            f"{name}: {warning}" for name, member in zip(names, members, strict=True) for warning in member.warnings
        ),
        notes=tuple(notes),
    )
