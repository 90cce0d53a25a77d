//! What consoles of many countries call the chest and its frontal view.
//!
//! Body Part Examined and View Position are code strings with defined terms (CHEST; PA, AP, LL, RL),
//! but operators and vendors write words of their own language: POSTEROANTERIOR, TÓRAX, BRUSTKORB.
//! The tables below are all that is understood; other words are refused by the gate.
//!
//! Text is compared in capitals without accents, in words of letters and digits. An entry matches
//!
//! ```text
//! PA          a word                       STEM*       the beginning of a word
//! *STEM*      anywhere in the text         CJK         anywhere: Chinese has no blanks
//! ```
//!
//! Neighbouring words also count as one: "P.A.", "A-P", "POSTERO ANTERIOR".

/// Whether a Body Part Examined names the chest, or nothing at all.
pub(crate) fn is_chest(body_part: &str) -> bool {
    is_empty_or(body_part, CHEST, OTHER_PARTS)
}

/// Whether a View Position names a frontal view, or nothing at all.
pub(crate) fn is_frontal(view: &str) -> bool {
    is_empty_or(view, FRONTAL, OTHER_VIEWS)
}

/// Whether a description names a view from the side, and no frontal one: "CHEST PA/LAT" stands with both
/// pictures of a study. Free text has more words than code strings, so that short ones say nothing here.
pub(crate) fn names_side(text: &str) -> bool {
    let words = words(text);
    let any = |entries: &[&str]| entries.iter().any(|entry| matches(entry, &words));
    any(SIDE_IN_TEXT) && !any(FRONTAL)
}

/// The chest, its lungs, and the name of the examination.
#[rustfmt::skip]
const CHEST: &[&str] = &[
    // English
    "*CHEST*", "*THORAX*", "LUNG", "LUNGS", "CXR",
    // German, Dutch
    "BRUSTKORB*", "BRUST", "LUNGE", "LUNGEN*", "BORSTKAS*", "LONGEN", "LONGFOTO*",
    // Spanish, Portuguese, Italian, French, Romanian
    "*TORAX*", "*TORACE*", "PECHO", "PEITO", "PETTO", "POITRINE*", "POUMON*", "PULMON", "PULMONES",
    "PULMAO", "PULMOES", "POLMONE", "POLMONI", "PLAMANI", "PLEUROPULMON*",
    // Polish, Czech, Hungarian, Turkish, Scandinavian
    "*TORAKS*", "PIERSIOW*", "KLATKA", "PLUC", "PLUCA", "KLP", "HRUDNIK*", "PLICE", "MELLKAS*", "TUDO*",
    "AKCIGER*", "GOGUS", "BRYSTKASSE*", "BROSTKORG*", "LUNGOR", "KEUHKO*",
    // Russian in Latin and in Cyrillic letters
    "GRUD*", "LEGKI*", "LEGKIE", "LYOGKIE", "OGK", "ГРУД*", "ЛЕГК*", "ЛЁГК*", "ОГК",
    // Japanese, Chinese, Korean
    "KYOUBU*", "KYOBU*", "XIONGBU*", "XIONGPIAN*", "HYUNGBU*", "胸", "肺", "흉부",
    // Greek
    "ΘΩΡΑΚ*",
];

/// Parts that are none of the chest's radiograph, also where a word of [`CHEST`] stands beside them.
#[rustfmt::skip]
const OTHER_PARTS: &[&str] = &[
    "*ABD*", "PELV*", "*SPINE*", "*WIRBEL*", "*COLUMN*", "COLUNA*", "COLONNA*", "*RACHIS*", "KREGOS*",
    "*POZVONO*", "ПОЗВОНО*", "*VERTEBR*", "TSPINE", "RIB", "RIBS", "RIPPE*", "COSTILLA*", "COSTELA*", "COSTE",
    "COTES", "COSTAL*", "ZEBRA", "*STERNUM*", "*BRUSTBEIN*", "CLAVIC*", "SHOULDER*", "SCHULTER*", "HOMBRO*",
    "OMBRO*", "SPALLA*", "EPAULE*", "NECK*", "HEAD*", "SKULL*", "MAMM*", "BREAST*", "WHOLEBODY*", "BABYGRAM*",
    "脊", "腹", "椎", "肋",
];

/// From the front to the back or back.
#[rustfmt::skip]
const FRONTAL: &[&str] = &[
    "AP", "PA", "FRONTAL*", "FRONT", "FACE", "FRENTE", "FRONTAAL",
    "POSTEROANTERIOR*", "ANTEROPOSTERIOR*", "POSTERIOANTERIOR*", "ANTERIOPOSTERIOR*",
    "POSTERIORANTERIOR*", "ANTERIORPOSTERIOR*", "POSTEROANTERIEUR*", "ANTEROPOSTERIEUR*",
    // Dutch, Polish, Czech, Turkish
    "ACHTERVOORWAARTS*", "VOORACHTERWAARTS*", "VOORACHTERWAARTSE*", "TYLNOPRZEDNI*", "PRZEDNIOTYLN*",
    "ZADOPREDNI*", "PREDOZADNI*", "ONARKA", "ARKAON",
    // Russian
    "PRYAMAYA", "PRIAMAIA", "PRJAMAJA", "ZADNEPEREDN*", "PEREDNEZADN*", "ПРЯМАЯ", "ПРЯМОЙ", "ЗАДНЕПЕРЕДН*",
    "ПЕРЕДНЕЗАДН*",
    // Japanese, Chinese, Korean
    "SHOMEN", "SHOUMEN", "SYOMEN", "ZHENGWEI", "HOUQIANWEI", "QIANHOUWEI", "正面", "正位", "后前位", "後前位",
    "前后位", "前後位", "정면",
];

/// Views from the side and oblique ones, also beside a word of [`FRONTAL`]: then nobody knows which it is.
#[rustfmt::skip]
const OTHER_VIEWS: &[&str] = &[
    "*LATERAL*", "LAT", "LATERO*", "*LATERAAL*", "LL", "RL", "LLAT", "RLAT", "LATL", "LATR", "LLD*", "RLD*", "LT",
    "RT", "SIDE", "PROFIL*", "PERFIL*", "SEITLICH*", "SEITE", "SEITEN*", "ZIJDELINGS*", "ZIJ", "DWARS*",
    "BOCZN*", "BOCNI", "BOCNY", "YAN", "BOKOV*", "БОКОВ*", "SOKUMEN*", "CEWEI", "側面", "侧位", "側位", "侧面", "측면",
    "*OBLIQU*", "*OBLIC*", "OBL", "OBLIK*", "SCHRAG*", "SCHRAEG*", "SKOSN*", "КОС*", "LAO", "RAO", "LPO", "RPO",
    "XIEWEI", "斜",
];

/// Those of [`OTHER_VIEWS`] that nobody writes in a description of a frontal view.
#[rustfmt::skip]
const SIDE_IN_TEXT: &[&str] = &[
    "LATERAL*", "LAT", "LATERO*", "LATERAAL*", "LL", "PROFIL", "PROFILO", "PERFIL", "SEITLICH*", "ZIJDELINGS*",
    "BOCZN*", "BOCNI", "BOKOV*", "БОКОВ*", "SOKUMEN*", "CEWEI", "側面", "侧位", "側位", "侧面", "측면",
    "*OBLIQU*", "OBLICUA", "SCHRAG*", "КОСАЯ", "КОСОЙ", "斜",
];

fn is_empty_or(text: &str, known: &[&str], others: &[&str]) -> bool {
    let words = words(text);
    let any = |entries: &[&str]| entries.iter().any(|entry| matches(entry, &words));
    text.trim().is_empty() || any(known) && !any(others)
}

fn matches(entry: &str, words: &[String]) -> bool {
    let is_ideographic = entry.chars().all(|c| c >= '\u{1100}' && c.is_alphabetic());
    let stem = entry.trim_matches('*');
    if is_ideographic || entry.starts_with('*') {
        return words.concat().contains(stem);
    }
    let fits =
        |word: &str| if entry.ends_with('*') { word.starts_with(stem) } else { word == stem };
    let joined = |count| words.windows(count).any(|part| fits(&part.concat()));
    joined(1) || joined(2) || joined(3)
}

/// In capitals, without accents.
fn words(text: &str) -> Vec<String> {
    let folded: String = text.chars().flat_map(char::to_uppercase).map(plain).collect();
    let words = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// A capital letter without its accent.
fn plain(letter: char) -> char {
    match letter {
        'À'..='Å' | 'Ā' | 'Ă' | 'Ą' => 'A',
        'Ç' | 'Ć' | 'Č' => 'C',
        'È'..='Ë' | 'Ē' | 'Ė' | 'Ę' | 'Ě' => 'E',
        'Ì'..='Ï' | 'İ' => 'I',
        'Ł' => 'L',
        'Ñ' | 'Ń' | 'Ň' => 'N',
        'Ò'..='Ö' | 'Ø' | 'Ő' => 'O',
        'Ř' => 'R',
        'Ś' | 'Š' | 'Ş' | 'Ș' => 'S',
        'Ù'..='Ü' | 'Ů' | 'Ű' => 'U',
        'Ź' | 'Ż' | 'Ž' => 'Z',
        'Ğ' => 'G',
        'Ώ' => 'Ω',
        'Ά' => 'Α',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chest_is_known_in_the_languages_of_its_consoles() {
        for part in [
            "",
            "CHEST",
            "chest",
            "NON GRID CHEST",
            "PORTABLE_CHEST",
            "CHEST PA",
            "THORAX",
            "LUNG",
            "LUNGE",
            "CXR",
            "TORAX",
            "TÓRAX",
            "Tórax",
            "TORACE",
            "TORAKS",
            "BRUSTKORB",
            "Brust",
            "POITRINE",
            "PECHO",
            "PEITO",
            "PULMÃO",
            "PULMÕES",
            "POUMONS",
            "POLMONI",
            "BORSTKAS",
            "KLATKA PIERSIOWA",
            "PŁUCA",
            "RTG KLP",
            "GRUDNAYA KLETKA",
            "ОГК",
            "ГРУДНАЯ КЛЕТКА",
            "KYOUBU",
            "胸部",
            "胸部正位",
            "XIONGBU",
            "흉부",
            "ΘΏΡΑΚΑΣ",
            "T\u{d3}RAX",
        ] {
            assert!(is_chest(part), "{part}");
        }
    }

    #[test]
    fn other_parts_are_not_the_chest() {
        for part in [
            "RIBS",
            "HIP",
            "EXTREMITY",
            "ABDOMEN",
            "CHESTABDOMEN",
            "CHEST_ABDOMEN",
            "THORACIC SPINE",
            "TSPINE",
            "BRUSTWIRBELSÄULE",
            "COLUMNA TORACICA",
            "COLUMNA TÓRAX",
            "BRUSTBEIN",
            "THORAX WIRBELSÄULE",
            "MAMMA",
            "SCHULTERDARSTELLUNG",
            "GANZBEINSTELLUNG",
            "LONG LEG",
            "HAND",
            "胸椎",
            "ГРУДНОЙ ОТДЕЛ ПОЗВОНОЧНИКА",
            "RIBS CHEST",
            "UNKNOWN",
            "XX",
        ] {
            assert!(!is_chest(part), "{part}");
        }
    }

    #[test]
    fn frontal_views_are_known_in_the_languages_of_their_consoles() {
        for view in [
            "",
            "PA",
            "AP",
            "pa",
            "P.A.",
            "a-p",
            "A/P",
            "AP SUPINE",
            "AP_SUPINE",
            "PA, ERECT",
            "POSTEROANTERIOR",
            "ANTEROPOSTERIOR",
            "POSTERO-ANTERIOR",
            "Postero Anterior",
            "PÓSTERO-ANTERIOR",
            "ÂNTERO-POSTERIOR",
            "FRONTAL",
            "FRONTALE",
            "FRONTAAL",
            "FRENTE",
            "FACE",
            "DE FACE",
            "POSTERO-ANTÉRIEURE",
            "postero-anteriore",
            "posterior-anterior",
            "TYLNO-PRZEDNIA",
            "PRZEDNIO-TYLNE",
            "ACHTERVOORWAARTS",
            "PRYAMAYA",
            "ПРЯМАЯ",
            "SHOMEN",
            "正面",
            "正位",
            "胸部后前位",
            "ZHENGWEI",
            "AP DECUBITUS DORSAL",
        ] {
            assert!(is_frontal(view), "{view}");
        }
    }

    #[test]
    fn views_from_the_side_and_unknown_ones_are_not_frontal() {
        for view in [
            "LL",
            "RL",
            "LATERAL",
            "LAT",
            "lateral",
            "LEFT LATERAL",
            "LATERALE",
            "LATERO-LATERAL",
            "PA LATERAL",
            "PA/LAT",
            "AP+LAT",
            "LATERAAL",
            "PROFIL",
            "DE PROFIL",
            "PROFILO",
            "PERFIL",
            "SEITLICH",
            "BOCZNE",
            "BOKOVAYA",
            "БОКОВАЯ",
            "SOKUMEN",
            "側面",
            "侧位",
            "胸部侧位",
            "OBLIQUE",
            "AP OBLIQUE",
            "OBLICUA",
            "SCHRÄG",
            "RAO",
            "LLO",
            "GENERICA",
            "XTABLE",
            "AP LATERAL DECUBITUS",
            "DECUBITO LATERAL",
            "斜位",
            "5",
        ] {
            assert!(!is_frontal(view), "{view}");
        }
    }

    #[test]
    fn no_entry_of_a_table_is_refused_by_the_other() {
        for (known, others) in [(CHEST, OTHER_PARTS), (FRONTAL, OTHER_VIEWS)] {
            for entry in known.iter().map(|entry| entry.trim_matches('*')) {
                assert!(is_empty_or(entry, known, others), "{entry}");
            }
            for entry in others.iter().map(|entry| entry.trim_matches('*')) {
                assert!(!is_empty_or(entry, known, others), "{entry}");
            }
        }
    }
}
