"""The sample CT in Slicer's Sample Data module: the same file, by the same checksum, as `flareseg sample` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CATEGORY = "FLARE"
SAMPLE_NAME = "FlarePanCancerAbdomenCT"
NODE_NAME = "AbdomenCT"
URL = (
    "https://github.com/wasserth/TotalSegmentator/raw/0effae9d718aab0c118ce1f8982dcd16b9e32a50"
    "/tests/reference_files/example_ct.nii.gz"
)
"""The file that `flareseg sample` takes out of an archive of 38 MB, alone: 2 MB. The commit makes it unchangeable."""


def load() -> Any:
    """Download the sample CT with Slicer's Sample Data module, or take it from its cache; the node."""
    import SampleData

    return SampleData.SampleDataLogic().downloadSample(SAMPLE_NAME)


def register(resource_folder: str | Path) -> None:
    """Offer the sample CT. Connect it to startupCompleted: the Sample Data module is not loaded earlier.

    Args:
        resource_folder: the module's Resources, as `resourcePath("")` gives it.
    """
    import SampleData

    from flareseg.commands.sample import FILE_NAME, SHA256

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        uris=URL,
        fileNames=FILE_NAME,
        nodeNames=NODE_NAME,
        checksums=f"SHA256:{SHA256}",
        thumbnailFileName=str(Path(resource_folder) / "Icons" / "FlarePanCancerSample.png"),
    )
