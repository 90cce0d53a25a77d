"""An archive made of pynetdicom that can be told to misbehave: the far end of deliveries."""

import logging
import threading
import time

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
FORGET, HANG, CLOSE_AFTER = "says yes and forgets", "hangs", "keeps and closes"
STORAGE = (Comprehensive3DSRStorage, SegmentationStorage, SecondaryCaptureImageStorage)


class Archive:
    """`acts`: what becomes of the next C-STOREs, a status or one of the above; then 0000. It answers to `title` alone, holds `most`
    associations and takes objects of `classes`."""

    def __init__(self, port: int, acts=(), title: str = "PACS", most: int = 10, classes=STORAGE):
        self.port, self.acts, self.title, self.most, self.classes = port, list(acts), title, most, classes
        #: SOP Instance UID → how often it came and was kept.
        self.kept: dict[str, int] = {}
        #: When each C-STORE came.
        self.came: list[float] = []
        self.server = None

    def start(self) -> "Archive":
        ae = AE(ae_title=self.title)
        ae.require_called_aet, ae.maximum_associations = True, self.most
        for context in (Verification, *self.classes, StorageCommitmentPushModel):
            ae.add_supported_context(context)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._asked)]
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()

    def _store(self, event):
        self.came.append(time.monotonic())
        act = self.acts.pop(0) if self.acts else 0
        uid = str(event.request.AffectedSOPInstanceUID)
        if act == HANG:
            time.sleep(20)
            return 0xC000
        if act in (0, 0xB000, CLOSE_AFTER):
            self.kept[uid] = self.kept.get(uid, 0) + 1
        if act == CLOSE_AFTER:
            event.assoc.abort()
        return 0 if act in (FORGET, CLOSE_AFTER) else act

    def _asked(self, event):
        question = event.action_information
        report = Dataset()
        report.TransactionUID = question.TransactionUID
        good, bad = [], []
        for asked in question.ReferencedSOPSequence:
            item = Dataset()
            item.ReferencedSOPClassUID = asked.ReferencedSOPClassUID
            item.ReferencedSOPInstanceUID = asked.ReferencedSOPInstanceUID
            if str(asked.ReferencedSOPInstanceUID) in self.kept:
                good.append(item)
            else:
                item.FailureReason = 0x0112
                bad.append(item)
        if good:
            report.ReferencedSOPSequence = good
        if bad:
            report.FailedSOPSequence = bad
        names = (2 if bad else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        threading.Thread(target=event.assoc.send_n_event_report, args=(report, *names)).start()
        return 0, None
