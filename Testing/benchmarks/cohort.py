"""How large the page over many cases is, and what a browser needs to open it and to go from case to case.

python Testing/benchmarks/cohort.py FOLDER [--count 500] [--out DIR]

FOLDER holds a folder for each case with ct.nii.gz and seg.nii.gz; results are repeated under other names up to --count.
Needs Chromium. CPU seconds are those of all its processes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

from browser import Browser

from flareseg.io.files import read_labels, read_volume
from flareseg.labels import structures
from flareseg.results.cohort.page import CohortCase, write_page
from flareseg.results.cohort.summary import Summary, summarise
from flareseg.results.measure import measure
from flareseg.segmentation import Segmentation

MOST_READ, STEPS, UNKNOWN = 14, 30, 255
THERE = "document.querySelectorAll('#pictures canvas').length === 6"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--out", type=Path, help="keep the page there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        page = (options.out or Path(scratch)) / "index.html"
        real = [read(path.parent) for path in sorted(options.folder.glob("*/seg.nii.gz"))[:MOST_READ]]
        cases = [
            CohortCase(f"{number:04d}", replace(real[number % len(real)], labels_sha256=f"{number:064x}"))
            for number in range(options.count)
        ]
        begin = time.process_time()
        write_page(cases, page)
        size = page.stat().st_size
        print(f"{options.count} cases: {size / 1e6:.1f} MB, {size / 1e3 / options.count:.0f} KB each")
        print(f"written in {time.process_time() - begin:.2f} CPU s")
        with Browser(Path(scratch) / "profile", width=1280, height=900) as browser:
            look_through(browser, page)


def read(folder: Path) -> Summary:
    volume, (labels, grid) = read_volume(folder / "ct.nii.gz"), read_labels(folder / "seg.nii.gz")
    drawn = np.where(labels == UNKNOWN, 0, labels).astype(np.uint8)
    segmentation = Segmentation(drawn, grid, structures(), folder.name)
    rows = measure(segmentation, volume)
    begin = time.process_time()
    summary = summarise(segmentation, volume, rows)
    print(f"{folder.name}: pictures and warnings in {time.process_time() - begin:.2f} CPU s")
    return summary


def look_through(browser: Browser, page: Path) -> None:
    group = os.getpgid(browser.process_id)
    begin = cpu_seconds(group)
    browser.open(page.as_uri())
    browser.until("document.documentElement.classList.contains('complete')")
    print(f"opened in {cpu_seconds(group) - begin:.1f} CPU s")
    browser.evaluate(
        "(() => { const box = document.getElementById('reader'); box.value = 'A';"
        " box.dispatchEvent(new Event('input')); document.getElementById('begin').click(); })()"
    )
    browser.until(THERE)
    begin = cpu_seconds(group)
    for _ in range(STEPS):
        browser.key("a")
        browser.until(THERE)
    print(f"from case to case in {(cpu_seconds(group) - begin) / STEPS:.2f} CPU s")


def cpu_seconds(group: int) -> float:
    """Of all processes of a group, so far; those that have ended do not count."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12]) if int(fields[2]) == group else 0
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
