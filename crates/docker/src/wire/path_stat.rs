//! The header with which `docker cp` learns what a path is.

use engine::container::PathStat;
use serde::Serialize;

/// The document as JSON.
pub(crate) fn encode(stat: &PathStat) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Document<'a> {
        name: &'a str,
        size: u64,
        mode: u32,
        mtime: String,
        link_target: &'a str,
    }
    let document = Document {
        name: &stat.name,
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: super::time(stat.modified),
        link_target: &stat.link_target,
    };
    serde_json::to_vec(&document).expect("numbers and texts are always JSON")
}

/// Translates `st_mode` to the mode bits of the clients' language, which has types from the top
/// of the word down instead of in four bits.
fn go_mode(mode: u32) -> u32 {
    const DIRECTORY: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const FIFO: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SET_UID: u32 = 1 << 23;
    const SET_GID: u32 = 1 << 22;
    const CHARACTER: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    let kind = match mode & 0o170_000 {
        0o040_000 => DIRECTORY,
        0o120_000 => SYMLINK,
        0o060_000 => DEVICE,
        0o020_000 => DEVICE | CHARACTER,
        0o010_000 => FIFO,
        0o140_000 => SOCKET,
        _ => 0,
    };
    let special = [(0o4000, SET_UID), (0o2000, SET_GID), (0o1000, STICKY)];
    let special = special.iter().filter(|(bit, _)| mode & bit != 0).fold(0, |all, (_, bit)| all | bit);
    kind | special | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::go_mode;

    #[track_caller]
    fn check(mode: u32, expected: u32) {
        assert_eq!(go_mode(mode), expected, "{mode:o}");
    }

    #[test]
    fn types_and_special_bits_move_to_the_top() {
        check(0o100_644, 0o644);
        check(0o040_755, 2_147_484_141);
        check(0o041_777, (1 << 31) | (1 << 20) | 0o777);
        check(0o120_777, (1 << 27) | 0o777);
        check(0o104_755, (1 << 23) | 0o755);
        check(0o020_620, (1 << 26) | (1 << 21) | 0o620);
    }
}
