"""Whether a case is done already: what `--skip-existing` takes, does again, or leaves to the user or to other runs."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from flareseg import __version__
from flareseg.cases.find import Case
from flareseg.cases.fingerprints import checksum, source_of
from flareseg.cases.manifest import Manifest
from flareseg.cases.manifest_lines import DONE, FAILED, STARTED, TAKEN, Record
from flareseg.errors import FlareError, InputError, OutputError
from flareseg.io.atomic import check_destination
from flareseg.io.files import LABEL_ENDINGS, ending_of, read_labels
from flareseg.io.writers import is_dicom_result
from flareseg.labels import Structure
from flareseg.results.measure import Measurement, measure
from flareseg.segmentation import Segmentation
from flareseg.text import shown
from flareseg.volume import Volume

GRID_TOLERANCE_MM = 0.1
"""File formats round positions."""
EXCLUSIVE_NAP_S = 0.05
BY_HAND = "move it elsewhere, or use --overwrite to have it replaced"


@dataclass(frozen=True)
class Decision:
    """What is to be done about a case.

    Attributes:
        skip: nothing, it is done.
        replace: whether its files may be replaced: flareseg wrote them, or they are empty, or the user said so.
        message: why it is done again, or taken.
        problem: why it cannot be done.
        failed: another run could not do it.
    """

    skip: bool = False
    replace: bool = False
    message: str = ""
    problem: FlareError | None = None
    failed: bool = False


class TakenOver(Exception):
    """Another run took this one for dead, and has its case now."""


class Log:
    """The manifest of a run: decides what to do about each case, and records what was done.

    Args:
        manifest: None where none is kept.
        order: how cases are made, e.g. model and options; compared as it stands. Called once, at the first case.
        structures: what a result can hold; called as `order` is.
        skip_existing, overwrite: the user's options.
    """

    def __init__(
        self,
        manifest: Manifest | None,
        order: Callable[[], dict[str, Any]],
        structures: Callable[[], Sequence[Structure]],
        skip_existing: bool = False,
        overwrite: bool = False,
    ) -> None:
        self._manifest, self._make_order, self._structures = manifest, order, structures
        self._skip, self._overwrite = skip_existing, overwrite
        self._skipped: Counter[str] = Counter()
        self._by_others = 0
        self._sources: dict[str, dict[str, Any]] = {}

    @property
    def kept(self) -> bool:
        return self._manifest is not None

    @cached_property
    def _order(self) -> dict[str, Any]:
        return self._make_order()

    def decide(self, case: Case, files: Sequence[Path], read: Callable[[Case], Volume]) -> Decision:
        """Look at what is there of a case.

        Args:
            case: which.
            files: all that it will write: results and report.
            read: reads its CT, for results that no manifest tells of.
        """
        plain = Decision(replace=self._overwrite)
        if self._manifest is None or not self._skip or case.problem:
            return plain
        if by_others := self._done_by_others(case, files):
            return by_others
        there = [path for path in files if os.path.lexists(path)]
        if not there:
            return plain
        try:
            return self._decide(case, files, there, read)
        except FlareError as error:
            return plain if self._overwrite else Decision(problem=error)
        except OSError as error:
            return Decision(problem=InputError(f"'{shown(case.source)}' cannot be read: {error.strerror or error}."))
        except MemoryError:
            text = f"'{shown(case.source)}' needs more memory than this machine has free."
            return Decision(problem=InputError(text))

    def _decide(
        self, case: Case, files: Sequence[Path], there: Sequence[Path], read: Callable[[Case], Volume]
    ) -> Decision:
        assert self._manifest
        records = {path: self._manifest.last_of(path) for path in files}
        if any(record is None or record.status == STARTED for record in records.values()):
            self._manifest.refresh()  # another run may be at work in the same folder
            records = {path: self._manifest.last_of(path) for path in files}
        unknown = [path for path in there if records[path] is None]
        filled = [path for path in unknown if not path.is_file() or path.stat().st_size > 0]
        if filled:
            if len(there) == len(files) == len(unknown) and not self._overwrite:
                return self._take(case, files, read)
            raise OutputError(
                f"'{shown(filled[0])}' was not written by flareseg, or before it kept a manifest; {BY_HAND}."
            )
        reason = f"'{shown(unknown[0].name)}' is empty" if unknown else ""
        for path in there:
            record = records[path]
            if record is None or (record.status == STARTED and not path.is_dir()):
                reason = reason or "the run that began it did not end"
            elif not path.is_file() or checksum(path) != record.outputs[self._manifest.key_of(path)]:
                self._refuse_edited(path)
                reason = reason or f"'{shown(path.name)}' is damaged"
        record = next((one for one in records.values() if one), None)
        reason = reason or self._difference(case, files, there, records, record)
        if not reason:
            self._skipped[record.flareseg if record else ""] += 1
            return Decision(skip=True)
        if record and record.status == TAKEN and not self._overwrite:
            raise OutputError(f"'{shown(there[0])}' is kept, but {reason}, and flareseg did not write it; {BY_HAND}.")
        return Decision(replace=True, message=f"Done again: {reason}.")

    def _done_by_others(self, case: Case, files: Sequence[Path]) -> Decision | None:
        """What another run says of a case that it ended while this one is at work: it need not be looked at again."""
        assert self._manifest
        self._manifest.keep_fresh()
        records = [self._manifest.by_others(path) for path in files]
        first = records[0]
        if first is None or any(one is not first for one in records):
            return None
        if first.status == FAILED:
            return Decision(
                skip=True, message=f"'{shown(case.name)}' failed in another run: {first.message}", failed=True
            )
        asked_for = first.source.get("path") == os.path.realpath(case.source) and first.order == self._order
        if first.status != DONE or not asked_for:
            return None
        self._by_others += 1
        return Decision(skip=True)

    def refresh(self) -> None:
        """Read what other runs have written."""
        if self._manifest:
            self._manifest.refresh()

    def claim(self, case: Case) -> str:
        """Keep other runs from working on a case; what they have done of it is known then.

        Returns:
            "" where it is ours now, else who works on it.

        Raises:
            OutputError: when nothing can be written beside the results.
        """
        if self._manifest is None:
            return ""
        try:
            return self._manifest.claim(self._key_of(case))
        except OSError as error:
            check_destination(case.outputs[0], overwrite=True)  # which may know more
            folder = shown(self._manifest.path.parent)
            raise OutputError(f"The folder '{folder}' cannot be written: {error.strerror or error}.") from None

    def release(self, case: Case) -> None:
        """Leave a case to other runs, if it is not done."""
        if self._manifest:
            self._manifest.sharing.drop(self._key_of(case))

    @contextmanager
    def exclusively(self, what: str, within_s: float = 600.0) -> Iterator[bool]:
        """Keep other runs from doing `what` meanwhile, once they are done with it; whether that was possible in time,
        and where there is a manifest, by which runs know of each other, or else no other to be kept."""
        if self._manifest is None:
            yield True
            return
        sharing, until = self._manifest.sharing, time.monotonic() + within_s
        try:
            while not (ours := sharing.claim(what) == "") and time.monotonic() < until:
                time.sleep(EXCLUSIVE_NAP_S)
        except OSError:
            ours = True  # nothing can be written there, by no other run either
        try:
            yield ours
        finally:
            sharing.drop(what)

    def others_live(self) -> bool:
        """Whether another run is at work in the folder."""
        return self._manifest is not None and self._manifest.sharing.others_live()

    def end(self, *, hurry: bool = False) -> None:
        """Leave the folder; for the end of a run, however it comes."""
        if self._manifest:
            self._manifest.end(hurry=hurry)

    def _key_of(self, case: Case) -> str:
        assert self._manifest
        return hashlib.sha256(os.fsencode(self._manifest.key_of(case.outputs[0]))).hexdigest()[:32]

    def _difference(
        self,
        case: Case,
        files: Sequence[Path],
        there: Sequence[Path],
        records: dict[Path, Record | None],
        record: Record | None,
    ) -> str:
        """Why what is there, whole and known, is not what is asked for; "" where it is."""
        missing = [path for path in files if path not in there]
        if missing:
            return f"'{shown(missing[0].name)}' is missing"
        if record is None or any(one is not record for one in records.values()):
            return "its files are of several runs"
        if record.source != source_of(case):
            same_path = record.source.get("path") == os.path.realpath(case.source)
            return "its input has changed" if same_path else "it was made from another input"
        changed = [key for key in {**record.order, **self._order} if record.order.get(key) != self._order.get(key)]
        return f"it was made with other options ({', '.join(sorted(changed))})" if changed else ""

    def _refuse_edited(self, path: Path) -> None:
        """A valid result that differs from what flareseg wrote was edited by a user: do not overwrite it."""
        if not self._overwrite and _is_whole_result(path):
            raise OutputError(f"'{shown(path)}' was changed after flareseg wrote it; {BY_HAND}.")

    def _take(self, case: Case, files: Sequence[Path], read: Callable[[Case], Volume]) -> Decision:
        """Keep results that were there before a manifest, if they can be results of this case."""
        foreign = f"'{shown(files[0])}' exists, and no manifest tells that flareseg wrote it"
        if any(ending_of(path) not in LABEL_ENDINGS for path in files):
            raise OutputError(f"{foreign}; {BY_HAND}.")
        volume = read(case)
        rows: list[Measurement] = []
        for path in files:
            try:
                labels, geometry = read_labels(path)
            except FlareError:
                raise OutputError(f"{foreign}: it is no whole label map; {BY_HAND}.") from None
            if not geometry.same_as(volume.geometry, GRID_TOLERANCE_MM):
                raise OutputError(f"{foreign}: it does not lie on the grid of '{shown(case.source)}'; {BY_HAND}.")
            structures = tuple(self._structures())
            if not {int(value) for value in _values(labels)} <= {0, *(one.value for one in structures)}:
                raise OutputError(f"{foreign}: it holds labels that are not asked for; {BY_HAND}.")
            result = Segmentation(labels, geometry, structures, case.name, "unknown")
            rows = rows or measure(result, replace(volume, name=case.name))
        self._append(TAKEN, case, files, rows, source_of(case))
        return Decision(
            skip=True,
            message=f"'{shown(files[0])}' was there before the manifest: it is a whole label map on the CT's grid and "
            "is kept, but with which model and options it was made is not known.",
        )

    def reads(self, case: Case) -> None:
        """Note that the CT of a case is about to be read, with the fingerprint of its files as they are now, so that
        the next run notices files that change while they are read."""
        try:
            self._sources[case.name] = source_of(case) if self._manifest else {}
        except OSError:
            self._sources[case.name] = {}

    def started(self, case: Case, files: Sequence[Path]) -> None:
        """Note that files are about to be written, so that after a kill they are known as flareseg's.

        Raises:
            OutputError: when the manifest cannot be written.
            TakenOver: when the case is another run's now.
        """
        if self._manifest:
            if not self._manifest.sharing.holds(self._key_of(case)):
                raise TakenOver
            outputs: dict[str, dict[str, Any]] = {self._manifest.key_of(path): {} for path in files}
            source = self._sources.get(case.name, {})
            self._manifest.append(Record(STARTED, case.name, source, self._order, outputs))

    def done(self, case: Case, files: Sequence[Path], rows: Sequence[Measurement]) -> None:
        """Note that a case is done; raises OutputError as `started`."""
        self._append(DONE, case, files, rows, self._sources.pop(case.name, {}))
        self._ended(case)

    def failed(self, case: Case, files: Sequence[Path], message: str) -> None:
        """Note that a case failed; raises nothing."""
        if self._manifest is None:
            return
        try:
            outputs: dict[str, dict[str, Any]] = {self._manifest.key_of(path): {} for path in files}
            self._manifest.append(Record(FAILED, case.name, {}, {}, outputs, message=message))
        except OutputError:
            return
        finally:
            self._sources.pop(case.name, None)
            self._ended(case)

    def _ended(self, case: Case) -> None:
        if self._manifest:
            self._manifest.sharing.done(self._key_of(case))

    def _append(
        self, status: str, case: Case, files: Sequence[Path], rows: Sequence[Measurement], source: dict[str, Any]
    ) -> None:
        if self._manifest is None:
            return
        try:
            outputs = {self._manifest.key_of(path): checksum(path) for path in files}
        except OSError as error:
            raise OutputError(f"'{shown(files[0])}' cannot be read again: {error.strerror or error}.") from None
        self._manifest.append(Record(status, case.name, source, self._order, outputs, [asdict(row) for row in rows]))

    def rows_of(self, case: Case) -> list[Measurement]:
        """The measurements of a case that was done before; rows that make no sense are passed over."""
        rows = (_measurement(row, case.name) for row in self._stored_rows(case))
        return [row for row in rows if row]

    def lacks_features(self, case: Case) -> bool:
        """Whether a case that was done before was measured without features."""
        return any(row.get("voxels") and row.get("features") is None for row in self._stored_rows(case))

    def _stored_rows(self, case: Case) -> list[dict[str, Any]]:
        record = self._manifest.last_of(case.outputs[0]) if self._manifest and case.outputs else None
        return self._manifest.rows_of(record) if self._manifest and record else []

    def summary(self) -> str:
        """One sentence on what was skipped; "" where nothing was."""
        meanwhile = f"{_cases(self._by_others)} done by other runs meanwhile." if self._by_others else ""
        if not self._skipped:
            return meanwhile
        versions = sorted(version for version in self._skipped if version != __version__)
        others = f", some by flareseg {' and '.join(versions)}" if versions else ""
        return f"{_cases(sum(self._skipped.values()))} done before{others}. {meanwhile}".rstrip()


def _cases(count: int) -> str:
    return f"{count} case{' was' if count == 1 else 's were'}"


def _is_whole_result(path: Path) -> bool:
    """Whether a file is a label map, or DICOM, as far as its header says."""
    if is_dicom_result(path):
        from flareseg.io.dicom import read_header

        return read_header(path) is not None
    try:
        return ending_of(path) in LABEL_ENDINGS and read_labels(path) is not None
    except FlareError:
        return False


def _values(labels: Any) -> Any:
    import numpy as np

    return np.unique(labels)


_TUPLES = {field.name for field in fields(Measurement) if field.name.endswith("_xyz_mm")}
_COLUMNS = {field.name for field in fields(Measurement)}


def _measurement(row: dict[str, Any], case: str) -> Measurement | None:
    """A row of a manifest; of another version's, what both know; None where that is too little."""
    values: dict[str, Any] = {
        key: tuple(value) if key in _TUPLES and value else value for key, value in row.items() if key in _COLUMNS
    }
    try:
        return Measurement(**(values | {"case": case}))
    except TypeError:
        return None
