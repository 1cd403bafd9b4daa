"""The smallest stand-in for Slicer's Qt layer that a scripted module runs on, over PySide6 and a real MRML scene.

It follows Slicer's documented API and raises on what it does not know. It is not Slicer: PythonQt, the qMRML and ctk
widgets, views and pip are imitated, so what is green here still wants the module's own self test in a real Slicer.
"""
