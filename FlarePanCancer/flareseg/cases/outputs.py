"""The files that a run writes, for all cases and for each, and what may stand in their places before."""

# os.path answers also about names for which pathlib raises errors, such as too long ones.
# ruff: noqa: PTH110, PTH113

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flareseg.cases.clashes import Written
from flareseg.cases.dicom_files import DicomFiles, DicomWanted
from flareseg.cases.find import Case
from flareseg.cases.manifest import Manifest
from flareseg.errors import FlareError, OutputError
from flareseg.io.atomic import check_destination
from flareseg.io.files import read_labels
from flareseg.results.cohort.page import PAGE as COHORT_PAGE
from flareseg.results.measurement_files import is_measurements
from flareseg.text import shown


@dataclass(frozen=True)
class Reports:
    """Reports: the folder of one case, or that in which each of several has its own; and the names of its files."""

    folder: Path
    names: tuple[str, ...]


@dataclass(frozen=True)
class Beside:
    """What is asked for beside the results.

    Attributes:
        reports: where reports go, or None.
        previews: folder for coarse results, or None.
        table: file for measurements, or None.
        dicom: DICOM results.
    """

    reports: Reports | None = None
    previews: Path | None = None
    table: Path | None = None
    dicom: DicomWanted = field(default_factory=DicomWanted)


class Outputs:
    """Where the files of each of `cases`, which have their results, go."""

    def __init__(self, cases: Sequence[Case], beside: Beside) -> None:
        self._cases, self._reports, self._previews = cases, beside.reports, beside.previews
        self._table, self._dicom = beside.table, beside.dicom
        self.alone = len(cases) == 1

    def dicom(self, case: Case) -> DicomFiles:
        """The DICOM files of a case that are no results by themselves; raises UsageError as `DicomWanted.of`."""
        return self._dicom.of(case, self.alone)

    def report(self, case: Case) -> Path | None:
        """The folder of a case's report."""
        if self._reports is None:
            return None
        return self._reports.folder if self.alone else self._reports.folder / case.name

    def preview(self, case: Case) -> Path | None:
        return self._previews / f"{case.name}.nrrd" if self._previews else None

    def of(self, case: Case) -> list[Path]:
        """What a finished case has: results, DICOM and report."""
        report = self.report(case)
        names = self._reports.names if self._reports else ()
        return [*case.outputs, *self.dicom(case), *(report / name for name in names if report)]

    def manifest(self, wanted: bool) -> Manifest | None:
        """The manifest beside the results: of several cases always, of one if `wanted`, or if one is there."""
        manifest = Manifest(self._cases[0].outputs[0].parent)
        return manifest if wanted or not self.alone or os.path.exists(manifest.path) else None

    @property
    def cohort(self) -> Path | None:
        """Folder of the page over all cases: with reports of several there is one."""
        return self._reports.folder if self._reports and not self.alone else None

    def all(self, manifest: Manifest | None) -> list[Written]:
        """Every file that the run will write."""
        result = []
        for case in self._cases:
            result += [Written(path, f"the result of '{shown(case.name)}'") for path in case.outputs]
            dicom = list(self.dicom(case))
            result += [Written(path, f"a DICOM result of '{shown(case.name)}'") for path in dicom]
            result += [
                Written(path, f"the report of '{shown(case.name)}'")
                for path in self.of(case)[len(case.outputs) + len(dicom) :]
            ]
            if preview := self.preview(case):
                result.append(Written(preview, f"the preview of '{shown(case.name)}'"))
        if self.cohort:
            result.append(Written(self.cohort / COHORT_PAGE, "the page of all cases"))
        if self._table:
            result.append(Written(self._table, "the table of measurements"))
        if manifest:
            result.append(Written(manifest.path, "the manifest"))
        return result


def check_table(path: Path, overwrite: bool, skip_existing: bool) -> None:
    """See that the table of measurements can be written; an earlier one may be there where a run goes on.

    Raises:
        OutputError: when something else is there, or it cannot be written.
    """
    earlier = skip_existing and os.path.isfile(path) and _is_table(path)
    check_destination(path, overwrite=overwrite or earlier)


def check_preview(path: Path, overwrite: bool) -> None:
    """See that a preview can be written; an earlier one may be there.

    Raises:
        OutputError: when something else is there, or it cannot be written.
    """
    if not overwrite and os.path.isfile(path):
        try:
            read_labels(path)
            overwrite = True
        except FlareError:
            pass
    check_destination(path, overwrite=overwrite)


def _is_table(path: Path) -> bool:
    """Whether a file is an earlier table of measurements, or empty."""
    try:
        return is_measurements(path)
    except OSError as error:
        raise OutputError(f"'{shown(path)}' cannot be read: {error.strerror or error}.") from None
