"""`fer caffe build`, with a compiler that only pretends: what it looks for, its steps, its stops and its messages.

The real thing is `make caffe-test` (test_built_caffe.py).
"""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest
import training

from fer import cli
from fer.commands import findings
from fer.engines import interpreter
from fer.engines.caffe_build import builds, cuda, needs, proof, pypi, rootless, sources, unit_tests
from fer.engines.caffe_build.build import BuildOptions, Missing, build
from fer.engines.caffe_build.builds import Build, BuildRecord
from fer.engines.caffe_build.edits import EDITS, Edit, apply_edits
from fer.engines.caffe_build.jobs import Job, run_jobs
from fer.engines.caffe_build.python import BuildPython
from fer.engines.choice import Wish, as_they_come, choose_engine
from fer.engines.engine import Demand
from fer.engines.pytorch_engine import PyTorch
from fer.engines.registry import ENGINES, engine_called
from fer.errors import FerError
from fer.system.records import write_record

FAKE = Path(__file__).with_name("fake_compiler.py")
SOURCES = {
    "include/caffe/common.hpp": "common",
    "python/caffe/__init__.py": "old = 1\n",
    "python/caffe/_caffe.cpp": "module",
    "src/caffe/proto/caffe.proto": "schema",
    **{f"src/caffe/layers/{name}_layer.cpp": name for name in ("conv", "pool", "relu", "python")},
    "src/caffe/layers/cudnn_conv_layer.cpp": "cudnn",
    "src/caffe/test/test_net.cpp": "a test",
    "src/gtest/gtest-all.cpp": "gtest",
    **{f"tools/{name}.cpp": name for name in ("caffe", "convert_imageset", "compute_image_mean")},
}
EDIT = Edit("python/caffe/__init__.py", "it is old", "old = 1", "new = 1")
STEPS = ("looking at", "Caffe's sources", "compiling", "linking", "proving it")


@pytest.fixture(autouse=True)
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_CAFFE_BUILDS", str(tmp_path / "builds"))
    for name in ("FER_CAFFE", "FER_CAFFE_PYTHON", "FAKE_MISSING", "FAKE_SECONDS", "FAKE_FAULT", "FAKE_GXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(interpreter, "_known", {})


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree of sources that passes for Caffe's, with one edit."""
    folder = tmp_path / "caffe"
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(sources, "HASHES", {name: sources.folder_hash(folder / name) for name in sources.HASHES})
    monkeypatch.setattr(sources, "EDITS", (EDIT,))
    return folder


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """g++ and protoc that pretend, first on PATH; and proofs that are found good. Returns what g++ was asked for."""
    for name in ("g++", "protoc"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} {name} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_COMPILED", str(tmp_path / "compiled.txt"))
    monkeypatch.setattr(proof, "prove", lambda made, gpus, cpu: iter(["BatchNorm's update: 1.0e-07"]))
    return tmp_path / "compiled.txt"


def quiet(stage: str, done: int, total: int) -> None:
    pass


def compiled(record: Path) -> list[str]:
    return sorted(line.split()[1].removesuffix(".unfinished") for line in record.read_text().splitlines())


# ---- the edits and the sources


@pytest.mark.parametrize(("text", "found"), [("nothing of it", 0), ("old = 1\nold = 1\n", 2)])
def test_an_edit_that_does_not_fit_exactly_once_is_refused(tmp_path: Path, text: str, found: int) -> None:
    path = tmp_path / EDIT.file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(
        FerError, match=rf"__init__\.py: what is .* in it {found} times, not once: 'old = 1'\n.*it is old"
    ):
        apply_edits(tmp_path, (EDIT,))
    assert path.read_text() == text


def test_every_edit_has_its_reason_and_changes_something() -> None:
    assert all(edit.why and edit.old != edit.new and edit.old.strip() for edit in EDITS)


def test_sources_of_another_commit_are_refused_before_a_line_is_changed(tmp_path: Path, source: Path) -> None:
    (source / "src" / "caffe" / "layers" / "relu_layer.cpp").write_text("another")
    with pytest.raises(
        FerError, match=r"caffe: src differs from BVLC's at 9b89154 \(another SHA-256\)\ntake the sources"
    ):
        sources.bring_sources(tmp_path / "src", source)
    assert not (tmp_path / "src").exists()
    with pytest.raises(FerError, match=r"has no include, no python/caffe, .*: these are not Caffe's sources"):
        sources.bring_sources(tmp_path / "src", tmp_path / "bin")


def test_the_hash_of_sources_is_of_names_and_contents_and_of_sources_alone(source: Path) -> None:
    before = sources.folder_hash(source / "tools")
    (source / "tools" / "caffe.o").write_text("made by somebody's make")
    assert sources.folder_hash(source / "tools") == before
    (source / "tools" / "caffe.cpp").rename(source / "tools" / "other.cpp")
    assert sources.folder_hash(source / "tools") != before


# ---- it looks first


def test_what_is_missing_is_one_line_to_paste(
    compiler: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: Path
) -> None:
    monkeypatch.setenv("FAKE_MISSING", "lmdb.h,glog/logging.h,leveldb/db.h")
    assert cli.main(["caffe", "build", "--source", str(source)]) == 1
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    assert re.fullmatch(r"(sudo )?apt-get install --yes --no-install-recommends libgoogle-glog-dev liblmdb-dev", line)
    assert "Missing: glog (a line with <glog/logging.h> does not compile or link); LMDB" in said.err
    assert said.err.splitlines()[-1] == "error: paste the line above, or give --no-root; then run this again"
    assert not compiler.exists()
    assert builds.all_builds() == ([], [])


@pytest.mark.parametrize(("version", "found"), [("8.5.0", "is 8.5.0"), ("", "of no known version")])
def test_an_old_compiler_is_missing(
    compiler: Path, monkeypatch: pytest.MonkeyPatch, source: Path, version: str, found: str
) -> None:
    monkeypatch.setenv("FAKE_GXX", version)
    with pytest.raises(Missing, match=rf"g\+\+ 9 or newer: .* {found}") as fault:
        build(BuildOptions(source=source), lambda text: None, quiet)
    assert {"g++", "libhdf5-dev"} <= set(fault.value.packages) and "libopencv-dev" not in fault.value.packages


def test_without_a_compiler_all_that_is_needed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: Path
) -> None:
    """No line can be compiled then, to see which libraries are there."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert cli.main(["caffe", "build", "--source", str(source)]) == 1
    said = capsys.readouterr()
    assert re.search(r" g\+\+ protobuf-compiler libprotobuf-dev .* libopenblas-dev\n$", said.out)
    assert "Missing: g++, 9 or newer; protoc" in said.err


def test_without_opencv_and_leveldb_it_is_built_and_says_what_is_lost(
    compiler: Path, monkeypatch: pytest.MonkeyPatch, source: Path
) -> None:
    monkeypatch.setenv("FAKE_MISSING", "opencv2/imgcodecs.hpp,leveldb/db.h")
    told: list[str] = []
    (made,) = build(BuildOptions(source=source), told.append, quiet)
    assert [text.strip().partition(" is")[0] for text in made.record.without] == ["OpenCV", "LevelDB"]
    assert any("without ImageData and WindowData layers" in text for text in told)


def test_boost_python_of_another_python_comes_from_pypi(
    compiler: Path, monkeypatch: pytest.MonkeyPatch, source: Path
) -> None:
    asked: list[str] = []

    def install(folder: Path, *packages: str, dependencies: bool = True) -> None:
        asked.extend(packages)
        (folder / "cmeel.prefix" / "include").mkdir(parents=True)
        monkeypatch.delenv("FAKE_MISSING")

    monkeypatch.setattr(pypi, "install", install)
    monkeypatch.setenv("FAKE_MISSING", "boost/python.hpp")
    build(BuildOptions(source=source), lambda text: None, quiet)
    assert asked == [pypi.BOOST]


def test_no_root_unpacks_what_is_missing(compiler: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    asked: list[str] = []

    def unpack(root: Path, packages: Sequence[str], progress: object) -> None:
        asked.extend(packages)
        (root / "usr" / "include").mkdir(parents=True)
        monkeypatch.delenv("FAKE_MISSING")

    monkeypatch.setattr(rootless, "unpack", unpack)
    monkeypatch.setenv("FAKE_MISSING", "hdf5_hl.h")
    (made,) = build(BuildOptions(source=source, no_root=True), lambda text: None, quiet)
    assert asked == ["libhdf5-dev"] and (made.folder / "packages" / "usr").is_dir()


def test_packages_are_downloaded_some_at_a_time_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = {
        "apt-get": """if [ "$1" = download ]; then shift; echo "$#" >> $TOLD; for each; do touch "$each.deb"; done
            else for i in $(seq 23); do echo "Inst lib$i (1.$i-2 Debian:12/stable [amd64])"; done; fi""",
        "dpkg-deb": 'touch "$3/$(basename "$2" .deb)"',
    }
    (tmp_path / "bin").mkdir()
    for name, script in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    rootless.unpack(tmp_path / "root", ["lib1"])
    assert len(list((tmp_path / "root").iterdir())) == 23 and (tmp_path / "root" / "lib7=1.7-2").exists()
    assert (tmp_path / "told").read_text().split() == ["10", "10", "3"]  # apt reads its lists anew each time
    (tmp_path / "bin" / "apt-get").write_text("#!/bin/sh\necho E: Unmet dependencies >&2; exit 100\n")
    with pytest.raises(FerError, match=r"apt-get --simulate: E: Unmet dependencies\nWhere apt's lists are empty"):
        rootless.unpack(tmp_path / "other", ["lib1"])
    assert not (tmp_path / "other").exists()


def test_a_python_without_its_shared_library_is_missing(tmp_path: Path) -> None:
    python = BuildPython(
        Path("/opt/bin/python3"), "3.12", tmp_path, tmp_path, tmp_path / "libpython3.12.so", Path("/opt"), tmp_path
    )
    assert [fault.partition(" of")[0] for fault in python.faults] == ["Python.h", "the shared library"]
    assert python.packages == () and python.links == (f"-L{tmp_path}", "-lpython3.12")


def test_disk_and_memory_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FerError, match=r"GB free, a build takes .* GB\nmake room, or build elsewhere: --prefix"):
        needs.check_disk(tmp_path / "not" / "there", 2**60)
    monkeypatch.setattr(needs, "_memory_free", lambda: 5 * 2**30)
    assert [needs.jobs_for(cores, 2**30) for cores in (1, 4, 64)] == [1, 4, 5]
    monkeypatch.setattr(needs, "_memory_free", lambda: 2**29)
    with pytest.raises(FerError, match="512 MiB of memory are free, a compiler takes up to 1,024"):
        needs.jobs_for(4, 2**30)


# ---- for GPUs


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A nvidia-smi that knows one card."""
    path = tmp_path / "bin" / "nvidia-smi"
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\necho 9.0, 580.65.06\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    return path


def test_the_cards_here_are_what_a_gpu_build_is_for(card: Path) -> None:
    assert cuda.wanted_arches(()) == (90,)
    assert cuda.wanted_arches((120, 80)) == (80, 120)
    card.write_text("#!/bin/sh\necho 8.6, 535.10\n")
    with pytest.raises(FerError, match=r"driver here is 535, the toolkit \(CUDA 13\) needs 580"):
        cuda.wanted_arches((90,))
    card.unlink()
    with pytest.raises(FerError, match="no NVIDIA card is here, so that what to compile for has to be named: --arch N"):
        cuda.wanted_arches(())


def test_a_gpu_that_the_toolkit_does_not_know_is_refused(tmp_path: Path) -> None:
    nvcc = tmp_path / "nvidia" / "cu13" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "release 13.0, V13.0.2" || printf "sm_80\\nsm_90\\n"\n')
    nvcc.chmod(0o755)
    (tmp_path / "nvidia" / "cu13" / "lib").mkdir()
    (tmp_path / "nvidia" / "cu13" / "lib" / "libcudart.so.13").touch()
    assert cuda.toolkit(tmp_path, (90,), cudnn=False).version == "13.0"
    assert (tmp_path / "nvidia" / "cu13" / "lib" / "libcudart.so").resolve().name == "libcudart.so.13"
    with pytest.raises(FerError, match=r"--arch 70: this toolkit's nvcc knows no sm_70; it knows 80, 90 and others"):
        cuda.toolkit(tmp_path, (70,), cudnn=False)


# ---- the steps


def test_it_is_built_step_by_step_and_a_second_call_says_that_it_is_done(
    compiler: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["caffe", "build", "--source", str(source)]) == 0
    said = capsys.readouterr()
    numbered = [line for line in said.err.splitlines() if re.match(r"\d/\d ", line)]
    assert len(numbered) == 5 and all(step in line for step, line in zip(STEPS, numbered, strict=True))
    assert "cpu is ready: CPU build of BVLC Caffe 9b89154 for CPython" in said.out
    (made,), _ = builds.all_builds()
    assert made.record.proofs == ("BatchNorm's update: 1.0e-07",)
    assert sorted(path.name for path in made.folder.iterdir()) == ["bin", "build.json", "lib", "libexec", "python"]
    assert (made.folder / "python" / "caffe" / "__init__.py").read_text() == "new = 1\n"
    assert "cudnn" not in "".join((made.folder / "lib" / "libcaffe.so").read_text().split())
    assert 'exec "$here/../libexec/caffe"' in made.executable.read_text()
    before = compiled(compiler)
    assert {"caffe", "convert_imageset", "_caffe.so", "libcaffe.so.1.0.0", "caffe.pb.o"} <= set(before)
    assert cli.main(["caffe", "build", "--source", str(source)]) == 0
    assert "is there already" in capsys.readouterr().err and compiled(compiler) == before


def test_a_stop_leaves_nothing_that_looks_built_and_the_next_call_goes_on(
    compiler: Path, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if done:
            monkeypatch.setenv("FAKE_SECONDS", "60")
        if done and len(compiled(compiler)) > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(BuildOptions(source=source, jobs=1), lambda text: None, stop)
    last = int(compiler.read_text().splitlines()[-1].split()[0])
    assert not Path(f"/proc/{last}").exists()
    assert builds.all_builds() == ([], []) and builds.candidates() == []
    (left,) = builds.unfinished_builds()
    assert not list(left.rglob("*.unfinished"))
    assert cli.main(["caffe", "list"]) == 0
    assert "unfinished; fer caffe build goes on with it" in capsys.readouterr().out
    monkeypatch.delenv("FAKE_SECONDS")
    told: list[str] = []
    build(BuildOptions(source=source, jobs=1), told.append, quiet)
    assert any(re.search(r"compiling \d+ units, 1 at a time, [1-9] of them there from before", text) for text in told)
    once = [name for name in compiled(compiler) if name.endswith(".o")]
    assert len(once) - len(set(once)) <= 2  # what was stopped
    assert builds.unfinished_builds() == []


def test_what_does_not_compile_is_said_with_the_compilers_own_words(
    compiler: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "pool")
    with pytest.raises(
        FerError, match=r"g\+\+ failed at \d+\.cpp\.o: .*error: 'pool' was not declared .*\nall that it said"
    ):
        build(BuildOptions(source=source), lambda text: None, quiet)
    assert builds.all_builds() == ([], [])


def test_a_proof_that_fails_leaves_no_build(compiler: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prove(*_: object) -> Iterator[str]:
        yield "caffe --version: caffe version 1.0.0"
        raise FerError("BatchNorm's update is 3.1e-02 from PyTorch's")

    monkeypatch.setattr(proof, "prove", prove)
    with pytest.raises(FerError, match=r"3\.1e-02"):
        build(BuildOptions(source=source), lambda text: None, quiet)
    assert builds.candidates() == []


def test_caffe_s_own_tests_are_linked_and_a_step_more(
    compiler: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_tests, "_outcome", lambda program, *_: f"{program.name}: {program.exists()}")
    told: list[str] = []
    build(BuildOptions(source=source, test=True), told.append, quiet)
    assert "    caffe-tests: True" in told and told[-2].startswith("6/6 proving it")
    assert {"caffe-tests", "gtest.o"} <= set(compiled(compiler))


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("[==========] 3 tests from 2 test cases ran.\n[  PASSED  ] 3 tests.", "3 of 3 passed"),
        (
            "[  FAILED  ] NetTest/0.TestX, where TypeParam = float \n[==========] 3 tests from 2 test cases ran.\n"
            "[  PASSED  ] 2 tests.",
            "1 failed, the first NetTest/0.TestX",
        ),
        ("[ RUN      ] NetTest/0.TestX", "they did not come to their end"),
    ],
)
def test_what_caffe_s_own_tests_say(tmp_path: Path, said: str, outcome: str) -> None:
    """Counted, with what they said where one fails; and what they leave among temporary files goes."""
    program = tmp_path / "work" / "test" / "caffe-tests"
    program.parent.mkdir(parents=True)
    (tmp_path / "work" / "src").mkdir()
    program.write_text(f"#!/bin/sh\ntouch $TMPDIR/left; echo $TMPDIR > {tmp_path}/where; echo '{said}'\n")
    program.chmod(0o755)
    if "passed" in outcome:
        assert unit_tests._outcome(program, tmp_path / "work" / "src", os.environ).endswith(outcome)
    else:
        with pytest.raises(FerError, match=re.escape(outcome)):
            unit_tests._outcome(program, tmp_path / "work" / "src", os.environ)
        assert said.splitlines()[0] in (tmp_path / "tests.log").read_text()
    assert not Path((tmp_path / "where").read_text().strip()).exists()


def test_two_builds_at_once_do_not_meet_nor_does_remove(
    compiler: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = builds.unfinished(builds.home() / "cpu")
    folder.mkdir(parents=True)
    with builds.held(folder):
        with pytest.raises(FerError, match="another process is building there"):
            build(BuildOptions(source=source), lambda text: None, quiet)
        assert cli.main(["caffe", "remove"]) == 1
    assert "another process is building there" in capsys.readouterr().err and folder.is_dir()
    assert cli.main(["caffe", "remove"]) == 0 and not list(builds.home().iterdir())


@pytest.mark.parametrize("step", range(1, 6))
def test_a_stop_at_any_step_is_gone_on_from(compiler: Path, source: Path, step: int) -> None:
    def say(text: str) -> None:
        if text.startswith(f"{step}/5 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(BuildOptions(source=source), say, quiet)
    assert builds.all_builds() == ([], []) and builds.candidates() == []
    (made,) = build(BuildOptions(source=source), lambda text: None, quiet)
    assert builds.candidates() == [made] and builds.unfinished_builds() == []


def test_a_folder_that_is_not_fer_s_is_neither_built_over_nor_removed(
    tmp_path: Path, compiler: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path / "mine" / "cpu", builds.home() / "cpu"):
        folder.mkdir(parents=True)
        (folder / "thesis.txt").touch()
    with pytest.raises(FerError, match=r"mine/cpu is left alone: it is no build of fer's"):
        build(BuildOptions(source=source, prefix=tmp_path / "mine"), lambda text: None, quiet)
    assert cli.main(["caffe", "remove"]) == 1
    assert "is left alone: it is no build of fer's (no build.json is in it)" in capsys.readouterr().err
    (builds.home() / "gpu").symlink_to(tmp_path / "mine" / "cpu")
    assert cli.main(["caffe", "remove", "gpu"]) == 1
    assert (
        not compiler.exists() and len(list(tmp_path.rglob("thesis.txt"))) == 2 and (builds.home() / "gpu").is_symlink()
    )


def test_where_it_cannot_be_built_is_said_at_once(tmp_path: Path, compiler: Path, source: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FerError, match=r"cannot write .*file/cpu.*: Not a directory|cannot write .*: Not a directory"):
        build(BuildOptions(source=source, prefix=tmp_path / "file"), lambda text: None, quiet)
    with pytest.raises(FerError, match=r"a:b/cpu: no Caffe can be built in a folder with : in its name"):
        build(BuildOptions(source=source, prefix=tmp_path / "a:b"), lambda text: None, quiet)
    assert not compiler.exists()


def test_a_full_disk_is_said(tmp_path: Path, compiler: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x.cpp"))

    with monkeypatch.context() as patch:
        patch.setattr(sources, "apply_edits", full)
        with pytest.raises(FerError, match=r"cannot write .*x\.cpp: the disk is full"):
            build(BuildOptions(source=source), lambda text: None, quiet)
    assert builds.all_builds() == ([], [])
    script = "echo 'as: x.s: No space left on device' >&2; exit 1"
    with pytest.raises(FerError, match="make room, and run this again: it goes on where it was"):
        run_jobs([Job(("sh", "-c", script), tmp_path / "made.o")], tmp_path, os.environ, at_once=1)


def test_a_prefix_may_have_any_name_and_be_moved(
    tmp_path: Path, compiler: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = tmp_path / "Bücher, alte"
    (made,) = build(BuildOptions(source=source, prefix=prefix), lambda text: None, quiet)
    assert builds.candidates()[0].record == made.record
    prefix.rename(tmp_path / "elsewhere")
    assert cli.main(["caffe", "list"]) == 0
    assert f"{builds.home() / 'cpu'} leads to {prefix / 'cpu'}, which is not there" in capsys.readouterr().err
    (again,) = build(BuildOptions(source=source, prefix=tmp_path / "elsewhere"), lambda text: None, quiet)
    assert builds.candidates()[0].record == again.record == made.record  # found again, not built again
    assert cli.main(["caffe", "remove"]) == 0 and not (tmp_path / "elsewhere" / "cpu").exists()


def test_a_second_build_elsewhere_is_not_taken_and_that_is_said(
    tmp_path: Path, compiler: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(BuildOptions(source=source), lambda text: None, quiet)
    assert cli.main(["caffe", "build", "--source", str(source), "--prefix", str(tmp_path / "mine")]) == 0
    assert f"{builds.home() / 'cpu'} is taken before it: fer caffe remove cpu" in capsys.readouterr().out


def test_no_root_does_not_bring_python_s_headers(
    tmp_path: Path, compiler: Path, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = BuildPython(
        Path("/usr/bin/python3"), "3.12", tmp_path, tmp_path, tmp_path / "libpython3.12.so", Path("/usr"), tmp_path
    )
    monkeypatch.setattr("fer.engines.caffe_build.build.this_python", lambda: python)
    monkeypatch.setattr(rootless, "unpack", lambda root, packages, progress: root.mkdir())
    assert cli.main(["caffe", "build", "--source", str(source), "--no-root"]) == 1
    said = capsys.readouterr()
    assert said.out.endswith("install --yes --no-install-recommends python3.12-dev\n")
    assert said.err.splitlines()[-1] == "error: paste the line above: --no-root does not mend that; then run this again"


def test_an_option_left_out_makes_another_build(
    compiler: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made,) = build(BuildOptions(source=source, without=("opencv",)), lambda text: None, quiet)
    assert made.record.without[0].startswith("OpenCV is left out") and len(made.record.without) == 1
    assert cli.main(["caffe", "list"]) == 0
    assert re.search(r", of [\d-]+; without OpenCV \(fer train takes it\)\n$", capsys.readouterr().out)
    first = compiler.read_text()
    build(BuildOptions(source=source, without=("opencv",)), lambda text: None, quiet)
    assert compiler.read_text() == first
    (whole,) = build(BuildOptions(source=source), lambda text: None, quiet)
    assert whole.record.without == () and compiler.read_text() != first


def test_a_compiler_killed_for_memory_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(FerError, match="memory ran out: give --jobs 1"):
        run_jobs([Job(("sh", "-c", "kill -9 $$"), tmp_path / "made.o")], tmp_path, os.environ, at_once=1)


# ---- which one is taken


def put(kind: str, python: str = sys.executable, folder: Path | None = None) -> Build:
    """A build that has nothing in it but a module called caffe."""
    folder = folder or builds.home() / kind
    (folder / "python").mkdir(parents=True, exist_ok=True)
    (folder / "python" / "caffe.py").write_text("")
    arch = (90,) if kind == "gpu" else ()
    record = BuildRecord(kind, sources.COMMIT, "", python, "3.11", "g++", "2026-11-26", "0", arch)
    write_record(folder / builds.RECORD, record)
    return Build(folder, record)


def test_a_build_is_taken_before_the_wheel_and_after_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = Demand(frozenset({"BatchNorm"}), "norm", "SGD")
    assert as_they_come(norm) == ["pytorch", "tensorflow"]
    made = put("cpu")
    found = interpreter.find_caffe()
    assert found.build == made.folder and not found.is_wheel and "CPU build of BVLC Caffe" in str(found)
    assert found.environment["PYTHONPATH"] == str(made.python_path)
    assert as_they_come(norm) == ["caffe", "pytorch", "tensorflow"] and not engine_called("caffe").own
    monkeypatch.setenv("FER_CAFFE_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(made.python_path))
    assert interpreter.find_caffe().build is None and engine_called("caffe").own


@pytest.fixture
def card_s_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were one; and engines are started as they are, since their Python is a stand-in."""
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(builds, "_DRIVER", (tmp_path / "nvidiactl",))
    monkeypatch.setattr("fer.engines.process.subprocess", subprocess)


def fake_python(folder: Path) -> str:
    """A Python with Caffe, whose worker is the fake one."""
    path = folder / "python"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exit 0\nshift\nPYTHONPATH={training.ROOT} '
        f'exec {sys.executable} {training.FAKE} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("there", "gpu", "fault", "engine", "why"),
    [
        (("cpu", "gpu"), 0, "", "pytorch", "PyTorch, on GPU 0, where it trained 13 times as fast as Caffe"),
        (("cpu", "gpu"), 0, "no-pytorch", "caffe", "Caffe, on GPU 0"),
        (("cpu", "gpu"), 0, "lstm", "caffe", "Caffe, on GPU 0"),
        (("cpu", "gpu"), "0,1", "", "pytorch", "PyTorch, on GPU 0,1, which the Caffe found cannot use"),
        (("cpu", "gpu"), 0, "no-gpu", "pytorch", "PyTorch, on GPU 0, which the Caffe found cannot use"),
        (
            ("cpu", "gpu"),
            0,
            "no-batch-norm",
            "pytorch",
            "PyTorch, on GPU 0, where it trained 13 times as fast as Caffe",
        ),
        (("cpu",), 0, "", "pytorch", "PyTorch, on GPU 0, which the Caffe found cannot use"),
        (("cpu",), None, "", "caffe", "Caffe, on the CPU"),
    ],
)
def test_auto_takes_a_gpu_build_for_what_it_can_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card_s_driver: None, there: tuple[str, ...],
    gpu: int | str | None, fault: str, engine: str, why: str,
) -> None:  # fmt: skip
    """With a card that is not there: a driver's file, and an engine that says it can use it."""
    monkeypatch.setitem(ENGINES, "pytorch", training.fake_pytorch)
    if fault == "no-pytorch":
        monkeypatch.setattr(PyTorch, "set_up", Mock(side_effect=FerError("it is not installed")))
    monkeypatch.setenv("FAKE_FAULT", fault)
    for kind in there:
        put(kind, fake_python(tmp_path))
    said: list[str] = []
    kinds = {"LSTM"} if fault == "lstm" else {"BatchNorm"}
    demand = Demand(frozenset(kinds), None if fault == "lstm" else "norm", "SGD")
    assert choose_engine(Wish(gpu, demand=demand), said.append).name == engine
    assert said[-1].startswith(f"engine: {why}")


def test_doctor_shows_each_caffe_with_its_layers_batch_norm_and_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card_s_driver: None
) -> None:
    monkeypatch.setattr(interpreter, "wheel_is_there", lambda: True)
    monkeypatch.setattr(proof, "engine_of_wheel", lambda: training.fake_pycaffe())
    for kind in ("cpu", "gpu"):
        put(kind, fake_python(tmp_path))
    found = [(each.what, each.found) for each in findings._caffe()]
    assert found[0][0] == "caffe" and "GPU build (sm_90)" in found[0][1]  # of those there, what is taken
    assert ("caffe BatchNorm", "trains") in found and "caffe on GPU" in dict(found)
    others = [text for what, text in found if what == "caffe, not taken"]
    assert ["CPU build" in others[0], "wheel" in others[1]] == [True, True]
    assert all(re.search(r": \d+ layer types, BatchNorm trains, (no )?GPU$", text) for text in others)


def test_a_gpu_build_is_taken_where_there_is_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("cpu"), put("gpu")
    monkeypatch.setattr(builds, "_DRIVER", (tmp_path / "nvidiactl",))
    assert [each.record.kind for each in builds.candidates()] == ["cpu"] and not engine_called("caffe").has_gpu_code
    (tmp_path / "nvidiactl").touch()
    assert [each.record.kind for each in builds.candidates()] == ["gpu", "cpu"] and engine_called("caffe").has_gpu_code


def test_a_build_that_does_not_start_is_passed_over_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made = put("cpu")
    (made.python_path / "caffe.py").write_text("raise ImportError('libglog.so.1: cannot open')")
    wheel = interpreter.CaffePython(Path("python3.9"), interpreter._WHEEL, {})
    monkeypatch.setattr(interpreter, "find_wheel", lambda progress: wheel)
    found = interpreter.find_caffe()
    assert found.is_wheel and re.search(
        r"`import caffe` fails there: .*libglog.*; fer caffe remove cpu", found.skipped[0]
    )


def test_a_build_elsewhere_is_found_by_a_link_and_removed_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = put("cpu", folder=tmp_path / "prefix" / "cpu")
    builds.register(made.folder)
    assert [each.record for each in builds.candidates()] == [made.record]
    assert cli.main(["caffe", "list"]) == 0
    assert "(fer train takes it)" in capsys.readouterr().out
    assert cli.main(["caffe", "remove"]) == 0
    assert not made.folder.exists() and not list(builds.home().iterdir())
    assert cli.main(["caffe", "remove", "gpu"]) == 1
    assert "there is nothing to remove: no gpu build" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["list", "--gpu"], "--gpu is of fer caffe build"),
        (["build", "--arch", "90"], "--arch is of a GPU build: give --gpu with it"),
        (["build", "gpu"], "fer caffe build takes no gpu: give --gpu"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    words: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["caffe", *words]) == 2
    assert fault in capsys.readouterr().err


def test_an_executable_of_ours_trains_on_one_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = put("gpu")
    made.executable.parent.mkdir()
    made.executable.write_text("#!/bin/sh\nexit 0\n")
    made.executable.chmod(0o755)
    monkeypatch.setenv("FER_CAFFE", str(made.executable))
    engine = engine_called("caffe")
    assert engine.check_gpus("0") == (0,)
    with pytest.raises(FerError, match=r"was built without NCCL.*\ntake --gpu N, or --engine pytorch"):
        engine.check_gpus("0,1")
