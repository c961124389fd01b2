//! Renders real documents and reads them back.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what it stands on")]

mod documents;
mod hostile;
mod samples;

/// The text of each page, as a reader that copies it sees it.
fn pages(pdf: &[u8]) -> Vec<String> {
    assert!(pdf.starts_with(b"%PDF-1."), "not a PDF");
    pdf_extract::extract_text_from_mem_by_pages(pdf).unwrap()
}

/// Without white space: where a line breaks is not what these tests are about.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}
