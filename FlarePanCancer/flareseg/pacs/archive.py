"""A study's CT from an archive, and results into it, over DICOMweb (QIDO-RS, WADO-RS, STOW-RS)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flareseg.errors import Cancelled, FlareError, InputError, OutputError, UsageError
from flareseg.io.atomic import atomic_path
from flareseg.io.dicom.headers import quiet_pydicom
from flareseg.io.dicom_results.headers import MANUFACTURER
from flareseg.text import shown

TIMEOUT_S = 60
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True)
class RemoteSeries:
    """A series in the archive."""

    uid: str
    modality: str
    number: str
    description: str
    images: int

    def __str__(self) -> str:
        return shown(f"{self.uid} '{self.description}' ({self.images} images)")


def check_uid(text: str) -> str:
    """A UID, which also names folders here.

    Raises:
        UsageError: for anything else.
    """
    if len(text) > 64 or not _UID.fullmatch(text):
        raise UsageError(f"'{shown(text)}' is no UID, which has numbers with points between them.")
    return text


class Archive:
    """One archive.

    Args:
        url: of its DICOMweb service, e.g. http://localhost:8042/dicom-web. Name and password come from the user's
            .netrc file, as every program that uses the package requests takes them.

    Raises:
        UsageError: for no such address, or without the package dicomweb-client.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"'{shown(url)}' is no address of a DICOMweb service; it begins with https:// or http://.")
        try:
            from dicomweb_client import DICOMwebClient
        except ImportError:
            raise UsageError(
                "An archive is asked by the package dicomweb-client, which is not installed; "
                "run: pip install dicomweb-client."
            ) from None
        self._url = url
        self._client: Any = DICOMwebClient(url=url, timeout=TIMEOUT_S)
        self._client.set_http_retry_params(retry=False)  # half a minute of silence otherwise; another run goes on

    def series_of(self, study: str) -> list[RemoteSeries]:
        """The series of a study, the largest first; raises InputError when the archive does not answer."""
        with self._asking("asked", InputError):
            found = self._client.search_for_series(
                study_instance_uid=study, fields=["NumberOfSeriesRelatedInstances"], get_remaining=True
            )
        series = [_series(_dataset(one)) for one in found]
        return sorted(series, key=lambda one: (-one.images, one.uid))

    def fetch(self, study: str, series: str, folder: Path, cancelled: Callable[[], bool]) -> int:
        """Copy the images of a series that are not yet in `folder`, each whole or not at all.

        Returns:
            how many there are.

        Raises:
            Cancelled: when asked to stop; what was copied stays for the next time.
            InputError: when the archive does not answer, or there are none.
            OutputError: when they cannot be written.
        """
        images = self._instances(study, series)
        if not images:
            raise InputError(f"The archive at {shown(self._url)} has no images of series {series}.")
        for uid in images:
            path = folder / f"{uid}.dcm"
            if path.exists():
                continue
            if cancelled():
                raise Cancelled
            with self._asking("asked", InputError), quiet_pydicom():
                image = self._client.retrieve_instance(study, series, uid, media_types=(("application/dicom", "*"),))
            with atomic_path(path) as temporary, quiet_pydicom():
                image.save_as(temporary, enforce_file_format=True)
        return len(images)

    def has_result(self, study: str, series: str) -> bool:
        """Whether the study has a segmentation of ours that refers to a series; raises InputError as `series_of`."""
        for one in self.series_of(study):
            if one.modality != "SEG":
                continue
            with self._asking("asked", InputError):
                objects = self._client.retrieve_series_metadata(study, one.uid)
            for item in map(_dataset, objects):
                referred = {str(other.SeriesInstanceUID) for other in item.get("ReferencedSeriesSequence", [])}
                if item.get("Manufacturer") == MANUFACTURER and series in referred:
                    return True
        return False

    def send(self, study: str, files: Sequence[Path]) -> int:
        """Store files that the archive does not have yet, one after the other.

        Returns:
            how many were stored.

        Raises:
            OutputError: when the archive does not answer, or refuses one.
        """
        import pydicom

        stored = 0
        for path in files:
            with quiet_pydicom():
                made = pydicom.dcmread(path)
            if str(made.SOPInstanceUID) in self._instances(study, str(made.SeriesInstanceUID)):
                continue
            with self._asking("given a result", OutputError), quiet_pydicom():
                answer = self._client.store_instances([made])
            if answer.get("FailedSOPSequence"):
                raise OutputError(f"The archive at {shown(self._url)} refused '{shown(path)}'; it stays there.")
            stored += 1
        return stored

    def _instances(self, study: str, series: str) -> list[str]:
        with self._asking("asked", InputError):
            found = self._client.search_for_instances(
                study_instance_uid=study, series_instance_uid=series, get_remaining=True
            )
        return sorted(check_uid(str(_dataset(one).SOPInstanceUID)) for one in found)

    @contextmanager
    def _asking(self, what: str, kind: type[FlareError]) -> Iterator[None]:
        """Whatever goes wrong with the connection, as one line."""
        import requests

        try:
            yield
        except FlareError:
            raise
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else "no"
            raise kind(f"The archive at {shown(self._url)} was {what}, and answered with status {status}.") from error
        except (requests.RequestException, OSError) as error:
            raise kind(f"The archive at {shown(self._url)} cannot be reached: {type(error).__name__}.") from error
        except Exception as error:
            words = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise kind(f"The answer of the archive at {shown(self._url)} makes no sense: {words}.") from error


def _dataset(one: Any) -> Any:
    import pydicom

    with quiet_pydicom():
        return one if isinstance(one, pydicom.Dataset) else pydicom.Dataset.from_json(one)


def _series(header: Any) -> RemoteSeries:
    return RemoteSeries(
        uid=check_uid(str(header.SeriesInstanceUID)),
        modality=str(header.get("Modality", "")),
        number=str(header.get("SeriesNumber", "")),
        description=str(header.get("SeriesDescription", "")),
        images=int(header.get("NumberOfSeriesRelatedInstances") or 0),
    )
