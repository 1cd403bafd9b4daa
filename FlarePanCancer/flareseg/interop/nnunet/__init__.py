"""nnU-Net's model folders, version 2."""
