//! The frames that are broadcast: each says which broadcast it is.

use farlan_crypto::NodeId;

/// The UDP port that all of them are for.
pub const PORT: u16 = 27_015;

/// Bytes of a frame.
const LENGTH: usize = 120;

/// Where the number of the broadcast stands.
const NUMBER: std::ops::Range<usize> = 42..50;

/// The frame of broadcast `number`, from the node with this id.
pub fn frame(from: &NodeId, number: u64) -> Vec<u8> {
    let mut frame = vec![0; LENGTH];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac(from));
    // IPv4 and UDP, as far as anybody here looks at it.
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[23] = 17;
    frame[36..38].copy_from_slice(&PORT.to_be_bytes());
    frame[NUMBER].copy_from_slice(&number.to_be_bytes());
    for (number, byte) in (0_u8..).zip(&mut frame[NUMBER.end..]) {
        *byte = number;
    }
    frame
}

/// The number of the broadcast that a frame says it is.
pub fn number(frame: &[u8]) -> Option<u64> {
    let bytes = frame.get(NUMBER)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Whether the frame's source is this node.
pub fn is_from(frame: &[u8], node: &NodeId) -> bool {
    frame.get(6..12) == Some(&mac(node))
}

fn mac(node: &NodeId) -> [u8; 6] {
    let id = node.as_bytes();
    [id[0] & 0xfe | 2, id[1], id[2], id[3], id[4], id[5]]
}
