"""fer nets: the nets and solvers that there are, and a copy of one to change."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.commands.numbers import between
from fer.commands.terminal import say_out, show, width
from fer.data.classes import LEAST, MOST
from fer.errors import UsageError

if TYPE_CHECKING:
    from fer.nets.catalog import NetFacts

SUMMARY = "the nets and solvers that come with fer; copy one"
HELP = """\
examples:
  fer nets
  fer nets vgg8
  fer nets lenet --copy mynet
  fer nets lenet --copy mynet8 --classes 8
  fer nets lenet --copy ferplusnet --classes 8 --votes
  fer nets --json

Lists the shipped nets with their solvers (* the one that fer train takes by itself), sizes, engines, and the accuracy
that is known of them. --copy writes net and solvers to a folder of your own; fer train takes that folder's name. With
--classes its last layers (of GoogLeNet's three classifiers each) have as many outputs; with --votes its softmax losses
take the shares of votes for targets, in layers of stock Caffe.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("net", nargs="?", metavar="NET", help="one of them, or a folder or train_val.prototxt of your own")
    add("--copy", type=Path, metavar="FOLDER", help="copy NET and its solvers to a new folder, to be changed there")
    add("--classes", type=between(LEAST, MOST), metavar="N", help="of the copy: so many outputs for your own classes")
    add("--votes", action="store_true", help="of the copy: learn from the votes of fer prepare --votes")
    add("--json", action="store_true", help="print the list as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.copy is not None:
        if not args.net or args.json:
            raise UsageError("--copy FOLDER copies one net: fer nets NET --copy FOLDER")
        return _copy(args.net, args.copy, args.classes, args.votes)
    if args.classes is not None or args.votes:
        raise UsageError("--classes and --votes are of a copy: fer nets NET --copy FOLDER --classes N")
    from fer.nets.catalog import net_facts
    from fer.nets.zoo import net_names

    found = [net_facts(name) for name in ([args.net] if args.net else net_names())]
    if args.json:
        show(json.dumps([_as_json(facts) for facts in found], indent=2))
    elif args.net:
        _show_one(found[0])
    else:
        _show_all(found)
    return 0


def _copy(net: str, folder: Path, classes: int | None, votes: bool) -> int:
    from fer.nets.catalog import copy_net, net_facts
    from fer.nets.zoo import net_names
    from fer.system.shell import command

    made = copy_net(net, folder, classes, votes=votes)
    name = f"./{folder}" if str(folder) in net_names() else str(folder)
    solver = [] if net_facts(folder.resolve()).recommended else ["--solver", "SOLVER"]
    show(f"{folder}: {', '.join(path.name for path in made)}. Next: {command('fer', 'train', name, *solver)}")
    return 0


def _engines(facts: NetFacts) -> list[str]:
    """Names of the engines that can train the net as they come."""
    from fer.engines.choice import as_they_come, demand_of
    from fer.formats.prototxt import read_net, read_solver
    from fer.nets.zoo import find_net, find_solver
    from fer.schema import caffe_pb2

    net = find_net(facts.name)
    solver = facts.recommended or next(iter(facts.solvers), None)
    read = read_solver(find_solver(net, solver)) if solver else caffe_pb2.SolverParameter()
    return as_they_come(demand_of(read_net(net), read))


def _as_json(facts: NetFacts) -> dict[str, Any]:
    known = vars(facts.known) if facts.known else None
    return {**vars(facts), "folder": str(facts.folder), "known": known, "engines": _engines(facts)}


TITLES = {"caffe": "Caffe", "pytorch": "PyTorch", "tensorflow": "TensorFlow"}


def _show_all(found: list[NetFacts]) -> None:
    from fer.nets.catalog import millions
    from fer.report.table import Column, Table

    columns = (
        Column("net", left=True),
        Column("solvers", left=True),
        Column("parameters", millions),
        Column("input"),
        Column("accuracy, %"),
        Column("engines", left=True),
    )
    rows = tuple(
        (
            facts.name,
            " ".join(name + "*" * (name == facts.recommended) for name in facts.solvers),
            facts.parameters,
            "x".join(map(str, facts.input[1:])),
            f"{100 * facts.known.val:.2f} / {100 * facts.known.test:.2f}" if facts.known else None,
            ", ".join(TITLES.get(name, name) for name in _engines(facts)),
        )
        for facts in found
    )
    show("\n".join(Table(columns, rows).text(width())))
    show("")
    for note in (
        "* recommended. Accuracy: PublicTest / PrivateTest of FER2013, centre crop.",
        "Without Caffe: nets with BatchNorm, which fer's own Caffe does not train. More of one: fer nets NET",
    ):
        say_out(note)


def _show_one(facts: NetFacts) -> None:
    from fer.nets.catalog import first_comment, millions
    from fer.system.shell import command

    show(f"{facts.title}: {millions(facts.parameters)} parameters, {millions(facts.multiply_adds)} multiply-adds")
    show(f"input     {'x'.join(map(str, facts.input))}")
    show(f"engines   {', '.join(TITLES.get(name, name) for name in _engines(facts))}")
    if known := facts.known:
        where = f"{100 * known.val:.2f}% on PublicTest, {100 * known.test:.2f}% on PrivateTest"
        show(f"accuracy  {where} ({known.solver}, {known.how})")
    show(f"files     {facts.folder}")
    for name in facts.solvers:
        comment = first_comment(facts.folder / f"solver_{name}.prototxt")
        say_out(f"solver    {name}{' (recommended)' * (name == facts.recommended)}: {comment}", indent=10)
    solver = [] if facts.recommended else ["--solver", "SOLVER"]
    show(f"Next: {command('fer', 'train', facts.name, *solver)}")
