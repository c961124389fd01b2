//! `benches/RESULTS.md`, of which each benchmark keeps its own section.

use std::{fs, process::Command, thread};

use anyhow::Result;

use crate::process;

const RESULTS: &str = "benches/RESULTS.md";

/// Puts a section that begins with `title` in place of its last edition.
pub(super) fn keep(title: &str, section: &str) -> Result<()> {
    let path = process::root().join(RESULTS);
    fs::write(&path, with_section(&fs::read_to_string(&path)?, title, section))?;
    Ok(())
}

fn with_section(results: &str, title: &str, section: &str) -> String {
    let Some((before, rest)) = results.split_once(title) else {
        return format!("{}\n\n{section}", results.trim_end());
    };
    let after = rest.find("\n## ").map_or("", |at| &rest[at..]);
    format!("{before}{section}{after}")
}

/// What it was measured on.
pub(super) fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kilobytes = memory.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    let cores = thread::available_parallelism()?;
    let date = Command::new("date").arg("+%Y-%m-%d").output()?;
    let date = String::from_utf8(date.stdout)?;
    Ok(format!(
        "on {}: {cores} cores of {model}, {} GB, load {load} before it began",
        date.trim(),
        kilobytes.unwrap_or_default() / 1_000_000
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLE: &str = "## Usage events";

    #[test]
    fn a_section_takes_the_place_of_its_last_edition() {
        let first = with_section("# Measured\n\n## Others\n\nfast\n", TITLE, "## Usage events\n\nold\n");
        assert_eq!(first, "# Measured\n\n## Others\n\nfast\n\n## Usage events\n\nold\n");
        assert_eq!(with_section(&first, TITLE, "## Usage events\n\nnew\n"), first.replace("old", "new"));
        let between = "# Measured\n\n## Usage events\n\nold\n\n## Others\n\nfast\n";
        assert_eq!(with_section(between, TITLE, "## Usage events\n\nnew\n"), between.replace("old", "new"));
    }
}
