"""The board's server: where it listens, and how it ends."""

import contextlib
import os
import secrets
import socket
from pathlib import Path
from types import FrameType

import uvicorn

from fer.board.app import make_app
from fer.board.board import Board
from fer.board.guard import is_local
from fer.errors import FerError
from fer.system.shell import command

BEHIND = 5
"""The niceness that is added to the board's own: a training beside it goes first."""


class Server:
    """Listens from the start on; `address` is what a browser opens, its token in it where one is wanted.

    Raises FerError for a folder of runs that is not there, an address or port that cannot be had, or a library that
    is missing.
    """

    def __init__(self, runs: Path, data: Path | None, host: str, port: int):
        if not runs.is_dir():
            raise FerError(f"{runs}: no such folder of runs; fer train lenet makes the first one in runs/")
        if data is not None and not data.is_dir():
            raise FerError(f"--data {data}: no such data directory")
        self._board = Board(runs, data)
        token = None if is_local(host) else secrets.token_urlsafe(16)
        app = make_app(self._board, host.lower(), token)
        self._socket = _listen(host, port)
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
        shown = f"[{shown}]" if ":" in shown else shown
        self.address = f"http://{shown}:{self._socket.getsockname()[1]}/" + (f"?token={token}" if token else "")
        # No logging of its own: to set that up closes every handler of the process, absl's with the stream under it.
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, log_level="error", access_log=False, server_header=False, ws="none"
        )
        self._server = _Uvicorn(config, self._board)

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM, which is raised again then."""
        with contextlib.suppress(OSError):
            os.nice(BEHIND)
        self._server.run(sockets=[self._socket])


class _Uvicorn(uvicorn.Server):
    """Pages that listen for news are told the end: uvicorn waits for them."""

    def __init__(self, config: uvicorn.Config, board: Board):
        super().__init__(config)
        self._board = board

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._board.stopping.set()
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        another = command("fer", "board", "--port", port + 1 if port < 65535 else 8013)
        raise FerError(f"cannot listen at {host}, port {port}: {error.strerror}; another port: {another}") from None
