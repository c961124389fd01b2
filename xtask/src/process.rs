//! Other programs: one line per step, and nothing left running when somebody says stop. Knows none by name.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// How long a program may take to obey a signal before it is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

static STOPPING: AtomicBool = AtomicBool::new(false);

/// Turns SIGINT, SIGTERM and SIGHUP into an error of the step that runs, so that every guard is dropped.
pub(crate) fn stop_on_signals() -> Result<()> {
    ctrlc::set_handler(|| STOPPING.store(true, Ordering::Relaxed)).context("cannot handle signals")
}

pub(crate) fn is_stopping() -> bool {
    STOPPING.load(Ordering::Relaxed)
}

/// One look per poll: fails once somebody said stop.
pub(crate) fn pause() -> Result<()> {
    ensure!(!is_stopping(), "stopped by a signal");
    thread::sleep(POLL);
    Ok(())
}

/// Does the work and says on one line how it went and how long it took.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let outcome = work();
    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
    eprintln!("xtask: {name}: {verdict} in {:.1?}", started.elapsed());
    outcome.with_context(|| name.to_owned())
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the repository")
}

/// A cargo command in the repository's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(root());
    command
}

/// Starts a program without input, in a process group of its own: a Ctrl-C reaches only us, and we decide
/// in which order things stop.
pub(crate) fn start(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Runs a program to its end, or ends it and all that it started when somebody says stop.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    let mut child = start(command)?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if let Err(stopped) = pause() {
            let group = pid(&child);
            killpg(group, Signal::SIGTERM)?;
            if !ends_within(&mut child, GRACE)? {
                killpg(group, Signal::SIGKILL)?;
                child.wait()?;
            }
            return Err(stopped);
        }
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().display());
    }
    Ok(())
}

/// Sends a signal to one program and waits for its end; kills it if it does not obey in time.
pub(crate) fn end(child: &mut Child, signal: Signal, grace: Duration) -> Result<()> {
    if child.try_wait()?.is_none() {
        kill(pid(child), signal)?;
        if !ends_within(child, grace)? {
            child.kill()?;
            child.wait()?;
        }
    }
    Ok(())
}

fn ends_within(child: &mut Child, limit: Duration) -> Result<bool> {
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > limit {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
    Ok(true)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("the kernel's process ids are positive i32"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_program_that_fails_is_an_error_with_its_name() {
        let error = run(&mut Command::new("false")).unwrap_err();
        assert!(error.to_string().starts_with("false ended with"), "{error}");
    }

    #[test]
    fn a_program_that_ignores_the_signal_is_killed() {
        let started = Instant::now();
        // The shell is replaced, so that no grandchild outlives the kill; an ignored signal stays ignored.
        let mut deaf = start(Command::new("sh").args(["-c", "trap '' TERM; exec sleep 60"])).unwrap();
        thread::sleep(Duration::from_millis(200));

        end(&mut deaf, Signal::SIGTERM, Duration::from_millis(200)).unwrap();

        assert_eq!(deaf.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        assert!(started.elapsed() >= Duration::from_millis(400));
    }

    #[test]
    fn ending_a_program_that_is_gone_changes_nothing() {
        let mut child = start(&mut Command::new("true")).unwrap();
        let before = child.wait().unwrap();

        end(&mut child, Signal::SIGTERM, GRACE).unwrap();

        assert_eq!(child.wait().unwrap(), before);
    }
}
