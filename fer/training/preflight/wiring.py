"""Faults of the net itself, in the states that its solver puts it in."""

from collections.abc import Collection, Iterator, Mapping

from fer.errors import nearest
from fer.formats.prototxt_text import read_text
from fer.formats.tokens import field_line
from fer.nets.lint import NOWHERE, lint_net
from fer.nets.python_layers import ALLOW, foreign_modules
from fer.nets.states import SHUFFLE, State
from fer.nets.written_files import outside_files
from fer.schema import caffe_pb2
from fer.training.preflight.subject import Subject
from fer.training.run_prototxts import layer_phases


def wiring_faults(
    subject: Subject, known_types: Collection[str], elsewhere: Mapping[str, str] = NOWHERE
) -> Iterator[str]:
    """What the net's linter finds, after the stages that the net does not know; and a net that learns nothing."""
    tests = subject.tests or [State("TEST")]
    faults = lint_net(subject.net, subject.net_path, known_types, [subject.train, *tests], elsewhere=elsewhere)
    unknown = list(unknown_stages(subject)) if faults else []
    yield from unknown or faults
    if subject.ambiguous or unknown:
        return
    layers = subject.net.layer
    if not any(_is_loss(layers[i]) for i in subject.positions(subject.train)):
        deploy = "; it is a net for use (deploy): give the train_val.prototxt" if _is_deploy(subject) else ""
        yield f"{subject.net_path}:1: no loss layer takes part in TRAIN: there is nothing to learn from{deploy}"
    if subject.tests:
        for i, phases in layer_phases(subject.net, [subject.train, *subject.tests]).items():
            if layers[i].type == "Data" and len(phases) == 2:
                feeds = f"layer {layers[i].name!r} feeds training and testing alike"
                yield subject.fault(i, f"{feeds}; add  include {{ phase: TRAIN }}")


def module_faults(subject: Subject) -> Iterator[str]:
    """Python layers, whose modules real Caffe would import."""
    for i, sentence in foreign_modules(subject.net):
        yield f"{subject.fault(i, sentence)}; if you trust it, go on with {ALLOW}"


def written_faults(subject: Subject) -> Iterator[str]:
    """Layers that write files, other than beside the run's net."""
    yield from (subject.fault(i, sentence) for i, sentence in outside_files(subject.net))


def unknown_stages(subject: Subject) -> Iterator[str]:
    """A line for each stage of the training that the net does not know: without a meaning, or a slip of the pen."""
    rules = [rule for layer in subject.net.layer for rule in (*layer.include, *layer.exclude)]
    named = {stage for rule in rules for stage in (*rule.stage, *rule.not_stage)}
    for stage in subject.train.stages:
        if stage not in named and stage != SHUFFLE:
            line = field_line(read_text(subject.solver_path), "train_state")
            hint = nearest(stage, {*named, SHUFFLE}) or (f"; it has {', '.join(sorted(named))}" if named else "")
            yield f"{subject.solver_path}:{line}: the net has no stage {stage!r}{hint}"


def _is_deploy(subject: Subject) -> bool:
    """Whether a net takes its images from outside, and from no data layer."""
    return any(layer.type == "Input" for layer in subject.net.layer) and not any(
        layer.type.endswith("Data") for layer in subject.net.layer
    )


def _is_loss(layer: caffe_pb2.LayerParameter) -> bool:
    return layer.type.endswith("Loss") or any(layer.loss_weight)
