"""The sample CT in Slicer's Sample Data module: the same file, by the same checksum, as `flareseg sample` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from FlarePanCancerLib.sample_fetch import URL, fetch_sample

CATEGORY = "FLARE"
SAMPLE_NAME = "FlarePanCancerAbdomenCT"
NODE_NAME = "AbdomenCT"


def load() -> Any:
    """The node of the sample CT, loaded by Slicer's Sample Data module from its cache; downloaded there before.

    Slicer processes events meanwhile.

    Raises:
        FetchError: when it cannot be downloaded.
    """
    import SampleData
    import slicer

    fetch_sample(slicer.app.processEvents)
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
