"""scripts/torture.py in its short form: what is tried holds, and what does not is counted."""

import subprocess
import sys
from collections import Counter

import pytest
import torture
from training import ROOT


@pytest.mark.full
def test_what_is_tried_holds() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "torture.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    *_, last, seed = done.stdout.splitlines()
    assert last.split()[0] == "all" and int(last.split()[1].replace(",", "")) > 100 and "seed 1" in seed


def test_the_table_counts_what_failed() -> None:
    lines = torture.table(Counter({"full disk": 1200, "names": 3}), Counter({"names": 1})).splitlines()
    assert [line.split() for line in lines] == [
        ["tried", "held", "failed"],
        ["full", "disk", "1,200", "1,200", "0"],
        ["names", "3", "2", "1"],
        ["all", "1,203", "1,202", "1"],
    ]
