"""nnU-Net's model folders, version 1: networks of the class Generic_UNet, plans and settings as pickles."""
