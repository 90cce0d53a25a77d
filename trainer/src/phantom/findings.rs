//! What may be wrong with a phantom: where it lies, how it looks, what it is called.

use super::{
    anatomy::{Anatomy, Side},
    canvas::{Canvas, Clouds, Dice, sigmoid},
};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    /// Patchy opacities in one zone; dense ones are called consolidation too.
    Pneumonia {
        side: Side,
        zone: Zone,
        dense: bool,
    },
    Cardiomegaly,
    Effusion {
        side: Side,
        level: f32,
    },
    Pneumothorax {
        side: Side,
        depth: f32,
    },
    Nodule {
        side: Side,
        zone: Zone,
        radius: f32,
    },
    Mass {
        side: Side,
        zone: Zone,
        radius: f32,
    },
    Edema,
    Atelectasis {
        side: Side,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    Upper,
    Mid,
    Lower,
}

impl Zone {
    const ALL: [Self; 3] = [Self::Upper, Self::Mid, Self::Lower];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Upper => "upper",
            Self::Mid => "mid",
            Self::Lower => "lower",
        }
    }
}

impl Finding {
    /// What one study shows; about two in five show nothing.
    pub(super) fn draw(dice: &mut Dice) -> Vec<Self> {
        if dice.chance(0.38) {
            return Vec::new();
        }
        let mut findings = vec![Self::draw_one(dice)];
        if dice.chance(0.35) {
            let second = Self::draw_one(dice);
            // Same kind, or two kinds that cannot be told apart in one lung.
            let crowded = |finding: &Self| {
                matches!(finding, Self::Pneumothorax { .. } | Self::Effusion { .. } | Self::Edema)
            };
            let clashes = |first: &Self| {
                std::mem::discriminant(first) == std::mem::discriminant(&second)
                    || (crowded(first) && crowded(&second))
            };
            if !findings.iter().any(clashes) {
                findings.push(second);
            }
        }
        findings
    }

    fn draw_one(dice: &mut Dice) -> Self {
        let side = *dice.pick(&Side::BOTH);
        let zone = *dice.pick(&Zone::ALL);
        match dice.range(0.0, 1.0) {
            p if p < 0.34 => Self::Pneumonia { side, zone, dense: dice.chance(0.5) },
            p if p < 0.50 => Self::Cardiomegaly,
            p if p < 0.64 => Self::Effusion { side, level: dice.range(0.10, 0.26) },
            p if p < 0.75 => Self::Pneumothorax { side, depth: dice.range(0.05, 0.12) },
            p if p < 0.84 => Self::Nodule { side, zone, radius: dice.range(0.013, 0.024) },
            p if p < 0.90 => Self::Mass { side, zone, radius: dice.range(0.040, 0.065) },
            p if p < 0.95 => Self::Edema,
            _ => Self::Atelectasis { side },
        }
    }

    /// Names among the fourteen of NIH ChestX-ray14.
    pub(super) fn labels(&self) -> &'static [&'static str] {
        match self {
            Self::Pneumonia { dense: true, .. } => &["Pneumonia", "Consolidation"],
            Self::Pneumonia { dense: false, .. } => &["Pneumonia", "Infiltration"],
            Self::Cardiomegaly => &["Cardiomegaly"],
            Self::Effusion { .. } => &["Effusion"],
            Self::Pneumothorax { .. } => &["Pneumothorax"],
            Self::Nodule { .. } => &["Nodule"],
            Self::Mass { .. } => &["Mass"],
            Self::Edema => &["Edema"],
            Self::Atelectasis { .. } => &["Atelectasis"],
        }
    }

    /// Changes the build rather than adding a shadow.
    pub(super) fn shape(&self, anatomy: &mut Anatomy) {
        match self {
            Self::Cardiomegaly => {
                let heart = &mut anatomy.heart;
                heart.across *= 1.32;
                heart.along *= 1.36;
                heart.y -= 0.015;
                heart.x += 0.008;
            }
            Self::Atelectasis { side } => anatomy.dome[usize::from(*side == Side::Left)] -= 0.03,
            _ => {}
        }
    }

    /// What it adds to the brightness (negative for air), cut to the lung. `lungs` are the soft lung fields, right and left.
    pub(super) fn shadow(&self, anatomy: &Anatomy, lungs: &[Canvas; 2], dice: &mut Dice) -> Canvas {
        let mut canvas = Canvas::new(lungs[0].width, lungs[0].height);
        match *self {
            Self::Pneumonia { side, zone, dense } => {
                patches(&mut canvas, anatomy, side, zone, dense, dice);
                multiply(&mut canvas, &[&lungs[index(side)]]);
            }
            Self::Nodule { side, zone, radius } | Self::Mass { side, zone, radius } => {
                let (x, y) = place(anatomy, side, zone, dice);
                let edge = Clouds::new(dice, 0.05, 2);
                canvas.stamp(x, y, radius * 1.6, |dx, dy| {
                    let distance = (dx * dx + dy * dy).sqrt() / radius;
                    let uneven = 1.0 + 0.12 * edge.at(x + dx, y + dy);
                    0.20 * sigmoid((uneven - distance) / 0.09)
                });
                multiply(&mut canvas, &[&lungs[index(side)]]);
            }
            Self::Effusion { side, level } => effusion(&mut canvas, anatomy, side, level, lungs),
            Self::Pneumothorax { side, depth } => {
                air(&mut canvas, anatomy, side, depth);
                multiply(&mut canvas, &[&lungs[index(side)]]);
            }
            Self::Edema => {
                let clouds = Clouds::new(dice, 0.045, 3);
                canvas.fill(|x, y| {
                    let out = (x - anatomy.middle).abs() / anatomy.half_width;
                    let wing = libm::expf(-libm::powf((out - 0.35) / 0.33, 2.0));
                    let height = libm::expf(-libm::powf((y - 0.50) / 0.19, 2.0));
                    (0.21 + 0.10 * clouds.at(x, y)).max(0.0) * wing * height
                });
                multiply(&mut canvas, &[&lungs[0], &lungs[1]]);
            }
            Self::Atelectasis { side } => {
                let y = anatomy.dome[index(side)] - dice.range(0.04, 0.09);
                let x = anatomy.middle + side.sign() * anatomy.half_width * 0.52;
                let tilt = dice.range(-0.25, 0.25);
                canvas.stamp(x, y, 0.14, |dx, dy| {
                    let across = (dy - tilt * dx) / 0.0075;
                    let along = dx / 0.085;
                    0.17 * libm::expf(-across * across) * libm::expf(-along * along * along * along)
                });
                multiply(&mut canvas, &[&lungs[index(side)]]);
            }
            Self::Cardiomegaly => {}
        }
        canvas
    }

    /// The class a lesion mask of it is filed under, where one would draw it.
    pub(super) fn mask_class(&self) -> Option<&'static str> {
        match self {
            Self::Pneumonia { dense: true, .. } => Some("consolidation"),
            Self::Pneumonia { dense: false, .. } => Some("ground_glass_opacity"),
            Self::Effusion { .. } => Some("pleural_effusion"),
            Self::Pneumothorax { .. } => Some("pneumothorax"),
            Self::Nodule { .. } | Self::Mass { .. } => Some("nodule"),
            Self::Cardiomegaly | Self::Edema | Self::Atelectasis { .. } => None,
        }
    }

    /// Every class and label the next two can give: of those a phantom lacks, there are none.
    pub(super) const DRAWN: [&'static str; 8] = [
        "Lung Opacity",
        "Mass",
        "Nodule",
        "consolidation",
        "ground_glass_opacity",
        "nodule",
        "pleural_effusion",
        "pneumothorax",
    ];

    /// The label of its box; RSNA calls every pneumonia a lung opacity.
    pub(super) fn box_label(&self) -> Option<&'static str> {
        match self {
            Self::Pneumonia { .. } => Some("Lung Opacity"),
            Self::Nodule { .. } => Some("Nodule"),
            Self::Mass { .. } => Some("Mass"),
            _ => None,
        }
    }
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Left)
}

/// A place well inside a zone of a lung.
fn place(anatomy: &Anatomy, side: Side, zone: Zone, dice: &mut Dice) -> (f32, f32) {
    let (top, bottom) = (anatomy.apex, anatomy.dome[index(side)]);
    let share = match zone {
        Zone::Upper => dice.range(0.26, 0.38),
        Zone::Mid => dice.range(0.45, 0.60),
        Zone::Lower => dice.range(0.70, 0.86),
    };
    let y = top + (bottom - top) * share;
    // Left and low, the heart is in the way.
    let inner = if side == Side::Left && zone != Zone::Upper { 0.68 } else { 0.42 };
    (anatomy.middle + side.sign() * anatomy.rib_cage(y) * dice.range(inner, 0.76), y)
}

fn patches(
    canvas: &mut Canvas,
    anatomy: &Anatomy,
    side: Side,
    zone: Zone,
    dense: bool,
    dice: &mut Dice,
) {
    let (x, y) = place(anatomy, side, zone, dice);
    let mut shape = Canvas::new(canvas.width, canvas.height);
    for _ in 0..6 {
        let (dx, dy) = (dice.normal() * 0.035, dice.normal() * 0.038);
        shape.blob(x + dx, y + dy, dice.range(0.022, 0.045), dice.range(0.5, 0.9));
    }
    let clouds = Clouds::new(dice, 0.03, 3);
    let strength = if dense { dice.range(0.22, 0.29) } else { dice.range(0.13, 0.19) };
    let grain = if dense { 0.25 } else { 0.6 };
    canvas.fill(|x, y| {
        let filled = 1.0 - libm::expf(-1.3 * shape.at(x, y));
        strength * filled * (1.0 + grain * clouds.at(x, y)).max(0.0)
    });
}

/// Fluid: a level that rises towards the ribs (the meniscus), covering lung and diaphragm.
fn effusion(canvas: &mut Canvas, anatomy: &Anatomy, side: Side, level: f32, lungs: &[Canvas; 2]) {
    let lung = &lungs[index(side)];
    let bottom = anatomy.dome[index(side)] + anatomy.dome_depth * 0.6;
    canvas.fill(|x, y| {
        let out = (x - anatomy.middle) * side.sign() / anatomy.half_width;
        let meniscus = 0.10 * libm::powf(out.clamp(0.0, 1.0), 3.0);
        let surface = bottom - level - meniscus + 0.05;
        0.36 * sigmoid((y - surface) / 0.010)
    });
    multiply(canvas, &[lung]);
}

/// Air between rib cage and lung, darker than lung, ended by the thin line of the pleura.
fn air(canvas: &mut Canvas, anatomy: &Anatomy, side: Side, depth: f32) {
    canvas.fill(|x, y| {
        let out = (x - anatomy.middle) * side.sign();
        let from_top = ((y - anatomy.apex) / (anatomy.widest - anatomy.apex)).max(0.0);
        let gap = depth * (1.25 - 0.55 * from_top).max(0.25);
        let edge = anatomy.rib_cage(y - depth * 0.8) - gap;
        let beyond = (out - edge) / 0.003;
        let line = out - edge;
        -0.13 * sigmoid(beyond) + 0.11 * libm::expf(-(line / 0.0028) * (line / 0.0028))
    });
}

/// Keeps what lies in any of the soft `fields`.
fn multiply(canvas: &mut Canvas, fields: &[&Canvas]) {
    for (at, value) in canvas.values.iter_mut().enumerate() {
        *value *= fields.iter().map(|field| field.values[at]).sum::<f32>().min(1.0);
    }
}
