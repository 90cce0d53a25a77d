//! `ping`, `bench`, `discover`.

use crate::Target;
use crate::output::Output;
use anyhow::{Context, Result, ensure};
use clap::Args;
use firmware_host::discover::{Found, discover};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

/// Measures the way there and back
#[derive(Debug, Args)]
pub(crate) struct Ping {
    #[command(flatten)]
    target: Target,
    /// How often
    #[arg(long, default_value_t = 5)]
    count: u32,
}

impl Ping {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        ensure!(self.count > 0, "--count is 0, expected at least 1");
        let mut times = self.target.with(|device| {
            let times = (0..self.count).map(|_| device.ping(b"ping"));
            Ok(times.collect::<Result<Vec<_>, _>>()?)
        })?;
        times.sort_unstable();
        let median = times[times.len() / 2];
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let (least, most) = (milliseconds(times[0]), milliseconds(times[times.len() - 1]));
        let median = milliseconds(median);
        let document = json!({ "count": times.len(), "milliseconds": { "least": least, "median": median, "most": most } });
        output.say(
            &format!("{median:.3} ms (of {}, {least:.3} to {most:.3})", times.len()),
            &document,
        )
    }
}

/// Measures the speed of the link
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    target: Target,
    /// How long, each way
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    time: Duration,
}

impl Bench {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let (length, to, from, dropped) = self.target.with(|device| {
            let length = device.payload_limit().min(32 << 10);
            let to = device.speed_to_box(length, self.time)?;
            let from = device.speed_from_box(length, self.time)?;
            Ok((length, to, from, device.dropped()))
        })?;
        let line = self.target.device.bytes_per_second();
        let of_line = |rate: f64| line.map(|line| rate / line);
        let document = json!({
            "payload": length, "to_box_bytes_per_second": to, "from_box_bytes_per_second": from, "frames_dropped": dropped,
            "line_bytes_per_second": line, "to_box_of_line": of_line(to), "from_box_of_line": of_line(from),
        });
        let share = |rate| match of_line(rate) {
            Some(share) => format!(" ({:.0} % of the line)", 100.0 * share),
            None => String::new(),
        };
        let text = format!(
            "to the box {:.3} MB/s{}, from the box {:.3} MB/s{}, {length} bytes a call",
            to / 1e6,
            share(to),
            from / 1e6,
            share(from)
        );
        output.say(&text, &document)
    }
}

/// Looks for boxes on the local network
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// Where to ask: a box, or a broadcast address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "255.255.255.255:7700")]
    to: SocketAddr,
    /// How long to listen for answers
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    time: Duration,
}

impl Discover {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let boxes =
            discover(self.to, self.time).with_context(|| format!("cannot ask at {}", self.to))?;
        let lines: Vec<_> = boxes
            .iter()
            .map(|Found { address, device, version, key }| {
                format!("tcp://{address}  {device}, protocol {version}, key {key}")
            })
            .collect();
        let found: Vec<_> = boxes
            .iter()
            .map(|Found { address, device, version, key }| {
                let (address, protocol) = (format!("tcp://{address}"), version.to_string());
                json!({ "address": address, "device": device, "protocol": protocol, "key": key })
            })
            .collect();
        let text = if lines.is_empty() { "no box answered".into() } else { lines.join("\n") };
        output.say(&text, &json!({ "boxes": found }))
    }
}
