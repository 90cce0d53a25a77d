//! Limits by simulation: what the reference's own images do when nothing has changed.
//!
//! A world is a bootstrap of the reference: n images drawn from it with replacement stand for the reference, and the
//! stream is drawn from all n. So a limit knows how features hang together, how many there are, and how far a reference
//! of n images is from the truth: a small one has wide limits.

use crate::{
    charts::{Charts, PAIR},
    pixels::GREYS,
    table::Table,
    windows::Window,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde::{Deserialize, Serialize};

/// Where something is called a change. Distances of windows are those times nN / (n + N).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) charts: [f32; PAIR],
    /// By the number of images, ascending.
    pub(crate) windows: Vec<WindowLimits>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WindowLimits {
    /// From so many images on.
    pub(crate) images: u32,
    pub(crate) ks: f64,
    pub(crate) psi: f64,
    pub(crate) greys: f64,
}

impl Limits {
    /// Those of a window; none if it has too few images to be judged. Between two sizes those of the smaller, which are
    /// the wider ones.
    pub(crate) fn window(&self, images: u32) -> Option<&WindowLimits> {
        self.windows.iter().rev().find(|limits| limits.images <= images)
    }
}

/// One false alarm in so many images, everything together.
pub const STUDIES_PER_FALSE_ALARM: f64 = 10_000.0;
/// The charts of all images have a quarter of it, those of the sources together another.
const CHART_SHARE: f64 = 0.25;
/// A week and a month, of all images and of the sources.
const WINDOW_SHARE: f64 = 0.125;
/// Images of a window for which limits are simulated; a window with fewer than the first is not judged.
const WINDOWS: [u32; 7] = [50, 100, 200, 400, 800, 1600, 3200];
/// Images that a chart is followed for. It begins anew with each world.
const HORIZON: usize = 2000;
/// Windows that are drawn in one world: drawing a world costs as much as a few.
const WINDOWS_A_WORLD: usize = 8;
const SEED: u64 = 0x64_72_69_66_74;

/// How long to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Worlds for the charts.
    pub worlds: usize,
    /// Windows that pass a limit, on which its place rests.
    pub passing: usize,
}

impl Effort {
    /// For a bundle: rates are right to about 12 % for the charts and 30 % for a window.
    pub const FULL: Self = Self { worlds: 1500, passing: 12 };
    /// For tests.
    pub const QUICK: Self = Self { worlds: 200, passing: 3 };
}

/// What is known of the reference's images: for each feature their order, and their grey levels.
pub(crate) struct Origin<'a> {
    /// `[feature][image]`: 0 for the smallest value, equal for equal ones, without gaps.
    pub(crate) orders: Vec<Vec<u16>>,
    pub(crate) greys: Vec<&'a [f32; GREYS]>,
}

pub(crate) fn limits(origin: &Origin<'_>, slacks: [f32; PAIR], effort: Effort) -> Limits {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let charts = charts(origin, slacks, effort.worlds, &mut random);
    let windows = WINDOWS.map(|images| window(origin, images, effort.passing, &mut random));
    Limits { charts, windows: windows.to_vec() }
}

fn charts(
    origin: &Origin<'_>,
    slacks: [f32; PAIR],
    worlds: usize,
    random: &mut ChaCha8Rng,
) -> [f32; PAIR] {
    let alarms = CHART_SHARE * HORIZON as f64 / STUDIES_PER_FALSE_ALARM;
    let follow = |random: &mut ChaCha8Rng| {
        let world = World::draw(origin, random);
        let (mut charts, mut largest) = (Charts::new(origin.orders.len(), slacks), [0.0_f32; PAIR]);
        for _ in 0..HORIZON {
            charts.add(&world.table, world.ranks(below(random, origin.greys.len())));
            let now = charts.largest();
            largest.iter_mut().zip(now).for_each(|(most, sum)| *most = most.max(sum));
        }
        largest.map(f64::from)
    };
    let all: Vec<_> = (0..worlds).map(|_| follow(random)).collect();
    passed_by(&all, 1.0 - libm::exp(-alarms)).map(|limit| limit as f32)
}

fn window(
    origin: &Origin<'_>,
    images: u32,
    passing: usize,
    random: &mut ChaCha8Rng,
) -> WindowLimits {
    let share = (WINDOW_SHARE * f64::from(images) / STUDIES_PER_FALSE_ALARM).min(0.1);
    let wanted = (passing as f64 / share) as usize;
    let mut all = Vec::with_capacity(wanted + WINDOWS_A_WORLD);
    while all.len() < wanted {
        let world = World::draw(origin, random);
        let mut window = Window::new(&world.table);
        for _ in 0..WINDOWS_A_WORLD {
            window.clear();
            for _ in 0..images {
                let image = below(random, origin.greys.len());
                window.add(&world.table, world.ranks(image), origin.greys[image]);
            }
            let weight = window.weight(&world.table);
            let (mut ks, mut psi) = (0.0_f64, 0.0_f64);
            for distance in window.distances(&world.table) {
                (ks, psi) = (ks.max(distance.ks), psi.max(distance.psi));
            }
            all.push([ks * ks * weight, psi * weight, window.greys(&world.table) * weight]);
        }
    }
    let [ks, psi, greys] = passed_by(&all, share);
    WindowLimits { images, ks, psi, greys }
}

/// For each figure a limit, all equally rare, so that no more than `share` of the rows pass one or more.
fn passed_by<const N: usize>(rows: &[[f64; N]], share: f64) -> [f64; N] {
    let sorted: [Vec<f64>; N] = std::array::from_fn(|at| {
        let mut column: Vec<f64> = rows.iter().map(|row| row[at]).collect();
        column.sort_unstable_by(|a, b| b.total_cmp(a));
        column
    });
    // How rare a row is: the fewest rows that lie above it in some figure.
    let above = |row: &[f64; N]| {
        let place = |at: usize| sorted[at].partition_point(|other| *other > row[at]);
        (0..N).map(place).min().unwrap_or_default()
    };
    let mut rarest: Vec<usize> = rows.iter().map(above).collect();
    rarest.sort_unstable();
    let allowed = (share * rows.len() as f64) as usize;
    let cut = rarest[allowed.min(rarest.len() - 1)];
    std::array::from_fn(|at| sorted[at][cut])
}

/// A reference that might have been.
struct World {
    table: Table,
    /// `[image][feature]`
    ranks: Vec<u16>,
}

impl World {
    fn draw(origin: &Origin<'_>, random: &mut ChaCha8Rng) -> Self {
        let (images, features) = (origin.greys.len(), origin.orders.len());
        let drawn: Vec<usize> = (0..images).map(|_| below(random, images)).collect();
        let mut ranks = vec![0_u16; images * features];
        let (mut counts, mut ranks_of_order) = (Vec::new(), Vec::new());
        for (feature, orders) in origin.orders.iter().enumerate() {
            counts.clear();
            counts.resize(images, 0_u16);
            drawn.iter().for_each(|image| counts[usize::from(orders[*image])] += 1);
            ranks_of_order.clear();
            let mut below = 0;
            for count in &counts {
                ranks_of_order.push(2 * below + count);
                below += count;
            }
            for (image, order) in orders.iter().enumerate() {
                ranks[image * features + feature] = ranks_of_order[usize::from(*order)];
            }
        }
        let of = |feature: usize| drawn.iter().map(|at| ranks[at * features + feature]).collect();
        let greys = drawn.iter().map(|at| origin.greys[*at]);
        Self { table: Table::new(images, features, of, greys), ranks }
    }

    fn ranks(&self, image: usize) -> &[u16] {
        let features = self.table.features();
        &self.ranks[image * features..(image + 1) * features]
    }
}

/// A number from 0 to `n` − 1.
fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(random.next_u32()) * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_passed_by_the_share_that_was_asked_for_and_equally_by_each_figure() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut uniform = || f64::from(random.next_u32()) / f64::from(u32::MAX);
        let rows: Vec<[f64; 2]> = (0..10_000).map(|_| [uniform(), uniform() * 50.0]).collect();
        let [a, b] = passed_by(&rows, 0.05);
        let passing = rows.iter().filter(|row| row[0] > a || row[1] > b).count();
        assert!((480..=500).contains(&passing), "{passing}");
        assert!((a - b / 50.0).abs() < 0.01, "{a} {b}");
    }

    #[test]
    fn a_window_has_the_limits_of_the_next_smaller_size() {
        let limits = |images| WindowLimits { images, ks: 0.0, psi: 0.0, greys: 0.0 };
        let all = Limits { charts: [1.0; 2], windows: vec![limits(50), limits(100)] };
        let of = |images| all.window(images).map(|limits| limits.images);
        assert_eq!(
            [of(49), of(50), of(99), of(100), of(9999)],
            [None, Some(50), Some(50), Some(100), Some(100)]
        );
    }
}
