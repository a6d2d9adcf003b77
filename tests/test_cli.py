"""The command line: help first, exit codes, errors for people."""

import os
import re
import shlex
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import training

from fer import __version__, cli
from fer.commands import doctor, terminal
from fer.commands.display import TrainingDisplay
from fer.commands.words import COMMANDS, OPTIONS
from fer.errors import Faults, FerError, Interrupted
from fer.system.shell import command
from fer.training import events


def exit_code(*arguments: str) -> int:
    """Of the command in this process, where argparse ends it too."""
    try:
        return cli.main(list(arguments))
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def test_it_is_a_program(tmp_path: Path) -> None:
    for arguments, code in ((["--help"], 0), (["trian"], 2), (["prepare", "no-such.csv"], 1)):
        answer = subprocess.run([sys.executable, "-m", "fer", *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert answer.returncode == code
        assert answer.stdout.startswith("usage: fer") if code == 0 else answer.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "command",
    [[], *([name] for name in cli.COMMANDS)],
)
def test_help_opens_with_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*command, "--help") == 0
    said = capsys.readouterr().out
    assert said.index("examples:") < said.index("options:")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], "usage: fer [-h]"),
        (["--debug"], "usage: fer [-h]"),
        (["help"], "usage: fer [-h]"),
        (["help", "train"], "usage: fer train"),
        (["--debug", "train", "--help"], "usage: fer train"),
        (["version"], f"fer {__version__}\n"),
        (["-V"], f"fer {__version__}\n"),
    ],
)
def test_help_and_version_by_any_name(words: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*words) == 0
    assert capsys.readouterr().out.startswith(shown)


def test_each_word_leads_to_what_there_is() -> None:
    """Every command and option that a hint names."""
    parser = cli._parser()
    hints = [("", hint) for hint in COMMANDS.values()]
    hints += [(typed, hint) for typed, each in OPTIONS.items() for hint in each.values()]
    assert not COMMANDS.keys() & parser.commands.keys()
    for typed, hint in hints:
        named = re.findall(r"\bfer ([a-z]+)", hint) or [typed]
        options = {option for name in named for option in parser.commands[name].options}
        assert set(re.findall(r"--[a-z-]+", hint)) <= options, hint


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from fer.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'cv2', 'pandas', 'matplotlib', 'sklearn', 'google.protobuf'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["trian"], 2, "no command 'trian' (did you mean train?)"),
        (["help", "trian"], 2, "no command 'trian' (did you mean train?)"),
        (["Compare"], 2, "(that is fer report RUN RUN)"),
        (["ensemble"], 2, "(that is fer report --ensemble RUN RUN)"),
        (["eval"], 2, "(that is fer report RUN)"),
        (["resume"], 2, "(that is fer train --resume RUN)"),
        (["list"], 2, "(that is fer runs, or fer nets)"),
        (["lenet"], 2, "(that is fer train lenet)"),
        (["--slover", "train"], 2, "fer has no option --slover"),
        (["train", "lenet", "--slover", "s1"], 2, "--slover (did you mean --solver?)\nSee fer train --help."),
        (["train", "--max_iter=5", "lenet"], 2, "--max_iter (did you mean --max-iter?)\nSee fer train --help."),
        (["train", "-lr", "1", "lenet"], 2, "-lr (did you mean --lr?)"),
        (["train", "lenet", "--out", "x"], 2, "--out (that is --name NAME trains in runs/NAME)"),
        (["train", "lenet", "--stepsize", "9"], 2, "--stepsize (it stands in the solver: fer nets NET --copy FOLDER"),
        (["report", "--epochs", "3"], 2, "--epochs (fer train has it)\nSee fer report --help."),
        (["prepare", "--epcohs", "3"], 2, "fer prepare has no option --epcohs\nSee fer prepare --help."),
        (["prepare", "a.csv", "b.csv"], 2, "b.csv: more than fer prepare takes\nSee fer prepare --help."),
        (["train", "lenet", "s2", "more"], 2, "lenet s2 more: more than one net"),
        (["train", "lenet", "--net", "vgg8"], 2, "'lenet' and --net vgg8: give one of them"),
        (["train", "lenet", "--epochs", "0"], 2, "'0' is not a number over 0"),
        (["train", "lenet", "--epochs", "1", "--max-iter", "1"], 2, "not allowed with"),
        (["train", "lenet", "--approximate-resume"], 2, "--approximate-resume is for --resume RUN"),
        (["train", "--resume", "runs/x", "--lr", "1", "--seed", "0"], 2, "that run's own seed, lr: leave"),
        (["nets", "--copy", "mine"], 2, "fer nets NET --copy FOLDER"),
        (["nets", "lent"], 1, "did you mean lenet?"),
        (["runs"], 1, "runs: no such folder of runs"),
        (["prepare"], 2, "SOURCE"),
        (["prepare", "x.csv", "--jpeg-quality", "101"], 2, "1..100"),
        (["prepare", "x.csv", "--resize", "huge"], 2, "whole number"),
        (["prepare", "x.csv", "--augment", "21"], 2, "1..20"),
        (["prepare", "x.csv", "--shift", "0.1"], 2, "--shift is for copies of images: give --augment K"),
        (["prepare", "x.csv", "--augment", "1", "--rotation", "-1"], 2, "--rotation -1: not from 0 to 180"),
        (["train"], 2, "fer train needs a net (or --resume RUN)"),
        (["train", "--resume", "runs/x", "--net", "lenet"], 2, "leave the others out"),
        (["infogain", "h.binaryproto"], 2, "--smoothing E"),
        (["infogain", "h.binaryproto", "--smoothing", "1"], 2, "less than 1"),
        (["infogain", "no/h.binaryproto", "--smoothing", "0.1"], 1, "cannot write no/h.binaryproto"),
        (["infogain", "h.binaryproto", "--smoothing", "0.1", "--power", "0.5"], 2, "give --balance DIR with it"),
        (["infogain", "h.binaryproto", "--balance", "no-data", "--power", "2"], 2, "'2' is not a number over 0, to 1"),
        (["infogain", "h.binaryproto", "--balance", "no-data"], 1, "no-data: no such data directory"),
        (["report", "runs/x", "--log", "y", "--ten-crop"], 2, "on a log alone: leave RUN, --ten-crop out"),
        (["schedule", "o", "--net", "lenet", "--solver", "s2", "--warm-up", "9", "--max-iter", "9"], 2, "leave it out"),
        (["report", "--out", "x", "--log", "no-such.log"], 1, "no-such.log: no such file"),
        (["prepare", "no-such.csv"], 1, "no-such.csv"),
        (["report", "--log", "no-such.log"], 1, "no-such.log"),
        (["report", "runs/none"], 1, "runs/none"),
        (["train", "--net", "alxnet", "--solver", "s1"], 1, "alexnet"),
    ],
)
def test_mistakes_get_an_exit_code_and_words(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(*arguments) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said
    assert len(said.splitlines()) <= 3 and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "command"),
    [("my faces.csv", "prepare"), ("photo.JPG", "predict"), ("lenet-s2/run.json", "report"), ("notes.txt", None)],
)
def test_a_path_without_a_command_is_answered_by_its_command(
    name: str, command: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("{}")
    word = name.removesuffix("/run.json")
    assert exit_code(word) == 2
    error = capsys.readouterr().err
    assert f"(that is fer {command} {shlex.quote(word)})" in error if command else "(that is" not in error


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (FerError("mend this"), 1, "error: mend this"),
        (Interrupted("stopped", signal.SIGTERM), 143, "error: stopped"),
        (Interrupted("stopped", signal.SIGINT), 130, "stopped"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (OSError(28, "No space left on device", "out.mdb"), 1, "No space left on device: out.mdb"),
        (ValueError("odd"), 70, "a bug in fer: ValueError: odd"),
    ],
)
def test_exit_codes_of_what_a_command_raises(
    problem: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_arguments: Namespace) -> None:
        raise problem

    monkeypatch.setattr(doctor, "run", fail)
    assert cli.main(["doctor"]) == code
    said = capsys.readouterr().err
    assert words in said and said.startswith("error: ") == (code != 130)  # Ctrl-C is meant


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "run", lambda _arguments: 1 // 0)
    assert cli.main(["doctor", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_plain_lines_when_piped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(terminal, "PLAIN_LINE_SECONDS", 0.0)
    bar = terminal.Bar("prepare", 10, "images")
    bar.update(5, "half")
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert "prepare: 5/10 images" in lines[0] and "ETA" in lines[0] and "half" in lines[0]


def test_no_colour_when_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    terminal.error("x")
    assert "\033[31m" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.error("x")
    assert capsys.readouterr().err == "error: x\n"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_of_any_encoding_is_written(encoding: str, stream: str, tmp_path: Path) -> None:
    said = "45.2–48.9% · → \U0001f642 \udcc3"
    code = f"""
import sys
from fer import cli
from fer.commands import findings as doctor
doctor.examine = lambda: [doctor.Finding("x", True, {said!a})]
if "{stream}" == "stderr":
    sys.stdout = sys.stderr
sys.exit(cli.main(["doctor"]))
"""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = getattr(done, stream).decode(encoding)
    assert re.search(r"45\.2[-–]48\.9% [-·] -> \\U0001f642 \\udcc3", text)


def test_a_name_that_the_locale_cannot_write_is_no_bug_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "run", lambda _arguments: "é".encode("ascii"))
    assert cli.main(["doctor"]) == 1
    assert "take a locale of UTF-8" in capsys.readouterr().err


def test_printed_commands_are_quoted_for_a_shell(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fake: None
) -> None:
    """Each command of a message, as a shell takes it apart, names the very folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("my data $2's")
    assert cli.main(["prepare", str(data.parent / "sample.csv"), "--out", str(folder)]) == 0
    assert cli.main(["report", str(folder / "none")]) == 1
    said = capsys.readouterr().out
    (following,) = re.findall(r"Next: (.*)", said)
    assert shlex.split(following)[-2:] == ["--data", str(folder)]
    run = training.train_small(tmp_path / folder, data, max_iter=20)
    for resume in ([], ["--max-iter", "20"]):
        assert cli.main(["train", "--resume", str(run.dir), *resume]) == 1
    assert command("fer", "report", run.dir) in capsys.readouterr().err
    run.update(snapshots={})
    assert cli.main(["report", str(run.dir)]) == 1
    assert command("fer", "train", "--resume", run.dir) in capsys.readouterr().err


def test_no_command_is_printed_unquoted() -> None:
    """A path in a command goes through fer.system.shell.command; this finds one that does not."""
    literal = re.compile(
        r"""(?:fer (?:prepare|train|report|average|export|predict|schedule|infogain)|--resume)[^"']*\{"""
    )
    sources = sorted((Path(cli.__file__).parent).rglob("*.py"))
    found = [f"{path}: {line}" for path in sources for line in path.read_text().splitlines() if literal.search(line)]
    assert found == []


def test_an_old_accuracy_is_shown_with_its_iteration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "PLAIN_LINE_SECONDS", 0.0)
    with TrainingDisplay() as display:
        display(events.Validation(0, {"accuracy": 0.1429}, "accuracy"))
        display(events.Displayed(20, 400, 1.5, 0.01, None))
    assert "loss 1.5, val accuracy 0.1429 at 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FerError("one"), "error: one\n"),
        (FerError("\n".join(f"line {n}" for n in range(9))), "error: line 0\nline 1 (and 6 more lines)\nline 8\n"),
        (Faults(["a:1: one", "b:2: two"] * 2, "to mend:"), "error: to mend:\na:1: one\nb:2: two\n"),
        (Faults(["alone"], "to mend:"), "error: alone\n"),
    ],
)
def test_an_error_has_three_lines_and_a_list_of_faults_one_a_fault(
    error: FerError, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("fer.commands.doctor.run", fail)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("kind", [FerError, RuntimeError, OSError])
def test_an_error_of_a_megabyte_is_cut_and_keeps_its_head_and_its_cure(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise kind("wrong: " + "\x1b" * 2**20 + ". Do this")

    monkeypatch.setattr("fer.commands.doctor.run", fail)
    cli.main(["doctor"])
    error = capsys.readouterr().err
    assert "wrong: " in error.splitlines()[0] and len(error.splitlines()) <= 3
    assert max(map(len, error.splitlines())) <= 200 and (kind is RuntimeError or "Do this" in error)
