"""CTs read by a process of its own, so that a file which crashes a reading library, hangs it or fills the memory costs
one case and not the run. That process lives on over cases, and reads the next one while the present one is computed.
"""
