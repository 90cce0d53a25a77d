//! Asks an agent what runs in its slots: `cargo run -p firmware-host --example slots -- 127.0.0.1:7700`
#![expect(clippy::print_stdout, reason = "an example")]

use firmware_host::{Device, Patience, link};
use protocol::SlotId;
use std::{env, error::Error, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("expected HOST:PORT")?;
    let patience = Patience { silence: Duration::from_secs(5), call: Duration::from_secs(30) };
    let mut device = Device::open(Box::new(link::connect_tcp(&address)?), patience)?;
    println!("box {}", device.hello().device);
    let record = device.slots()?;
    for id in [SlotId::A, SlotId::B] {
        let slot = record.slot(id);
        let bundle = slot.bundle.as_ref().map_or("no bundle", |bundle| &bundle.id);
        let runs = if record.active == Some(id) { ", runs" } else { "" };
        println!("{id:?}: {:?}, {bundle}{runs}", slot.state);
    }
    Ok(())
}
