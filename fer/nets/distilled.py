"""A net that learns from trained nets inside it as well as from labels, in layers that every Caffe has (Hinton,
Vinyals and Dean 2015: "Distilling the knowledge in a neural network")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fer.errors import FerError
from fer.formats.prototxt import to_text
from fer.nets.deploy import TESTED, derive_deploy, for_use, input_of, leading_to, training_front
from fer.nets.lint import KNOWN_LAYERS, states_named
from fer.nets.states import State, filter_net, taking_part
from fer.nets.wiring import has_parameters, loss_weights
from fer.schema import caffe_pb2

_Layer = caffe_pb2.LayerParameter
_OURS = "distill/"
SOFT_LOSS = "soft_loss"
_SHIFT = 1e-30
"""Added to the student's probabilities before their logarithm. Softmax takes the largest score away first, so it never
overflows; what underflows to 0 costs at most 69 and passes no gradient that is not finite, on any engine. The logarithm
of a sum of Exp layers, which would need no shift, is inf from scores of 88 T on."""

_SAYS = """\
The soft loss: the cross entropy, the mean over images of -sum p log q, where p is the mean of the softened answers
# of {count} nets and q the student's, both at temperature {temperature:g}; it counts share x temperature^2 times."""


@dataclass(frozen=True)
class Teacher:
    """A trained net: `name` says which, `deploy` is the net for use, `weights` are its layers' parameters."""

    name: str
    deploy: caffe_pb2.NetParameter
    weights: caffe_pb2.NetParameter

    def scores(self) -> str:
        """The blob that its last layer, a Softmax, takes. Raises FerError where that is none."""
        last = self.deploy.layer[-1]
        if last.type != "Softmax":
            raise FerError(
                f"{self.name}: its net ends in a {last.type}, and a teacher's scores are what a Softmax takes"
            )
        return last.bottom[0]

    def layers(self) -> list[_Layer]:
        """Those that lead from its input to its scores. Raises FerError for one that Caffe itself does not have."""
        layers = leading_to(self.deploy, self.scores())
        for layer in layers:
            if layer.type == "Python" or layer.type not in KNOWN_LAYERS:
                what = "is a Python layer" if layer.type == "Python" else f"is of the unknown type {layer.type!r}"
                raise FerError(
                    f"{self.name}: layer {layer.name!r} {what}; a teacher is made of Caffe's own layers alone"
                )
        return layers

    def blobs(self, layer: _Layer) -> Sequence[caffe_pb2.BlobProto]:
        """A layer's parameters. Raises FerError where the weights lack them."""
        blobs = next((known.blobs for known in self.weights.layer if known.name == layer.name), ())
        if has_parameters(layer) and not blobs:
            raise FerError(f"{self.name}: its weights have no layer {layer.name!r}")
        return blobs


def distilled(student: caffe_pb2.NetParameter, teachers: Sequence[Teacher], *, temperature: float, share: float) -> str:
    """The prototxt of a student whose TRAIN phase has its teachers inside; its TEST phase is the student's own.

    With p the mean of the teachers' softmax(scores / temperature) and q the student's, its soft loss is the cross
    entropy, the mean over images of -sum p log q, with loss_weight `share` * temperature ** 2; each loss of its own
    counts (1 - share) times as much as before. Teachers learn nothing and are as in scoring, on the student's own
    images. Raises FerError for a teacher of layers that Caffe has not, a student without a data layer or scores in
    TRAIN, one that changes its images in place, or that has the teachers' names.
    """
    scores = _scores(student)
    last, images = _images(student)
    inside = [_frozen(teacher, f"teacher{number}/", images) for number, teacher in enumerate(teachers, 1)]
    soft = list(_soft_loss(scores, [answers for _, answers in inside], temperature, share))
    _check_names(student, [layer for layers in (*(layers for layers, _ in inside), soft) for layer in layers])
    front, rest = student.layer[: last + 1], student.layer[last + 1 :]
    net = caffe_pb2.NetParameter()
    net.CopyFrom(student)
    del net.layer[:]
    parts = [to_text(net), _part("What the student and its teachers are given.", front)]
    for teacher, (layers, _) in zip(teachers, inside, strict=True):
        parts.append(_part(f"{teacher.name}, as in scoring: it learns nothing.", layers))
    hard = [made for layer in rest for made in _hard_loss(student, layer, share)]
    parts.append(_part(f"The student. In training its own losses count {1 - share:.6g} times as much.", hard))
    parts.append(_part(_SAYS.format(count=len(teachers), temperature=temperature), soft))
    return "\n".join(part for part in parts if part)


def teachers_weights(teachers: Sequence[Teacher]) -> caffe_pb2.NetParameter:
    """The parameters of the teachers' layers, under the names that they have in the student's net."""
    weights = caffe_pb2.NetParameter(name="teachers")
    for number, teacher in enumerate(teachers, 1):
        for layer in teacher.layers():
            if blobs := teacher.blobs(layer):
                weights.layer.add(name=f"teacher{number}/{layer.name}", type=layer.type).blobs.extend(blobs)
    return weights


def _part(comment: str, layers: Sequence[_Layer]) -> str:
    return f"# {comment}\n{to_text(caffe_pb2.NetParameter(layer=layers))}"


def trained_states(student: caffe_pb2.NetParameter) -> list[State]:
    """TRAIN with each set of stages that the student's rules name."""
    return [state for state in states_named(student) if state.phase == "TRAIN"]


def _scores(student: caffe_pb2.NetParameter) -> str:
    """The blob of a student's scores, before any Softmax. Raises FerError where training does not make it."""
    blob = derive_deploy(student, (1, 1, 1)).layer[-1].bottom[0]
    for state in trained_states(student):
        if not any(blob in layer.top for layer in filter_net(student, state).layer):
            raise FerError(f"net {student.name!r}: nothing makes {blob!r}, the scores of its tests, in its TRAIN phase")
    return blob


def _images(student: caffe_pb2.NetParameter) -> tuple[int, str]:
    """The blob of the images that the student is trained on, and the position of the last layer that makes it."""
    places = [_images_in(student, state) for state in trained_states(student)]
    if len({blob for _, blob in places}) > 1:
        names = " and ".join(sorted({repr(blob) for _, blob in places}))
        raise FerError(f"net {student.name!r} is trained on {names}, by stages; teachers take one of them")
    return max(places)


def _images_in(student: caffe_pb2.NetParameter, state: State) -> tuple[int, str]:
    """In one state, that is its data layer, or the last of those that only training has behind it, as Augment."""
    front = training_front(student, state)
    train, tested = taking_part(student, state), taking_part(student, TESTED)
    last = next(i for i in train if student.layer[i] == front)
    blob = front.top[0]
    for i in train[train.index(last) + 1 :]:
        layer = student.layer[i]
        if blob not in layer.bottom:
            continue
        if i not in tested and len(layer.top) == 1 and (layer.type == "Python" or layer.top[0] == blob):
            last, blob = i, layer.top[0]
        elif blob in layer.top:
            raise FerError(
                f"net {student.name!r}: layer {layer.name!r} works in place on {blob!r}, which the teachers take as "
                "well; give it a top of its own"
            )
    return last, blob


def _frozen(teacher: Teacher, prefix: str, images: str) -> tuple[list[_Layer], str]:
    """A teacher's layers for the TRAIN phase, and the blob of its scores there."""
    names = {input_of(teacher.deploy, teacher.name)[0]: images}
    made = []
    for layer in teacher.layers():
        if layer.type == "Input":
            continue
        if layer.type == "Dropout":
            names[layer.top[0]] = names[layer.bottom[0]]
            continue
        copy = for_use(layer)
        copy.name = prefix + layer.name
        copy.bottom[:] = [names[bottom] for bottom in layer.bottom]
        copy.top[:] = [prefix + top for top in layer.top]
        names.update(zip(layer.top, copy.top, strict=True))
        for _ in teacher.blobs(layer):
            copy.param.add(lr_mult=0, decay_mult=0)
        if layer.type == "BatchNorm":
            copy.batch_norm_param.use_global_stats = True
        if layer.type == "Pooling" and layer.pooling_param.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
            copy.phase = caffe_pb2.TEST
        made.append(_in_phase(copy, caffe_pb2.TRAIN))
    return made, names[teacher.scores()]


def _soft_loss(student: str, teachers: Sequence[str], temperature: float, share: float) -> Iterator[_Layer]:
    """The layers of the soft loss, for the TRAIN phase, from the blobs of scores."""
    answers = []
    for number, scores in enumerate(teachers, 1):
        yield from _softened(scores, f"{_OURS}teacher{number}", temperature)
        answers.append(f"{_OURS}teacher{number}")
    targets = answers[0]
    if len(answers) > 1:
        targets = f"{_OURS}teachers"
        mean = _made("Eltwise", targets, *answers)
        mean.eltwise_param.operation = caffe_pb2.EltwiseParameter.SUM
        mean.eltwise_param.coeff.extend([1 / len(answers)] * len(answers))
        yield mean
    yield from _softened(student, f"{_OURS}student", temperature)
    log = _made("Log", f"{_OURS}log", f"{_OURS}student")
    log.log_param.shift = _SHIFT
    yield log
    product = _made("Eltwise", f"{_OURS}product", log.top[0], targets)
    product.eltwise_param.operation = caffe_pb2.EltwiseParameter.PROD
    yield product
    each = _made("Reduction", f"{_OURS}each", product.top[0])
    each.reduction_param.axis = 1
    yield each
    loss = _made("Reduction", SOFT_LOSS, each.top[0])
    loss.reduction_param.operation = caffe_pb2.ReductionParameter.MEAN
    loss.reduction_param.coeff = -1
    loss.loss_weight.append(share * temperature**2)
    yield loss


def _softened(scores: str, name: str, temperature: float) -> Iterator[_Layer]:
    yield _made("Flatten", f"{name}/scores", scores)
    scaled = _made("Power", f"{name}/softened", f"{name}/scores")
    scaled.power_param.scale = 1 / temperature
    yield scaled
    yield _made("Softmax", name, f"{name}/softened")


def _made(kind: str, name: str, *bottoms: str) -> _Layer:
    return _in_phase(_Layer(name=name, type=kind, bottom=bottoms, top=[name]), caffe_pb2.TRAIN)


def _hard_loss(student: caffe_pb2.NetParameter, layer: _Layer, share: float) -> Iterator[_Layer]:
    """A layer as it is; one whose loss training takes, with (1 - share) of its weight there, and as it is in tests."""
    weights = loss_weights(layer)
    phases = {
        caffe_pb2.Phase.Value(state.phase)
        for state in states_named(student)
        if any(student.layer[i] == layer for i in taking_part(student, state))
    }
    if not any(weights) or caffe_pb2.TRAIN not in phases:
        yield layer
        return
    trained = _in_phase(layer, caffe_pb2.TRAIN)
    trained.loss_weight[:] = [(1 - share) * weight for weight in weights]
    yield trained
    if caffe_pb2.TEST in phases:
        yield _in_phase(layer, caffe_pb2.TEST)


def _in_phase(layer: _Layer, phase: caffe_pb2.Phase) -> _Layer:
    """A copy that takes part in one phase alone, of those that it took part in."""
    copy = _Layer()
    copy.CopyFrom(layer)
    if layer.exclude:
        copy.exclude.add(phase=caffe_pb2.TEST if phase == caffe_pb2.TRAIN else caffe_pb2.TRAIN)
        return copy
    del copy.include[:]
    for rule in layer.include or [caffe_pb2.NetStateRule()]:
        if not rule.HasField("phase") or rule.phase == phase:
            copy.include.add().CopyFrom(rule)
            copy.include[-1].phase = phase
    return copy


def _check_names(student: caffe_pb2.NetParameter, made: Sequence[_Layer]) -> None:
    names = {name for layer in made for name in (layer.name, *layer.top)}
    for layer in student.layer:
        for name in (layer.name, *layer.top):
            if name in names:
                raise FerError(
                    f"net {student.name!r}: layer {layer.name!r} has the name {name!r}, which its teachers need; "
                    "rename it (a net made by fer distill is distilled from anew by its own --student)"
                )
