"""Caffe's own unit tests in C++, built and run."""

import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from fer.engines.caffe_build.compilation import Compilation, linker
from fer.engines.caffe_build.jobs import Job, run_jobs
from fer.errors import FerError
from fer.system.files import scratch
from fer.system.progress import StageProgress

_TOGETHER = 4
_FOR_CPU = "--gtest_filter=-*GPU*"  # as the Makefile of Caffe runs them where there is no GPU
_DEFINES = ("-DGTEST_USE_OWN_TR1_TUPLE=1", "-Isrc/gtest", "-Isrc")


def run_unit_tests(
    compilation: Compilation, at_once: int, environment: Mapping[str, str], progress: StageProgress
) -> Iterator[str]:
    """Build and run those for the CPU; yields what came out. Raises FerError where one fails.

    They are linked with the libcaffe that was built, and read the pictures in examples/images of the sources.
    """
    jobs = [Job((*job.argv, *_DEFINES), job.made, job.cost, job.of) for job in compilation.unit_tests(_TOGETHER)]
    run_jobs(jobs, compilation.source, environment, at_once=at_once, stage="compiling tests", progress=progress)
    program = compilation.work / "test" / "caffe-tests"
    words = [*(str(job.made) for job in jobs), *compilation.with_caffe("work/test"), *compilation.python.links]
    link = Job((compilation.tools.cxx, *words, *linker("-rpath", compilation.python.library.parent)), program)
    run_jobs([link], compilation.source, environment, at_once=1, key=uuid.uuid4().hex)
    yield _outcome(program, compilation.source, environment)


def _outcome(program: Path, folder: Path, environment: Mapping[str, str]) -> str:
    log = program.with_name("tests.log")
    # They leave hundreds of folders, and glog its files, where temporary ones go.
    with log.open("w+b") as said, scratch("fer-caffe-tests-") as temporary:
        subprocess.run(
            [program, "--gtest_color=no", _FOR_CPU],
            cwd=folder,
            env={**environment, "TMPDIR": str(temporary)},
            stdout=said,
            stderr=said,
            check=False,
        )
    text = log.read_text(encoding="utf-8", errors="replace")
    ran = re.search(r"\[=+\] (\d+) tests? from \d+ test cases? ran", text)
    passed = re.search(r"\[ +PASSED +\] (\d+) tests?", text)
    failed = re.findall(r"^\[ +FAILED +\] ([\w/]+\.\w+)(?:, where .*)?$", text, re.MULTILINE)
    if ran is None or passed is None or failed:
        kept = shutil.copy(log, folder.parent.parent / "tests.log")
        what = f"{len(set(failed))} failed, the first {failed[0]}" if failed else "they did not come to their end"
        raise FerError(f"Caffe's own unit tests: {what}\nall that they said: {kept}")
    return f"Caffe's own unit tests: {passed[1]} of {ran[1]} passed"
