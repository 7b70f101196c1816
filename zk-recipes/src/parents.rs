//! The directories above a recipe's nodes.
//!
//! They are containers, which the server removes some time after their last child is gone, so that locks that were used once
//! leave nothing behind; on servers without containers they are plain nodes. A container may vanish between any two
//! requests: whoever meets NONODE when creating a child comes here again.

use zk_client::{Client, Error, ErrorKind, Result};

/// Makes sure that `directory` and everything above it exist, with the client's default ACL.
pub(crate) async fn create(client: &Client, directory: &str) -> Result<()> {
    let mut missing = vec![directory];
    while let Some(&path) = missing.last() {
        if path.is_empty() || path == "/" {
            missing.pop();
            continue;
        }
        match create_one(client, path).await {
            Ok(()) => drop(missing.pop()),
            Err(error) if error.kind() == ErrorKind::NoNode => match path.rsplit_once('/') {
                // Nothing is above a child of the root but the chroot itself, which is the user's to create.
                None | Some(("", _)) => return Err(error),
                Some((above, _)) => missing.push(above),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The same for a directory that stays when it is empty, with this data if it has to be created.
pub(crate) async fn create_to_stay(client: &Client, directory: &str, data: &str) -> Result<()> {
    loop {
        match client.create(directory, data).await {
            Err(error) if error.kind() == ErrorKind::NodeExists => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NoNode => match directory.rsplit_once('/') {
                None | Some(("", _)) => return Err(error),
                Some((above, _)) => create(client, above).await?,
            },
            created => return created.map(drop),
        }
    }
}

async fn create_one(client: &Client, path: &str) -> Result<()> {
    let created = match client.create(path, "").container().await {
        Err(error) if error.kind() == ErrorKind::Unimplemented => client.create(path, "").await,
        created => created,
    };
    match created {
        Err(error) if error.kind() == ErrorKind::NodeExists => Ok(()),
        created => created.map(drop),
    }
}

/// Makes sure that everything above `path` exists, as [`create`] does; `missing` is the NONODE that its creation met.
///
/// # Errors
///
/// `missing` itself where nothing but the chroot is above: trying again would meet it again.
pub(crate) async fn of(client: &Client, path: &str, missing: Error) -> Result<()> {
    match path.rsplit_once('/') {
        None | Some(("", _)) => Err(missing),
        Some((directory, _)) => create(client, directory).await,
    }
}

/// The path of a child of a directory.
pub(crate) fn child(directory: &str, name: &str) -> String {
    match directory {
        "/" => format!("/{name}"),
        _ => format!("{directory}/{name}"),
    }
}
