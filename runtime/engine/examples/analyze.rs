//! One bundle, one radiograph, its findings: `cargo run -p engine --example analyze -- chest.bundle chest.dcm`
#![expect(clippy::print_stdout, reason = "an example")]

use engine::{Analysis, Analyzer, Options};
use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(bundle), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("expected BUNDLE and FILE".into());
    };
    let bundle = bundle::Bundle::open(&bundle)?;
    let mut analyzer = Analyzer::open(&bundle, &Options::threads(1))?;
    match analyzer.analyze(&radiograph::read_file(&file)?)? {
        Analysis::NotAnalysed(reason) => println!("not analysed: {reason}"),
        Analysis::Analysed(found) => {
            for finding in found.findings {
                println!("{}: {:.3}", finding.name, finding.probability);
            }
            for mask in found.masks {
                println!("{}: {:.1} % of the image", mask.name, 100.0 * mask.area_fraction());
            }
            for found in found.boxes.into_iter().flatten() {
                println!(
                    "{}: {:.3} at x {:.0}, y {:.0}",
                    found.name, found.score, found.x, found.y
                );
            }
        }
    }
    Ok(())
}
