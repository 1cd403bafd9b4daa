"""Slicer's Sample Data module, as far as other modules talk to it: it remembers what was registered."""

from __future__ import annotations


class SampleDataLogic:
    """SampleData.SampleDataLogic."""

    registered: list[dict[str, object]] = []  # noqa: RUF012

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFileType=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
    ):
        SampleDataLogic.registered.append({key: value for key, value in locals().items() if value is not None})
