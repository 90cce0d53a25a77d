//! What the kinds of object have in common, module by module (PS3.3 C.7, C.12).

use crate::{
    Device, Kind, Record,
    dataset::DataSet,
    source::Source,
    terms::{ascii, dcm},
    time::Moment,
    uid::Seed,
};
use dicom_dictionary_std::{tags, uids};

/// Everything an object is made of.
pub(crate) struct Context<'a> {
    pub(crate) record: &'a Record,
    pub(crate) source: Source,
    pub(crate) device: &'a Device,
    pub(crate) seed: Seed,
    pub(crate) moment: Moment,
}

/// What no option removes.
pub(crate) const DISCLAIMER: &str = "Unverified, not for diagnostic use";

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sr => "sr",
            Self::Seg => "seg",
            Self::Sc => "sc",
            Self::Heat => "heat",
        }
    }

    /// SOP class.
    pub fn sop_class_uid(self) -> &'static str {
        match self {
            Self::Sr => uids::COMPREHENSIVE3_DSR_STORAGE,
            Self::Seg | Self::Heat => uids::SEGMENTATION_STORAGE,
            Self::Sc => uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        }
    }

    /// Modality, series number, series description.
    fn series(self) -> [&'static str; 3] {
        match self {
            Self::Sc => ["OT", "9001", "AI overlay - unverified, not for diagnostic use"],
            Self::Seg => ["SEG", "9002", "AI regions - unverified, not for diagnostic use"],
            Self::Heat => ["SEG", "9004", "AI heat maps - unverified, not for diagnostic use"],
            Self::Sr => ["SR", "9003", "AI findings - unverified, not for diagnostic use"],
        }
    }
}

impl Context<'_> {
    pub(crate) fn instance_uid(&self, kind: Kind) -> String {
        self.seed.uid(kind.name())
    }

    pub(crate) fn series_uid(&self, kind: Kind) -> String {
        self.seed.uid(&format!("{} series", kind.name()))
    }

    /// Patient, study, series, equipment, SOP common.
    pub(crate) fn start(&self, kind: Kind) -> DataSet {
        let mut set = self.source.patient_and_study();
        let [modality, number, description] = kind.series();
        set.text(tags::SOP_CLASS_UID, kind.sop_class_uid());
        set.text(tags::SOP_INSTANCE_UID, &self.instance_uid(kind));
        set.text(tags::SERIES_INSTANCE_UID, &self.series_uid(kind));
        set.text(tags::MODALITY, modality);
        set.text(tags::SERIES_NUMBER, number);
        set.text(tags::SERIES_DESCRIPTION, description);
        set.text(tags::INSTANCE_NUMBER, "1");
        for tag in [tags::SERIES_DATE, tags::CONTENT_DATE, tags::INSTANCE_CREATION_DATE] {
            set.text(tag, &self.moment.date);
        }
        for tag in [tags::SERIES_TIME, tags::CONTENT_TIME, tags::INSTANCE_CREATION_TIME] {
            set.text(tag, &self.moment.time);
        }
        set.text(tags::MANUFACTURER, &named(&self.device.manufacturer));
        set.text(tags::MANUFACTURER_MODEL_NAME, &named(&self.device.model));
        set.text(tags::DEVICE_SERIAL_NUMBER, &named(&self.device.serial));
        set.text(tags::SOFTWARE_VERSIONS, &self.software_versions());
        set.items(
            tags::CONTRIBUTING_EQUIPMENT_SEQUENCE,
            vec![self.acquisition(), self.processing()],
        );
        set
    }

    /// `id version` of the bundle, as far as the record knows them.
    pub(crate) fn model(&self) -> String {
        named(&self.record.bundle.id)
    }

    pub(crate) fn model_version(&self) -> String {
        named(&self.record.bundle.version)
    }

    pub(crate) fn model_digest(&self) -> String {
        format!("bundle digest {}", named(&self.record.bundle.digest))
    }

    /// A reference to the source.
    pub(crate) fn to_source(&self) -> DataSet {
        reference(&self.source.sop_class_uid, &self.source.sop_instance_uid)
    }

    /// The source, with what it was used for.
    pub(crate) fn source_image(&self) -> DataSet {
        let mut image = self.to_source();
        let purpose = dcm("121322", "Source image for image processing operation");
        image.item(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, purpose);
        image
    }

    /// The source in its series: viewers look here before they show anything.
    pub(crate) fn common_instance_reference(&self, set: &mut DataSet) {
        let mut series = DataSet::default();
        series.text(tags::SERIES_INSTANCE_UID, &self.source.series_instance_uid);
        series.item(tags::REFERENCED_INSTANCE_SEQUENCE, self.to_source());
        set.item(tags::REFERENCED_SERIES_SEQUENCE, series);
    }

    /// Lossy once, lossy ever after: what was made of lost pixels says so too.
    pub(crate) fn lossy_compression(&self, set: &mut DataSet) {
        let says_so = self.source.text(tags::LOSSY_IMAGE_COMPRESSION) == "01";
        let method = self.source.lossy_method;
        let is_lossy = says_so || method.is_some();
        set.text(tags::LOSSY_IMAGE_COMPRESSION, if is_lossy { "01" } else { "00" });
        if !is_lossy {
            return;
        }
        self.source.copy_if_any(tags::LOSSY_IMAGE_COMPRESSION_RATIO, set);
        if !self.source.copy_if_any(tags::LOSSY_IMAGE_COMPRESSION_METHOD, set)
            && let Some(method) = method
        {
            set.text(tags::LOSSY_IMAGE_COMPRESSION_METHOD, method);
        }
    }

    /// Patient Orientation is there even if nobody knows it. Laterality must not be, beside a chest.
    pub(crate) fn chest(&self, set: &mut DataSet) {
        set.text(tags::BODY_PART_EXAMINED, "CHEST");
        if !self.source.copy_if_any(tags::PATIENT_ORIENTATION, set) {
            set.empty(tags::PATIENT_ORIENTATION);
        }
    }

    fn software_versions(&self) -> String {
        let model = ascii(&format!("{} {}", self.record.bundle.id, self.record.bundle.version), 64);
        let ours = self.device.software_versions.iter().map(|version| named(version));
        let all: Vec<String> = ours.chain((!model.is_empty()).then_some(model)).collect();
        if all.is_empty() { named("") } else { all.join("\\") }
    }

    /// The modality.
    fn acquisition(&self) -> DataSet {
        let mut item = DataSet::default();
        item.item(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, dcm("109101", "Acquisition Equipment"));
        if !self.source.copy_if_any(tags::MANUFACTURER, &mut item) {
            item.text(tags::MANUFACTURER, &named(""));
        }
        for tag in [tags::MANUFACTURER_MODEL_NAME, tags::STATION_NAME, tags::INSTITUTION_NAME] {
            self.source.copy_if_any(tag, &mut item);
        }
        item
    }

    /// The algorithm.
    fn processing(&self) -> DataSet {
        let mut item = DataSet::default();
        item.item(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, dcm("109102", "Processing Equipment"));
        item.text(tags::MANUFACTURER, &named(&self.device.manufacturer));
        item.text(tags::MANUFACTURER_MODEL_NAME, &self.model());
        item.text(tags::SOFTWARE_VERSIONS, &self.model_version());
        // Of the bundle alone: the same on every box and for every image.
        item.text(tags::DEVICE_UID, &Seed::new(&[&self.record.bundle.digest]).uid("bundle"));
        item.text(tags::CONTRIBUTION_DATE_TIME, &self.moment.utc);
        let description = format!("{}. {DISCLAIMER}", self.model_digest());
        item.text(tags::CONTRIBUTION_DESCRIPTION, &description);
        item
    }
}

pub(crate) fn reference(sop_class: &str, sop_instance: &str) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::REFERENCED_SOP_CLASS_UID, sop_class);
    item.text(tags::REFERENCED_SOP_INSTANCE_UID, sop_instance);
    item
}

/// A name where one must be given.
pub(crate) fn named(name: &str) -> String {
    match ascii(name, 64) {
        empty if empty.is_empty() => "unknown".into(),
        name => name,
    }
}
