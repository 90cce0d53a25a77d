"""An archive made of pynetdicom: keeps objects, and reports on storage commitment.

usage: archive.py PORT same|new BOX_PORT KEPT_FILE

`same`: the report comes on the association of the question; `new`: on one that we open, as SCP of the service.
KEPT_FILE gets one SOP Instance UID a line.
"""

import sys
import threading

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

port, report_on, box_port, kept_file = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
kept = set()


def store(event):
    uid = str(event.request.AffectedSOPInstanceUID)
    event.dataset.SOPInstanceUID  # decoded, or an exception that the box hears as C211
    if uid not in kept:
        kept.add(uid)
        with open(kept_file, "a") as file:
            print(uid, file=file)
    return 0x0000


def action(event):
    question = event.action_information
    report = Dataset()
    report.TransactionUID = question.TransactionUID
    good, bad = [], []
    for asked in question.ReferencedSOPSequence:
        item = Dataset()
        item.ReferencedSOPClassUID = asked.ReferencedSOPClassUID
        item.ReferencedSOPInstanceUID = asked.ReferencedSOPInstanceUID
        if str(asked.ReferencedSOPInstanceUID) in kept:
            good.append(item)
        else:
            item.FailureReason = 0x0112
            bad.append(item)
    if good:
        report.ReferencedSOPSequence = good
    if bad:
        report.FailedSOPSequence = bad
    threading.Thread(target=send, args=(event.assoc, report, 2 if bad else 1)).start()
    return 0x0000, None


def send(assoc, report, event_type):
    own = None
    if report_on == "new":
        ae = AE(ae_title="PACS")
        ae.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        own = assoc = ae.associate("127.0.0.1", box_port, ae_title="CXR-EDGE", ext_neg=[role])
        assert assoc.is_established, "the box does not take reports"
    status, _ = assoc.send_n_event_report(
        report, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    print("report answered with", status, file=sys.stderr)
    if own:
        own.release()


ae = AE(ae_title="PACS")
for context in [Verification, Comprehensive3DSRStorage, SegmentationStorage, SecondaryCaptureImageStorage]:
    ae.add_supported_context(context)
ae.add_supported_context(StorageCommitmentPushModel)
ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, action)])
