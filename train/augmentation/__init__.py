"""From a cached case to an augmented patch."""
