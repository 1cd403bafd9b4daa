"""Reports of a training: tables, plots, images, model card."""
