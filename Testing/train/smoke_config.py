"""`make smoke` with smaller nets and patches where that loses nothing; the final net needs its own to learn at all."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "train" / "configs" / "smoke.yaml"
_FILTERS = {"tumor": [8, 16, 32, 32], "student": [8, 16, 24]}
SMALLER = [f"nets.{net}.filters={filters}" for net, filters in _FILTERS.items()]
SMALLER += [f"nets.{net}.patch_zyx=[32, 32, 40]" for net in _FILTERS]
