//! The house's budgets, read line by line from the sources: how long, how much tested, how often the clock is
//! read. Knows no syntax: `rustfmt` guarantees the indentation that is relied on here.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_LONG: usize = 500;
/// The one place that may read the system's clock.
const CLOCK: &str = "crates/core/src/clock.rs";

const FOLDERS: &[&str] = &["src", "crates", "migration", "xtask", "tests"];
/// Written in two parts, for this file is read as well.
const CLOCK_READINGS: &[&str] =
    &[concat!("Utc::", "now("), concat!("Local::", "now("), concat!("SystemTime::", "now(")];
const UNFINISHED: &[&str] =
    &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("TO", "DO")];

/// A file of the repository, by its path from the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Integration tests, whose functions may be as long as their story.
    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    fn lines(&self) -> usize {
        self.text.lines().count()
    }

    fn test_lines(&self) -> usize {
        if self.is_test() { self.lines() } else { unit_test_lines(&self.text) }
    }

    /// `path:line: …` for every line of code that holds one of the words.
    fn hits(&self, words: &[&str], in_comments: bool) -> Vec<String> {
        let is_read = |line: &str| in_comments || !line.trim_start().starts_with("//");
        self.text
            .lines()
            .enumerate()
            .filter(|(_, line)| is_read(line) && words.iter().any(|word| line.contains(word)))
            .map(|(index, line)| format!("{}:{}: {}", self.path, index + 1, line.trim()))
            .collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Prints every budget; fails for those that are limits and not aims.
pub(crate) fn check(root: &Path) -> Result<()> {
    let sources = sources(root)?;
    print_files(&sources);
    let failures =
        [function_failures(&sources), clock_failures(&sources), unfinished_failures(&sources)].concat();
    if !failures.is_empty() {
        bail!("over budget:\n  {}", failures.join("\n  "));
    }
    Ok(())
}

fn print_files(sources: &[Source]) {
    let mut lengths: Vec<usize> = sources.iter().map(Source::lines).collect();
    lengths.sort_unstable();
    println!("files                 {}, 95 % of them up to {} lines (aim 400)", lengths.len(), p95(&lengths));

    let mut long: Vec<&Source> = sources.iter().filter(|source| source.lines() > FILE_LINES_LONG).collect();
    long.sort_by_key(|source| std::cmp::Reverse(source.lines()));
    println!("files over {FILE_LINES_LONG} lines  {}", long.len());
    for source in long {
        println!("  {} {}", source.lines(), source.path);
    }

    let tests: usize = sources.iter().map(Source::test_lines).sum();
    let program = lengths.iter().sum::<usize>() - tests;
    let percent = tests * 100 / program.max(1);
    println!("test : source lines   {tests} : {program} = {percent} % (aim 70 %)");
}

fn function_failures(sources: &[Source]) -> Vec<String> {
    let mut functions: Vec<(usize, String)> = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        functions.extend(functions_of(&source.text).into_iter().map(|Function { name, line, lines }| {
            (lines, format!("{}:{line}: {name} has {lines} lines", source.path))
        }));
    }
    functions.sort_unstable_by(|a, b| b.cmp(a));

    let longest = functions.first().map_or("none", |(_, place)| place);
    println!("longest function      {longest} (limit {FUNCTION_LINES_MAX})");
    functions.into_iter().filter(|(lines, _)| *lines > FUNCTION_LINES_MAX).map(|(_, place)| place).collect()
}

fn clock_failures(sources: &[Source]) -> Vec<String> {
    let readings: Vec<String> =
        sources.iter().flat_map(|source| source.hits(CLOCK_READINGS, false)).collect();
    println!("clock readings        {} (exactly 1, in {CLOCK})", readings.len());
    if readings.is_empty() {
        return vec![format!("{CLOCK}: nothing reads the clock")];
    }
    let is_the_one = readings.len() == 1 && readings[0].starts_with(CLOCK);
    if is_the_one { Vec::new() } else { readings }
}

fn unfinished_failures(sources: &[Source]) -> Vec<String> {
    let hits: Vec<String> = sources.iter().flat_map(|source| source.hits(UNFINISHED, true)).collect();
    println!("unfinished places     {} (exactly 0)", hits.len());
    hits
}

/// The smallest length that 95 % of the files do not exceed.
fn p95(sorted: &[usize]) -> usize {
    let rank = (sorted.len() * 95).div_ceil(100);
    rank.checked_sub(1).and_then(|index| sorted.get(index)).copied().unwrap_or(0)
}

/// From the line with `fn` to the brace at the same depth.
fn functions_of(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let depth = indentation(line);
        let is_last = |line: &&&str| indentation(line) == depth && line.ends_with([';', '}']);
        let lines_after = lines[start..].iter().take_while(|line| !is_last(line)).count();
        found.push(Function { name: name.to_owned(), line: start + 1, lines: lines_after + 1 });
    }
    found
}

/// The name, if this line begins a function.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let is_modifier = |word: &str| {
        matches!(word, "async" | "const" | "unsafe" | "extern" | "\"C\"" | "pub") || word.starts_with("pub(")
    };
    if !before.split_whitespace().all(is_modifier) {
        return None;
    }
    let name = after.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?;
    (!name.is_empty()).then_some(name)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Unit tests stand last in a file, so they reach from their attribute to the end.
fn unit_test_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let start = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    start.map_or(0, |start| lines.len() - start)
}

fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut queue: Vec<_> =
        FOLDERS.iter().map(|folder| root.join(folder)).filter(|path| path.exists()).collect();
    while let Some(path) = queue.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                queue.push(entry?.path());
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let path = path.strip_prefix(root)?.display().to_string();
            found.push(Source { path, text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = r#"
pub(crate) async fn first(
    a: u8,
) -> u8
where
    u8: Copy,
{
    let text = "fn not_a_function(";
    if a > 1 {
        a
    } else {
        0
    }
}

trait Shape {
    fn declared(
        &self,
    ) -> u8;

    const fn short() {}
}
"#;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_function_reaches_from_its_name_to_the_brace_at_its_depth() {
        let functions = functions_of(CODE);
        let seen: Vec<_> = functions
            .iter()
            .map(|function| (function.name.as_str(), function.line, function.lines))
            .collect();
        assert_eq!(seen, [("first", 2, 13), ("declared", 17, 3), ("short", 21, 1)]);
    }

    #[test]
    fn a_function_of_71_lines_is_over_budget_and_one_of_70_is_not() {
        let function = |lines: usize| format!("fn long() {{\n{}}}\n", "    work();\n".repeat(lines - 2));
        assert!(function_failures(&[source("src/a.rs", &function(70))]).is_empty());
        assert_eq!(
            function_failures(&[source("src/a.rs", &function(71))]),
            ["src/a.rs:1: long has 71 lines"]
        );
        assert!(function_failures(&[source("tests/it/a.rs", &function(71))]).is_empty());
    }

    #[test]
    fn the_clock_is_read_once_and_in_its_own_file() {
        let reading = format!("// {0})\nlet now = {0});\n", CLOCK_READINGS[0]);
        assert!(clock_failures(&[source(CLOCK, &reading)]).is_empty());
        assert_eq!(clock_failures(&[source("src/a.rs", &reading)]).len(), 1);
        assert_eq!(clock_failures(&[source(CLOCK, &reading), source("src/a.rs", &reading)]).len(), 2);
        assert_eq!(clock_failures(&[]).len(), 1);
    }

    #[test]
    fn unfinished_places_are_found_in_comments_too() {
        let text = format!("// {}: later\n", UNFINISHED[2]);
        assert_eq!(unfinished_failures(&[source("src/a.rs", &text)]).len(), 1);
    }

    #[test]
    fn unit_tests_reach_from_their_attribute_to_the_end_of_the_file() {
        assert_eq!(unit_test_lines("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), 3);
        assert_eq!(unit_test_lines("#[cfg(test)]\nmod tests;\n\nfn a() {}\n"), 0);
        assert_eq!(source("tests/it/a.rs", "a\nb\n").test_lines(), 2);
    }

    #[test]
    fn ninety_five_percent_of_the_files_are_not_longer_than_p95() {
        let lengths: Vec<usize> = (1..=100).collect();
        assert_eq!(p95(&lengths), 95);
        assert_eq!(p95(&[7]), 7);
        assert_eq!(p95(&[]), 0);
    }
}
