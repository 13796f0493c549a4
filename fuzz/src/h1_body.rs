//! Bodies: no panic, bounded, and the same data however the bytes arrive.

use plimsoll::http::head::Length;

use crate::decode;

/// The first byte chooses how the end is told, the second the size of the pieces.
pub fn run(data: &[u8]) {
    let [choice, piece, input @ ..] = data else {
        return;
    };
    let length = match choice % 4 {
        0 => Length::Exact(u64::from(choice / 4)),
        1 => Length::Close,
        _ => Length::Marked,
    };
    let whole = decode(length, input, input.len());
    assert_eq!(whole, decode(length, input, usize::from(*piece)));
    assert_eq!(whole, decode(length, input, 1));
    let Ok(whole) = whole else { return };
    assert!(whole.data.len() <= whole.consumed && whole.consumed <= input.len());
    assert!(whole.done || whole.consumed == input.len());
    if let Length::Exact(length) = length {
        assert_eq!(whole.done, input.len() as u64 >= length);
        assert_eq!(whole.consumed as u64, length.min(input.len() as u64));
    }
    if whole.done && length == Length::Marked {
        assert!(input[..whole.consumed].ends_with(b"\r\n\r\n"));
    }
}
