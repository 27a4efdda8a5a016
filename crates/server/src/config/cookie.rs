//! The cookie file: the secret of a cluster. Only its owner can read it.
//!
//! As in Erlang: `~/.erlang.cookie`, mode 0400, one line. A missing file is created with 32 random letters. It appears
//! whole or not at all, so two nodes that start at the same time use the same secret.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use node::Cookie;

use super::value;

const LETTERS: usize = 32;

/// The secret in the file. Creates the file if it is missing. An error says what is wrong and how to fix it.
pub(crate) fn read_or_make(path: &Path) -> Result<Cookie, (String, String)> {
    let unusable = |error: io::Error| {
        (
            format!("{}: {error}", path.display()),
            "name a file that can be read, or a directory to make it in".into(),
        )
    };
    if !path.exists() {
        make(path).map_err(unusable)?;
    }
    let file = fs::File::open(path).map_err(unusable)?;
    let facts = file.metadata().map_err(unusable)?;
    if !facts.is_file() {
        return Err((format!("{} is not a file", path.display()), "name another".into()));
    }
    if facts.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        return Err((format!("{path} can be read by others"), format!("chmod 400 {path}")));
    }
    let mut bytes = Vec::with_capacity(64);
    file.take(4096).read_to_end(&mut bytes).map_err(unusable)?;
    let secret = value::cookie(&bytes).map_err(|(problem, mend)| (format!("{} {problem}", path.display()), mend))?;
    Ok(Cookie::new(secret))
}

/// Writes a new secret to a draft and renames it, unless another process created the file first.
fn make(path: &Path) -> io::Result<()> {
    let mut unique = [0; 8];
    fill(&mut unique)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = path.with_file_name(format!("{name}.{:x}", u64::from_ne_bytes(unique)));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&draft)
        .and_then(|mut file| file.write_all(random_letters()?.as_bytes()))
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    // The draft is no longer needed.
    let removed = fs::remove_file(&draft);
    written.and(removed)
}

fn random_letters() -> io::Result<String> {
    let mut letters = String::with_capacity(LETTERS);
    while letters.len() < LETTERS {
        let mut byte = [0];
        fill(&mut byte)?;
        // The largest multiple of 26 within a byte, so each letter is equally likely.
        if byte[0] < 234 {
            letters.push(char::from(b'A' + byte[0] % 26));
        }
    }
    Ok(letters)
}

fn fill(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    #[test]
    fn a_missing_file_is_made_and_read_back() {
        let dir = TestDir::new();
        let path = dir.join("cookie");
        read_or_make(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.len() == LETTERS && text.bytes().all(|b| b.is_ascii_uppercase()),
            "{text}"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
        read_or_make(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "a second start keeps it");
        assert_eq!(fs::read_dir(&*dir).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn what_others_can_read_is_no_secret() {
        let dir = TestDir::new();
        let path = dir.join("cookie");
        fs::write(&path, "SECRET\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let (problem, mend) = read_or_make(&path).unwrap_err();
        assert!(
            problem.contains("read by others") && mend.starts_with("chmod 400"),
            "{problem}; {mend}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        read_or_make(&path).unwrap();
    }

    #[test]
    fn bad_contents_are_named() {
        let dir = TestDir::new();
        for (contents, part) in [
            ("", "empty"),
            (" \n", "empty"),
            ("a b", "spaces"),
            (&"x".repeat(300), "longer"),
        ] {
            let path = dir.join("bad");
            let _ = fs::remove_file(&path);
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let (problem, _) = read_or_make(&path).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }
}
