//! Reports put together by chance, and texts that are none.

use super::{Basis, sections, sentences};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::RngSeed};

#[derive(Clone, Copy, Debug, PartialEq)]
enum To {
    Findings,
    Impression,
    Nowhere,
}

const HEADINGS: [(&str, To); 24] = [
    (" FINDINGS:", To::Findings),
    (" FINDINGS", To::Findings),
    ("Findings:", To::Findings),
    (" FINDNGS:", To::Findings),
    (" PA AND LATERAL VIEWS OF THE CHEST:", To::Findings),
    (" CHEST, TWO VIEWS:", To::Findings),
    (" PORTABLE UPRIGHT AP CHEST RADIOGRAPH:", To::Findings),
    ("Frontal and lateral chest radiographs:", To::Findings),
    (" IMPRESSION:", To::Impression),
    (" IMPRESSION", To::Impression),
    ("Impression:", To::Impression),
    (" IMRPESSION:", To::Impression),
    (" CONCLUSION:", To::Impression),
    (" OPINION:", To::Impression),
    (" SUMMARY:", To::Impression),
    (" INDICATION:", To::Nowhere),
    (" NDICATION:", To::Nowhere),
    ("Clinical history:", To::Nowhere),
    (" COMPARISON:", To::Nowhere),
    (" TECHNIQUE:", To::Nowhere),
    (" REASON FOR EXAM:", To::Nowhere),
    (" NOTIFICATION:", To::Nowhere),
    (" RECOMMENDATION(S):", To::Nowhere),
    (" ADDENDUM:", To::Nowhere),
];
const SUB_HEADINGS: [&str; 6] =
    ["LUNGS:", "HEART AND MEDIASTINUM:", "Pleura:", "POST-SURGICAL:", "BONES:", ""];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sentence_goes_to_the_section_it_stands_in_and_to_no_other(
        parts in vec((select(&HEADINGS[..]), vec(select(&SUB_HEADINGS[..]), 1..4), any::<bool>()), 1..7),
        end in select(&["\n", "\r\n", "\r"][..]),
        title in any::<bool>(),
    ) {
        prop_assume!(parts.iter().any(|((_, to), _, _)| *to != To::Nowhere));
        let mut report = String::from(if title { "         FINAL REPORT\n" } else { "" });
        let (mut expected, mut number) = ([Vec::new(), Vec::new()], 0);
        for ((heading, to), subs, blank) in &parts {
            report += heading;
            report += if *blank || !heading.ends_with(':') { "\n\n" } else { "  " };
            for sub in subs {
                // Sub-headings belong to sections of the picture.
                let sub = if *to == To::Nowhere { "" } else { sub };
                number += 1;
                report += &format!(" {sub} Sign {number} is seen.\n");
                let sentence = format!("{sub} Sign {number} is seen.").trim().to_owned();
                match to {
                    To::Findings => expected[0].push(sentence),
                    To::Impression => expected[1].push(sentence),
                    To::Nowhere => {}
                }
            }
            report += "\n";
        }
        let found = sections(&report.replace('\n', end));
        prop_assert_eq!([sentences(&found.findings), sentences(&found.impression)], expected, "{}", report);
        prop_assert_eq!(found.basis, Basis::Headings);
    }

    #[test]
    fn a_text_without_headings_is_kept_as_a_whole(paragraphs in vec(vec(0..999u32, 1..4), 1..4)) {
        let text = |numbers: &Vec<u32>| numbers.iter().map(|n| format!("Sign {n} is seen.")).collect::<Vec<_>>();
        let expected: Vec<String> = paragraphs.iter().flat_map(text).collect();
        let report: Vec<String> = paragraphs.iter().map(|numbers| text(numbers).join("  ")).collect();
        let found = sections(&report.join("\n \n"));
        prop_assert_eq!(sentences(&found.impression), expected);
        prop_assert_eq!(found.basis, Basis::Unheaded);
    }

    #[test]
    fn no_text_panics_and_none_is_lost_without_a_word(
        pieces in vec(prop_oneof![
            select(&["FINDINGS", "IMPRESSION", ":", "\n", "\n \n", "(Over)", "(Cont)", "FINAL REPORT", "____", "LUNGS:",
                "WET READ", "ADDENDUM", "1.", "-", " ", "A", "é", "ﬁ", "İ", "\u{85}", "\u{a0}", "::", "CHEST", "a b."][..]
            ).prop_map(str::to_owned),
            ".{0,12}",
        ], 0..40),
    ) {
        let report = pieces.concat();
        let found = sections(&report);
        let empty = [&found.findings, &found.impression].iter().all(|text| text.is_empty());
        prop_assert_eq!(empty, found.basis == Basis::Nothing);
        // Nothing is invented: letters come from the report, no more of any than it has.
        let letters = |text: &str, c| text.chars().filter(|&own| own == c).count();
        let all = format!("{}{}{}", found.findings, found.impression, found.addendum);
        for c in all.chars().filter(|c| c.is_alphabetic()) {
            prop_assert!(letters(&all, c) <= letters(&report, c), "{c}");
        }
        sentences(&report);
    }
}
