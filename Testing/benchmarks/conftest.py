"""The benchmarks are scripts beside each other, not a package: the tests find them as their own process would."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
