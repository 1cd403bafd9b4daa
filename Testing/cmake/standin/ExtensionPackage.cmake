# Slicer packs the installed tree here.
