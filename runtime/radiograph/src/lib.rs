//! Bytes of DICOM, PNG or JPEG to network input.
