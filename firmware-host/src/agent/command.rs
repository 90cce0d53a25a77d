//! Commands the configuration names: self-test, health check, notification.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How much of the output's end is kept, in bytes.
const TAIL: u64 = 2000;
const POLL: Duration = Duration::from_millis(20);

/// Runs a command, `{bundle}` in its arguments replaced. On failure: why, and the end of its output.
pub(super) fn run(
    command: &[String],
    bundle: Option<&Path>,
    limit: Duration,
) -> Result<(), String> {
    let [program, arguments @ ..] = command else { return Err("no command".into()) };
    let bundle = bundle.map(|path| path.display().to_string()).unwrap_or_default();
    let arguments = arguments.iter().map(|argument| argument.replace("{bundle}", &bundle));
    let started = |error: io::Error| format!("cannot start {program}: {error}");
    // A file, not a pipe: the command may write as much as it likes, and its children may outlive it.
    let output = rustix::fs::memfd_create("output", rustix::fs::MemfdFlags::CLOEXEC);
    let output = File::from(output.map_err(|error| started(error.into()))?);
    let (out, err) = (output.try_clone().map_err(started)?, output.try_clone().map_err(started)?);
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(started)?;
    let ended = wait(child, limit).map_err(started)?;
    let why = match ended {
        Some(status) if status.success() => return Ok(()),
        Some(status) => format!("{program} ended with {status}"),
        None => format!("{program} did not end within {}", humantime::format_duration(limit)),
    };
    Err(match tail(output) {
        Ok(tail) if !tail.is_empty() => format!("{why}: {tail}"),
        _ => why,
    })
}

/// Waits for the end, or kills it when its time is up.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// The end of the output, on one line.
fn tail(mut output: File) -> io::Result<String> {
    let length = output.seek(SeekFrom::End(0))?;
    output.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    output.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script, "sh", "{bundle}"].map(String::from).to_vec()
    }

    #[test]
    fn a_command_is_given_the_bundle() {
        let limit = Duration::from_secs(20);
        run(&shell("test \"$1\" = /x/b"), Some(Path::new("/x/b")), limit).unwrap();
    }

    #[test]
    fn a_failure_says_how_it_ended_and_what_it_said_last() {
        let limit = Duration::from_secs(20);
        let error = run(&shell("yes noise | head -5000; echo vector 3 >&2; exit 7"), None, limit);
        let error = error.unwrap_err();
        assert!(error.starts_with("sh ended with exit status: 7: "), "{error}");
        assert!(error.ends_with("noise | vector 3"), "{error}");
        let missing = run(&["/no/such".into()], None, limit).unwrap_err();
        assert!(missing.starts_with("cannot start /no/such: "), "{missing}");
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let error = run(&shell("sleep 60"), None, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error, "sh did not end within 50ms");
    }
}
