//! Bytes as a gzip file of one member (RFC 1952). The compression itself is miniz_oxide's.

/// How hard it is tried, of ten.
const LEVEL: u8 = 6;
/// Magic number, deflate, no flags, no time, no further flags, system unknown.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The bytes, compressed.
pub(super) fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut file = HEAD.to_vec();
    file.append(&mut miniz_oxide::deflate::compress_to_vec(bytes, LEVEL));
    file.extend_from_slice(&crc32(bytes).to_le_bytes());
    // Of a length beyond 32 bits these are the lower ones (§2.3.1).
    let [a, b, c, d, ..] = (bytes.len() as u64).to_le_bytes();
    file.extend_from_slice(&[a, b, c, d]);
    file
}

/// RFC 1952 §8, bit by bit: a report is small.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_the_usual_one() {
        assert_eq!((crc32(b"123456789"), crc32(b"")), (0xcbf4_3926, 0));
    }

    #[test]
    fn a_file_has_head_body_and_tail() {
        let text = "to be or not to be ".repeat(50);
        let file = compressed(text.as_bytes());
        let (body, tail) = file[HEAD.len()..].split_at(file.len() - HEAD.len() - 8);
        assert_eq!(miniz_oxide::inflate::decompress_to_vec(body).unwrap(), text.as_bytes());
        assert_eq!(tail[4..], (text.len() as u32).to_le_bytes());
        assert!(file.len() < text.len() / 5 && file.starts_with(&HEAD));
    }
}
