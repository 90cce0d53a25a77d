//! Tables people really have, and Python's reading of them.

use super::*;

/// Fields of every row, header first.
fn read(text: &str) -> Result<Vec<Vec<String>>, String> {
    let (header, rows) =
        parse(text).map_err(|unclear| format!("{}: {}", unclear.line, unclear.reason))?;
    Ok([header].into_iter().chain(rows.into_iter().map(|(_, row)| row)).collect())
}

#[test]
fn line_ends_and_separators_do_not_change_a_table() {
    let plain = "id,report,n\n1,\"clear, no\neffusion\",2\n22,\"say \"\"ah\"\"\",3\n";
    let expected = read(plain).unwrap();
    assert_eq!(expected[1], ["1", "clear, no\neffusion", "2"]);
    assert_eq!(expected[2], ["22", "say \"ah\"", "3"]);
    for end in ["\r\n", "\r", "\r\r\n", "\n\n"] {
        let own: Vec<Vec<String>> = read(&plain.replace('\n', end)).unwrap();
        let breaks = |field: &String| field.replace("\n\n", "\n");
        let own: Vec<Vec<String>> =
            own.iter().map(|row| row.iter().map(breaks).collect()).collect();
        assert_eq!(own, expected, "{end:?}");
    }
    for separator in [";", "\t", "|"] {
        let other = plain.replace(',', separator);
        let found: Vec<String> = read(&other).unwrap().concat();
        let expected: Vec<String> =
            expected.concat().iter().map(|f| f.replace(',', separator)).collect();
        assert_eq!(found, expected, "{separator:?}");
    }
    assert_eq!(read("sep=;\r\na;b\r\n1;2,5\r\n").unwrap()[1], ["1", "2,5"]);
}

#[test]
fn a_separator_that_is_not_sure_is_refused() {
    assert_eq!(
        read("a,b;c,d\n1,2;3,4\n"),
        Err("1: its columns may be separated by `,` or by `;`".into())
    );
    // Where one of the two does not fit the rows, the other does it.
    assert_eq!(read("a;b,c\n1;2\n").unwrap()[1], ["1", "2"]);
    assert_eq!(read("a,b;c\n1,2\n").unwrap()[1], ["1", "2"]);
    assert_eq!(read("image\na;b.png\n").unwrap()[1], ["a;b.png"]);
}

#[test]
fn a_quote_inside_a_field_is_text() {
    let text = "id,report,n\n1,Tube 3\" above the carina,2\n2,Nodule of 1/2\",3\n3,\"\",4\n";
    let rows = read(text).unwrap();
    assert_eq!(rows[1][1], "Tube 3\" above the carina");
    assert_eq!(rows[2][1], "Nodule of 1/2\"");
    assert_eq!(rows[3][1], "");
    assert_eq!(read("a,b\n1, \"x, y\" \n").unwrap()[1], ["1", "x, y"]);
}

#[test]
fn a_quote_that_could_run_into_the_next_row_is_refused_with_its_line() {
    let wrong = [
        // Nothing closes it.
        ("id,report\n1,clear\n2,\"3 cm above the carina\n3,clear\n", 3),
        // It closes in the middle of the next row's field.
        ("id,report\n1,\"3 cm above the carina\n2,Tube 3\" above\n", 3),
        // It closes at the end of the next row: one field with a whole row inside.
        ("id,n,report\n10,1,clear\n11,1,\"3 cm above\n12,1,Tube 4\"\n13,1,clear\n", 4),
        ("id,report\n50000001,clear\n50000002,\"3 cm above\n50000003,Tube 4\"\n", 4),
        ("Path,report\na/p1/v1.jpg,clear\na/p2/v1.jpg,\"3 cm above\na/p3/v2.jpg,Tube 4\"\n", 4),
        ("id,report\n1,\"3 cm above\n2,Tube 4\"\n", 3),
        // A word in quotes begins a field that is not quoted.
        ("id,report\n1,\"Ground glass\" opacity\n", 2),
    ];
    for (text, line) in wrong {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(&format!("{line}: ")), "{text}: {error}");
    }
}

#[test]
fn a_report_of_several_lines_is_no_row() {
    let reports = [
        "id,report\n50000001,clear\n50000002,\"FINDINGS: clear\nNormal, no effusion\n2.5 cm, unchanged\n3, stable\"\n",
        "id,report\n50000001,\"FINDINGS: clear\nNormal, no effusion\"\n50000002,\"FINDINGS\nHeart normal, lungs clear\"\n",
        "Path,n,report\ntrain/p1/v1.jpg,1,clear\ntrain/p2/v1.jpg,1,\"Lungs, heart, bones normal\nNormal, yes, sure\"\n",
    ];
    for text in reports {
        assert_eq!(read(text).unwrap().len(), 3, "{text}");
    }
}

#[test]
fn empty_columns_and_rows_say_nothing() {
    assert_eq!(read("a,b\n1,2,,\n,,\n  \n3,4\n,\n").unwrap(), [["a", "b"], ["1", "2"], ["3", "4"]]);
    assert_eq!(read("a,b,,\n1,2\n3,4,,\n").unwrap()[1..], [["1", "2", "", ""], ["3", "4", "", ""]]);
    assert_eq!(read("a,b\n1,2,,x\n"), Err("2: 4 fields, expected 2 as in the header".into()));
    assert_eq!(read("a,b,c\n1,2\n"), Err("2: 2 fields, expected 3 as in the header".into()));
    assert_eq!(read("").unwrap(), [Vec::<String>::new()]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 1000, rng_seed: proptest::test_runner::RngSeed::Fixed(7), failure_persistence: None, ..Default::default() })]

    /// What the csv crate writes is read as it was, or refused: never otherwise.
    #[test]
    fn a_table_is_read_as_it_was_written_or_refused(
        width in 2..5usize,
        fields in proptest::collection::vec("[a-c0-9 .,;\t|\"\n\u{e9}]{0,8}", 4..24),
        separator in proptest::sample::select(&[b',', b';', b'\t'][..]),
        always in proptest::prelude::any::<bool>(),
        windows in proptest::prelude::any::<bool>(),
    ) {
        let mut writer = csv::WriterBuilder::new()
            .delimiter(separator)
            .quote_style(if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary })
            .terminator(if windows { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
            .from_writer(Vec::new());
        let header: Vec<String> = (0..width).map(|at| format!("column{at}")).collect();
        writer.write_record(&header).unwrap();
        let rows: Vec<&[String]> = fields.chunks_exact(width).collect();
        rows.iter().for_each(|row| writer.write_record(*row).unwrap());
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let trimmed = |rows: Vec<Vec<String>>| -> Vec<Vec<String>> {
            rows.iter().map(|row| row.iter().map(|field| field.trim().to_owned()).collect()).collect()
        };
        let blank = |row: &&Vec<String>| row.iter().any(|field| !field.is_empty());
        let expected: Vec<Vec<String>> =
            trimmed(rows.iter().map(|row| row.to_vec()).collect()).iter().filter(blank).cloned().collect();
        if let Ok((own, rows)) = parse(&text) {
            proptest::prop_assert_eq!(own, header);
            let found = trimmed(rows.into_iter().map(|(_, row)| row).collect());
            proptest::prop_assert_eq!(found, expected, "{}", text);
        }
    }
}
