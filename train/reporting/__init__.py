"""What people read of a training: tables, plots, pictures, the model card."""
