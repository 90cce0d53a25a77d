//! Whose weights these are. Training loops put names of their own before torchvision's (`module.`,
//! `_orig_mod.`, `state_dict.model.`, `img_encoder_q.model.`, …), so none is expected: an image encoder stands
//! wherever the parts of one that we know do.

use super::architecture::Family;
use crate::read::weights::Weights;
use anyhow::{Result, bail, ensure};

/// Where a network stands among the names of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// Before the stem's name: empty, or ends with a dot.
    pub(super) encoder: String,
    pub(super) family: Family,
    /// Before `image_encoder.` and `text_encoder.`, if a whole PRIOR is there.
    pub(super) prior: Option<String>,
}

/// Only the names under `prefix`, without it.
pub(super) fn under(weights: Weights, prefix: Option<&str>) -> Result<Weights> {
    let Some(prefix) = prefix else { return Ok(weights) };
    let dotted = format!("{}.", prefix.trim_end_matches('.'));
    ensure!(
        weights.keys().any(|name| name.starts_with(&dotted)),
        "no name begins with `{dotted}`, found {}",
        some(&weights)
    );
    let kept = weights.into_iter();
    Ok(kept
        .filter_map(|(name, array)| Some((name.strip_prefix(&dotted)?.to_owned(), array)))
        .collect())
}

/// The one image encoder; an error that names what is there if there is none, or more than one.
pub(super) fn find(weights: &Weights) -> Result<Found> {
    let has = |name: String| weights.contains_key(&name);
    let encoders: Vec<(&str, Family)> =
        weights.keys().filter_map(|name| Family::of_stem(weights, name)).collect();
    let (encoder, family) = match encoders[..] {
        [encoder] => encoder,
        [] => bail!(
            "no network we have: found {}, expected under whatever prefix one of {}",
            some(weights),
            Family::all()
        ),
        _ => {
            let all =
                encoders.iter().map(|(prefix, family)| format!("{family:?} under `{prefix}`"));
            let all: Vec<String> = all.collect();
            bail!("{} networks, {}: choose one with --prefix", all.len(), all.join(", "))
        }
    };
    let root = encoder.strip_suffix("image_encoder.encoder.");
    let prior = root.filter(|root| {
        has(format!("{root}text_encoder.encoder.embeddings.word_embeddings.weight"))
    });
    Ok(Found { encoder: encoder.to_owned(), family, prior: prior.map(str::to_owned) })
}

/// Some of the names, and how many more.
fn some(weights: &Weights) -> String {
    let first: Vec<String> = weights.keys().take(3).map(|name| format!("`{name}`")).collect();
    match weights.len() - first.len() {
        _ if first.is_empty() => "no floats".to_owned(),
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::weights::Array;

    const RESNET: [&str; 6] = [
        "conv1.weight",
        "bn1.weight",
        "layer1.0.conv1.weight",
        "layer2.0.conv1.weight",
        "layer3.0.conv1.weight",
        "layer4.0.conv1.weight",
    ];

    fn weights(names: impl IntoIterator<Item = String>) -> Weights {
        names.into_iter().map(|name| (name, Array { shape: vec![1], values: vec![0.0] })).collect()
    }

    fn resnets(prefixes: &[&str]) -> Weights {
        weights(prefixes.iter().flat_map(|prefix| RESNET.map(|name| format!("{prefix}{name}"))))
    }

    #[test]
    fn an_encoder_is_found_under_whatever_prefix() {
        for prefix in [
            "",
            "module.",
            "_orig_mod.module.",
            "model_state_dict.module._orig_mod.",
            "img_encoder_q.model.",
            "module.encoder_q.",
            "net.",
        ] {
            let found = find(&resnets(&[prefix])).unwrap();
            let expected = Found { encoder: prefix.into(), family: Family::ResNet, prior: None };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn of_two_encoders_the_user_chooses() {
        let both = resnets(&["student.", "teacher."]);
        let error = find(&both).unwrap_err().to_string();
        assert!(
            error.contains("ResNet under `student.`, ResNet under `teacher.`")
                && error.contains("--prefix"),
            "{error}"
        );
        for prefix in ["student", "student."] {
            let one = under(both.clone(), Some(prefix)).unwrap();
            assert_eq!(find(&one).unwrap().encoder, "");
        }
        let error = under(both, Some("pupil")).unwrap_err().to_string();
        assert!(error.contains("`pupil.`") && error.contains("`student.bn1.weight`"), "{error}");
    }

    #[test]
    fn a_text_encoder_beside_it_makes_a_prior() {
        let mut all = resnets(&["model.image_encoder.encoder."]);
        assert_eq!(find(&all).unwrap().prior, None);
        all.extend(weights([
            "model.text_encoder.encoder.embeddings.word_embeddings.weight".to_owned()
        ]));
        assert_eq!(find(&all).unwrap().prior.as_deref(), Some("model."));
    }

    #[test]
    fn something_else_is_named_beside_what_is_looked_for() {
        let error = find(&weights(["transformer.h.0".to_owned()])).unwrap_err().to_string();
        assert!(error.contains("found `transformer.h.0`, expected"), "{error}");
        assert!(error.contains("DenseNet (`features.conv0.weight`"), "{error}");
        let error = find(&Weights::new()).unwrap_err().to_string();
        assert!(error.contains("found no floats"), "{error}");
    }
}
