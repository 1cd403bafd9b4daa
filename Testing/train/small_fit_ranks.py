"""Fits of `small_fit.py` on ranks that are processes of their own, to be compared, or killed by a test."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from train.common.parallel import worker_context


def start_ranks(folder: Path, count: int, **settings: Any) -> list[BaseProcess]:
    """Start a fit in `folder` on several ranks, which find each other as those of torchrun do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = worker_context()
    ranks = [
        context.Process(target=_train, args=(folder, number, count, port, settings))  # type: ignore[attr-defined]
        for number in range(count)
    ]
    for rank in ranks:
        rank.start()
    return ranks


def _train(folder: Path, number: int, count: int, port: int, settings: dict[str, Any]) -> None:
    names = {"RANK": number, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()}
    import torch
    from small_fit import SETTINGS, run, small_work

    torch.set_num_threads(1)
    run(small_work(folder, settings=replace(SETTINGS, **settings)))
