"""Words that people try: what a command or an option of another name is called here."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from fer.errors import nearest
from fer.system import shell

COMMANDS = {
    "compare": "fer report RUN RUN",
    **dict.fromkeys(("distillation", "distil", "teach"), "fer distill"),
    "ensemble": "fer report --ensemble RUN RUN",
    "resume": "fer train --resume RUN",
    "continue": "fer train --resume RUN",
    "finetune": "fer train NET --weights F",
    "list": "fer runs, or fer nets",
    "ls": "fer runs, or fer nets",
    "status": "fer runs",
    "models": "fer nets",
    "zoo": "fer nets",
    "init": "fer nets NET --copy FOLDER",
    "new": "fer nets NET --copy FOLDER",
    "plot": "fer report RUN",
    "log": "fer report --log FILE",
    "parse-log": "fer report --log FILE",
    "convert": "fer prepare, or fer export",
    "onnx": "fer export RUN",
    "check": "fer doctor",
    "info": "fer doctor",
    "device-query": "fer doctor",
    "setup": "fer doctor",
    "webcam": "fer predict --webcam",
    "lr": "fer schedule",
    **dict.fromkeys(("dashboard", "digits", "gui", "monitor", "serve", "server", "ui", "watch", "web"), "fer board"),
    **dict.fromkeys(("eval", "evaluate", "test", "score", "val", "validate", "results"), "fer report RUN"),
    **dict.fromkeys(("infer", "inference", "classify", "detect", "recognize", "run"), "fer predict PHOTO"),
    **dict.fromkeys(("data", "dataset", "download"), "fer prepare SOURCE"),
}
_OUT = ("out", "output", "output-dir", "out-dir", "outdir", "dir", "save", "save-dir", "dest")
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "train": {
        **dict.fromkeys((*_OUT, "run", "run-dir", "run-name", "project"), "--name NAME trains in runs/NAME"),
        **dict.fromkeys(("iter", "iters", "iterations", "steps", "max-iters", "max-steps"), "--max-iter N"),
        **dict.fromkeys(("model", "arch", "network", "config", "cfg"), "--net NET, or fer train NET"),
        **dict.fromkeys(("dataset", "data-dir", "data-path"), "--data DIR"),
        **dict.fromkeys(("device", "cuda", "gpus"), "--gpu N"),
        **dict.fromkeys(("base-lr", "learning-rate"), "--lr X"),
        **dict.fromkeys(("batch", "bs", "b"), "--batch-size N"),
        **dict.fromkeys(("pretrained", "finetune", "init", "ckpt", "checkpoint"), "--weights F"),
        **dict.fromkeys(("continue", "snapshot", "restore"), "--resume RUN"),
        **dict.fromkeys(("early-stopping", "early-stop"), "--patience N"),
        **dict.fromkeys(("fp16", "half", "amp", "bf16", "dtype"), "--precision bf16, or auto"),
        **dict.fromkeys(("backend", "framework", "torch", "pytorch"), "--engine pytorch"),
        **dict.fromkeys(("tensorflow", "tf", "keras"), "--engine tensorflow"),
        **dict.fromkeys(
            ("momentum", "weight-decay", "gamma", "stepsize", "lr-policy", "optimizer", "test-interval", "display"),
            "it stands in the solver: fer nets NET --copy FOLDER, and edit that",
        ),
        **dict.fromkeys(("dropout", "num-output", "crop-size"), "it stands in the net: fer nets NET --copy FOLDER"),
        **dict.fromkeys(("cpu", "no-cuda", "no-gpu"), "without --gpu it is the CPU that trains"),
    },
    "prepare": {
        **dict.fromkeys(_OUT, "--out DIR"),
        **dict.fromkeys(("size", "image-size", "resize-width", "resize-height"), "--resize N"),
        **dict.fromkeys(("quality", "jpg-quality"), "--jpeg-quality Q"),
        **dict.fromkeys(("csv", "source", "input", "in", "data"), "fer prepare SOURCE"),
        **dict.fromkeys(("overwrite", "f"), "--force"),
    },
    "report": {
        **dict.fromkeys(_OUT, "--out DIR"),
        **dict.fromkeys(("run", "runs", "model", "name"), "fer report RUN"),
        **dict.fromkeys(("tta", "10-crop", "tencrop", "oversample"), "--ten-crop"),
        **dict.fromkeys(("iter", "iteration", "weights", "checkpoint"), "--snapshot N"),
        **dict.fromkeys(("latex", "markdown", "csv"), "--format latex, markdown or csv"),
    },
    "export": {
        **dict.fromkeys(_OUT, "--out DIR"),
        **dict.fromkeys(("onnx",), "model.onnx is always written; --no-onnx leaves it out"),
        **dict.fromkeys(("run", "model", "name"), "fer export RUN"),
    },
    "predict": {
        **dict.fromkeys((*_OUT, "draw", "show"), "--annotate OUT"),
        **dict.fromkeys(("run", "net"), "--model DIR"),
        **dict.fromkeys(("camera", "cam"), "--webcam N"),
        **dict.fromkeys(("image", "images", "input", "source", "video", "file", "folder"), "fer predict PATH"),
        **dict.fromkeys(("no-face", "no-faces", "cropped", "aligned"), "--no-detect"),
    },
    "average": {
        **dict.fromkeys(("n", "k", "count", "snapshots", "num"), "--last K"),
        **dict.fromkeys(("start", "since"), "--from N"),
    },
    "distill": {
        **dict.fromkeys(("net", "model", "arch"), "--student NET"),
        **dict.fromkeys(("teacher", "runs", "run", "ensemble"), "--teachers RUN ..."),
        **dict.fromkeys(("alpha", "soft-weight", "lambda"), "--weight A"),
        **dict.fromkeys(("t", "temp", "tau"), "--temperature T"),
    },
    "schedule": {
        **dict.fromkeys(("warmup", "warm-up-iters", "warmup-iters"), "--warm-up N"),
        **dict.fromkeys((*_OUT,), "fer schedule OUT"),
    },
}


def command_hint(word: str, known: Iterable[str], nets: Iterable[str]) -> str:
    """What to type instead of a command that there is not, in brackets; nothing where nothing is near."""
    if meant := COMMANDS.get(_plain(word)):
        return f" (that is {meant})"
    if meant := _by_what_it_is(Path(word)):
        return f" (that is {shell.command('fer', meant, word)})"
    if word in nets:
        return f" (that is {shell.command('fer', 'train', word)})"
    return nearest(word, known)


_ENDINGS = {
    **dict.fromkeys((".csv", ".zip"), "prepare"),
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".mp4"), "predict"),
}


def _by_what_it_is(path: Path) -> str | None:
    """The command for a path that was given without one: a run, a source, photos."""
    if (path / "run.json").is_file():
        return "report"
    return _ENDINGS.get(path.suffix.lower()) if path.is_file() else None


def option_hint(option: str, command: str, options: Mapping[str, Iterable[str]]) -> str:
    """Likewise of an option; `options` are those of each command."""
    word = _plain(option)
    if meant := OPTIONS.get(command, {}).get(word):
        return f" (that is {meant})" if meant.startswith(("--", "fer ")) else f" ({meant})"
    if hint := nearest(f"--{word}", options[command]):
        return hint
    owners = [f"fer {name}" for name, each in options.items() if f"--{word}" in each]
    return f" ({' and '.join(owners)} {'has' if len(owners) == 1 else 'have'} it)" if owners else ""


def _plain(word: str) -> str:
    return word.lstrip("-").replace("_", "-").lower()
