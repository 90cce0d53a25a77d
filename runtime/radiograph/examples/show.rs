//! Writes a DICOM, PNG or JPEG file as it is displayed to the network's eye, and says what the
//! gate thinks of it: `cargo run -p radiograph --example show -- IN OUT.png`.
#![expect(clippy::print_stdout, reason = "a command")]

use radiograph::{gate, network_input, read_file};
use std::{env, error::Error, path::Path, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        return Err("expected: IN OUT.png".into());
    };
    let start = Instant::now();
    let radiograph = read_file(Path::new(input)).map_err(|e| match e.source() {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    })?;
    let read = start.elapsed();
    let values = network_input(&radiograph.image, &graph::Preprocess::PRIOR);
    let preprocessed = start.elapsed() - read;
    let verdict = gate(&radiograph).map_or_else(|e| format!("not analysed: {e}"), |()| "ok".into());
    println!("{input}: {verdict}; read {read:?}, {} values {preprocessed:?}", values.len());

    let image = &radiograph.image;
    let size = [image.width as u32, image.height as u32];
    image::save_buffer(output, &image.to_gray8(), size[0], size[1], image::ColorType::L8)?;
    Ok(())
}
