"""The Slicer-facing side of FlarePanCancer: MRML, Qt, and the process in which the engine works."""
