//! Holds the table of `docs/MUSEUM.md` against the tests that there are.

#![allow(clippy::disallowed_methods, reason = "reads the workspace's sources")]

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Every `fn zookeeper_...` below a folder.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            tests_below(&path, found)?;
        } else if name.ends_with(".rs") {
            let source = fs::read_to_string(&path)?;
            found.extend(names(&source, "fn "));
        }
    }
    Ok(())
}

/// The words `zookeeper_...` that follow `before`.
fn names(text: &str, before: &str) -> Vec<String> {
    let start = format!("{before}zookeeper_");
    let named = text.split(&start).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        format!("zookeeper_{}", &rest[..end.unwrap_or(rest.len())])
    });
    named.collect()
}

/// The issues of a table's first column.
fn issues(row: &str) -> Vec<String> {
    let first = row.split('|').nth(1).unwrap_or_default();
    let numbers = first.split(|c: char| !c.is_ascii_digit());
    let numbers = numbers.filter(|number| !number.is_empty());
    numbers.map(str::to_owned).collect()
}

#[test]
fn every_row_of_the_museum_names_tests_that_there_are() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = fs::read_to_string(root.join("docs/MUSEUM.md")).unwrap();
    let mut tests = BTreeSet::new();
    for folder in ["tests", "zk-server/src", "zk-server/tests"] {
        tests_below(&root.join(folder), &mut tests).unwrap();
    }
    let is_row = |line: &&str| issues(line).first().is_some_and(|first| first.len() > 2);
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    let rows: Vec<&str> = rows.into_iter().filter(is_row).collect();
    assert_eq!(rows.len(), 57, "a row for each of the museum");
    for row in rows {
        let named = names(row, "::");
        assert!(!named.is_empty(), "no test: {row}");
        for test in &named {
            assert!(tests.contains(test), "no such test: {test}");
        }
        for issue in issues(row) {
            let part = format!("_{issue}_");
            assert!(
                named.iter().any(|test| test.contains(&part)),
                "no test is named for {issue}: {row}"
            );
        }
    }
}
