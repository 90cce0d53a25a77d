//! How a tile is cut: components into resolutions, resolutions into bands and precincts, and what of a band
//! lies in a precinct into code-blocks (T.800 annex B).

use super::{
    coded,
    codestream::{Codestream, Component},
    damaged,
    tag_tree::TagTree,
};
use crate::RadiographError;

/// Code-blocks of a tile, and its packets: 28 million pixels in blocks of 16x16 are a tenth.
const MOST: u64 = 1 << 20;

/// What may still be cut.
struct Budget {
    precincts: u64,
    blocks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) right: u32,
    pub(super) bottom: u32,
}

impl Area {
    pub(super) fn width(self) -> usize {
        self.right.saturating_sub(self.left) as usize
    }

    pub(super) fn height(self) -> usize {
        self.bottom.saturating_sub(self.top) as usize
    }

    pub(super) fn is_empty(self) -> bool {
        self.width() == 0 || self.height() == 0
    }

    pub(super) fn within(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// The samples that are left when every `2^power`-th is kept, from the `first` on.
    fn thinned(self, power: u32, first: [u64; 2]) -> Self {
        let thin = |at: u32, first: u64| {
            let offset = first << power >> 1; // half of what is between two samples that are kept
            u64::from(at).saturating_sub(offset).div_ceil(1 << power) as u32
        };
        Self {
            left: thin(self.left, first[0]),
            top: thin(self.top, first[1]),
            right: thin(self.right, first[0]),
            bottom: thin(self.bottom, first[1]),
        }
    }

    /// The cells of a grid of `2^width x 2^height` that it touches, row by row.
    fn cells(self, [width, height]: [u32; 2]) -> Grid {
        let is_empty = self.is_empty();
        let span = |low: u32, high: u32, power: u32| {
            let first = low >> power;
            (first, if is_empty { 0 } else { ((high - 1) >> power) + 1 - first })
        };
        let (left, across) = span(self.left, self.right, width);
        let (top, down) = span(self.top, self.bottom, height);
        Grid { left, top, across, down, width, height }
    }
}

/// Cells of equal size.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    left: u32,
    top: u32,
    pub(super) across: u32,
    pub(super) down: u32,
    width: u32,
    height: u32,
}

impl Grid {
    pub(super) fn count(self) -> u64 {
        u64::from(self.across) * u64::from(self.down)
    }

    fn areas(self) -> impl Iterator<Item = Area> {
        let edge = |at: u32, power: u32| (u64::from(at) << power).min(u32::MAX.into()) as u32;
        (0..self.down).flat_map(move |y| {
            (0..self.across).map(move |x| Area {
                left: edge(self.left + x, self.width),
                top: edge(self.top + y, self.height),
                right: edge(self.left + x + 1, self.width),
                bottom: edge(self.top + y + 1, self.height),
            })
        })
    }
}

/// One component of a tile: its resolutions from the lowest to the highest.
pub(super) struct TileComponent<'a> {
    pub(super) resolutions: Vec<Resolution<'a>>,
}

pub(super) struct Resolution<'a> {
    pub(super) area: Area,
    pub(super) bands: Vec<Band>,
    pub(super) precincts: Vec<Precinct<'a>>,
}

pub(super) struct Band {
    pub(super) area: Area,
    /// Whether it has the high frequencies across, and down.
    pub(super) high: [bool; 2],
    /// Bit-planes.
    pub(super) planes: u32,
    /// What one step of a coefficient is; only where the wavelet is not reversible.
    pub(super) step: f32,
}

pub(super) struct Precinct<'a> {
    /// Where it begins on the picture's grid: what the order of packets by place goes by.
    pub(super) place: [u32; 2],
    /// For each band of the resolution.
    pub(super) parts: Vec<Part<'a>>,
}

/// What a precinct has of a band.
pub(super) struct Part<'a> {
    pub(super) blocks: Vec<Block<'a>>,
    pub(super) inclusion: TagTree,
    pub(super) missing: TagTree,
}

pub(super) struct Block<'a> {
    pub(super) area: Area,
    pub(super) missing: u32,
    /// Bits of a length, before those that the passes add; 0 until the block is in a packet.
    pub(super) length_bits: u32,
    pub(super) passes: u32,
    pub(super) cleanup: &'a [u8],
    pub(super) refinement: Vec<u8>,
}

/// The area of a tile.
pub(super) fn area(stream: &Codestream<'_>, tile: usize) -> Area {
    let [left, top, right, bottom] = stream.picture;
    let [width, height] = stream.tile_size;
    let across = (right - stream.tile_origin[0]).div_ceil(width);
    let start =
        |origin: u32, size: u32, at: u32| u64::from(origin) + u64::from(size) * u64::from(at);
    let clip = |at: u64| at.min(u32::MAX.into()) as u32;
    let [x, y] = [tile as u32 % across, tile as u32 / across];
    let (x0, y0) =
        (start(stream.tile_origin[0], width, x), start(stream.tile_origin[1], height, y));
    Area {
        left: clip(x0),
        top: clip(y0),
        right: clip(x0 + u64::from(width)),
        bottom: clip(y0 + u64::from(height)),
    }
    .within(Area { left, top, right, bottom })
}

/// Cuts all components of a tile. `bytes` is how many there are of it: each packet takes one or more.
pub(super) fn cut<'a>(
    stream: &Codestream<'_>,
    tile: Area,
    bytes: usize,
) -> Result<Vec<TileComponent<'a>>, RadiographError> {
    let precincts = MOST.min(bytes as u64) / u64::from(stream.layers.max(1));
    let mut budget = Budget { precincts, blocks: MOST };
    let cut = |component| TileComponent::cut(component, tile, &mut budget);
    stream.components.iter().map(cut).collect()
}

impl TileComponent<'_> {
    fn cut(
        component: &Component,
        tile: Area,
        budget: &mut Budget,
    ) -> Result<Self, RadiographError> {
        let resolutions = (0..=component.coding.levels)
            .map(|resolution| Resolution::cut(component, tile, resolution, budget))
            .collect::<Result<_, _>>()?;
        Ok(Self { resolutions })
    }
}

impl Resolution<'_> {
    fn cut(
        component: &Component,
        tile: Area,
        resolution: u32,
        budget: &mut Budget,
    ) -> Result<Self, RadiographError> {
        let coding = &component.coding;
        let above = coding.levels - resolution;
        let area = tile.thinned(above, [0, 0]);
        let kinds: &[[bool; 2]] = match resolution {
            0 => &[[false, false]],
            _ => &[[true, false], [false, true], [true, true]],
        };
        let mut bands = Vec::with_capacity(kinds.len());
        for (at, high) in kinds.iter().enumerate() {
            let index = if resolution == 0 { 0 } else { 3 * resolution as usize - 2 + at };
            let (planes, step) = component.quantization.of_band(index).ok_or_else(|| {
                damaged(format!("no step for band {index} of {}", 3 * coding.levels + 1))
            })?;
            if planes > coded::PLANES {
                let most = coded::PLANES;
                return Err(damaged(format!(
                    "{planes} bit-planes in a band, at most {most} are read"
                )));
            }
            let gain = high.iter().filter(|high| **high).count() as u32;
            let range = (1u64 << (component.precision + gain)) as f32;
            let power = if resolution == 0 { above } else { above + 1 };
            let band = tile.thinned(power, high.map(u64::from));
            bands.push(Band { area: band, high: *high, planes, step: step * range });
        }
        let size = coding.precincts[resolution as usize];
        let cells = area.cells(size);
        // In a band, half as wide and high.
        let size = if resolution == 0 { size } else { size.map(|power| power - 1) };
        let block = [0, 1].map(|side| coding.block[side].min(size[side]));
        budget.precincts = budget.precincts.checked_sub(cells.count()).ok_or_else(|| {
            damaged(format!("more packets in a tile than it has bytes, or more than {MOST}"))
        })?;
        let mut precincts = Vec::with_capacity(cells.count() as usize);
        for cell in cells.areas() {
            let halved = |at: u32| if resolution == 0 { at } else { at.div_ceil(2) };
            let in_band = Area {
                left: halved(cell.left),
                top: halved(cell.top),
                right: halved(cell.right),
                bottom: halved(cell.bottom),
            };
            let parts =
                bands.iter().map(|band| Part::cut(in_band.within(band.area), block, budget));
            let on_grid = |at: u32, start: u32| {
                (u64::from(at) << above).min(u32::MAX.into()).max(start.into()) as u32
            };
            precincts.push(Precinct {
                place: [on_grid(cell.left, tile.left), on_grid(cell.top, tile.top)],
                parts: parts.collect::<Result<_, _>>()?,
            });
        }
        Ok(Self { area, bands, precincts })
    }
}

impl Part<'_> {
    fn cut(area: Area, size: [u32; 2], budget: &mut Budget) -> Result<Self, RadiographError> {
        let cells = area.cells(size);
        budget.blocks = budget
            .blocks
            .checked_sub(cells.count())
            .ok_or_else(|| damaged(format!("more than {MOST} blocks in a tile")))?;
        let blocks = cells.areas().map(|cell| Block {
            area: cell.within(area),
            missing: 0,
            length_bits: 0,
            passes: 0,
            cleanup: &[],
            refinement: Vec::new(),
        });
        let size = [cells.across as usize, cells.down as usize];
        Ok(Self {
            blocks: blocks.collect(),
            inclusion: TagTree::new(size),
            missing: TagTree::new(size),
        })
    }
}
