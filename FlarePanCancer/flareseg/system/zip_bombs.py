"""Zip bombs: members of a zip that claim to unpack to far more than a CT or weights can."""

from __future__ import annotations

import zipfile

LARGE_BYTES = 64 << 20
"""Smaller members are harmless, however well they are compressed."""
LARGEST_RATIO = 100
"""Unpacked to packed size. CTs shrink to about a third, weights hardly at all; a bomb reaches a thousand."""


def is_bomb(info: zipfile.ZipInfo) -> bool:
    """Whether a member is large and compressed more than `LARGEST_RATIO` times, by the sizes in the zip's directory."""
    return info.file_size > LARGE_BYTES and info.file_size > LARGEST_RATIO * max(1, info.compress_size)
