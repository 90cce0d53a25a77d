//! The file header (PS3.10) written before a data set that arrives over the network.

use crate::uid::Uid;

pub(crate) use results::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};

/// Preamble, magic and file meta information.
pub(crate) fn header(
    sop_class: &str,
    sop_instance: &Uid,
    transfer_syntax: &str,
    sender: &str,
) -> Vec<u8> {
    let mut meta = Vec::with_capacity(256);
    meta.extend_from_slice(b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\x00\x01");
    put(&mut meta, 0x0002, b"UI", sop_class, 0);
    put(&mut meta, 0x0003, b"UI", sop_instance.as_str(), 0);
    put(&mut meta, 0x0010, b"UI", transfer_syntax, 0);
    put(&mut meta, 0x0012, b"UI", IMPLEMENTATION_CLASS_UID, 0);
    put(&mut meta, 0x0013, b"SH", IMPLEMENTATION_VERSION, b' ');
    put(&mut meta, 0x0016, b"AE", sender, b' ');

    let mut header = vec![0; 128];
    header.extend_from_slice(b"DICM\x02\x00\x00\x00UL\x04\x00");
    header.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    header.extend_from_slice(&meta);
    header
}

/// The data set of a file that we made: what follows its file meta information.
pub(crate) fn dataset(file: &[u8]) -> Option<&[u8]> {
    let group = file.strip_prefix(&[0; 128])?.strip_prefix(b"DICM\x02\x00\x00\x00UL\x04\x00")?;
    let (length, rest) = group.split_first_chunk::<4>()?;
    rest.get(u32::from_le_bytes(*length) as usize..)
}

/// One explicit-VR element with a 16-bit length. Our values are all short.
fn put(out: &mut Vec<u8>, element: u16, vr: &[u8; 2], value: &str, padding: u8) {
    let odd = value.len() % 2;
    out.extend_from_slice(&[0x02, 0x00]);
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(vr);
    out.extend_from_slice(&((value.len() + odd) as u16).to_le_bytes());
    out.extend_from_slice(value.as_bytes());
    out.extend(std::iter::repeat_n(padding, odd));
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_object::FileMetaTable;

    #[test]
    fn dicom_rs_reads_our_header() {
        let uid = Uid::parse("1.2.3").unwrap();
        let bytes = header("1.2.840.10008.5.1.4.1.1.1", &uid, "1.2.840.10008.1.2.1", "XRAY1");
        let meta = FileMetaTable::from_reader(&bytes[128..]).unwrap();
        assert_eq!(meta.media_storage_sop_instance_uid().trim_end_matches('\0'), "1.2.3");
        assert_eq!(meta.transfer_syntax().trim_end_matches('\0'), "1.2.840.10008.1.2.1");
        assert_eq!(meta.source_application_entity_title.as_deref().map(str::trim), Some("XRAY1"));
        assert!(IMPLEMENTATION_VERSION.len() <= 16);
    }

    #[test]
    fn the_data_set_is_what_follows_the_header() {
        let uid = Uid::parse("1.2.3").unwrap();
        let mut file = header("1.2.840.10008.5.1.4.1.1.1", &uid, "1.2.840.10008.1.2.1", "XRAY1");
        assert_eq!(dataset(&file), Some(&[][..]));
        file.extend_from_slice(b"pixels");
        assert_eq!(dataset(&file), Some(&b"pixels"[..]));
        assert_eq!(dataset(&file[..100]), None);
        assert_eq!(dataset(&file[..200]), None);
    }
}
