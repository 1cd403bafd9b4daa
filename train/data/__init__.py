"""From public data sets to the index and the caches of a training run."""
