"""What the board stands on: logs that are followed, runs that are watched, requests that are refused."""

import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import made_board
import made_run
import pytest
from made_board import being_trained

from fer import cli
from fer.data.manifest import read_manifest
from fer.data.suspects import find_suspects
from fer.formats.log import parse_log
from fer.report.curves import make_curves
from fer.report.run_list import listed
from fer.runs.run import Run
from fer.system import locks

pytest.importorskip("uvicorn", reason="no uvicorn (it is in the extra board)")
from fer.board import follow, watch
from fer.board.guard import Guard

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    "name", ["resumed", "truncated", "diverged", "bvlc_2014", "nvcaffe", "bvlc_march_2014", "two_trainings"]
)
@pytest.mark.parametrize("piece", [1, 77, 1000, 10**6])
def test_a_log_read_in_pieces_has_the_same_curves(tmp_path: Path, name: str, piece: int) -> None:
    text = (GOLDEN / f"{name}.log").read_bytes()
    log, curves = follow.LogFollower(tmp_path / "train.log"), follow.LiveCurves({})
    for start in range(0, len(text), piece):
        with (tmp_path / "train.log").open("ab") as file:
            file.write(text[start : start + piece])
        curves.add(log.read(10**6)[0])
    curves.add(log.finish())
    whole = make_curves(parse_log(GOLDEN / f"{name}.log"))
    for curve, (iterations, values) in curves.points.items():
        series = getattr(whole, curve)
        assert iterations == series.iterations.tolist(), curve
        assert values == [None if value != value else value for value in series.values.tolist()], curve


def test_a_log_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    path, events = tmp_path / "train.log", made_run.log_events(100, 0.5, 50)
    log = follow.LogFollower(path)
    assert log.read(10**6) == ([], False)
    path.write_text(made_run.log_text(events))
    first, _ = log.read(10**6)
    path.write_text(made_run.log_text(events[:12]))
    again, _ = log.read(10**6)
    assert log.readings == 1
    assert again == first[: len(again)] and len(again) < len(first)
    assert len(log.tail) == 12


def test_a_look_reads_on_and_never_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FRESH", 0.0)
    (tmp_path / "runs").mkdir()
    made_run.make_run(tmp_path, "lenet-s1")
    seen = watch.Watch(tmp_path / "runs")
    with being_trained(tmp_path / "runs", "live-s1") as training:
        for iteration in range(0, 2000, 20):
            training.display(iteration, 1.5)
        seen.refresh()
        live = seen.runs["live-s1"]
        lines, offset = live.log.lines, live.log._offset
        training.display(2000, 0.25)
        seen.refresh()
        assert (live.log.lines, live.log.readings) == (lines + 2, 0)
        assert live.log._offset > offset and live.row.loss == 0.25
        version = live.version
        seen.refresh()
        assert live.version == version  # nothing new, nothing told
        assert live.row.listed and live.row.listed.state == "training"
    seen.refresh()
    assert live.row.listed.state == "broken off"
    scored = seen.runs["lenet-s1"]
    assert scored.log.lines == 0 and scored.row.loss is not None  # its end was enough
    assert scored.row.listed == listed(Run(tmp_path / "runs" / "lenet-s1"))


@pytest.mark.parametrize("how", ["finished", "killed"])
def test_what_was_logged_while_nobody_looked_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(watch, "FRESH", 0.0)
    (tmp_path / "runs").mkdir()
    seen = watch.Watch(tmp_path / "runs")
    with being_trained(tmp_path / "runs", "live-s1") as training:
        training.display(0, 1.5)
        seen.refresh()
        training.display(20, 0.25)
        if how == "finished":
            Run(tmp_path / "runs" / "live-s1").update(state="finished")
    seen.refresh()
    row = seen.runs["live-s1"].row
    assert row.listed and row.listed.state == {"finished": "finished", "killed": "broken off"}[how]
    assert row.loss == 0.25 and not seen.is_behind()


@pytest.mark.parametrize("name", ["solver.prototxt", "train_val.prototxt", "deploy.prototxt", "train.log", "report"])
def test_no_link_leads_out_of_a_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    run = made_board.write_run(tmp_path / "runs" / "one", tmp_path, state="finished")
    (run.dir / name).symlink_to(tmp_path / "elsewhere")
    seen = watch.Watch(tmp_path / "runs")
    seen.refresh()
    assert seen.runs["one"].run is None
    assert f"{name} is a link that leads out of the run directory" in seen.runs["one"].row.fault


def test_who_looks_keeps_nobody_from_the_lock(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert not locks.is_locked(tmp_path)
    assert locks.lock(descriptor) and locks.is_locked(tmp_path)
    os.close(descriptor)
    assert not locks.is_locked(tmp_path)


def test_without_the_systems_list_a_lock_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LISTED", tmp_path / "none")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert not locks.is_locked(tmp_path)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert locks.is_locked(tmp_path)
    os.close(descriptor)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_board.make_runs(tmp_path_factory.mktemp("parts"))


def test_suspects_are_those_that_the_audit_counts(runs: Path) -> None:
    data = runs.parent / "data"
    counted, found = read_manifest(data).audit, find_suspects(data)
    assert counted
    assert len(found.duplicates) == counted.duplicate_groups == 2
    assert len(found.conflicts) == counted.conflicting_groups == 2
    assert sum(map(len, found.blanks)) == sum(counted.blank.values()) == 2
    (leak,) = found.leaks
    assert sum(face.split == "val" for face in leak) == counted.val_in_train == 1


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    (runs / "lenet-s1" / "report" / "out.txt").symlink_to("/etc/passwd")
    with made_board.board(runs, ends=signal.SIGTERM) as address:
        yield address


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


def ask(address: str, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    try:
        return Answer(answer.status, dict(answer.headers.items()), answer.read().decode(errors="replace"))
    finally:
        connection.close()


def test_pages_may_run_no_script_but_the_boards_own(address: str) -> None:
    for path in ("/", "/static/report.css", "/runs/lenet-s1/report/report.html", "/nowhere"):
        policy = ask(address, path).headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
    page = ask(address, "/runs/lenet-s1/report/report.html").text
    assert page.count("<script") == 1 and '<script src="/static/report.js">' in page


def test_a_script_in_somebodys_run_is_none_to_a_browser(address: str, runs: Path) -> None:
    (runs / "lenet-s1" / "report" / "x.js").write_text("alert(1)")
    answer = ask(address, "/runs/lenet-s1/report/x.js")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ask(address, "/runs/lenet-s1/report/metrics.json").headers["content-type"] == "application/json"


def test_names_are_escaped(address: str) -> None:
    for path in ("/", "/compare", f"/runs/{quote(made_board.HOSTILE, safe='')}"):
        page = ask(address, path, Accept="text/html").text
        assert "&lt;img src=x" in page and "<img src=x" not in page


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/", "GET", {}, 200),
        ("/", "GET", {"Host": "localhost:8013"}, 200),
        ("/", "GET", {"Host": "evil.example"}, 421),
        ("/", "GET", {"Host": "127.0.0.1.evil.example"}, 421),
        ("/events?rows=1", "GET", {"Host": "evil.example"}, 421),
        ("/", "GET", {"Origin": "http://evil.example"}, 403),
        ("/try/faces", "POST", {"Origin": "null"}, 403),
        ("/", "GET", {"Origin": "http://["}, 403),
        ("/try/faces", "POST", {}, 422),
        ("/try/faces?model=nowhere", "POST", {}, 404),
        ("/try/faces?model=..%2Fruns%2Flenet-s1", "POST", {}, 404),
        ("/runs/..%2Flenet-s1", "GET", {}, 404),
        ("/runs/lenet-s1/report/..%2Frun.json", "GET", {}, 404),
        ("/runs/lenet-s1/report/../../run.json", "GET", {}, 404),
        ("/runs/lenet-s1/report/%2Fetc%2Fpasswd", "GET", {}, 404),
        ("/runs/lenet-s1/report/out.txt", "GET", {}, 404),
        ("/runs/lenet-s1/report/metrics.json", "GET", {}, 200),
        ("/static/..%2Fboard.py", "GET", {}, 404),
        ("/data/0123456789ab/train/00000.jpg", "GET", {}, 404),
        ("/data?dir=nowhere", "GET", {}, 404),
        ("/data?split=..%2F..", "GET", {}, 422),
        ("/data?show=leaks&split=x", "GET", {}, 422),
        ("/data?class=99", "GET", {}, 200),
        ("/data?class=-1", "GET", {}, 200),
        ("/data?page=99999", "GET", {}, 200),
        ("/data/answers?run=lenet-s1&split=..%2Fval", "GET", {}, 404),
        ("/data/answers?run=lenet-s1&true=99&predicted=-1", "GET", {}, 200),
        ("/", "POST", {}, 405),
    ],
)  # fmt: skip
def test_what_is_answered(address: str, path: str, method: str, headers: dict[str, str], status: int) -> None:
    assert ask(address, path, method, None, **headers).status == status


def test_images_are_those_of_the_index(address: str, runs: Path) -> None:
    page = ask(address, "/data").text
    key = page.split('src="/data/')[1].split("/")[0]
    assert ask(address, f"/data/{key}/train/00000.jpg").headers["content-type"] == "image/jpeg"
    for name in ("..%2F..%2Fmanifest.json", "..%2Fmanifest.json", "99999.jpg", "%2Fetc%2Fpasswd"):
        assert ask(address, f"/data/{key}/train/{name}").status == 404


def test_an_upload_is_cut_off_where_it_is_too_large(address: str) -> None:
    answer = ask(address, "/try/faces", "POST", bytes(20_000_001))
    assert answer.status == 413
    assert "20 MB" in json.loads(answer.text)["error"]


def test_a_page_that_listens_is_told_of_all_at_first(address: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request("GET", "/events?rows=1&run=lenet-s1&run=nowhere")
    told: dict[str, Any] = {}
    end = time.monotonic() + 60
    answer = connection.getresponse()
    while "curves" not in told and time.monotonic() < end:
        line = answer.readline().decode()
        if line.startswith("data: "):
            told |= json.loads(line[6:]).get("runs", {}).get("lenet-s1", {})
    assert told["curves"]["points"]["accuracy"][0][-1] == 400
    connection.close()


def test_elsewhere_a_token_is_wanted(runs: Path) -> None:
    with made_board.board(runs, "--host", "0.0.0.0") as address:
        parts = urlsplit(address)
        token = parts.query.removeprefix("token=")
        here = f"http://127.0.0.1:{parts.port}"
        assert len(token) > 20
        assert ask(here, "/").status == 401
        assert ask(here, "/?token=wrong").status == 401
        assert ask(here, f"/?token={token}", Host="evil.example").status == 421
        answer = ask(here, f"//evil.example/runs?token={token}&page=2")
        assert (answer.status, answer.headers["location"]) == (303, "/evil.example/runs?page=2")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert ask(here, "/", Cookie=cookie.split(";")[0]).status == 200
        assert ask(here, "/", Cookie=cookie.split("=")[0] + "=wrong").status == 401


@pytest.mark.parametrize(
    ("host", "asked", "ours"),
    [
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "192.168.1.5", False),
        ("::1", "::1", True),
        ("0.0.0.0", "192.168.1.5", True),
        ("0.0.0.0", "evil.example", False),
        ("faces.example", "faces.example", True),
        ("faces.example", "other.example", False),
        ("127.0.0.1", "", False),
    ],
)
def test_whose_hosts_are_ours(host: str, asked: str, ours: bool) -> None:
    async def none(*_: object) -> None:
        raise AssertionError

    assert Guard(none, host, None)._is_ours(asked) == ours


def test_what_stands_in_the_way_is_said(
    runs: Path, tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = str(urlsplit(address).port)
    for words, said in {
        (str(tmp_path / "none"),): "no such folder of runs",
        (str(runs), "--data", str(tmp_path / "none")): "no such data directory",
        (str(runs), "--port", port): "Address already in use",
    }.items():
        assert cli.main(["board", *words]) == 1
        assert said in capsys.readouterr().err
    monkeypatch.setattr("fer.commands.board.PACKAGES", ("starlette", "not_there"))
    assert cli.main(["board", str(runs)]) == 1
    assert "fer board needs not_there" in capsys.readouterr().err


def test_the_board_is_not_loaded_with_what_it_may_never_need(runs: Path) -> None:
    code = "import sys, fer.board.server; print({'matplotlib', 'pandas', 'sklearn', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_end_of_a_log_tells_the_last_loss(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(made_run.log_text(made_run.log_events(2000, 0.5, 200)))
    assert path.stat().st_size > 5 * follow.END
    log, curves = follow.LogFollower(path), follow.LiveCurves({})
    curves.add(log.read(10**7)[0] + log.finish())
    assert follow.last_loss(path) == curves.loss is not None
    path.write_text("nothing of Caffe's\n")
    assert follow.last_loss(path) is None
