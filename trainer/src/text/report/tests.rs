use super::*;

#[test]
fn findings_and_impression_are_cut_out_of_a_mimic_report() {
    let report = "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n INDICATION:  ___F with cough\n \n FINDINGS: \n \n PA and lateral views of the chest provided.  There is no focal\n consolidation.\n\n IMPRESSION: \n \n No acute process.\n";
    let sections = sections(report);
    assert!(sections.findings.starts_with("PA and lateral"));
    assert!(sections.findings.ends_with("consolidation."));
    assert_eq!(sections.impression, "No acute process.");
}

#[test]
fn the_data_sets_oddities_are_read() {
    // Both on one line.
    let one = sections("FINDINGS: Clear. Ratio 1:2 seen. IMPRESSION: Normal.");
    assert_eq!(
        (one.findings.as_str(), one.impression.as_str()),
        ("Clear. Ratio 1:2 seen.", "Normal.")
    );
    // One heading for both, in capitals or not; a slip of the pen.
    assert_eq!(sections("FINDINGS AND IMPRESSION: Clear.").findings, "Clear.");
    assert_eq!(sections("FINDINGS/IMPRESSION: Clear.").findings, "Clear.");
    assert_eq!(sections("Impression: Clear.").impression, "Clear.");
    for slip in ["IMRPESSION", "IMPRESSON", "IMPRESSIONS", "IMPRESSIIN"] {
        assert_eq!(sections(&format!(" {slip}: Clear.")).impression, "Clear.", "{slip}");
    }
    // Another section ends it; a second impression goes on.
    let two = sections("IMPRESSION: Clear.\nRECOMMENDATION(S): CT.\nIMPRESSION: Normal.");
    assert_eq!(two.impression, "Clear.\n\nNormal.");
    // A page break in the middle of a sentence.
    let over = sections("FINDINGS: The heart\n   (Over)\n\n FINAL REPORT\n (Cont)\n is large.");
    assert_eq!(sentences(&over.findings), ["The heart is large."]);
    // The views as heading.
    let views = sections(
        "FINAL REPORT\n HISTORY: Cough.\n\n PA AND LATERAL VIEWS OF THE CHEST:  Lungs are clear.\n\n No effusion.",
    );
    assert_eq!(views.findings, "Lungs are clear.\n\nNo effusion.");
    assert_eq!(
        sections("EXAMINATION: CHEST RADIOGRAPH\nLungs are clear.").impression,
        "CHEST RADIOGRAPH Lungs are clear."
    );
}

#[test]
fn without_headings_the_last_paragraph_is_the_impression() {
    let report = "WET READ: ___ 8 PM\n\n CHEST, TWO VIEWS: ___\n\n HISTORY: cough.\n\n Lungs are clear.\n No effusion.\n";
    assert_eq!(sections(report).impression, "Lungs are clear. No effusion.");
    assert_eq!(sections("").impression, "");
}

#[test]
fn abbreviations_numbers_and_levels_do_not_end_sentences() {
    let text = "Discussed with Dr. A. Smith at 3:45. 1. A 1.5 cm nodule vs. granuloma near T1-T2. 2. No effusion.\n\nheart is normal. lungs clear";
    assert_eq!(
        sentences(text),
        [
            "Discussed with Dr. A. Smith at 3:45.",
            "A 1.5 cm nodule vs. granuloma near T1-T2.",
            "No effusion.",
            "heart is normal.",
            "lungs clear",
        ]
    );
}

#[test]
fn text_without_words_has_no_sentences() {
    assert!(sentences(" \n . 1. 2) ... \n").is_empty());
}
