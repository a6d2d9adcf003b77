"""Which of a net's outputs is the accuracy, and which the loss: one rule for everyone who shows, or goes by, one."""

import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fer.formats.log_records import LogRecord

# "acc", but for words of another sense (accumulated, accepted, access, accel...); prec1, prec@1; top-1, top1.
_LIKE_ACCURACY = re.compile(
    r"acc(?!um|ep|es|el|ou|or|id)|top[-_ ]?k?[-_ ]?(?:[0-9]|one\b|five\b)|prec(?:ision)?[-_@]?[0-9]|^correct$", re.I
)
# What falls as the net learns: top1_error, top-5-err, errorTop1.
_ERROR = re.compile(r"(?i:error|(?<![a-z])err(?![a-z]))|[a-z]Err(?![a-z])")
_NUMBERS = {"one": 1, "two": 2, "three": 3, "five": 5, "ten": 10}
_TOP_K = re.compile(
    r"(?:top[-_ ]?k?|@|prec(?:ision)?|acc(?:u|uracy)?(?:[-_ ]?(?:at|k))?)[-_ @/]?"
    rf"([0-9]+|{'|'.join(_NUMBERS)})(?![0-9a-z])|\b([0-9]+)[-_]acc",
    re.I,
)
_NUMBERED = re.compile(r"^(.*acc[a-z]*?)[-_]?([1-9][0-9]{0,2})$", re.I)
_SLACK = 1e-6
_MANY = 6


@dataclass(frozen=True)
class MainOutput:
    """A chosen output: its `name`, "" where there is none; and what a reader should know of it, if anything."""

    name: str = ""
    note: str | None = None


NO_OUTPUT = MainOutput()


def find_accuracy(records: Sequence[LogRecord], known: Mapping[str, int] = MappingProxyType({})) -> MainOutput:
    """The output that is the net's accuracy.

    `known` are the outputs of the net's Accuracy layers, in its order, with their top_k: of those of top_k 1
    "accuracy", else the last, as the main head is behind auxiliary ones (loss1/top-1 ... loss3/top-1). By the log
    alone it is the same of the outputs that are called so, of which a loss or a vector is none, and a top-k none where
    there is a top-1. No output that leaves [0, 1] is an accuracy.
    """
    names = list(dict.fromkeys(name for record in records for name in record.outputs))
    if by_net := [name for name, top_k in known.items() if top_k == 1 and name in names]:
        return _said(_main(by_net), by_net, "Accuracy layers of top_k 1")
    losses, every = {name for record in records for name in record.weights}, set(names)
    alike = [name for name in names if name in known or (name not in losses and is_like_accuracy(name))]
    vectors = {name for name in alike if f"{name}#2" in every}
    if vectors:
        alike = [name for name in alike if name not in vectors and name.rpartition("#")[0] not in vectors]
        if not alike:
            return MainOutput(note=f"No accuracy is shown: {min(vectors)} is called so, but has several values.")
    inside = [name for name in alike if _is_share(records, name)]
    if not inside:
        return MainOutput(note=_outside(records, alike)) if alike else _by_place(records, names)
    ranks = {name: known.get(name) or _rank(name) for name in inside}
    _drop_heads(ranks, records, known)
    best = min(rank or 1 for rank in ranks.values())
    candidates = [name for name, rank in ranks.items() if (rank or 1) == best]
    if best > 1:
        name = candidates[-1]
        told = "its layer" if name in known else "its name"
        return MainOutput(name, f"{name} is taken for the accuracy: by {told} it counts the best {best} answers.")
    return _said(_top_1(candidates, ranks, records), inside, "outputs that are called so")


def is_like_accuracy(name: str) -> bool:
    """Whether an output is called as accuracies are."""
    last = name.rsplit("/", 1)[-1]
    if "loss" in last.lower() or _ERROR.search(name):
        return False
    return bool(_LIKE_ACCURACY.search(last) or re.match(r"acc(uracy)?/", name, re.I))


def find_loss(records: Sequence[LogRecord]) -> str:
    """The output that is the net's loss: "loss", else of those with the largest loss weight the last, "" for none.

    Where no weight is shown (2014), the last that is called a loss.
    """
    names = list(dict.fromkeys(name for record in records for name in record.outputs))
    weights: Mapping[str, float] = {name: weight for record in records for name, weight in record.weights.items()}
    if "loss" in names:
        return "loss"
    if weighted := [name for name in names if weights.get(name)]:
        largest = max(abs(weights[name]) for name in weighted)
        return [name for name in weighted if abs(weights[name]) == largest][-1]
    if "score#1" in names and _by_place(records, names).name:
        return "score#1"
    return next((name for name in reversed(names) if "loss" in name.rsplit("/", 1)[-1].lower()), "")


def _main(names: Sequence[str]) -> str:
    return "accuracy" if "accuracy" in names else names[-1]


def _said(name: str, names: Sequence[str], what: str) -> MainOutput:
    """Said where there was a choice."""
    if len(names) == 1:
        return MainOutput(name)
    others = [other for other in names if other != name]
    listed = ", ".join(others[:_MANY]) + f" and {len(others) - _MANY:,} more" * (len(others) > _MANY)
    return MainOutput(name, f"{name} is taken for the accuracy, of {len(names):,} {what}; the others: {listed}.")


def _rank(name: str) -> int | None:
    """The k of a top-k that its name tells, None where it tells none."""
    found = _TOP_K.search(name.rsplit("/", 1)[-1]) or _TOP_K.search(name)
    k = (found[1] or found[2]).lower() if found else ""
    return _NUMBERS.get(k) or (int(k) if 0 < len(k) < 4 and not k.startswith("0") else None)


def _drop_heads(ranks: dict[str, int | None], records: Sequence[LogRecord], known: Collection[str]) -> None:
    """accuracy1, accuracy2, accuracy3 are several heads where they do not rise as top-1, top-2, top-3 must."""
    families: dict[str, dict[int, str]] = {}
    for name in ranks:
        if name not in known and (found := _NUMBERED.match(name)):
            families.setdefault(found[1], {})[int(found[2])] = name
    for stem, family in families.items():
        rising = [family[k] for k in sorted(family)]
        if stem in ranks and 1 not in family:
            rising.insert(0, stem)
        pairs = [_pairs(records, *two) for two in itertools.pairwise(rising)]
        if any(low > high + _SLACK for low, high in itertools.chain(*pairs)):
            ranks.update(dict.fromkeys(family.values()))


def _pairs(records: Sequence[LogRecord], a: str, b: str) -> list[tuple[float, float]]:
    """The values of two outputs, of each record that has both."""
    return [(r.outputs[a], r.outputs[b]) for r in records if a in r.outputs and b in r.outputs]


def _top_1(candidates: Sequence[str], ranks: Mapping[str, int | None], records: Sequence[LogRecord]) -> str:
    """ "accuracy", unless an output beside it is called top-1 and never higher: then it counts more answers itself."""
    name = _main(candidates)
    if ranks[name] is None:
        folder = name.rpartition("/")[0]
        told = [other for other in candidates if ranks[other] == 1 and other.rpartition("/")[0] == folder]
        for other in reversed(told):
            if not any(low > high + _SLACK for low, high in _pairs(records, other, name)):
                return other
    return name


def _is_share(records: Sequence[LogRecord], name: str) -> bool:
    values = [record.outputs[name] for record in records if name in record.outputs]
    return all(not math.isfinite(value) or -_SLACK <= value <= 1 + _SLACK for value in values)


def _outside(records: Sequence[LogRecord], names: Sequence[str]) -> str:
    name = names[-1]
    values = [record.outputs[name] for record in records if math.isfinite(record.outputs.get(name, math.nan))]
    between = f"{min(values):g} and {max(values):g}"
    return f"No accuracy is shown: {name} is called so, but lies between {between}, not 0 and 1."


def _by_place(records: Sequence[LogRecord], names: Sequence[str]) -> MainOutput:
    """Before July 2014 the Accuracy layer printed two numbers without a name, the accuracy and the loss."""
    if names[:1] != ["score#0"] or not _is_share(records, "score#0"):
        return NO_OUTPUT
    return MainOutput("score#0", "Test score #0 is taken for the accuracy, #1 for the loss: the log names neither.")
