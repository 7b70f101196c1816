//! Our server as a process of its own.

use std::{env, io, path::PathBuf};

use crate::process::Launcher;

/// The command that starts our server: the program that `ZK_SERVER_BIN` names or, without it, the one that cargo built
/// together with the tests.
///
/// That one is `zk-server` under another name, with the feature `testing`. It is a program of the tests' own package
/// because cargo builds another package's programs for nobody: `cargo test` would run yesterday's.
///
/// # Errors
/// When there is no such program.
pub fn launcher() -> io::Result<Launcher> {
    let program = match env::var_os("ZK_SERVER_BIN") {
        Some(program) => PathBuf::from(program),
        None => built_with_the_tests()?,
    };
    match program.is_file() {
        true => Ok(Launcher::zk_server(program)),
        false => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no {}", program.display()),
        )),
    }
}

fn built_with_the_tests() -> io::Result<PathBuf> {
    // target/debug/deps/some-test
    let test = env::current_exe()?;
    let folder = test.ancestors().nth(2);
    let folder =
        folder.ok_or_else(|| io::Error::other("this program is in no target directory"))?;
    Ok(folder.join("zk-server-under-test"))
}
