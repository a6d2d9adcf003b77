"""The command line: help first, exit codes, errors for people."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fer import cli, terminal
from fer.commands import doctor
from fer.errors import FerError, Interrupted


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fer", *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize(
    "command",
    [[], ["prepare"], ["train"], ["report"], ["average"], ["export"], ["predict"], ["infogain"], ["doctor"]],
)
def test_help_opens_with_examples(command):
    answer = run(*command, "--help")
    assert answer.returncode == 0
    assert answer.stdout.index("examples:") < answer.stdout.index("options:")


def test_help_imports_nothing_heavy():
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
        ([], 2, "COMMAND"),
        (["trian"], 2, "invalid choice: 'trian'"),
        (["prepare"], 2, "source"),
        (["prepare", "x.csv", "--jpeg-quality", "101"], 2, "1..100"),
        (["prepare", "x.csv", "--resize", "huge"], 2, "whole number"),
        (["prepare", "x.csv", "--augment", "21"], 2, "1..20"),
        (["prepare", "x.csv", "--shift", "0.1"], 2, "--shift is for copies of images: give --augment K"),
        (["prepare", "x.csv", "--augment", "1", "--rotation", "-1"], 2, "--rotation -1: not from 0 to 180"),
        (["train"], 2, "--net and --solver"),
        (["train", "--resume", "runs/x", "--net", "lenet"], 2, "leave the others out"),
        (["infogain", "h.binaryproto"], 2, "--smoothing E"),
        (["infogain", "h.binaryproto", "--smoothing", "1"], 2, "less than 1"),
        (["infogain", "no/h.binaryproto", "--smoothing", "0.1"], 1, "cannot write no/h.binaryproto"),
        (["infogain", "h.binaryproto", "--smoothing", "0.1", "--power", "0.5"], 2, "give --balance DIR with it"),
        (["infogain", "h.binaryproto", "--balance", "no-data", "--power", "2"], 2, "'2' is not a number over 0, to 1"),
        (["infogain", "h.binaryproto", "--balance", "no-data"], 1, "no-data: no such data directory"),
        (["report", "runs/x", "--log", "y"], 2, "leave RUN and --val-only out"),
        (["prepare", "no-such.csv"], 1, "no-such.csv"),
        (["report", "--log", "no-such.log"], 1, "no-such.log"),
        (["report", "runs/none"], 1, "runs/none"),
        (["train", "--net", "alxnet", "--solver", "s1"], 1, "alexnet"),
    ],
)
def test_mistakes_get_an_exit_code_and_words(arguments, code, words, tmp_path):
    answer = run(*arguments, cwd=tmp_path)
    assert answer.returncode == code
    assert answer.stderr.startswith("error: ") and words in answer.stderr
    assert len(answer.stderr.splitlines()) <= 3 and "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (FerError("mend this"), 1, "error: mend this"),
        (Interrupted("stopped", signal.SIGTERM), 143, "error: stopped"),
        (KeyboardInterrupt(), 130, "Ctrl-C"),
        (OSError(28, "No space left on device", "out.mdb"), 1, "No space left on device: out.mdb"),
        (ValueError("odd"), 70, "a bug in fer: ValueError: odd"),
    ],
)
def test_exit_codes_of_what_a_command_raises(problem, code, words, monkeypatch, capsys):
    def fail(_arguments):
        raise problem

    monkeypatch.setattr(doctor, "run", fail)
    assert cli.main(["doctor"]) == code
    assert words in capsys.readouterr().err


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run", lambda _arguments: 1 // 0)
    assert cli.main(["doctor", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_plain_lines_when_piped(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "PLAIN_LINE_SECONDS", 0.0)
    bar = terminal.Bar("prepare", 10, "images")
    bar.update(5, "half")
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert "prepare: 5/10 images" in lines[0] and "ETA" in lines[0] and "half" in lines[0]


def test_no_colour_when_asked(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    terminal.error("x")
    assert "\033[31m" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.error("x")
    assert capsys.readouterr().err == "error: x\n"
