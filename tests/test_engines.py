"""Finding Caffe, starting engines, and turning their death into sentences."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import training

from fer.engines import interpreter
from fer.engines.caffe import ipc
from fer.engines.caffe_executable import CaffeExecutable
from fer.engines.interpreter import SCRIPT, WORKER, engine_environment, find_caffe
from fer.engines.process import Child, call, how_it_ended, last_words
from fer.engines.pycaffe import PyCaffe
from fer.engines.registry import find_engine
from fer.errors import FerError, UsageError
from fer.system.script_python import ScriptPython, with_cache


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "_known", {})
    monkeypatch.delenv("FER_CAFFE", raising=False)
    monkeypatch.delenv("FER_CAFFE_PYTHON", raising=False)


def python_with_caffe(folder: Path, source: str = "") -> Path:
    """A Python whose `caffe` is the module given."""
    (folder / "modules").mkdir()
    (folder / "modules" / "caffe.py").write_text(source)
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "modules"} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def test_fer_caffe_python_is_taken_when_it_imports_caffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = python_with_caffe(tmp_path)
    monkeypatch.setenv("FER_CAFFE_PYTHON", str(python))
    found = find_caffe()
    assert found.python == python and "FER_CAFFE_PYTHON" in str(found)
    assert training.real_caffe().command == (str(python), str(WORKER))


def test_fer_caffe_python_without_caffe_says_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_CAFFE_PYTHON", str(python_with_caffe(tmp_path, "raise ImportError('libcudart.so.8.0')")))
    with pytest.raises(FerError, match=r"`import caffe` fails there: ImportError: libcudart\.so\.8\.0"):
        find_caffe()


def test_fer_caffe_python_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").write_text("no program")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("FER_CAFFE_PYTHON", str(tmp_path / "python"))
    with pytest.raises(FerError, match="cannot be started: Exec format error"):
        find_caffe()


def test_fer_caffe_python_that_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_CAFFE_PYTHON", str(tmp_path / "none"))
    with pytest.raises(FerError, match="no program"):
        find_caffe()


def pretend_python(path: Path, version: str, code: int = 0) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho CPython {version}\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_python_3_9_is_looked_for_on_path_then_in_pyenv_newest_first(tmp_path: Path) -> None:
    on_path = pretend_python(tmp_path / "bin" / "python3.9", "3.9.2")
    old = pretend_python(tmp_path / "pyenv" / "versions" / "3.9.9" / "bin" / "python3.9", "3.9.9")
    new = pretend_python(tmp_path / "pyenv" / "versions" / "3.9.18" / "bin" / "python3.9", "3.9.18")
    pretend_python(tmp_path / "pyenv" / "versions" / "3.8.18" / "bin" / "python3.9", "3.8.18")
    environment = {"PATH": str(on_path.parent), "PYENV_ROOT": str(tmp_path / "pyenv")}
    assert list(SCRIPT.installed_pythons(environment, [])) == [str(on_path), str(new), str(old)]


def test_a_shim_that_starts_nothing_is_passed_over(tmp_path: Path) -> None:
    pretend_python(tmp_path / "bin" / "python3.9", "3.9.2", code=127)
    environment = {"PATH": str(tmp_path / "bin"), "PYENV_ROOT": str(tmp_path / "none")}
    assert list(SCRIPT.installed_pythons(environment, [])) == []


def no_network(script: ScriptPython, arguments: list[str], environment: dict[str, str]) -> object:
    return subprocess.CompletedProcess(arguments, 2, "", "error: no network\n")


def test_a_folder_that_cannot_be_looked_into_is_passed_over_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = pretend_python(tmp_path / "bin" / "python3.9", "3.9.2")
    (tmp_path / "versions").write_text("no folder")
    environment = {"PATH": str(on_path.parent), "PYENV_ROOT": str(tmp_path)}
    skipped: list[str] = []
    assert list(SCRIPT.installed_pythons(environment, skipped)) == [str(on_path)]
    assert skipped == [f"{tmp_path}: Not a directory"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ScriptPython, "_uv", no_network)
    with pytest.raises(FerError, match=r"no network \(passed over: .*: Not a directory\)\nname a Python"):
        find_caffe()


def test_where_home_cannot_be_written_caffe_is_kept_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    home = "/proc/no-such-home"  # where root cannot write either
    environment = {"HOME": home}
    (told,) = with_cache(environment)
    kept = tmp_path / f"fer-caffe-{os.getuid()}"
    assert environment["UV_CACHE_DIR"] == str(kept) and kept.stat().st_mode & 0o777 == 0o700
    assert told == f"{home}/.cache/uv: cannot be written, so packages are kept in {kept}"
    assert with_cache({"HOME": str(tmp_path)}) == []


def test_caffe_that_cannot_be_set_up_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptPython, "_uv", no_network)
    told: list[str] = []
    with pytest.raises(FerError, match=r"(?s)no network.*FER_CAFFE_PYTHON"):
        find_caffe(told.append)
    assert told == [interpreter.SETTING_UP]


def test_every_package_of_caffe_is_locked_with_its_hash() -> None:
    header = re.search(r"^# dependencies = (.*)$", WORKER.read_text(), re.MULTILINE)
    lock = tomllib.loads(SCRIPT.lock.read_text())
    pins = {f"{each['name']}=={each['version']}" for each in lock["package"]}
    assert header and set(json.loads(header[1])) <= pins
    files = [file for each in lock["package"] for file in each["wheels"]]
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", file["hash"]) for file in files)
    assert {urlsplit(file["url"]).hostname for file in files} == {"files.pythonhosted.org"}
    assert {each["source"]["registry"] for each in lock["package"]} == {"https://pypi.org/simple"}


@pytest.mark.full
def test_a_package_that_is_not_the_locked_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = SCRIPT.lock.read_text()
    before, name, after = lock.partition('name = "six"\nversion')
    worker = tmp_path / WORKER.name
    worker.write_text(WORKER.read_text())
    worker.with_name(SCRIPT.lock.name).write_text(before + name + re.sub("sha256:.{8}", "sha256:00000000", after))
    script = replace(SCRIPT, script=worker)
    monkeypatch.setattr(interpreter, "SCRIPT", script)
    with pytest.raises(FerError, match="could not be set up: Hash mismatch for `"):
        find_caffe()
    python = script.python(dict(os.environ))
    assert python and not script.is_whole(python)
    shutil.rmtree(python.parent.parent)


def test_one_blas_thread_unless_asked() -> None:
    assert engine_environment({})["OPENBLAS_NUM_THREADS"] == "1"
    assert engine_environment({"FER_CAFFE_THREADS": "4"})["OMP_NUM_THREADS"] == "4"


def test_an_unknown_engine_lists_the_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no engine called 'mxnet'; there is caffe"):
        find_engine("mxnet")


# ---- the user's own caffe executable


def tool(path: Path) -> CaffeExecutable:
    return CaffeExecutable("caffe", ("python", "worker.py"), {}, executable=path)


def test_the_tool_gets_caffe_s_own_flags() -> None:
    argv = tool(Path("/opt/caffe")).train_command(Path("solver.prototxt"), gpus=[1], snapshot=Path("a.solverstate"))
    effects = ["--sigint_effect", "stop", "--sighup_effect", "snapshot"]
    assert argv[0] == sys.executable and Path(argv[1]).name == "tied.py"  # it must not outlive us
    assert argv[2:] == [
        "/opt/caffe", "train", "--solver", "solver.prototxt", "--gpu", "1", "--snapshot", "a.solverstate", *effects
    ]  # fmt: skip
    # Caffe's tool has no answer to SIGTERM; SIGINT is what makes it save.
    assert tool(Path("/opt/caffe")).stop_signal(signal.SIGTERM) == signal.SIGINT


def test_the_worker_gets_the_same_verb() -> None:
    engine = PyCaffe("caffe", ("python", "worker.py"), {})
    argv = engine.train_command(Path("s"), weights=Path("w.caffemodel"))
    assert argv == ["python", "worker.py", "train", "--solver", "s", "--weights", "w.caffemodel"]
    assert engine.stop_signal(signal.SIGTERM) == signal.SIGTERM


def test_fer_caffe_that_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_CAFFE_PYTHON", str(python_with_caffe(tmp_path)))
    monkeypatch.setenv("FER_CAFFE", str(tmp_path / "none"))
    with pytest.raises(FerError, match=r"FER_CAFFE names .*none, which is no program"):
        find_engine("caffe")


@pytest.mark.parametrize("with_tool", [True, False])
def test_a_cpu_only_caffe_says_so_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_tool: bool
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "no-gpu")
    monkeypatch.setenv("FER_CAFFE", str(training.fake_executable(tmp_path)))
    make = training.fake_with_tool if with_tool else training.fake_pycaffe
    with pytest.raises(FerError, match=r"(?s)CPU-only.*take --gpu none.*FER_CAFFE"):
        make().check_gpus(0)
    monkeypatch.setenv("FAKE_FAULT", "")
    assert make().check_gpus(0) == (0,)


# ---- messages


@pytest.mark.parametrize("header", ["", "I20261124 05:31:28.896615  4762 solver.cpp:1] "])
@pytest.mark.parametrize(
    "message",
    [
        ipc.Predicted(64, 3589),
        ipc.Answered(7, 30),
        ipc.Passed(3, 4),
        ipc.Replaying(400),
        ipc.Gpu(0, "NVIDIA H100: 80GB"),
    ],
)  # fmt: skip
def test_a_message_is_read_as_it_was_written(message: ipc.Message, header: str) -> None:
    assert ipc.parse(header + ipc.text_of(message)) == message
    assert ipc.parse(f"{header}it {ipc.text_of(message)}") is None


# ---- processes


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "memory"), (137, "memory"), (-11, "SIGSEGV"), (-7, "disk is full"), (134, "SIGABRT"), (1, "exit code 1"),
     (-15, "SIGTERM")],
)  # fmt: skip
def test_endings_in_words(code: int, words: str) -> None:
    assert words in how_it_ended(code)


def test_last_words_are_caffe_s_fatal_message_without_its_prefix() -> None:
    lines = [
        "I20261124 05:31:28.896615  4762 solver.cpp:1] Solving",
        "F1124 05:33:12.600783  5045 common.cpp:66] Check failed: a == b (1 vs. 2) ",
        "*** Check failure stack trace: ***",
        "    @     0x7f0e",
    ]
    assert last_words(lines) == "Caffe says: Check failed: a == b (1 vs. 2)"
    assert last_words(["Traceback", "ImportError: no caffe", ""]) == "its last line: ImportError: no caffe"
    assert last_words([]) == "it said nothing"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_call_gives_the_answer_and_hands_on_each_line() -> None:
    lines: list[str] = []
    code = "import sys; print('one', file=sys.stderr); print('x' * 1_000_000); print('two', file=sys.stderr)"
    assert len(call(python(code), os.environ, on_line=lines.append)) == 1_000_001
    assert lines == ["one", "two"]


def test_a_failed_call_says_why() -> None:
    with pytest.raises(FerError) as problem:
        call(python("raise ValueError('bad blob')"), os.environ, task="building the net")
    assert (
        str(problem.value) == "Caffe, building the net, stopped with exit code 1\nits last line: ValueError: bad blob"
    )
    with pytest.raises(FerError, match="cannot start"):
        call(["/nonexistent/python"], os.environ)


def test_a_child_s_lines_come_whole_and_in_order(tmp_path: Path) -> None:
    parts = "'a', 'b\\nc', 'd\\n', 'end'"
    code = f"import time\nfor part in ({parts}):\n    print(part, end='', flush=True); time.sleep(.06)"
    (tmp_path / "log").write_text("from before\n")
    child = Child(python(code), os.environ, tmp_path, tmp_path / "log")
    assert list(child.lines(lambda: None)) == ["ab", "cd", "end"]
    assert (tmp_path / "log").read_text() == "from before\nab\ncd\nend"


def test_a_killed_child_takes_its_own_children_along(tmp_path: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '100']); print(p.pid, flush=True); p.wait()"
    child = Child(python(code), os.environ, tmp_path, tmp_path / "log")
    pid = int(next(child.lines(lambda: None)))
    child.kill()
    assert child.process.returncode == -signal.SIGKILL
    while training.running(pid):  # the test's own time limit ends this
        time.sleep(0.01)


@pytest.mark.full
def test_real_caffe_is_found_and_works() -> None:
    facts = find_engine("caffe").doctor()
    assert facts["one_step_ok"] and "SoftmaxWithLoss" in facts["layer_types"]
    assert facts["caffe"].startswith("1.0") and not facts["gpu"]
    with pytest.raises(FerError, match="CPU-only"):
        find_engine("caffe").check_gpus(0)


@pytest.mark.parametrize(("code", "ours"), [(1, 1), (3, 1), (70, 70)])
def test_a_verb_that_fails_by_our_fault_says_so_by_its_exit_code(code: int, ours: int) -> None:
    with pytest.raises(FerError, match=f"stopped with exit code {code}\nits last line: why") as raised:
        call(["sh", "-c", f"echo why >&2; exit {code}"], os.environ)
    assert raised.value.exit_code == ours
