//! `cargo xtask bench core`: how fast the rules are, beside the floors they may not fall below.

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::process;

/// Items per second and core. The names are those of `crates/core/benches/rules.rs`.
const FLOORS: &[(&str, u64)] = &[
    ("graduated_five_tiers", 3_000_000),
    ("month_of_an_instant", 1_000_000),
    ("fold_a_million_events/Sum", 20_000_000),
];

/// A median of divan's.
#[derive(Debug, PartialEq, Eq)]
struct Figure {
    name: String,
    per_second: u64,
}

/// Fails if a figure is below its floor.
pub(super) fn run() -> Result<ExitCode> {
    let mut bench = process::cargo(&["bench", "--package", "accrue-core", "--bench", "rules"]);
    let output = bench.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        bail!("the benchmark failed:\n{text}");
    }
    let figures = read(&text);
    println!("| measured | items per second and core | floor |\n| --- | ---: | ---: |");
    let mut below = Vec::new();
    for Figure { name, per_second } in &figures {
        let floor = FLOORS.iter().find(|(of, _)| name.starts_with(of)).map(|(_, floor)| *floor);
        println!("| `{name}` | {} | {} |", millions(*per_second), floor.map_or("–".to_owned(), millions));
        below.extend(floor.filter(|floor| per_second < floor).map(|_| name.as_str()));
    }
    for (name, _) in FLOORS {
        if !figures.iter().any(|figure| figure.name.starts_with(name)) {
            bail!("{name} was not measured:\n{text}");
        }
    }
    if !below.is_empty() {
        bail!("below the floor: {}", below.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn millions(per_second: u64) -> String {
    format!("{}.{:01} M", per_second / 1_000_000, per_second % 1_000_000 / 100_000)
}

/// Reads divan's tree: a line of times names what was measured, the line below it has the throughputs. The third
/// column is the median.
fn read(text: &str) -> Vec<Figure> {
    let (mut figures, mut parent, mut name) = (Vec::new(), String::new(), String::new());
    for line in text.lines() {
        let columns: Vec<&str> = line.split('│').map(str::trim).collect();
        let first = line.trim_start_matches(['│', '├', '╰', '─', ' ']);
        let is_child = line.starts_with(['│', ' ']);
        if line.contains("item/s") {
            let median = columns.iter().filter(|column| column.contains("item/s")).nth(2);
            figures.extend(
                median
                    .and_then(|text| rate(text))
                    .map(|per_second| Figure { name: name.clone(), per_second }),
            );
        } else if let Some(word) = first.split_whitespace().next() {
            name = if is_child { format!("{parent}/{word}") } else { word.to_owned() };
            if !is_child {
                word.clone_into(&mut parent);
            }
        }
    }
    figures
}

/// Reads `29.31 Mitem/s`.
fn rate(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ')?;
    let factor = match unit {
        "item/s" => 1,
        "Kitem/s" => 1_000,
        "Mitem/s" => 1_000_000,
        "Gitem/s" => 1_000_000_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits: u64 = format!("{whole}{part}").parse().ok()?;
    Some(digits * factor / 10_u64.pow(u32::try_from(part.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
rules                     fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ fold_a_million_events                │               │               │               │         │
│  ├─ Count               8.878 ms      │ 10.21 ms      │ 9.004 ms      │ 9.12 ms       │ 20      │ 20
│  │                      112.6 Mitem/s │ 97.88 Mitem/s │ 111 Mitem/s   │ 109.6 Mitem/s │         │
│  ╰─ Sum                 18.87 ms      │ 23.19 ms      │ 19.08 ms      │ 19.85 ms      │ 20      │ 20
│                         52.98 Mitem/s │ 43.1 Mitem/s  │ 52.4 Mitem/s  │ 50.37 Mitem/s │         │
├─ graduated_five_tiers   629.6 µs      │ 893.2 µs      │ 642.4 µs      │ 651.5 µs      │ 100     │ 100
│                         1.626 Mitem/s │ 1.146 Mitem/s │ 1.593 Mitem/s │ 1.571 Mitem/s │         │
╰─ month_of_an_instant                  │               │               │               │         │
   ╰─ UTC                 231.7 µs      │ 263 µs        │ 233.3 µs      │ 235.4 µs      │ 100     │ 100
                          4.418 Mitem/s │ 3.892 Kitem/s │ 438.8 Kitem/s │ 4.349 Mitem/s │         │
";

    #[test]
    fn the_medians_are_read_with_their_names() {
        let found: Vec<_> =
            read(PRINTED).into_iter().map(|figure| (figure.name, figure.per_second)).collect();
        let expected = [
            ("fold_a_million_events/Count", 111_000_000),
            ("fold_a_million_events/Sum", 52_400_000),
            ("graduated_five_tiers", 1_593_000),
            ("month_of_an_instant/UTC", 438_800),
        ];
        assert_eq!(found, expected.map(|(name, per_second)| (name.to_owned(), per_second)));
    }
}
