//! What was measured, as a table.

use std::{fmt, time::Duration};

const MEMORY_MAX: u64 = 512;

/// The figures on one database.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    /// The process's peak, in MB.
    pub memory: u64,
}

impl Table {
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Of several rounds, the one whose ratio is in the middle: figure and yardstick were taken one after the other.
    pub fn push_middle(&mut self, mut rounds: Vec<Row>) {
        rounds.sort_unstable_by_key(|round| round.ratio);
        let ratios: Vec<_> = rounds.iter().map(|round| times(round.ratio)).collect();
        let mut row = rounds.swap_remove(rounds.len() / 2);
        row.rounds = ratios.join(" · ");
        self.rows.push(row);
    }
}

/// A figure beside its yardstick. Ratios are in thousandths.
pub struct Row {
    name: String,
    measured: String,
    yardstick: String,
    ratio: u64,
    floor: u64,
    aim: u64,
    /// The ratios of all rounds, if there were several.
    rounds: String,
}

impl Row {
    /// Per second: the more, the better.
    pub fn rate(name: &str, measured: u64, yardstick: u64, floor: u64, aim: u64) -> Self {
        let ratio = measured * 1000 / yardstick.max(1);
        let text = |rate: u64| format!("{}/s", grouped(rate));
        Self {
            name: name.to_owned(),
            measured: text(measured),
            yardstick: text(yardstick),
            ratio,
            floor,
            aim,
            rounds: String::new(),
        }
    }

    /// The less, the better; the ratio says how many times less.
    pub fn time(name: &str, measured: Duration, yardstick: Duration, floor: u64, aim: u64) -> Self {
        let ratio = yardstick.as_micros() * 1000 / measured.as_micros().max(1);
        let ratio = u64::try_from(ratio).unwrap_or(u64::MAX);
        Self {
            name: name.to_owned(),
            measured: micros(measured),
            yardstick: micros(yardstick),
            ratio,
            floor,
            aim,
            rounds: String::new(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "| figure | measured | yardstick | ratio | floor | aim | in each round |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for Row { name, measured, yardstick, ratio, floor, aim, rounds } in &self.rows {
            let below = if ratio < floor { " **below**" } else { "" };
            let (ratio, floor, aim) = (times(*ratio), times(*floor), times(*aim));
            writeln!(
                f,
                "| {name} | {measured} | {yardstick} | {ratio}{below} | {floor} | {aim} | {rounds} |"
            )?;
        }
        writeln!(f, "| peak memory, the sender's included | {} MB | | | {MEMORY_MAX} MB | | |", self.memory)
    }
}

/// `430` as `43 %`, `14200` as `14.2×`.
fn times(thousandths: u64) -> String {
    if thousandths < 1000 {
        format!("{} %", thousandths / 10)
    } else if thousandths < 100_000 {
        format!("{}.{}×", thousandths / 1000, thousandths % 1000 / 100)
    } else {
        format!("{}×", grouped(thousandths / 1000))
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// A time with as many digits as matter.
pub fn micros(time: Duration) -> String {
    let micros = time.as_micros();
    if micros < 10_000 {
        format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
    } else {
        format!("{} ms", micros / 1000)
    }
}
