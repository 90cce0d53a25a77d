//! Marker segments (T.800 annex A, T.814 annex A): how the picture is cut and coded, and the bytes of each
//! tile.
//!
//! What changes how samples come out and is not supported is refused by name; what is only an index or a
//! comment is passed over.

use super::{
    coding::{Coding, Quantization},
    damaged,
};
use crate::{RadiographError, markers::u16_at};

pub(super) struct Codestream<'a> {
    /// Left, top, right and bottom of the picture, of the first tile (of which left and top count).
    pub(super) picture: [u32; 4],
    pub(super) tile_origin: [u32; 2],
    /// Width and height.
    pub(super) tile_size: [u32; 2],
    pub(super) order: Order,
    pub(super) layers: u32,
    /// Whether the first three components are one lightness and two differences.
    pub(super) is_colour: bool,
    pub(super) has_packet_ends: bool,
    pub(super) components: Vec<Component>,
    /// Parts of each tile, row by row.
    pub(super) tiles: Vec<Vec<&'a [u8]>>,
}

/// Which packets come first.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Layer,
    Resolution,
    ResolutionPlace,
    Place,
    Component,
}

#[derive(Clone)]
pub(super) struct Component {
    /// Bits a sample.
    pub(super) precision: u32,
    pub(super) coding: Coding,
    pub(super) quantization: Quantization,
}

impl<'a> Codestream<'a> {
    /// `precisions` are those that the SIZ segment says.
    pub(super) fn parse(stream: &'a [u8], precisions: &[u8]) -> Result<Self, RadiographError> {
        let mut reader = Reader { stream, at: 2 };
        let (marker, siz) = reader.segment()?;
        if marker != SIZ {
            return Err(damaged(format!("begins with marker {marker:04X}, expected SIZ (FF51)")));
        }
        let [right, bottom, left, top, tile_width, tile_height, tile_left, tile_top] = siz
            .get(2..34)
            .ok_or_else(|| damaged("a short SIZ segment"))?
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_be_bytes(*word))
            .collect::<Vec<_>>()[..]
        else {
            return Err(damaged("a short SIZ segment"));
        };
        let covers = |origin: u32, size: u32, start: u32| {
            origin <= start && u64::from(start) < u64::from(origin) + u64::from(size)
        };
        if !covers(tile_left, tile_width, left) || !covers(tile_top, tile_height, top) {
            return Err(damaged("the first tile is beside the picture"));
        }
        let across = u64::from(right.saturating_sub(tile_left)).div_ceil(tile_width.into());
        let down = u64::from(bottom.saturating_sub(tile_top)).div_ceil(tile_height.into());
        if across * down > 65_535 {
            return Err(damaged(format!("{} tiles, at most 65535 are allowed", across * down)));
        }
        let mut header = Header::new(precisions.len());
        loop {
            match reader.segment()? {
                (SOT, body) => {
                    let (style, components) = header.finish(precisions)?;
                    let tiles = tiles(&mut reader, body, (across * down) as usize)?;
                    return Ok(Self {
                        picture: [left, top, right, bottom],
                        tile_origin: [tile_left, tile_top],
                        tile_size: [tile_width, tile_height],
                        order: style.order,
                        layers: style.layers,
                        is_colour: style.is_colour,
                        has_packet_ends: style.has_packet_ends,
                        components,
                        tiles,
                    });
                }
                (marker, body) => header.take(marker, body)?,
            }
        }
    }
}

/// Parts of each tile; the body of the first one's SOT segment is read.
fn tiles<'a>(
    reader: &mut Reader<'a>,
    first: &'a [u8],
    count: usize,
) -> Result<Vec<Vec<&'a [u8]>>, RadiographError> {
    let mut tiles = vec![Vec::new(); count];
    let mut body = first;
    loop {
        let [t1, t0, p3, p2, p1, p0, part, _parts] = *body else {
            return Err(damaged("a SOT segment of a wrong length"));
        };
        let tile = usize::from(u16::from_be_bytes([t1, t0]));
        let Some(parts) = tiles.get_mut(tile) else {
            return Err(damaged(format!("tile {tile} of {count}")));
        };
        if parts.len() != usize::from(part) {
            return Err(damaged(format!(
                "part {part} of tile {tile}, expected its part {}",
                parts.len()
            )));
        }
        let start = reader.at - 12; // of the marker SOT
        loop {
            match reader.marker()? {
                SOD => break,
                marker @ (PLT | COM) => drop(reader.body(marker)?),
                marker => return Err(unsupported(marker, "in the header of a tile")),
            }
        }
        let rest = &reader.stream[reader.at..];
        let length = match u32::from_be_bytes([p3, p2, p1, p0]) as usize {
            // To the end of the stream, which DICOM fills up to an even length.
            0 => rest.strip_suffix(&[0]).unwrap_or(rest).len().checked_sub(2),
            length => (start + length).checked_sub(reader.at),
        };
        let bytes = length.and_then(|length| rest.get(..length));
        let bytes = bytes.ok_or_else(|| damaged(format!("cut in tile {tile}")))?;
        parts.push(bytes);
        reader.at += bytes.len();
        match reader.marker()? {
            EOC => return Ok(tiles),
            SOT => body = reader.body(SOT)?,
            marker => return Err(unsupported(marker, "between tiles")),
        }
    }
}

/// What the segments of the main header have said.
struct Header {
    is_high_throughput: bool,
    style: Option<Style>,
    coding: Option<Coding>,
    quantization: Option<Quantization>,
    own_coding: Vec<Option<Coding>>,
    own_quantization: Vec<Option<Quantization>>,
}

#[derive(Clone, Copy)]
struct Style {
    order: Order,
    layers: u32,
    is_colour: bool,
    has_packet_ends: bool,
}

impl Header {
    fn new(components: usize) -> Self {
        Self {
            is_high_throughput: false,
            style: None,
            coding: None,
            quantization: None,
            own_coding: vec![None; components],
            own_quantization: vec![None; components],
        }
    }

    fn take(&mut self, marker: u16, body: &[u8]) -> Result<(), RadiographError> {
        let short = || damaged(format!("a short segment {marker:04X}"));
        let components = self.own_coding.len();
        // One byte for a component, as long as there are few.
        let own = |body: &[u8]| -> Option<(usize, usize)> {
            let (component, size) = match components {
                0..257 => ((*body.first()?).into(), 1),
                _ => (u16_at(body, 0).ok()?.into(), 2),
            };
            (component < components).then_some((component, size))
        };
        match marker {
            CAP => self.is_high_throughput = body.get(1).ok_or_else(short)? & 2 != 0,
            COD => {
                let [style, order, l1, l0, transform, coding @ ..] = body else {
                    return Err(short());
                };
                let order = match order {
                    0 => Order::Layer,
                    1 => Order::Resolution,
                    2 => Order::ResolutionPlace,
                    3 => Order::Place,
                    4 => Order::Component,
                    _ => return Err(damaged(format!("progression {order}, expected 0 to 4"))),
                };
                let layers = u32::from(u16::from_be_bytes([*l1, *l0]));
                if layers == 0 {
                    return Err(damaged("0 layers, expected 1 or more"));
                }
                let is_colour = *transform != 0 && components >= 3;
                let has_packet_ends = style & 4 != 0;
                self.style = Some(Style { order, layers, is_colour, has_packet_ends });
                self.coding = Some(Coding::parse(coding, style & 1 != 0)?);
            }
            COC => {
                let (component, size) = own(body).ok_or_else(short)?;
                let [style, coding @ ..] = &body[size..] else { return Err(short()) };
                self.own_coding[component] = Some(Coding::parse(coding, style & 1 != 0)?);
            }
            QCD => self.quantization = Some(Quantization::parse(body).ok_or_else(short)?),
            QCC => {
                let (component, size) = own(body).ok_or_else(short)?;
                let own = Quantization::parse(&body[size..]).ok_or_else(short)?;
                self.own_quantization[component] = Some(own);
            }
            TLM | PLM | CRG | COM | PRF | CPF => {}
            marker => return Err(unsupported(marker, "in the header")),
        }
        Ok(())
    }

    fn finish(self, precisions: &[u8]) -> Result<(Style, Vec<Component>), RadiographError> {
        let missing = |name: &str| damaged(format!("{name} is missing"));
        if !self.is_high_throughput {
            return Err(damaged("no CAP segment that says HTJ2K, expected one"));
        }
        let style = self.style.ok_or_else(|| missing("COD"))?;
        let mut components = Vec::with_capacity(precisions.len());
        let own = self.own_coding.into_iter().zip(self.own_quantization);
        for (precision, (coding, quantization)) in precisions.iter().zip(own) {
            let coding = coding.or_else(|| self.coding.clone()).ok_or_else(|| missing("COD"))?;
            let quantization =
                quantization.or_else(|| self.quantization.clone()).ok_or_else(|| missing("QCD"))?;
            if coding.is_reversible != quantization.is_reversible() {
                return Err(damaged("a wavelet and steps that do not belong together"));
            }
            components.push(Component { precision: (*precision).into(), coding, quantization });
        }
        if let ([one, two, three, ..], true) = (&components[..], style.is_colour) {
            let alike = |other: &Component| other.coding.is_reversible == one.coding.is_reversible;
            if !alike(two) || !alike(three) {
                return Err(damaged("colours of different wavelets"));
            }
        }
        Ok((style, components))
    }
}

struct Reader<'a> {
    stream: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn segment(&mut self) -> Result<(u16, &'a [u8]), RadiographError> {
        let marker = self.marker()?;
        Ok((marker, self.body(marker)?))
    }

    fn marker(&mut self) -> Result<u16, RadiographError> {
        let marker = u16_at(self.stream, self.at).map_err(|_| damaged("cut before a marker"))?;
        self.at += 2;
        Ok(marker)
    }

    fn body(&mut self, marker: u16) -> Result<&'a [u8], RadiographError> {
        let cut = || damaged(format!("cut in segment {marker:04X}"));
        let length = usize::from(u16_at(self.stream, self.at).map_err(|_| cut())?);
        let body = self.stream.get(self.at + 2..self.at + length).ok_or_else(cut)?;
        self.at += length;
        Ok(body)
    }
}

fn unsupported(marker: u16, place: &str) -> RadiographError {
    let name = match marker {
        0xFF5E => "regions of interest (RGN)",
        0xFF5F => "changes of progression (POC)",
        0xFF60 | 0xFF61 => "packed packet headers (PPM, PPT)",
        COD | COC | QCD | QCC => "tiles of different coding",
        _ => return damaged(format!("marker {marker:04X} {place} is not supported")),
    };
    damaged(format!("{name} are not supported"))
}

const CAP: u16 = 0xFF50;
const SIZ: u16 = 0xFF51;
const COD: u16 = 0xFF52;
const COC: u16 = 0xFF53;
const TLM: u16 = 0xFF55;
const PRF: u16 = 0xFF56;
const PLM: u16 = 0xFF57;
const PLT: u16 = 0xFF58;
const CPF: u16 = 0xFF59;
const QCD: u16 = 0xFF5C;
const QCC: u16 = 0xFF5D;
const CRG: u16 = 0xFF63;
const COM: u16 = 0xFF64;
const SOT: u16 = 0xFF90;
const SOD: u16 = 0xFF93;
const EOC: u16 = 0xFFD9;
