//! Which licences a dependency may have: those that let anybody run, change and sell Accrue.

use anyhow::{Context, Result, bail};
use cargo_metadata::{CargoOpt, MetadataCommand, Package};
use spdx::{Expression, Licensee, ParseMode};

use crate::process;

/// Permissive licences only. A new one is a decision, so it is made here, by name.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Copyleft that ends at the border of the file: fine as long as the crate is used as it is.
const EXCEPTIONS: &[(&str, &str)] = &[("option-ext", "MPL-2.0")];

/// Reads every package that any feature and platform can pull in.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new()
        .current_dir(process::root())
        .features(CargoOpt::AllFeatures)
        .exec()
        .context("cannot list the dependencies")?;

    let refused: Vec<String> = metadata.packages.iter().filter_map(refusal).collect();
    println!("{} packages, {} refused", metadata.packages.len(), refused.len());
    if !refused.is_empty() {
        bail!("licences not allowed:\n{}", refused.join("\n"));
    }
    Ok(())
}

fn refusal(package: &Package) -> Option<String> {
    let licence = package.license.as_deref().unwrap_or("none stated");
    let excepted = EXCEPTIONS.contains(&(package.name.as_str(), licence));
    let line = format!("  {} {}: {licence}", package.name, package.version);
    (!excepted && !is_allowed(licence)).then_some(line)
}

/// `A OR B` leaves the choice to us, `A AND B` binds us to both. What cannot be read is not allowed.
fn is_allowed(licence: &str) -> bool {
    let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
        return false;
    };
    expression.evaluate(|required| {
        ALLOWED
            .iter()
            .map(|name| Licensee::parse(name).expect("the list holds SPDX names"))
            .any(|allowed| allowed.satisfies(required))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissive_licences_are_allowed_alone_and_combined() {
        for licence in ALLOWED {
            assert!(is_allowed(licence), "{licence}");
        }
        for licence in ["MIT/Apache-2.0", "Apache-2.0 / MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(is_allowed(licence), "{licence}");
        }
    }

    #[test]
    fn copyleft_is_allowed_only_as_the_choice_not_taken() {
        assert!(is_allowed("MIT OR GPL-3.0-only"));
        for licence in
            ["GPL-3.0-or-later", "AGPL-3.0-only", "LGPL-2.1-only", "MPL-2.0", "MIT AND GPL-2.0-only"]
        {
            assert!(!is_allowed(licence), "{licence}");
        }
    }

    #[test]
    fn what_is_not_an_spdx_expression_is_refused() {
        for licence in ["", "none stated", "Proprietary", "MIT OR", "LicenseRef-House"] {
            assert!(!is_allowed(licence), "{licence}");
        }
    }
}
