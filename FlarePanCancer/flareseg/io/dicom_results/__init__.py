"""Results as DICOM objects that refer to the images of the CT: segmentations (SEG), contours for planning (RTSTRUCT).

`planes` brings labels into the order of the images; `segments` says what is in them, with codes, colours and tracking;
`headers` has what all objects share; `seg` and `rtstruct` (with `contours`) write. The measurement report is
`results/dicom_sr.py`, since it needs measurements. pydicom is there anyway; highdicom is optional, and imported by what
writes with it.
"""
