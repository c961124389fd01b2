//! From an invoice to the bytes of a PDF, by Typst.

use std::sync::LazyLock;

use serde::Deserialize;
use typst::{
    foundations::{Bytes, Dict, Smart, Value},
    text::Font,
};
use typst_as_lib::{TypstAsLibError, TypstEngine, TypstTemplateMainFile};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards};

use crate::{Invoice, Locale, print};

const TEMPLATE: &str = include_str!("../../../templates/documents/invoice.typ");
const LABELS: &str = include_str!("../../../templates/documents/labels.json");

/// Why a document could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("`{field}` is not a decimal amount like \"12.34\"")]
    Amount { field: &'static str },
    #[error("`payment_url` is not an address that starts with `https://` or `http://`")]
    PaymentUrl,
    /// A fault of the template, not of the data.
    #[error("the template failed: {0}")]
    Template(String),
    #[error("the PDF could not be written: {0}")]
    Pdf(String),
}

/// Renders with the fonts that come with Accrue: Latin, Greek, Cyrillic and Hebrew.
///
/// Takes some 25 ms of processor time, and 15 ms more for each further page: call it where blocking is fine.
/// The time grows with the text and nothing is cut off, so limit the length of what customers may write.
pub fn invoice_pdf(invoice: &Invoice) -> Result<Vec<u8>, RenderError> {
    static RENDERER: LazyLock<Renderer> = LazyLock::new(Renderer::new);
    RENDERER.invoice_pdf(invoice)
}

/// The template and its fonts, loaded once.
pub struct Renderer {
    engine: TypstEngine<TypstTemplateMainFile>,
    writes_japanese: bool,
}

impl Renderer {
    /// With the fonts that come with Accrue.
    #[expect(clippy::new_without_default, reason = "parsing fonts is work: it should be seen")]
    pub fn new() -> Self {
        Self::with_fonts([])
    }

    /// With more fonts (TrueType or OpenType files) for what the built-in ones lack, such as Japanese.
    ///
    /// A character that no font has is printed as an empty box.
    pub fn with_fonts(files: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let fonts: Vec<Font> = typst_assets::fonts()
            .map(Bytes::new)
            .chain(files.into_iter().map(Bytes::new))
            .flat_map(Font::iter)
            .collect();
        let writes_japanese = fonts.iter().any(|font| font.info().coverage.contains('請'.into()));
        let engine = TypstEngine::builder()
            .main_file(TEMPLATE)
            .with_static_file_resolver([("labels.json", LABELS.as_bytes())])
            .fonts(fonts)
            .comemo_evict_max_age(None)
            .build();
        Self { engine, writes_japanese }
    }

    /// See [`invoice_pdf`].
    pub fn invoice_pdf(&self, invoice: &Invoice) -> Result<Vec<u8>, RenderError> {
        // English words say more than empty boxes.
        let labels = match invoice.locale {
            Locale::Ja if !self.writes_japanese => Locale::En,
            locale => locale,
        };
        let input = print::input(invoice, labels.code())?;
        let mut input = Dict::deserialize(input).map_err(|error| RenderError::Template(error.to_string()))?;
        let logo = invoice.logo.clone().map_or(Value::None, |png| Value::Bytes(Bytes::new(png)));
        input.insert("logo".into(), logo);
        let pdf = self.compile(input);
        // Typst remembers every rendering for the next one and knows no bound. Ours have little in common:
        // keeping some was measured to cost memory and save no time.
        typst::comemo::evict(0);
        pdf
    }

    fn compile(&self, input: Dict) -> Result<Vec<u8>, RenderError> {
        let document: PagedDocument = self
            .engine
            .compile_with_input(input)
            .output
            .map_err(|error: TypstAsLibError| RenderError::Template(error.to_string()))?;
        // Archives ask for PDF/A, which forbids the empty box. A document with a box beats none.
        let archival = PdfStandards::new(&[PdfStandard::A_3b])
            .map_err(|error| RenderError::Pdf(error.message().to_string()))?;
        typst_pdf::pdf(&document, &options(archival))
            .or_else(|_| typst_pdf::pdf(&document, &options(PdfStandards::default())))
            .map_err(|errors| {
                RenderError::Pdf(errors.first().map(|error| error.message.to_string()).unwrap_or_default())
            })
    }
}

fn options(standards: PdfStandards) -> PdfOptions {
    PdfOptions { creator: Smart::Custom(Some("Accrue".into())), standards, ..PdfOptions::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn keys(value: &Value) -> Vec<String> {
        let Some(map) = value.as_object() else { return vec![] };
        map.iter()
            .flat_map(|(key, value)| {
                let inner = keys(value).into_iter().map(move |inner| format!("{key}.{inner}"));
                std::iter::once(key.clone()).chain(inner)
            })
            .collect()
    }

    #[test]
    fn every_locale_has_every_label() {
        let labels: Value = serde_json::from_str(LABELS).unwrap();
        for locale in Locale::ALL {
            assert_eq!(keys(&labels[locale.code()]), keys(&labels["en"]), "{locale:?}");
        }
    }

    #[test]
    fn the_built_in_fonts_have_every_label_but_the_japanese() {
        let labels: Value = serde_json::from_str(LABELS).unwrap();
        let fonts: Vec<Font> = typst_assets::fonts().flat_map(|file| Font::iter(Bytes::new(file))).collect();
        for locale in Locale::ALL {
            let text = format!("{}\u{a0}\u{202f}–·", labels[locale.code()]);
            let has = |char: char| fonts.iter().any(|font| font.info().coverage.contains(char.into()));
            assert_eq!(text.chars().all(has), locale != Locale::Ja, "{locale:?}");
        }
    }
}
