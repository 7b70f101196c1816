//! Small files that are read and replaced as a whole.

use std::io;

use super::{
    disk::{Access, Disk},
    layout::TMP_SUFFIX,
};
use crate::zab::mutants;

/// Larger than any of them (a session secret with three million older sessions); a longer one is not ours.
const LEN_MAX: u64 = 64 << 20;

/// Replaces a file durably: after a power cut it has its old content or the new one.
pub(super) fn replace(
    disk: &dyn Disk,
    name: &str,
    access: Access,
    content: &[u8],
) -> io::Result<()> {
    let tmp = format!("{name}{TMP_SUFFIX}");
    let mut file = disk.create(&tmp, access)?;
    file.write_at(0, content)?;
    let is_durable = !mutants::active("335");
    if is_durable {
        file.sync_data()?;
    }
    disk.rename(&tmp, name)?;
    if is_durable {
        disk.sync_dir()?;
    }
    Ok(())
}

/// Reads a whole file.
pub(super) fn read(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let mut file = disk.open(name)?;
    let len = file.file_len()?;
    if len > LEN_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "longer than it can be",
        ));
    }
    let mut content = vec![0; usize::try_from(len).unwrap_or_default()];
    let got = file.read_at(0, &mut content)?;
    content.truncate(got);
    Ok(content)
}
