//! Packets (T.800 annex B.9 to B.12, T.814 annex B): what each adds to the code-blocks of a precinct.

use super::{
    codestream::{Codestream, Order},
    damaged,
    header_bits::HeaderBits,
    tile::{Block, Part, TileComponent},
};
use crate::RadiographError;

/// Gives the blocks what the packets in `bytes` have of them. Every packet must be there, and nothing else.
pub(super) fn read<'a>(
    stream: &Codestream<'_>,
    components: &mut [TileComponent<'a>],
    mut bytes: &'a [u8],
) -> Result<(), RadiographError> {
    let packets = in_order(stream, components);
    let count = packets.len();
    for (at, packet) in packets.into_iter().enumerate() {
        let resolution =
            &mut components[packet.component as usize].resolutions[packet.resolution as usize];
        let planes: Vec<_> = resolution.bands.iter().map(|band| band.planes).collect();
        let parts = &mut resolution.precincts[packet.precinct as usize].parts;
        bytes = read_one(stream, parts, &planes, packet.layer, bytes)
            .map_err(|what| damaged(format!("packet {} of {count} {what}", at + 1)))?;
    }
    if !bytes.is_empty() {
        return Err(damaged(format!("{} bytes after the last packet of a tile", bytes.len())));
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Packet {
    layer: u32,
    resolution: u32,
    component: u32,
    precinct: u32,
    place: [u32; 2],
}

fn in_order(stream: &Codestream<'_>, components: &[TileComponent<'_>]) -> Vec<Packet> {
    let mut packets = Vec::new();
    for (component, found) in (0..).zip(components) {
        for (resolution, found) in (0..).zip(&found.resolutions) {
            for (precinct, found) in (0..).zip(&found.precincts) {
                let place = found.place;
                let packet = |layer| Packet { layer, resolution, component, precinct, place };
                packets.extend((0..stream.layers).map(packet));
            }
        }
    }
    packets.sort_unstable_by_key(|packet| {
        let Packet { layer, resolution, component, precinct, place: [x, y] } = *packet;
        match stream.order {
            Order::Layer => [layer, resolution, component, precinct, 0, 0],
            Order::Resolution => [resolution, layer, component, precinct, 0, 0],
            Order::ResolutionPlace => [resolution, y, x, component, precinct, layer],
            Order::Place => [y, x, component, resolution, precinct, layer],
            Order::Component => [component, y, x, resolution, precinct, layer],
        }
    });
    packets
}

const ENDS: &str = "is cut";

/// Returns what comes after the packet.
fn read_one<'a>(
    stream: &Codestream<'_>,
    parts: &mut [Part<'a>],
    planes: &[u32],
    layer: u32,
    bytes: &'a [u8],
) -> Result<&'a [u8], &'static str> {
    let bytes = match bytes {
        [0xFF, 0x91, 0, 4, _, _, rest @ ..] => rest, // SOP: the number of the packet
        _ => bytes,
    };
    let mut bits = HeaderBits::new(bytes);
    let mut added = Vec::new();
    if bits.next().ok_or(ENDS)? == 1 {
        for (at, (part, planes)) in parts.iter_mut().zip(planes).enumerate() {
            for block in 0..part.blocks.len() {
                let lengths = block_header(part, block, *planes, layer, &mut bits)?;
                if lengths != [0, 0] {
                    added.push((at, block, lengths));
                }
            }
        }
    }
    let mut rest = bits.finish().ok_or(ENDS)?;
    if stream.has_packet_ends {
        rest = rest.strip_prefix(&[0xFF, 0x92]).ok_or("lacks its end marker (EPH)")?;
    }
    for (part, block, lengths) in added {
        let block: &mut Block<'a> = &mut parts[part].blocks[block];
        let (cleanup, after) = rest.split_at_checked(lengths[0]).ok_or(ENDS)?;
        let (refinement, after) = after.split_at_checked(lengths[1]).ok_or(ENDS)?;
        if !cleanup.is_empty() {
            block.cleanup = cleanup;
        }
        block.refinement.extend_from_slice(refinement);
        rest = after;
    }
    Ok(rest)
}

/// The bytes that a packet has of a block: of its cleanup pass, and of the two that refine it.
fn block_header(
    part: &mut Part<'_>,
    at: usize,
    planes: u32,
    layer: u32,
    bits: &mut HeaderBits<'_>,
) -> Result<[usize; 2], &'static str> {
    let is_new = part.blocks[at].length_bits == 0;
    let is_included = match is_new {
        true => part.inclusion.below(at, layer + 1, bits).ok_or(ENDS)?.is_some(),
        false => bits.next().ok_or(ENDS)? == 1,
    };
    if !is_included {
        return Ok([0, 0]);
    }
    let block = &mut part.blocks[at];
    if is_new {
        block.length_bits = 3;
        let missing = part.missing.below(at, planes, bits).ok_or(ENDS)?;
        block.missing =
            missing.ok_or("has a block of more zero bit-planes than its band has planes")?;
    }
    let mut passes = passes(bits).ok_or(ENDS)?;
    while bits.next().ok_or(ENDS)? == 1 {
        block.length_bits += 1;
    }
    if block.length_bits > 30 {
        return Err("has a block of more than 2^30 bytes");
    }
    if block.passes + passes > 3 {
        return Err("has a block of more than three passes, which are not supported");
    }
    let mut lengths = [0; 2];
    if block.passes == 0 {
        lengths[0] = bits.take(block.length_bits).ok_or(ENDS)?;
        (block.passes, passes) = (1, passes - 1);
        if lengths[0] == 0 {
            return Err("has a block of placeholder passes, which are not supported");
        }
    }
    if passes > 0 {
        lengths[1] = bits.take(block.length_bits + passes.ilog2()).ok_or(ENDS)?;
        block.passes += passes;
    }
    Ok(lengths)
}

/// How many passes a packet adds to a block.
fn passes(bits: &mut HeaderBits<'_>) -> Option<u32> {
    for (length, first) in [(1, 1), (1, 2), (2, 3), (5, 6)] {
        let more = bits.take(length)? as u32;
        if more != (1 << length) - 1 {
            return Some(first + more);
        }
    }
    Some(37 + bits.take(7)? as u32)
}
