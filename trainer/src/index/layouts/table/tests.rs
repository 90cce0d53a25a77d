use super::*;

fn table(text: &str) -> Result<Table, IndexError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    Table::read(&path)
}

#[test]
fn counts_are_whole_numbers_however_they_are_written() {
    let table = table("a\n2.0\n3\n2.5\n-1\n").unwrap();
    let [a] = table.columns(["a"]).unwrap();
    let found: Vec<_> = table.rows().map(|row| row.whole(a).ok()).collect();
    assert_eq!(found, [Some(2), Some(3), None, None]);
}

#[test]
fn quotes_hold_commas_and_lines_are_counted() {
    let table = table("\u{feff}a, b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n2,w\n").unwrap();
    let (a, b) = (table.column(&["a"]).unwrap(), table.column(&["b", " b"]).unwrap());
    let rows: Vec<_> = table.rows().collect();
    assert_eq!((rows[0].text(a), rows[0].text(b)), ("1", "x, \"y\"\nz"));
    assert_eq!((rows[1].line, rows[1].text(b)), (5, "w"));
    assert!(
        rows[1].number(b).unwrap_err().to_string().ends_with(":5: ` b` is `w`, expected a number")
    );
}

#[test]
fn a_missing_column_and_a_short_row_are_named() {
    let error = table("a,b\n1,2\n").unwrap().column(&["c"]).unwrap_err().to_string();
    assert!(error.ends_with("t.csv: column `c` is missing, the header has a,b"), "{error}");
    let error = table("a,b\n1,2\n1\n").unwrap_err().to_string();
    assert!(error.ends_with("t.csv:3: 1 fields, expected 2 as in the header"), "{error}");
}

#[test]
fn a_column_that_is_there_twice_must_say_the_same_twice() {
    assert!(table("a,b,a\n1,2,1\n3,4,3\n").is_ok());
    let error = table("a,b,a\n1,2,1\n3,4,5\n").unwrap_err().to_string();
    assert!(
        error.ends_with("t.csv:3: column `a` is there twice, with `3` and with `5`"),
        "{error}"
    );
}

#[test]
fn a_column_is_found_by_its_name_with_spaces_around_it_too() {
    let table = table("image , EncodedPixels\n1,2\n").unwrap();
    assert_eq!(table.column(&["image"]).unwrap(), Column(0));
    assert_eq!(table.column(&["EncodedPixels"]).unwrap(), Column(1));
}
