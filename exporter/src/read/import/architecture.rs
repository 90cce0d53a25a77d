//! Which architectures a file can hold, each known by parameters that only it has.

use crate::read::weights::Weights;
use anyhow::{Result, bail};
use graph::Backbone;

/// A family of networks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Family {
    ResNet,
    DenseNet,
    EfficientNet,
    MobileNetV2,
}

impl Family {
    const ALL: [Self; 4] = [Self::ResNet, Self::DenseNet, Self::EfficientNet, Self::MobileNetV2];

    /// The first parameter, `[O, I, kH, kW]`.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::ResNet => "conv1.weight",
            Self::DenseNet => "features.conv0.weight",
            Self::EfficientNet | Self::MobileNetV2 => "features.0.0.weight",
        }
    }

    /// Others that stand under the same prefix.
    fn others(self) -> &'static [&'static str] {
        match self {
            Self::ResNet => &[
                "bn1.weight",
                "layer1.0.conv1.weight",
                "layer2.0.conv1.weight",
                "layer3.0.conv1.weight",
                "layer4.0.conv1.weight",
            ],
            Self::DenseNet => {
                &["features.norm0.weight", "features.denseblock1.denselayer1.conv1.weight"]
            }
            Self::EfficientNet => {
                &["features.1.0.block.0.0.weight", "features.1.0.block.1.fc1.weight"]
            }
            Self::MobileNetV2 => &["features.1.conv.0.0.weight", "features.1.conv.1.weight"],
        }
    }

    /// The width of a network whose stem has so many channels.
    pub(super) fn width(self, stem: usize) -> usize {
        match self {
            Self::ResNet | Self::DenseNet => stem,
            Self::EfficientNet | Self::MobileNetV2 => 2 * stem,
        }
    }

    /// The prefix and family of a network whose stem is called `parameter`.
    pub(super) fn of_stem<'n>(weights: &Weights, parameter: &'n str) -> Option<(&'n str, Self)> {
        Self::ALL.into_iter().find_map(|family| {
            let prefix = parameter.strip_suffix(family.stem())?;
            let starts = prefix.is_empty() || prefix.ends_with('.');
            let has = |other: &str| weights.contains_key(&format!("{prefix}{other}"));
            (starts && family.others().iter().all(|other| has(other))).then_some((prefix, family))
        })
    }

    /// Whether a parameter of this name, without the prefix, takes part in what the encoder computes. Profilers leave counters.
    pub(super) fn computes_with(self, name: &str) -> bool {
        let parts: &[&str] = match self {
            Self::ResNet => &["conv1.", "bn1.", "layer"],
            Self::DenseNet | Self::EfficientNet | Self::MobileNetV2 => &["features."],
        };
        let counter = ["num_batches_tracked", "total_ops", "total_params"]
            .iter()
            .any(|counter| name.ends_with(counter));
        !counter && parts.iter().any(|part| name.starts_with(part))
    }

    /// Which of the family, told apart by what the later stages hold.
    pub(super) fn backbone(self, weights: &Weights, prefix: &str) -> Result<Backbone> {
        let has = |name: &str| weights.contains_key(&format!("{prefix}{name}"));
        let layer = |at: usize| has(&format!("features.denseblock3.denselayer{at}.conv1.weight"));
        match self {
            Self::ResNet => match (
                has("layer1.0.conv3.weight"),
                has("layer3.5.conv1.weight"),
                has("layer3.6.conv1.weight"),
            ) {
                (true, true, false) => Ok(Backbone::Resnet50),
                (false, true, false) => Ok(Backbone::Resnet34),
                (false, false, false) => Ok(Backbone::Resnet18),
                _ => bail!("a ResNet of a depth we do not have, expected 18, 34 or 50"),
            },
            Self::DenseNet if layer(24) && !layer(25) => Ok(Backbone::Densenet121),
            Self::DenseNet => bail!("a DenseNet of a depth we do not have, expected 121"),
            Self::EfficientNet if !has("features.1.1.block.0.0.weight") => {
                Ok(Backbone::EfficientnetB0)
            }
            Self::EfficientNet => bail!("an EfficientNet of a size we do not have, expected B0"),
            Self::MobileNetV2 => Ok(Backbone::Mobilenetv2),
        }
    }

    /// What is looked for.
    pub(super) fn all() -> String {
        let one = |family: Self| {
            let other = family.others().last().expect("every family has some");
            format!("{family:?} (`{}`, `{other}`)", family.stem())
        };
        Self::ALL.map(one).join(", ")
    }
}

/// Children of torchvision's ResNet in order, ReLU and max-pool (2 and 3) without parameters.
const CHILDREN: [(&str, &str); 6] = [
    ("0.", "conv1."),
    ("1.", "bn1."),
    ("4.", "layer1."),
    ("5.", "layer2."),
    ("6.", "layer3."),
    ("7.", "layer4."),
];

/// Torchvision's names of today: it reads `denselayer1.norm.1.weight` as `denselayer1.norm1.weight`, and many take a ResNet
/// apart by `nn.Sequential(*list(resnet.children())[:-1])`, whose `4.0.conv1.weight` is `layer1.0.conv1.weight`.
pub(super) fn renamed(weights: Weights) -> Weights {
    let has = |prefix: &str, name: &str| weights.contains_key(&format!("{prefix}{name}"));
    let is_taken_apart = |prefix: &&str| {
        (prefix.is_empty() || prefix.ends_with('.'))
            && ["1.running_mean", "4.0.conv1.weight", "7.0.conv1.weight"]
                .iter()
                .all(|name| has(prefix, name))
    };
    let stems = weights.iter().filter(|(_, array)| array.shape.len() == 4);
    let prefixes = stems.filter_map(|(name, _)| name.strip_suffix("0.weight"));
    let taken_apart: Vec<String> = prefixes.filter(is_taken_apart).map(str::to_owned).collect();
    let today = |name: String| {
        let child = taken_apart.iter().find_map(|prefix| {
            let rest = name.strip_prefix(prefix)?;
            let (number, own) = CHILDREN.iter().find(|(number, _)| rest.starts_with(number))?;
            Some(format!("{prefix}{own}{}", &rest[number.len()..]))
        });
        let name = child.unwrap_or(name);
        let Some((before, after)) = name.split_once(".denselayer") else { return name };
        let mut after = after.to_owned();
        for part in ["norm", "conv"] {
            for at in ["1", "2"] {
                after = after.replace(&format!(".{part}.{at}."), &format!(".{part}{at}."));
            }
        }
        format!("{before}.denselayer{after}")
    };
    weights.into_iter().map(|(name, array)| (today(name), array)).collect()
}
