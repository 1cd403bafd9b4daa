"""Slicer's Sample Data module, as far as other modules talk to it: it remembers what was registered."""

from __future__ import annotations


class SampleDataLogic:
    """SampleData.SampleDataLogic."""

    registered: list[dict[str, object]] = []  # noqa: RUF012

    load: object = None
    """A test sets this: gives the node in place of a download."""

    def downloadSample(self, sampleName):
        if sampleName not in [source.get("sampleName") for source in self.registered]:
            raise IndexError("list index out of range")  # as Slicer's own raises
        if SampleDataLogic.load is None:
            raise OSError("nothing is downloaded in this test")
        return SampleDataLogic.load()

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
