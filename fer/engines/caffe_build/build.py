"""`fer caffe build`, step by step. A stopped one is gone on with; it is a build once it is proved and recorded."""

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fer import __version__
from fer.engines.caffe_build import builds, cuda, needs, proof, pypi, rootless
from fer.engines.caffe_build.builds import Build, BuildRecord
from fer.engines.caffe_build.compilation import Compilation
from fer.engines.caffe_build.edits import edits_hash
from fer.engines.caffe_build.jobs import Job, run_jobs
from fer.engines.caffe_build.module import finish_module
from fer.engines.caffe_build.python import BuildPython, this_python
from fer.engines.caffe_build.sources import COMMIT, bring_sources
from fer.engines.caffe_build.unit_tests import run_unit_tests
from fer.engines.engine import Say
from fer.errors import FerError
from fer.system.files import cannot_write, sync
from fer.system.progress import StageProgress
from fer.system.records import write_record

_GIB = 2**30
_DISK = {"cpu": _GIB // 2, "gpu": 4 * _GIB}
_MEMORY = {"cpu": 3 * _GIB // 2, "gpu": 2 * _GIB}  # of one compiler


class Missing(FerError):
    """What a build needs is not here. `packages` are Debian's that mend it."""

    def __init__(self, missing: Sequence[str], packages: Sequence[str]):
        super().__init__(f"Caffe cannot be built here yet. Missing: {'; '.join(missing)}")
        self.packages = tuple(packages)


@dataclass(frozen=True)
class BuildOptions:
    """What `fer caffe build` was asked for. `arch` is empty for the cards that are here, `jobs` 0 for a core each.

    `without` are names of needs.OPTIONAL.
    """

    gpu: bool = False
    arch: tuple[int, ...] = ()
    cudnn: bool = False
    source: Path | None = None
    prefix: Path | None = None
    no_root: bool = False
    without: tuple[str, ...] = ()
    test: bool = False
    jobs: int = 0

    @property
    def kind(self) -> str:
        return "gpu" if self.gpu else "cpu"

    @property
    def folder(self) -> Path:
        """Where the build goes."""
        return (self.prefix.absolute() if self.prefix else builds.home()) / self.kind


def build(options: BuildOptions, say: Say, progress: StageProgress) -> list[Build]:
    """Build real Caffe, or find it built: for the CPU, and with `gpu` for GPUs besides. `say` is told each step.

    Raises Missing where something is not here that a build needs, FerError where a step fails.
    """
    python = this_python()
    arch = cuda.wanted_arches(options.arch) if options.gpu else ()
    on_cpu = _build(replace(options, gpu=False, cudnn=False), (), python, None, say, progress)
    if not options.gpu:
        return [on_cpu]
    return [on_cpu, _build(options, arch, python, on_cpu, say, progress)]


def _build(
    options: BuildOptions,
    arch: tuple[int, ...],
    python: BuildPython,
    cpu: Build | None,
    say: Say,
    progress: StageProgress,
) -> Build:
    if there := _there(options, arch, python):
        say(f"{there.folder} is there already, of {there.record.date}; fer caffe remove {options.kind} removes it")
        builds.register(there.folder)  # it may have been moved
        return there
    builds.check_ours(options.folder)
    # A colon parts folders in PYTHONPATH; the others nvcc takes apart.
    if odd := next((sign for sign in (":,'\"$`\\" if options.gpu else ":") if sign in str(options.folder)), ""):
        raise FerError(f"{options.folder}: no Caffe can be built in a folder with {odd} in its name: --prefix DIR")
    try:
        needs.check_disk(options.folder, _DISK[options.kind])
        builds.unfinished(options.folder).mkdir(parents=True, exist_ok=True)
        return _built(options, arch, python, cpu, say, progress)
    except shutil.Error as error:  # of many files, a reason each
        raise FerError(f"Caffe's sources could not be copied: {error.args[0][0][-1]}") from error
    except OSError as error:
        raise cannot_write(Path(error.filename or options.folder), error) from error


def _built(
    options: BuildOptions,
    arch: tuple[int, ...],
    python: BuildPython,
    cpu: Build | None,
    say: Say,
    progress: StageProgress,
) -> Build:
    at_once = needs.jobs_for(options.jobs or len(os.sched_getaffinity(0)), _MEMORY[options.kind])
    with builds.held(builds.unfinished(options.folder)) as folder:
        steps = Steps(options, folder, python, say, progress, at_once)
        compilation, look = steps.look(arch)
        steps.bring()
        steps.compile(compilation)
        record = _record(options, compilation, look)
        made = Build(folder, record)
        if options.test:
            steps.test(compilation)
        proofs = steps.prove(made, cpu)
        return _finished(options.folder, folder, replace(record, proofs=tuple(proofs)))


def _there(options: BuildOptions, arch: tuple[int, ...], python: BuildPython) -> Build | None:
    """The build that is asked for, if it is there, of these very sources and for this Python."""
    try:
        found = builds.build_in(options.folder)
    except FerError:
        return None
    record = found.record
    asked = (COMMIT, edits_hash(), str(python.executable), arch, options.cudnn)
    same = asked == (record.commit, record.edits, record.python, record.arch, record.cudnn)
    # One that lacks what was left out or missing then is anew where it is not to be left out now.
    lacks = {text.partition(" ")[0].lower() for text in record.without if "is left out" in text}
    return found if same and lacks == set(options.without) and found.executable.exists() else None


def _record(options: BuildOptions, compilation: Compilation, look: needs.Look) -> BuildRecord:
    gpu, python = compilation.cuda, compilation.python
    said = subprocess.run([compilation.tools.cxx, "--version"], capture_output=True, text=True, check=False)
    return BuildRecord(
        kind=options.kind,
        commit=COMMIT,
        edits=edits_hash(),
        python=str(python.executable),
        python_version=python.version,
        compiler=(said.stdout.splitlines() or ["g++"])[0],
        date=time.strftime("%Y-%m-%d"),
        fer=__version__,
        arch=gpu.arch if gpu else (),
        cuda=gpu.version if gpu else "",
        cudnn=bool(gpu and gpu.cudnn),
        without=look.lost,
    )


def _finished(folder: Path, made: Path, record: BuildRecord) -> Build:
    """What was made gets its record and its name; an older build of that name goes."""
    shutil.rmtree(made / "work", ignore_errors=True)
    write_record(made / builds.RECORD, record)
    try:
        if folder.exists():
            builds.remove(folder)
        made.replace(folder)
        sync(folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from error
    builds.register(folder)
    return Build(folder, record)


@dataclass(frozen=True)
class Steps:
    """The steps of one build in `folder`, each done once: what is there of a stopped one is taken."""

    options: BuildOptions
    folder: Path
    python: BuildPython
    say: Say
    progress: StageProgress
    at_once: int

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def _step(self, number: int, what: str) -> None:
        self.say(f"{number}/{6 if self.options.test else 5} {what}")

    def look(self, arch: tuple[int, ...]) -> tuple[Compilation, needs.Look]:
        """Look for all that is needed, and bring what needs no root. Raises Missing."""
        self._step(1, f"looking at compilers and libraries for {self.python.executable}")
        root, boost = self.folder / "packages", self.folder / "boost"
        found = self._look(root, boost)
        if found.packages and self.options.no_root:
            self.say(f"    {len(found.packages)} packages, and what they need, go to {root}")
            rootless.unpack(root, found.packages, self.progress)
            found = self._look(root, boost)
        if found.missing:
            raise Missing(found.missing, found.packages)
        if found.needs_boost_python:
            self.say(f"    Boost.Python for CPython {self.python.version} comes from PyPI ({pypi.BOOST})")
            pypi.install(boost, pypi.BOOST, dependencies=False)
            found = self._look(root, boost)
            if found.missing or found.needs_boost_python:
                raise Missing(found.missing or [f"Boost.Python for CPython {self.python.version}"], found.packages)
        for sentence in found.lost:
            self.say(f"    {sentence}")
        toolkit = None
        if arch:
            self.say(f"    CUDA for {', '.join(f'sm_{number}' for number in arch)} comes from PyPI ({pypi.CUDA})")
            folder = self.folder / ("cuda-cudnn" if self.options.cudnn else "cuda")
            toolkit = cuda.toolkit(folder, arch, self.options.cudnn)
        return Compilation(self.folder, found.tools, self.python, toolkit), found

    def _look(self, root: Path, boost: Path) -> needs.Look:
        own = boost / "cmeel.prefix"
        roots = [root] if root.is_dir() else []
        return needs.look(self.python, roots, own if own.is_dir() else None, self.options.without)

    def bring(self) -> None:
        """The sources, checked and changed; anew where they were changed by other edits."""
        stamp = self.work / "edits"
        if (self.work / "src").is_dir() and stamp.exists() and stamp.read_text(encoding="ascii") == edits_hash():
            self._step(2, "Caffe's sources are there")
            return
        self._step(2, f"Caffe's sources, BVLC/caffe at {COMMIT[:7]}, from {self.options.source or 'its git'}")
        self.work.mkdir(exist_ok=True)
        shutil.rmtree(self.work / "src", ignore_errors=True)
        bring_sources(self.work / "src", self.options.source)
        stamp.write_text(edits_hash(), encoding="ascii")

    def compile(self, compilation: Compilation) -> None:
        """All that there is to compile and to link. Raises FerError with the compiler's first error."""
        environment = self._environment(compilation)
        for argv in compilation.protoc():
            done = subprocess.run(
                argv, cwd=compilation.source, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise FerError(f"{argv[0]}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
        objects, programs = compilation.objects(self.at_once), compilation.programs()
        jobs = [*objects, *programs]
        key = f"{edits_hash()} {' '.join(compilation.tools.libraries)}"
        done_before = sum(job.is_done(key) for job in jobs)
        there = f", {done_before} of them there from before" if done_before else ""
        self._step(3, f"compiling {len(jobs)} units, {self.at_once} at a time{there}")
        run_jobs(jobs, compilation.source, environment, at_once=self.at_once, key=key, progress=self.progress)
        self._step(4, "linking")
        self._link(compilation, objects, environment)

    def _link(self, compilation: Compilation, objects: Sequence[Job], environment: dict[str, str]) -> None:
        always = uuid.uuid4().hex  # it takes seconds, and its inputs may be others
        for place in ("lib", "bin", "libexec", "python"):
            shutil.rmtree(self.folder / place, ignore_errors=True)
        finish_module(compilation)
        library = compilation.library(objects)
        run_jobs([library], compilation.source, environment, at_once=1, key=always)
        (self.folder / "lib" / "libcaffe.so").symlink_to(library.made.name)
        linked = compilation.linked_programs()
        run_jobs(linked, compilation.source, environment, at_once=self.at_once, key=always)
        for job in (library, *linked):
            for left in (f"{job.made.name}.log", f"{job.made.name}.by"):
                job.made.with_name(left).unlink(missing_ok=True)

    def _environment(self, compilation: Compilation) -> dict[str, str]:
        """The programs of unpacked packages find their libraries."""
        own = [each for each in compilation.tools.folders if Path(each).is_relative_to(self.folder / "packages")]
        given = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
        return {**os.environ, **({"LD_LIBRARY_PATH": os.pathsep.join([*own, *given])} if own else {})}

    def test(self, compilation: Compilation) -> None:
        """Caffe's own unit tests. Raises FerError where one fails."""
        self._step(5, "Caffe's own unit tests, which take several times as long as the build")
        for sentence in run_unit_tests(compilation, self.at_once, self._environment(compilation), self.progress):
            self.say(f"    {sentence}")

    def prove(self, made: Build, cpu: Build | None) -> list[str]:
        """What was built against the other engines. Raises FerError where it is not as it must be."""
        self._step(6 if self.options.test else 5, "proving it")
        proofs = []
        gpus = (0,) if self.options.gpu and cuda.arches_here() else ()
        for sentence in proof.prove(made, gpus, cpu):
            self.say(f"    {sentence}")
            proofs.append(sentence)
        return proofs
