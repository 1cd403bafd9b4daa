"""How Lightning sees the ranks of torchrun and of srun: each as a machine of its own with one device.

Lightning wants as many devices on every machine as it has processes, and their numbers. So it cannot be told that SLURM
shows every process its own GPU only (--gpus-per-task), or that machines have different numbers of GPUs.
"""

from __future__ import annotations

import os

from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment

from train.common.distributed import Rank


class OneDeviceEach(ClusterEnvironment):
    """The ranks of a launch, which are started already."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST") or "127.0.0.1"
        return os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)

    @property
    def main_port(self) -> int:
        """That of torchrun, or one that all processes of a SLURM job know."""
        return int(os.environ.get("MASTER_PORT") or 15000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 10000)

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._rank.count

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._rank.number

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return self._rank.number
