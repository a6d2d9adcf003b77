"""Engines started warm: a process that has imported what an engine imports, and forks for each of its commands.

To import PyTorch takes 1.5 seconds and Caffe 0.7, and the tests start engines hundreds of times. What is forked runs
the very command line, in a process, a folder and an environment of its own, as a new interpreter would.

    python warm.py SOCKET MODULE ...    the process that forks, by the engine's own Python

Imports the standard library only, as Caffe's Python does this too.
"""

from __future__ import annotations  # Caffe's Python has no `X | None` yet

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

PR_SET_PDEATHSIG = 1
# What a command looks up in its environment when it runs; anything else may count from a process's start.
READ_LATE = ("FAKE_", "FER_", "PYTEST_")


class Server(NamedTuple):
    """A process that forks: the Python and the environment it was started with, itself, and where it is asked."""

    known: tuple[str, dict[str, str]]
    process: subprocess.Popen[bytes]
    address: bytes


class Warm:
    """Stands in for the module `subprocess` as fer.engines.process uses it.

    `engines` says what to import beforehand, by how an engine's command goes on after its Python.
    """

    DEVNULL, PIPE = subprocess.DEVNULL, subprocess.PIPE

    def __init__(self, engines: Mapping[tuple[str, ...], Sequence[str]]) -> None:
        self.engines = engines
        self._servers: dict[tuple[str, ...], Server] = {}

    def Popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any] | Forked:  # noqa: N802  # as in subprocess
        begin = next((begin for begin in self.engines if tuple(argv[1 : 1 + len(begin)]) == begin), None)
        if begin is None or (argv[0] != sys.executable and "FER_CAFFE_PYTHON" in os.environ):
            return subprocess.Popen(argv, **options)
        return Forked(self._address(argv[0], begin, options["env"]), argv, **options)

    def close(self) -> None:
        for begin in list(self._servers):
            self._end(begin)

    def _address(self, python: str, begin: tuple[str, ...], env: Mapping[str, str]) -> bytes:
        """Of the process that forks for this engine; it is another where the environment has changed."""
        known = python, {name: value for name, value in env.items() if not name.startswith(READ_LATE)}
        if begin in self._servers and self._servers[begin].known != known:
            self._end(begin)
        if begin not in self._servers:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("")  # an abstract address of the system's choice
                listener.listen()
                argv = [python, __file__, str(listener.fileno()), *self.engines[begin]]
                server = subprocess.Popen(argv, env=env, pass_fds=[listener.fileno()], start_new_session=True)
                self._servers[begin] = Server(known, server, listener.getsockname())
        return self._servers[begin].address

    def _end(self, begin: tuple[str, ...]) -> None:
        process = self._servers.pop(begin).process
        process.kill()
        process.wait()


class Forked:
    """What Popen gives of a process, of one that another has forked."""

    def __init__(
        self,
        address: bytes,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        stdin: int,
        stdout: IO[Any],
        stderr: IO[Any] | int,
        cwd: Path | None = None,
        start_new_session: bool = False,
        pass_fds: Sequence[int] = (),
        **text: Any,
    ) -> None:
        self.args = argv
        self.returncode: int | None = None
        self.stderr: IO[str] | None = None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        request = {"argv": argv, "env": env, "cwd": str(Path(cwd or "").absolute()), "session": start_new_session}
        assert stdin == subprocess.DEVNULL
        with contextlib.ExitStack() as ours:
            if isinstance(stderr, int):
                assert stderr == subprocess.PIPE
                reading, writing = os.pipe()
                self.stderr = os.fdopen(reading, errors=text.get("errors"))
                stderr = ours.enter_context(os.fdopen(writing, "wb"))
            null = ours.enter_context(Path(os.devnull).open("rb"))
            files = [null.fileno(), stdout.fileno(), stderr.fileno(), *pass_fds]
            socket.send_fds(self._socket, [b"?"], files)
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._socket.makefile("r")
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._socket], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._socket.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.stderr:
            self.stderr.close()
        self.wait()


# ---- the process that forks


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which BLAS has, and knows how to fork with
        return os.fork()


def next_request(listener: socket.socket) -> dict[str, Any]:
    """Gives what is to be run, in a process that was forked for it; never returns in the one that forks."""
    while True:
        connection, _ = listener.accept()
        if fork():
            connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            continue
        listener.close()
        _, files, _, _ = socket.recv_fds(connection, 1, 16)
        request: dict[str, Any] = json.loads(connection.makefile("rb").readline())
        pid = fork()
        if pid:
            for file in files:
                os.close(file)
            connection.sendall(b"%d\n" % pid)
            _, status = os.waitpid(pid, 0)
            connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            os._exit(0)
        connection.close()
        for number, file in enumerate(files[:3]):
            os.dup2(file, number)
            os.close(file)
        return request


def run(request: dict[str, Any]) -> NoReturn:
    """As a new interpreter would."""
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if "FER_PARENT_PID" in os.environ:
        os.environ["FER_PARENT_PID"] = str(os.getppid())
    _, *words = request["argv"]
    code = 1
    try:
        if words[0] == "-m":
            sys.argv, sys.path[0] = words[1:], str(Path.cwd())
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
            runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:  # without clearing away each object of what was imported, which takes half a second of PyTorch's
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main(listener: int, modules: Sequence[str]) -> NoReturn:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it ends with pytest
    for module in modules:
        importlib.import_module(module)
    gc.freeze()
    run(next_request(socket.socket(fileno=listener)))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
