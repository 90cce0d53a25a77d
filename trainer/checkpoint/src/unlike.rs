//! What people have in place of a file of weights, said so that they know what to do.

/// Eight bytes of length and the brace of the JSON that is so long.
pub(crate) fn begins_as_safetensors(file: &[u8]) -> bool {
    // A header may be 100 MB, so the last three bytes of its length are zero.
    file.get(8) == Some(&b'{') && file[5..8] == [0; 3]
}

/// What a file is that holds no weights we read, by its first bytes.
pub(crate) fn weights(file: &[u8]) -> String {
    let text = file.trim_ascii_start();
    let begins = |text: &[u8], with: &str| {
        text.get(..with.len()).is_some_and(|own| own.eq_ignore_ascii_case(with.as_bytes()))
    };
    let known = match file {
        [] => "empty",
        [0x1f, 0x8b, ..] => "packed by gzip, which has to be unpacked first",
        [0x89, b'H', b'D', b'F', ..] => "an HDF5 file, as Keras writes them",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        _ if begins(text, "version https://git-lfs") => {
            "a pointer of Git LFS in place of the weights, which `git lfs pull` fetches"
        }
        _ if begins(text, "<!doctype") || begins(text, "<html") || begins(text, "<?xml") => {
            "a web page in place of the weights: the download was refused"
        }
        _ if text.starts_with(b"{") => "JSON, as the list of weights in several files is",
        _ if begins_as_safetensors(file) => "a safetensors file",
        _ => return format!("begins with {:02x?}", file.get(..4).unwrap_or(file)),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn what_is_no_file_of_weights_is_called_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let files: [(&[u8], &str); 7] = [
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
                "git lfs pull",
            ),
            (b"\n<!DOCTYPE html><html>Too many users have viewed this file", "a web page"),
            (b"{\"weight_map\": {\"conv1.weight\": \"model-00001-of-00002.safetensors\"}}", "JSON"),
            (&[0x1f, 0x8b, 8, 0], "gzip"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"", "empty"),
            (b"GIF89a", "begins with [47, 49, 46, 38]"),
        ];
        for (bytes, found) in files {
            for name in ["model.safetensors", "model.pt"] {
                let path = folder.path().join(name);
                fs::write(&path, bytes).unwrap();
                assert!(!crate::is_safetensors(&path).unwrap());
                let safe = crate::read_tensors(&path).unwrap_err().to_string();
                let torch = crate::torch_file::read(&path).unwrap_err().to_string();
                for error in [safe, torch] {
                    assert!(error.contains(found) && error.contains(name), "{error}");
                    assert!(error.contains("expected a safetensors file"), "{error}");
                }
            }
        }
    }
}
