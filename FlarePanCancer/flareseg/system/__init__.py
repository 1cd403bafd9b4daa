"""The process and the machine: signals, streams, temporary files, private imports. Knows nothing of CTs."""
