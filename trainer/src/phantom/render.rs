//! From a build and its findings to a picture.
//!
//! Brightness is the sum of what the ray crosses: soft tissue and bone add, air takes away. Exposure and noise come last, as they do in the room.

use super::{
    anatomy::{Anatomy, Side},
    canvas::{Canvas, Clouds, Dice, sigmoid},
    findings::Finding,
};

/// A picture with its truth.
pub(super) struct Rendered {
    /// `[0, 1]`, 1 = white.
    pub(super) picture: Canvas,
    /// Soft fields of the right and left lung, in `[0, 1]`.
    pub(super) lungs: [Canvas; 2],
    /// What each finding added, in the order of the findings.
    pub(super) shadows: Vec<Canvas>,
}

pub(super) fn render(
    anatomy: &Anatomy,
    findings: &[Finding],
    width: usize,
    height: usize,
    dice: &mut Dice,
) -> Rendered {
    let mut shaped = anatomy.clone();
    findings.iter().for_each(|finding| finding.shape(&mut shaped));
    let lungs = Side::BOTH.map(|side| {
        let mut field = Canvas::new(width, height);
        field.fill(|x, y| shaped.lung(side, x, y));
        field
    });
    let shadows: Vec<Canvas> =
        findings.iter().map(|finding| finding.shadow(&shaped, &lungs, dice)).collect();

    let mut picture = soft_tissue(&shaped, &lungs, width, height, dice);
    vessels(&mut picture, &shaped, &lungs, findings, dice);
    bones(&mut picture, &shaped);
    for shadow in &shadows {
        picture.values.iter_mut().zip(&shadow.values).for_each(|(pixel, added)| *pixel += added);
    }
    expose(&mut picture, &shaped, dice);
    Rendered { picture, lungs, shadows }
}

fn soft_tissue(
    anatomy: &Anatomy,
    lungs: &[Canvas; 2],
    width: usize,
    height: usize,
    dice: &mut Dice,
) -> Canvas {
    let clouds = Clouds::new(dice, 0.09, 4);
    let air = dice.range(0.33, 0.40);
    let breast = if anatomy.female { dice.range(0.05, 0.10) } else { 0.0 };
    let breast_y = anatomy.dome[0] - dice.range(0.0, 0.06);
    let bubble = (dice.chance(0.6), dice.range(0.03, 0.05));
    let a = anatomy;
    let mut canvas = Canvas::new(width, height);
    canvas.fill(|x, y| {
        let body = a.body_shadow(x, y);
        if body < 1e-3 {
            return 0.0;
        }
        let out = (x - a.middle) / a.half_width;
        let depth = (1.0 - 0.30 * out * out).max(0.45);
        let belly = 0.10 * sigmoid((y - a.dome[0] - 0.03) / 0.05);
        let wall = 0.10 * sigmoid(((x - a.middle).abs() - a.rib_cage(y) - 0.01) / 0.02);
        let centre = 0.10 * libm::expf(-libm::powf((x - a.middle) / (a.mediastinum * 1.1), 2.0));
        let heart = 0.10 * a.heart_shadow(x, y);
        let breasts: f32 = Side::BOTH
            .iter()
            .map(|side| {
                let dx = (x - a.middle - side.sign() * a.half_width * 0.60) / 0.155;
                let dy = (y - breast_y) / 0.115;
                sigmoid((1.0 - (dx * dx + dy * dy).sqrt()) / 0.07)
            })
            .sum();
        let knob_x = (x - a.middle - a.mediastinum * 0.85) / 0.038;
        let knob_y = (y - a.apex - 0.185) / 0.042;
        let knob = 0.11 * sigmoid((1.0 - (knob_x * knob_x + knob_y * knob_y).sqrt()) / 0.12);
        let windpipe = 0.10
            * libm::expf(-libm::powf((x - a.middle + 0.004) / 0.016, 2.0))
            * sigmoid((0.36 - y) / 0.02);
        let stomach = if bubble.0 {
            let sx = (x - a.middle - a.half_width * 0.50) / 0.085;
            let sy = (y - a.dome[1] - 0.055) / bubble.1;
            0.20 * sigmoid((1.0 - (sx * sx + sy * sy).sqrt()) / 0.10)
        } else {
            0.0
        };
        let tissue = 0.50 * depth + belly + wall * 0.6 + centre + heart + breasts * breast + knob;
        body * (tissue + 0.030 * clouds.at(x, y) - windpipe - stomach)
    });
    // The lungs take tissue away, most where they are thickest.
    let fine = Clouds::new(dice, 0.022, 3);
    for (side, lung) in Side::BOTH.iter().zip(lungs) {
        let mut dark = Canvas::new(width, height);
        dark.fill(|x, y| {
            let out = (x - a.middle) * side.sign() / a.half_width;
            let thick = 0.80 + 0.20 * libm::sinf(3.1 * out.clamp(0.0, 1.0));
            let base = 0.92 - 0.18 * ((y - 0.45) / 0.35).clamp(-1.0, 1.0);
            air * thick * base + 0.022 * fine.at(x, y)
        });
        let pixels = canvas.values.iter_mut().zip(&lung.values).zip(&dark.values);
        pixels.for_each(|((pixel, inside), dark)| *pixel -= inside * dark);
    }
    canvas
}

/// Branching shadows that leave the hila and fade outwards; none where the lung has collapsed.
fn vessels(
    picture: &mut Canvas,
    anatomy: &Anatomy,
    lungs: &[Canvas; 2],
    findings: &[Finding],
    dice: &mut Dice,
) {
    let mut tree = Canvas::new(picture.width, picture.height);
    let congested = if findings.contains(&Finding::Edema) { 1.5 } else { 1.0 };
    for side in Side::BOTH {
        let (x, y) = (anatomy.middle + side.sign() * (anatomy.mediastinum + 0.022), 0.455);
        for _ in 0..4 {
            let (dx, dy) = (dice.range(-0.012, 0.02), dice.range(-0.05, 0.055));
            tree.blob(x + side.sign() * dx, y + dy, dice.range(0.014, 0.026), 0.045 * congested);
        }
        for branch in 0..11 {
            let angle = -1.25 + 2.65 * branch as f32 / 10.0 + dice.range(-0.12, 0.12);
            let width = dice.range(0.0042, 0.0066);
            let amount = 0.085 * congested;
            grow(&mut tree, side, Branch { at: (x, y), angle, width, amount, root: true }, dice);
        }
    }
    let collapse = findings.iter().find_map(|finding| match finding {
        Finding::Pneumothorax { side, depth } => Some((*side, *depth)),
        _ => None,
    });
    if let Some((side, depth)) = collapse {
        let mut kept = Canvas::new(tree.width, tree.height);
        kept.fill(|x, y| {
            let out = (x - anatomy.middle) * side.sign();
            let from_top = ((y - anatomy.apex) / (anatomy.widest - anatomy.apex)).max(0.0);
            let gap = depth * (1.25 - 0.55 * from_top).max(0.25);
            sigmoid((anatomy.rib_cage(y - depth * 0.8) - gap - out) / 0.003)
        });
        tree.values.iter_mut().zip(&kept.values).for_each(|(vessel, kept)| *vessel *= kept);
    }
    for (at, pixel) in picture.values.iter_mut().enumerate() {
        let inside = (lungs[0].values[at] + lungs[1].values[at]).min(1.0);
        *pixel += tree.values[at] * (0.15 + 0.85 * inside).min(1.0);
    }
}

/// The end of a vessel that still grows.
#[derive(Clone, Copy)]
struct Branch {
    at: (f32, f32),
    /// From outwards, downwards.
    angle: f32,
    width: f32,
    amount: f32,
    /// Leaves the hilum, rather than another branch.
    root: bool,
}

fn grow(tree: &mut Canvas, side: Side, from: Branch, dice: &mut Dice) {
    let Branch { at: (mut x, mut y), mut angle, mut width, mut amount, root } = from;
    let step = 0.0045;
    for walked in 0..55 {
        // Branches part at the hilum: at full strength from there, they would add up to a star.
        let apart = if root { ((walked + 1) as f32 / 9.0).min(1.0) } else { 1.0 };
        tree.blob(x, y, width, apart * amount * step / (width * 1.8));
        angle += dice.range(-0.10, 0.10) + 0.004;
        x += side.sign() * step * libm::cosf(angle);
        y += step * libm::sinf(angle);
        width = (width * 0.978).max(0.0016);
        amount *= 0.972;
        if walked > 10 && width > 0.0020 && dice.chance(0.07) {
            let turn = if dice.chance(0.5) { 0.55 } else { -0.55 };
            let (width, amount) = (width * 0.78, amount * 0.85);
            let side_branch =
                Branch { at: (x, y), angle: angle + turn, width, amount, root: false };
            grow(tree, side, side_branch, dice);
        }
    }
}

fn bones(picture: &mut Canvas, anatomy: &Anatomy) {
    let mut skeleton = Canvas::new(picture.width, picture.height);
    for side in Side::BOTH {
        for number in 0..9 {
            let faint = 1.0 - 0.06 * number as f32;
            skeleton.tube(&anatomy.rib(side, number, false), 0.0125, 0.088 * faint);
        }
        for number in 1..6 {
            skeleton.tube(&anatomy.rib(side, number, true), 0.0140, 0.052);
        }
        skeleton.tube(&anatomy.clavicle(side), 0.0140, 0.125);
        let blade_x = anatomy.middle + side.sign() * (anatomy.half_width + 0.015);
        skeleton.stamp(blade_x, 0.27, 0.20, |dx, dy| {
            let across = (dx - 0.30 * dy * side.sign()) / 0.055;
            0.040 * sigmoid((1.0 - across.abs()) / 0.12) * sigmoid((0.15 - dy.abs()) / 0.02)
        });
    }
    let spine = anatomy.middle;
    skeleton.stamp(spine, 0.5, 0.5, |dx, dy| {
        let y = dy + 0.5;
        let column = sigmoid((0.030 - dx.abs()) / 0.005);
        let discs = libm::sinf(y * 2.0 * std::f32::consts::PI / 0.062);
        let process = libm::expf(-(dx / 0.006) * (dx / 0.006)) * 0.35;
        column * (0.055 + 0.016 * discs + 0.03 * process)
    });
    // Bone overlying bone adds less than twice: the detector saturates.
    let pixels = picture.values.iter_mut().zip(&skeleton.values);
    pixels.for_each(|(pixel, bone)| *pixel += 0.17 * (1.0 - libm::expf(-bone / 0.11)));
}

/// Scatter, exposure, quantum noise, and the marker of the left side.
fn expose(picture: &mut Canvas, anatomy: &Anatomy, dice: &mut Dice) {
    let gain = dice.range(1.10, 1.45);
    let offset = dice.range(-0.06, 0.10);
    let gamma = dice.range(0.80, 1.25);
    let noise = dice.range(0.006, 0.020);
    let tilt = (dice.range(-0.05, 0.05), dice.range(-0.06, 0.06));
    let (width, height) = (picture.width, picture.height);
    let mut previous = 0.0;
    for (at, pixel) in picture.values.iter_mut().enumerate() {
        let (x, y) = ((at % width) as f32 / height as f32, (at / width) as f32 / height as f32);
        // Neighbours share light: the noise is a little smooth along the row.
        previous = 0.35 * previous + 0.94 * dice.normal();
        let lit = *pixel * gain + offset + tilt.0 * (x - 0.5) + tilt.1 * (y - 0.5);
        // The detector's shoulder: what is very bright is still told apart.
        let lit = if lit > 0.7 { 1.0 - 0.3 * libm::expf((0.7 - lit) / 0.3) } else { lit.max(0.0) };
        let shown = libm::powf(lit, gamma);
        let grain = noise * (1.25 - 0.6 * shown) * previous;
        *pixel = (shown + grain).clamp(0.0, 1.0);
    }
    // A lead "L" beside the patient's left shoulder.
    let x = (anatomy.middle + anatomy.half_width + 0.055).min(width as f32 / height as f32 - 0.05);
    let y = 0.045;
    let mut mark = Canvas::new(width, height);
    mark.tube(&[(x, y), (x, y + 0.036)], 0.0042, 1.0);
    mark.tube(&[(x, y + 0.034), (x + 0.022, y + 0.034)], 0.0042, 1.0);
    let pixels = picture.values.iter_mut().zip(&mark.values);
    pixels.for_each(|(pixel, lead)| *pixel = (*pixel + lead).min(0.97f32.max(*pixel)));
}
