//! Reports as people write them: each case is a promise about which sentences end up in which section.

use super::{Basis, sections, sentences};

/// What it is about, the report, sentences of the findings, sentences of the impression.
type Case = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const CLEAR: &str = "The lungs are clear.";
const HEART: &str = "The heart is normal.";
const FLUID: &str = "No effusion is seen.";
const NORMAL: &str = "Normal chest.";

#[rustfmt::skip]
const VIEWS: &[Case] = &[
    ("views over the findings, beside an impression", " PA AND LATERAL VIEWS OF THE CHEST:  The lungs are clear.  The heart is normal.\n\n IMPRESSION:  Normal chest.\n", &[CLEAR, HEART], &[NORMAL]),
    ("views after the clinical headings", " FINAL REPORT\n INDICATION:  Cough.\n\n COMPARISON:  None.\n\n FRONTAL AND LATERAL CHEST RADIOGRAPHS:  The lungs are clear.\n\n No effusion is seen.\n\n IMPRESSION:  Normal chest.", &[CLEAR, FLUID], &[NORMAL]),
    ("two views", " CHEST, TWO VIEWS:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("digits", " CHEST, 2 VIEWS:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("portable", " PORTABLE AP CHEST:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("upright", " AP UPRIGHT:  The lungs are clear.\n CONCLUSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("semi-erect", " SEMI-ERECT PORTABLE VIEW:  The lungs are clear.\n OPINION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("single view", " SINGLE FRONTAL VIEW OF THE CHEST:  The lungs are clear.\n SUMMARY: Normal chest.", &[CLEAR], &[NORMAL]),
    ("supine", " SUPINE AP CHEST RADIOGRAPH:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("ribs", " BILATERAL RIBS:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("bone windows", " BONE WINDOW:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("a short name", " PA:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("with the time taken", " PORTABLE CHEST, 9:12 AM:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("small letters", "Frontal and lateral views of the chest: The lungs are clear.\nImpression: Normal chest.", &[CLEAR], &[NORMAL]),
    ("a date is no text", " CHEST, TWO VIEWS:  ___\n\n FINDINGS:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("a title without a text", " CHEST, PA AND LATERAL:\n\n INDICATION:  Cough.\n\n FINDINGS:  The lungs are clear.\n\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("views and findings", " FINDINGS:\n PORTABLE CHEST:  The lungs are clear.\n LATERAL VIEW:  The heart is normal.\n IMPRESSION: Normal chest.", &[CLEAR, HEART], &[NORMAL]),
    ("the reason for the views is none of theirs", " REASON FOR PORTABLE CHEST:  Cough and fever.\n FINDINGS:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("the views compared with are none of theirs", " COMPARISON CHEST RADIOGRAPH:  ___.\n PA AND LATERAL CHEST:  The lungs are clear.\n IMPRESSION: Normal chest.", &[CLEAR], &[NORMAL]),
    ("only views", " FINAL REPORT\n HISTORY: Cough.\n\n CHEST:  The lungs are clear.\n\n The heart is normal.", &[CLEAR, HEART], &[]),
];

#[rustfmt::skip]
const SUB_HEADINGS: &[Case] = &[
    ("in capitals", " FINDINGS:\n\n LUNGS AND PLEURA:  The lungs are clear.  No effusion is seen.\n HEART:  The heart is normal.\n BONES:  Intact.\n LINES AND TUBES:  None.\n\n IMPRESSION:\n\n Normal chest.",
        &["LUNGS AND PLEURA: The lungs are clear.", FLUID, "HEART: The heart is normal.", "BONES: Intact.", "LINES AND TUBES: None."], &[NORMAL]),
    ("without full stops", " FINDINGS:\n LUNGS: Clear\n HEART: Normal\n IMPRESSION: Normal chest.", &["LUNGS: Clear", "HEART: Normal"], &[NORMAL]),
    ("small letters", "FINDINGS:\nLungs: Clear\nPleura: No effusion\nHeart and mediastinum: Normal\nIMPRESSION: Normal chest.", &["Lungs: Clear", "Pleura: No effusion", "Heart and mediastinum: Normal"], &[NORMAL]),
    ("alone on their lines", " FINDINGS:\n\n LUNGS:\n\n The lungs are clear.\n\n HEART:\n\n The heart is normal.\n\n IMPRESSION: Normal chest.", &["LUNGS: The lungs are clear.", "HEART: The heart is normal."], &[NORMAL]),
    ("one without a text", " FINDINGS:\n LUNGS:\n RIGHT LUNG:  Clear.\n BONES:\n\n IMPRESSION: Normal chest.", &["RIGHT LUNG: Clear."], &[NORMAL]),
    ("unknown names", " FINDINGS:  The lungs are clear.\n POST-SURGICAL CHANGES:  None.\n IMPRESSION: Normal chest.", &[CLEAR, "POST-SURGICAL CHANGES: None."], &[NORMAL]),
    ("under the views", " PA AND LATERAL CHEST:\n LUNGS:  Clear.\n HEART:  Normal.\n IMPRESSION: Normal chest.", &["LUNGS: Clear.", "HEART: Normal."], &[NORMAL]),
    ("under the impression", " IMPRESSION:\n LUNGS:  Clear.\n HEART:  Normal.", &[], &["LUNGS: Clear.", "HEART: Normal."]),
    ("without FINDINGS", " INDICATION:  Cough.\n LUNGS:  Clear.\n HEART:  Normal.\n IMPRESSION: Normal chest.", &["LUNGS: Clear.", "HEART: Normal."], &[NORMAL]),
    ("another section ends them", " FINDINGS:\n LUNGS:  Clear.\n COMPARISON:  None available.\n TECHNIQUE:  Two views were obtained.\n IMPRESSION: Normal chest.", &["LUNGS: Clear."], &[NORMAL]),
];

#[rustfmt::skip]
const SPELLING: &[Case] = &[
    ("no colon", " INDICATION:  Cough.\n\n FINDINGS\n\n The lungs are clear.  No effusion is seen.\n\n IMPRESSION\n\n Normal chest.", &[CLEAR, FLUID], &[NORMAL]),
    ("no colon, on the line", " FINDINGS The lungs are clear.\n IMPRESSION Normal chest.", &[CLEAR], &[NORMAL]),
    ("no colon, numbered", " FINDINGS  The lungs are clear.\n IMPRESSION  1. Normal chest.\n 2. No effusion is seen.", &[CLEAR], &[NORMAL, FLUID]),
    ("no colon, small letters", "Findings\nThe lungs are clear.\n\nImpression\nNormal chest.", &[CLEAR], &[NORMAL]),
    ("underlined", "FINDINGS\n--------\nThe lungs are clear.\n\nIMPRESSION\n----------\nNormal chest.", &[CLEAR], &[NORMAL]),
    ("a dash", "FINDINGS - The lungs are clear.\nIMPRESSION - Normal chest.", &[CLEAR], &[NORMAL]),
    ("a semicolon", "FINDINGS; The lungs are clear.\nIMPRESSION; Normal chest.", &[CLEAR], &[NORMAL]),
    ("marked up", "**FINDINGS:** The lungs are clear.\n\n## IMPRESSION\nNormal chest.", &[CLEAR], &[NORMAL]),
    ("a space before the colon", " FINDINGS :  The lungs are clear.\n\n IMPRESSION :  Normal chest.", &[CLEAR], &[NORMAL]),
    ("no space after the colon", " FINDINGS:The lungs are clear.\n IMPRESSION:Normal chest.", &[CLEAR], &[NORMAL]),
    ("two letters wrong", " FIDNIGNS:  The lungs are clear.\n IMPERSIONS:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("a letter gone from INDICATION", " NDICATION:  Cough, to exclude pneumonia.\n FINDINGS:  The lungs are clear.\n IMPRESSION:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("a misspelt heading ends the findings too", " FINDINGS:  The lungs are clear.\n COMPARRISON:  ___.\n IMPRESSION:  Normal chest.\n RECOMENDATION(S):  A CT.", &[CLEAR], &[NORMAL]),
    ("a heart compressed is no impression", " FINDINGS:  The lungs are clear.\n COMPRESSION:  None.\n IMPRESSION:  Normal chest.", &[CLEAR, "COMPRESSION: None."], &[NORMAL]),
    ("all in capitals", "INDICATION: COUGH.\nFINDINGS: THE LUNGS ARE CLEAR. THE HEART IS NORMAL.\nIMPRESSION: NORMAL CHEST.", &["THE LUNGS ARE CLEAR.", "THE HEART IS NORMAL."], &["NORMAL CHEST."]),
    ("one line", "EXAM: CHEST 2 VIEWS INDICATION: Cough. COMPARISON: None. FINDINGS: The lungs are clear. IMPRESSION: Normal chest. RECOMMENDATION: None.", &[CLEAR], &[NORMAL]),
    ("one line, small letters", "Clinical history: Cough. Comparison: None. Findings: The lungs are clear. Impression: Normal chest.", &[CLEAR], &[NORMAL]),
    ("small letters throughout", "Indication: Cough.\nTechnique: Two views.\nFindings: The lungs are clear.\nComparison: None.\nImpression: Normal chest.\nRecommendation: None.", &[CLEAR], &[NORMAL]),
    ("no capital", "indication: cough.\nfindings: The lungs are clear.\nimpression: Normal chest.", &[CLEAR], &[NORMAL]),
    ("more words in the heading", " CHEST X-RAY FINDINGS:  The lungs are clear.\n RADIOLOGIST IMPRESSION:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("more words, small letters", "Chest x-ray findings: The lungs are clear.\nFinal impression: Normal chest.", &[CLEAR], &[NORMAL]),
    ("the impression and what is advised", " FINDINGS:  The lungs are clear.\n IMPRESSION AND RECOMMENDATION(S):  Normal chest.", &[CLEAR], &[NORMAL]),
    ("an impression and a plan", "Findings: The lungs are clear.\nImpression/Plan: Normal chest.", &[CLEAR], &[NORMAL]),
    ("critical findings are findings", " CRITICAL FINDINGS:  The lungs are clear.\n IMPRESSION:  Normal chest.\n NOTIFICATION OF FINDINGS:  Told by telephone.", &[CLEAR], &[NORMAL]),
    ("what the doctor found is none of the picture's", " CLINICAL FINDINGS:  Cough.\n CLINICAL SUMMARY:  Fever.\n FINDINGS:  The lungs are clear.\n IMPRESSION:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("a sentence about findings", " IMPRESSION:  Normal chest.\n The findings are: none.", &[], &["Normal chest.", "The findings are: none."]),
    ("line ends of Windows", " FINDINGS:  The lungs are clear.\r\n\r\n IMPRESSION:  Normal chest.\r\n", &[CLEAR], &[NORMAL]),
    ("line ends of old Macs", " FINDINGS:  The lungs are clear.\r\r IMPRESSION:  Normal chest.\r", &[CLEAR], &[NORMAL]),
    ("hard spaces", "\u{a0}FINDINGS\u{a0}:\u{a0}The lungs are clear.\n\u{a0}IMPRESSION:\u{a0}Normal chest.", &[CLEAR], &[NORMAL]),
    ("a sentence may begin with the word", " FINDINGS:  The lungs are clear.\n FINDINGS SUGGEST AN EFFUSION.", &[CLEAR, "FINDINGS SUGGEST AN EFFUSION."], &[]),
];

#[rustfmt::skip]
const STRUCTURE: &[Case] = &[
    ("the final report, not the first reading", " WET READ: ___ ___ 9:12 PM\n  Low volumes.  No pneumonia.\n ______________________________\n                                 FINAL REPORT\n FINDINGS:  The lungs are clear.\n\n IMPRESSION:  Normal chest.\n\n NOTIFICATION:  Told to Dr. ___ at 9:30 p.m. by telephone.", &[CLEAR], &[NORMAL]),
    ("a first reading with sections of its own", " WET READ: ___\n FINDINGS:  Low volumes.\n IMPRESSION:  Effusion.\n ____________\n FINAL REPORT\n FINDINGS:  The lungs are clear.\n IMPRESSION:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("a first reading quoted in the final report", " FINAL REPORT\n FINDINGS:  The lungs are clear.\n WET READ:  Effusion.\n IMPRESSION:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("only a first reading", " WET READ: ___ ___ 9:12 PM\n  The lungs are clear.  Normal chest.\n ______________________________\n", &[], &[CLEAR, NORMAL]),
    ("only a first reading, on its line", " WET READ: The lungs are clear.\n", &[], &[CLEAR]),
    ("an addendum at the end", " FINAL REPORT\n FINDINGS:  The lungs are clear.\n\n IMPRESSION:  Normal chest.\n ____________\n                                 FINAL ADDENDUM\n ADDENDUM:  A nodule of 8 mm.  CT is advised.", &[CLEAR], &[NORMAL]),
    ("an addendum first", " ADDENDUM  The line was pulled back.\n ______________\n FINAL REPORT\n FINDINGS:  The lungs are clear.\n\n IMPRESSION:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("an addendum first, no title", " ADDENDUM:  The line was pulled back.\n\n ______________\n FINDINGS:  The lungs are clear.\n\n IMPRESSION:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("an addendum with a section", " FINDINGS:  The lungs are clear.\n IMPRESSION:  Normal chest.\n FINAL ADDENDUM\n ADDENDUM:  Seen again.\n IMPRESSION:  No effusion is seen.", &[CLEAR], &[NORMAL, FLUID]),
    ("notes at the end", " FINDINGS:  The lungs are clear.\n IMPRESSION:  Normal chest.\n NOTE:  Dictated by ___.\n RECOMMENDATION(S):  CT of the chest.\n ELECTRONICALLY SIGNED BY:  Dr. ___.", &[CLEAR], &[NORMAL]),
    ("a signature", " FINDINGS:  The lungs are clear.\n IMPRESSION:  Normal chest.\n\n Electronically signed by Dr. ___ on ___.\n", &[CLEAR], &[NORMAL]),
    ("a page break in a sentence", " FINDINGS:  The lungs\n   (Over)\n\n                                 FINAL REPORT\n (Cont)\n are clear.\n IMPRESSION:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("a title at the foot", " FINDINGS:  The lungs are clear.\n IMPRESSION:  Normal chest.\n FINAL REPORT\n Signed by ___.", &[CLEAR], &[NORMAL]),
    ("no heading over the findings", " FINAL REPORT\n INDICATION:  Cough.\n\n COMPARISON:  ___.\n\n The lungs are clear.  The heart is normal.\n\n No effusion is seen.\n\n IMPRESSION:  Normal chest.", &[CLEAR, HEART, FLUID], &[NORMAL]),
    ("who the patient is, without a heading, is no finding", " EXAMINATION:  CHEST (PA AND LAT)\n\n ___ year old man with cough.\n\n IMPRESSION:  Normal chest.", &[], &[NORMAL]),
    ("under COMPARISON", " FINAL REPORT\n HISTORY:  Fall.\n\n COMPARISON:  ___.  The lungs are clear.  The heart is normal.", &[], &[CLEAR, HEART]),
    ("under HISTORY, after a blank line", " FINAL REPORT\n HISTORY:  Fall.\n\n The lungs are clear.\n\n The heart is normal.", &[], &[CLEAR, HEART]),
    ("nothing but a history", " FINAL REPORT\n HISTORY:  Fall.  Pain.  Fever.  Cough.\n", &[], &[]),
    ("no heading at all", "The lungs are clear.  The heart is normal.\n\nNormal chest.", &[], &[CLEAR, HEART, NORMAL]),
    ("a case told in one paragraph", "A 61 year old woman with fever.  The lungs are clear.", &[], &["A 61 year old woman with fever.", CLEAR]),
    ("a list", " IMPRESSION:  1. Low volumes.\n 2. Left effusion, approx. 2.5 cm.\n 3. Tube 3 cm above the carina, i.e. in good position.\n 4. No pneumothorax.", &[], &["Low volumes.", "Left effusion, approx. 2.5 cm.", "Tube 3 cm above the carina, i.e. in good position.", "No pneumothorax."]),
    ("a list without full stops", " IMPRESSION:\n 1. Low volumes\n 2. Left effusion\n - No pneumothorax\n", &[], &["Low volumes", "Left effusion", "No pneumothorax"]),
    ("a list on one line", " IMPRESSION: 1. Low volumes 2. Left effusion 3. No pneumothorax", &[], &["Low volumes", "Left effusion", "No pneumothorax"]),
    ("both in one", " FINDINGS AND IMPRESSION:  The lungs are clear.  The heart is normal.", &[CLEAR, HEART], &[]),
    ("the same twice", " FINDINGS:  The lungs are clear.\n IMPRESSION:  Normal chest.\n FINDINGS:  The heart is normal.", &[CLEAR, HEART], &[NORMAL]),
    ("findings of another name", " REPORT:  The lungs are clear.\n CONCLUSIONS:  Normal chest.", &[CLEAR], &[NORMAL]),
    ("a comment", " REASON FOR EXAM:  Cough.\n COMMENT:  The lungs are clear.  The heart is normal.", &[], &[CLEAR, HEART]),
    ("only an addendum", " ADDENDUM:  The lungs are clear.", &[], &[CLEAR]),
    ("empty", "", &[], &[]),
    ("nothing but furniture", " FINAL REPORT\n ____________\n ___\n", &[], &[]),
];

fn hold(cases: &[Case]) {
    for (about, report, findings, impression) in cases {
        let found = sections(report);
        let own = (sentences(&found.findings), sentences(&found.impression));
        let own = (
            own.0.iter().map(String::as_str).collect::<Vec<_>>(),
            own.1.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        assert_eq!(own, (findings.to_vec(), impression.to_vec()), "{about}: {report}");
        let nothing = findings.is_empty() && impression.is_empty();
        assert_eq!(found.basis == Basis::Nothing, nothing, "{about}");
    }
}

#[test]
fn text_under_a_heading_of_views_is_findings_also_beside_an_impression() {
    hold(VIEWS);
}

#[test]
fn sub_headings_stay_inside_the_section_they_stand_in() {
    hold(SUB_HEADINGS);
}

#[test]
fn headings_are_known_however_they_are_spelt() {
    hold(SPELLING);
}

#[test]
fn readings_addenda_and_text_without_headings_find_their_place() {
    hold(STRUCTURE);
}

#[test]
fn what_was_added_later_is_kept_apart() {
    let report =
        "FINDINGS: The lungs are clear.\nIMPRESSION: Normal chest.\nADDENDUM: A nodule of 8 mm.";
    assert_eq!(sections(report).addendum, "A nodule of 8 mm.");
}
