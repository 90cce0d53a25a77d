"""Reads result objects back with pydicom and highdicom and holds them to the record they were made of.

usage: dicom_results.py DIR     DIR/*/{source,sr,seg,heat,sc,refused}.dcm, record.json, masks.bin (a byte a pixel)
"""

import io
import json
import pathlib
import sys
import warnings

import highdicom as hd
import numpy as np
import pydicom
from pydicom.sr._concepts_dict import concepts

warnings.filterwarnings("ignore")  # about the sources: they are as hospitals wrote them

PRESENT, ABSENT = "52101004", "272519000"
COPIED = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "AccessionNumber"]


def header(path):
    """The elements before the pixels. Preamble and magic may be missing, as we allow."""
    data = path.read_bytes()
    if data[128:132] != b"DICM":
        data = bytes(128) + (b"" if data[:4] == b"DICM" else b"DICM") + data
    return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)


def raw(path, keyword):
    """The bytes of an element, before anything decodes them; without padding."""
    element = header(path).get_item(keyword)
    value = b"" if element is None else element.value or b""
    assert isinstance(value, bytes), (keyword, value)
    return value.rstrip(b" \0")


def own(dataset):
    """Without what is copied from the source, whose codes are its own."""
    for keyword in ("ProcedureCodeSequence", "DeidentificationMethodCodeSequence"):
        if keyword in dataset:
            del dataset[keyword]
    return dataset


def check_codes(dataset):
    """Every coded concept that pydicom's copy of PS3.16 knows has the meaning that we give it; DICOM's own it knows all."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                check_codes(item)
    if "CodeValue" in dataset:
        value, scheme, meaning = dataset.CodeValue, dataset.CodingSchemeDesignator, dataset.CodeMeaning
        known = [concept[value][0].lower() for concept in concepts.get(scheme, {}).values() if value in concept]
        assert known or scheme != "DCM", (value, scheme, meaning)
        assert not known or meaning.lower() in known, (value, scheme, meaning, known)


def same_patient(case, name):
    for keyword in COPIED:
        ours, theirs = raw(case / f"{name}.dcm", keyword), raw(case / "source.dcm", keyword)
        assert ours == theirs, (name, keyword, ours, theirs)


def segmentation(case, record, source):
    expected = [s for s in record["segments"] if s["name"] != "Pneumothorax"]
    shape = (len(expected), source.Rows, source.Columns)
    masks = np.fromfile(case / "masks.bin", np.uint8).reshape(shape)
    with_pydicom = pydicom.dcmread(case / "seg.dcm").pixel_array.reshape(shape)
    assert np.array_equal(with_pydicom, masks), "pydicom reads another mask"
    seg = hd.seg.segread(case / "seg.dcm")
    assert seg.number_of_segments == len(expected)
    assert [seg.get_segment_description(n + 1).segment_label for n in range(len(expected))] == [s["name"] for s in expected]
    by_source = seg.get_pixels_by_source_instance([source.SOPInstanceUID], assert_missing_frames_are_empty=True)
    assert np.array_equal(np.moveaxis(by_source[0], -1, 0), masks), "highdicom reads another mask"
    return seg


def drawn(heat, shape):
    """A heat map over a picture: between the middles of places in proportion, beyond them as they are."""
    values = np.array(heat["values"]).reshape(heat["rows"], heat["columns"])
    assert heat["area"] == [0, 0, shape[1], shape[0]], "the whole picture"
    for axis, (cells, pixels) in enumerate(zip(values.shape, shape)):
        at = (np.arange(pixels) + 0.5) / pixels * cells - 0.5
        values = np.apply_along_axis(lambda line: np.interp(at, np.arange(cells), line), axis, values)
    return values


def attention(case, record, source):
    seg = hd.seg.segread(case / "heat.dcm")
    assert seg.segmentation_type == hd.seg.SegmentationTypeValues.FRACTIONAL
    positive = {f["name"] for f in record["findings"] if f["positive"]}
    expected = [h for h in record["heat_maps"] if h["name"] in positive]
    labels = [seg.get_segment_description(n + 1).segment_label for n in range(seg.number_of_segments)]
    assert labels == [h["name"] for h in expected], labels
    found = seg.get_pixels_by_source_instance([source.SOPInstanceUID], rescale_fractional=True)[0]
    for n, heat in enumerate(expected):
        difference = np.abs(found[..., n] - drawn(heat, found.shape[:2])).max()
        assert difference < 0.5 / 255 + 1e-5, difference


def certainty(group):
    numbers = [m for m in group.get_measurements() if m.name.value == "111012"]
    assert len(numbers) == 1, numbers
    return float(numbers[0].value)


def report(case, record, source, seg):
    content = hd.sr.srread(case / "sr.dcm").content
    groups = content.get_image_measurement_groups()
    assert len(groups) == len(record["findings"]) + 1, len(groups)
    texts = {item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue for item in groups[-1][0].ContentSequence
             if item.ValueType == "TEXT"}
    said = texts["Nearest training sentence, not a report"]  # the last of them
    assert said == "no pneumothorax is seen ? ? (similarity 0.750)", said
    evaluations = groups[-1].get_qualitative_evaluations()
    assert [e.value.meaning for e in evaluations] == ["Nearest training sentences, not a report"], evaluations
    comments = [[i.TextValue for i in group[0].ContentSequence if i.ValueType == "TEXT"] for group in groups]
    phrases = [any(text.startswith("Zero-shot") for text in all_of_it) for all_of_it in comments]
    maps = {h["name"] for h in record["heat_maps"]}
    assert phrases == [f["name"] in maps for f in record["findings"]] + [False], phrases
    for group, finding in zip(groups, record["findings"]):
        assert abs(certainty(group) - 100 * finding["probability"]) < 0.006, finding
        answers = [e.value.value for e in group.get_qualitative_evaluations()]
        assert answers == [PRESENT if finding["positive"] else ABSENT], (answers, finding)
    regions = content.get_planar_roi_measurement_groups()
    boxes, segments = record["boxes"], seg.number_of_segments
    assert len(regions) == segments + len(boxes), len(regions)
    uids = [group.tracking_uid for group in [*groups, *regions]]
    assert len(set(uids)) == len(uids), "viewers merge groups of one UID"
    for n, region in enumerate(regions[:segments]):
        frame = region.referenced_segmentation_frame
        item = frame[0].ReferencedSOPSequence[0]
        assert item.ReferencedSOPInstanceUID == seg.SOPInstanceUID and int(item.ReferencedFrameNumber) == n + 1
        assert region.tracking_uid == seg.get_segment_description(n + 1).tracking_uid
    for region, box in zip(regions[segments:], boxes):
        left, top, right, bottom = box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]
        expected = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        assert np.allclose(region.roi.value, expected, atol=1e-3), (region.roi.value, expected)
        assert abs(certainty(region) - 100 * box["score"]) < 0.006, box


def refused(case):
    groups = hd.sr.srread(case / "refused.dcm").content.get_image_measurement_groups()
    assert len(groups) == 1
    texts = [item.TextValue for item in groups[0][0].ContentSequence if item.ValueType == "TEXT"]
    assert any(text.startswith("Not analysed: view is LL") for text in texts), texts


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    cases = sorted(path for path in pathlib.Path(sys.argv[1]).iterdir() if path.is_dir())
    for case in cases:
        try:
            record = json.loads((case / "record.json").read_text())
            source = header(case / "source.dcm")
            for name in ("sr", "seg", "heat", "sc", "refused"):
                same_patient(case, name)
                check_codes(own(header(case / f"{name}.dcm")))
            report(case, record, source, segmentation(case, record, source))
            attention(case, record, source)
            refused(case)
            picture = pydicom.dcmread(case / "sc.dcm").pixel_array
            assert picture.shape == (21, 33, 3) and list(picture[3, 5]) == [5, 3, 200], picture.shape
        except Exception as error:
            raise SystemExit(f"{(case / 'name.txt').read_text()}: {type(error).__name__}: {error}") from error
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
