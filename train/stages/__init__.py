"""A file for each stage of the pipeline."""
