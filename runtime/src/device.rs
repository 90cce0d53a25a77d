//! Which box this is, for the objects it makes.

use results::{Device, Record};
use sha2::{Digest, Sha256};
use std::{fs, sync::LazyLock, time::SystemTime};

static THIS_BOX: LazyLock<Device> = LazyLock::new(|| {
    let serial = match fs::read_to_string("/etc/machine-id") {
        Ok(id) if !id.trim().is_empty() => serial(id.trim()),
        _ => "unknown".into(),
    };
    Device::new(&serial)
});

/// Its serial number follows from the operating system's machine id, which itself must not be shown (`man machine-id`).
pub(crate) fn this_box() -> &'static Device {
    &THIS_BOX
}

fn serial(machine_id: &str) -> String {
    let digest =
        Sha256::new_with_prefix(b"cxr-edge serial 1\0").chain_update(machine_id).finalize();
    format!("box-{}", hex::encode(&digest[..4]))
}

/// Says in a record when and by whom it was found, and with which settings: its objects follow from that.
pub(crate) fn sign(record: Record, overlay_pixels: u32) -> Record {
    Record {
        analysed: Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
        configuration: Some(configuration(&THIS_BOX, overlay_pixels)),
        device: Some(THIS_BOX.clone()),
        overlay_pixels: Some(overlay_pixels),
        ..record
    }
}

/// Digest of the settings that shape an object: who makes it, and how large the overlay is.
fn configuration(device: &Device, overlay_pixels: u32) -> String {
    device.configuration(&[format!("overlay {overlay_pixels}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_number_is_stable_and_hides_the_machine_id() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(serial(id), serial(id));
        assert_ne!(serial(id), serial("1123456789abcdef0123456789abcdef"));
        assert!(serial(id).len() == 12 && !id.contains(&serial(id)[4..]));
        let device = this_box();
        assert_ne!(configuration(device, 512), configuration(device, 1024));
    }
}
