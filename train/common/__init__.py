"""What every part of the training uses: folders, JSON files, processes, ranks."""
