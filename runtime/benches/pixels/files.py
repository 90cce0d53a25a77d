"""DICOM files of a drawn chest in every transfer syntax, or of the user's own radiograph.

Encoders are pydicom's plug-ins, DCMTK's `dcmcjpeg` and OpenJPH; what none of them can write is left out by name.
"""

import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

#: Rows and columns by megapixels.
SIZES = {2: (1664, 1216), 4: (2240, 1792), 9: (3072, 2944)}
#: Name: transfer syntax, bits stored, what writes it.
SYNTAXES = {
    "implicit": (ImplicitVRLittleEndian, 12, "plain"),
    "explicit": (ExplicitVRLittleEndian, 12, "plain"),
    "big-endian": (ExplicitVRBigEndian, 12, "plain"),
    "explicit-8-bit": (ExplicitVRLittleEndian, 8, "plain"),
    "rle": ("1.2.840.10008.1.2.5", 12, "pydicom"),
    "jpeg-50": ("1.2.840.10008.1.2.4.50", 8, "+eb"),
    "jpeg-51": ("1.2.840.10008.1.2.4.51", 12, "+ee"),
    "jpeg-57": ("1.2.840.10008.1.2.4.57", 12, "+el"),
    "jpeg-70": ("1.2.840.10008.1.2.4.70", 12, "+e1"),
    "jpeg-ls": ("1.2.840.10008.1.2.4.80", 12, "pydicom"),
    "jpeg-2000": ("1.2.840.10008.1.2.4.90", 12, "pydicom"),
    "htj2k": ("1.2.840.10008.1.2.4.201", 12, "openjph"),
    "htj2k-lossy": ("1.2.840.10008.1.2.4.203", 12, "openjph"),
}


def drawn(rows: int, columns: int, bits: int) -> np.ndarray:
    """Two dark lungs, ribs, a bright middle and the detector's noise; black around it."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    y, x = y / rows - 0.5, x / columns - 0.5
    body = 1 / (1 + np.exp(40 * (np.hypot(x / 1.1, y / 1.3) - 0.42)))
    lungs = sum(np.exp(-(((x - side) / 0.13) ** 4) - (((y + 0.03) / 0.3) ** 4)) for side in (-0.2, 0.2))
    ribs = 0.05 * np.sin(60 * (y + 0.6 * x * x)) * lungs
    grey = body * (0.75 - 0.5 * lungs + ribs + 0.1 * np.exp(-((x / 0.06) ** 2)))
    noise = np.random.default_rng(7).normal(0, 0.004, grey.shape) * (body > 0.02)
    return np.clip((grey + noise) * (2**bits - 1), 0, 2**bits - 1).astype(np.uint8 if bits <= 8 else np.uint16)


def data_set(pixels: np.ndarray, bits: int) -> Dataset:
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = generate_uid(entropy_srcs=["pixels", str(pixels.shape), str(bits)])
    found.StudyInstanceUID = found.SeriesInstanceUID = generate_uid(entropy_srcs=["pixels"])
    found.Modality, found.BodyPartExamined, found.ViewPosition = "DX", "CHEST", "PA"
    found.PatientID, found.PatientName = "BENCH", "Bench^Drawn"
    found.Rows, found.Columns = pixels.shape
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = 8 * pixels.itemsize, bits, bits - 1
    found.PixelRepresentation = 0
    if bits > 8:  # the 8-bit files have no window: the range of their values is shown
        found.WindowCenter, found.WindowWidth = 2 ** (bits - 1), int(0.9 * 2**bits)
    found.PixelData = pixels.tobytes()
    found["PixelData"].VR = "OB" if bits <= 8 else "OW"
    return found


def write(found: Dataset, name: str, path: Path) -> str | None:
    """Writes a file; or says why it cannot be written."""
    uid, _, how = SYNTAXES[name]
    if how == "plain":
        found.file_meta.TransferSyntaxUID = uid
        if uid == ExplicitVRBigEndian and found.BitsAllocated == 16:
            found.PixelData = np.frombuffer(found.PixelData, "<u2").astype(">u2").tobytes()
        found.save_as(path, enforce_file_format=True)
    elif how == "pydicom":
        try:
            found.compress(uid, generate_instance_uid=False)
        except (RuntimeError, NotImplementedError) as error:
            return str(error).splitlines()[0]
        found.save_as(path, enforce_file_format=True)
    elif how == "openjph":
        steps = {} if name == "htj2k" else {"level": 5e-4}
        stream = imagecodecs.htj2k_encode(found.pixel_array, reversible=name == "htj2k", **steps)
        found.file_meta.TransferSyntaxUID = uid
        found.PixelData = encapsulate([stream])
        found["PixelData"].VR = "OB"
        found.save_as(path, enforce_file_format=True)
    else:
        if not shutil.which("dcmcjpeg"):
            return "dcmcjpeg of DCMTK is not installed"
        plain = path.with_suffix(".plain")
        found.save_as(plain, enforce_file_format=True)
        command = ["dcmcjpeg", "-q", how, plain, path]
        done = subprocess.run(command, capture_output=True, text=True)
        plain.unlink()
        if done.returncode:
            return done.stderr.strip() or f"dcmcjpeg ended with {done.returncode}"
    return None


def made(folder: Path, sizes: list[int], names: list[str]) -> tuple[list[Path], dict[str, str]]:
    """Files of the drawn chest, and why some could not be made."""
    folder.mkdir(parents=True, exist_ok=True)
    files, missing = [], {}
    for size in sizes:
        pictures = {bits: drawn(*SIZES[size], bits) for bits in {SYNTAXES[name][1] for name in names}}
        for name in names:
            path = folder / f"{size}mp-{name}.dcm"
            bits = SYNTAXES[name][1]
            why = None if path.exists() else write(data_set(pictures[bits], bits), name, path)
            if why:
                missing[path.stem] = why
            else:
                files.append(path)
    return files, missing


def encoded(folder: Path, source: Path, names: list[str]) -> tuple[list[Path], dict[str, str]]:
    """The user's radiograph, uncompressed as it came, in every syntax that has its bits."""
    folder.mkdir(parents=True, exist_ok=True)
    files, missing = [], {}
    for name in names:
        found = pydicom.dcmread(source)
        if found.file_meta.TransferSyntaxUID.is_encapsulated:
            found.decompress()
        if name in ("jpeg-50", "explicit-8-bit") and found.BitsStored > 8 or name == "jpeg-51" and found.BitsStored > 12:
            continue
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{source.stem}-{name}.dcm"
        why = write(found, name, path)
        if why:
            missing[path.stem] = why
        else:
            files.append(path)
    return files, missing
