"""What the command line does, a file each; nothing below imports it."""
