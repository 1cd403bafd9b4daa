"""A DICOM archive that is asked over DICOMweb; connections go only to the address that the user names."""
