"""An archive made of pynetdicom that is asked for studies: C-FIND and C-MOVE, Study Root.

usage: query.py PORT FOLDER DESTINATION DESTINATION_PORT MODE [CERTIFICATE KEY CA]

Holds the DICOM files of FOLDER. DESTINATION is the one AE title that it can send to, at 127.0.0.1. With a certificate all
of it is under TLS, both ways. MODE is how it behaves:

good        as the standard asks
all         answers every C-FIND with everything it has
path        says that a study's UID is a path
more        a C-MOVE also sends an image of another study
less        of a C-MOVE the last image is of a class that the box does not take, so its operation fails
hides       a C-MOVE leaves out the last image, and says that all went well
silent      a C-MOVE is never answered
"""

import copy
import pathlib
import ssl
import sys
import time

from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

config.settings.writing_validation_mode = config.IGNORE
port, folder, destination, destination_port, mode = int(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4]), sys.argv[5]
tls = None
if len(sys.argv) > 6:
    certificate, key, ca = sys.argv[6:9]
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    client.load_cert_chain(certificate, key)
    tls = (server, client)

objects = [dcmread(path) for path in sorted(pathlib.Path(folder).iterdir())]
UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
KEYS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber"]


def matching(question):
    wanted = [(key, str(question.get(key, ""))) for key in KEYS if question.get(key)]
    if mode == "all":
        return objects
    return [one for one in objects if all(str(one.get(key, "")) == value for key, value in wanted)]


def find(event):
    question = event.identifier
    level = question.QueryRetrieveLevel
    told = set()
    for one in matching(question):
        unique = str(one[UNIQUE[level]].value)
        if unique in told:
            continue
        told.add(unique)
        answer = Dataset()
        for element in question:
            value = one.get(element.keyword, "")
            setattr(answer, element.keyword, value if element.keyword != "QueryRetrieveLevel" else level)
        if mode == "path" and level == "IMAGE":
            answer.SOPInstanceUID = "../../../tmp/evil"
        yield 0xFF00, answer


def move(event):
    if mode == "silent":
        time.sleep(3600)
    if event.move_destination.strip() != destination:
        yield None, None
        return
    kwargs = {"tls_args": (tls[1], "127.0.0.1")} if tls else {}
    yield "127.0.0.1", destination_port, kwargs
    wanted = matching(event.identifier)
    if mode == "hides":
        wanted = wanted[:-1]
    if mode == "less":
        other = copy.deepcopy(wanted[-1])
        other.SOPClassUID = CTImageStorage
        wanted = wanted[:-1] + [other]
    if mode == "more":
        wanted = wanted + [one for one in objects if one not in wanted][:1]
    yield len(wanted)
    for one in wanted:
        yield 0xFF00, one


ae = AE(ae_title="PACS")
ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
ae.add_requested_context(ComputedRadiographyImageStorage)
ae.start_server(
    ("127.0.0.1", port),
    evt_handlers=[(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move)],
    ssl_context=tls[0] if tls else None,
)
