//! What a person sees while a file is being read.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// A bar that moves by the bytes of the file. Seen on a terminal only.
pub(super) fn bar() -> ProgressBar {
    let style = "{wide_bar} {binary_bytes} of {binary_total_bytes}, {msg}, {eta} left";
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Says how many of what there were, and how many in a second of this run.
pub(super) fn tell(bar: &ProgressBar, of: &str, lines: u64, of_this_run: u64) {
    let millis = u64::try_from(bar.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = of_this_run.saturating_mul(1000) / millis;
    bar.set_message(format!("{} {of}, {}/s", HumanCount(lines), HumanCount(rate)));
}
