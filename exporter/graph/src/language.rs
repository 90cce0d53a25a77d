//! PRIOR's joint space on the image's side: where an image and its places meet the words of reports.

use crate::{CheckpointError, Graph, Node, Op, Output};

/// Output: the image in the joint space, `v [D]`.
pub const LANGUAGE_GLOBAL: &str = "language.global";
/// Output: its places in the joint space, `V [D, h, w]`.
pub const LANGUAGE_PLACES: &str = "language.places";
/// Output: what its places add to the image in the joint space, `G [D, h, w]`. Their mean is `v`.
pub const LANGUAGE_GLOBAL_PLACES: &str = "language.global_places";

/// Nodes, and so parameters, by the names PRIOR's checkpoints have.
const GLOBAL: &str = "global_image_projection";
const PLACES: &str = "local_image_projection";
/// The same weights as [`GLOBAL`], at every place.
const GLOBAL_PLACES: &str = "global_places_projection";

impl Graph {
    /// The node that pools the last feature map into the embedding, and the channels of both.
    pub fn pooled(&self) -> Result<(&Node, usize), CheckpointError> {
        let no_pool = || CheckpointError::NoPool(self.name.clone());
        let is_pool =
            |node: &&Node| matches!(node.op, Op::GlobalAvgPool | Op::AttentionPool2d { .. });
        let pool = self.output("embedding").and_then(|node| self.node(node)).filter(is_pool);
        let pool = pool.ok_or_else(no_pool)?;
        let shapes = self.shapes().map_err(|_| no_pool())?;
        Ok((pool, shapes[pool.name.as_str()][0]))
    }

    /// The network with more outputs of `width` D: a linear layer on the pooled embedding, and one on every place of the
    /// map before the pool, which is a 1x1 convolution. Where the pool is the mean, the first layer on every place as well;
    /// what places add to an attention pool, its own attention tells, not a layer.
    pub fn with_language(&self, width: usize) -> Result<Self, CheckpointError> {
        let (pool, channels) = self.pooled()?;
        let (pooled, map) = (pool.name.clone(), pool.inputs[0].clone());
        let mut graph = self.clone();
        let global = Op::Linear { in_features: channels, out_features: width };
        let places = Op::conv2d([channels, width], 1, 1, 0, 1, true);
        let mut heads = vec![
            (LANGUAGE_GLOBAL, GLOBAL, global, &pooled),
            (LANGUAGE_PLACES, PLACES, places.clone(), &map),
        ];
        if pool.op == Op::GlobalAvgPool {
            heads.push((LANGUAGE_GLOBAL_PLACES, GLOBAL_PLACES, places, &map));
        }
        for (output, node, op, input) in heads {
            let node = graph.push(node, op, &[input]);
            graph.outputs.push(Output { name: output.into(), node });
        }
        Ok(graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backbone, Head, ModelConfig, Pool, Task};

    #[test]
    fn every_backbone_and_pool_gets_the_projections_of_a_prior_checkpoint() {
        for backbone in Backbone::ALL {
            for pool in [Pool::Mean, Pool::Attention] {
                let model = ModelConfig { width: 16, ..ModelConfig::encoder(backbone, pool) };
                let graph = model.graph([1, 96, 64]).unwrap().with_language(32).unwrap();
                let shapes = graph.shapes().unwrap();
                let of = |name: &str| {
                    let output = graph.outputs.iter().find(|output| output.name == name).unwrap();
                    shapes[output.node.as_str()].clone()
                };
                assert_eq!(of(LANGUAGE_GLOBAL), [32], "{backbone}");
                assert_eq!(of(LANGUAGE_PLACES), [32, 3, 2], "{backbone}");
                match pool {
                    Pool::Mean => assert_eq!(of(LANGUAGE_GLOBAL_PLACES), [32, 3, 2], "{backbone}"),
                    Pool::Attention => assert_eq!(graph.outputs.len(), 3, "{backbone}"),
                }
                let names: Vec<String> = graph.params().into_iter().map(|p| p.name).collect();
                assert!(names.contains(&"local_image_projection.bias".to_owned()), "{backbone}");
            }
        }
    }

    #[test]
    fn a_configuration_that_claims_a_language_head_is_refused_by_name() {
        let head = Head { task: Task::Language, labels: vec!["x".into()] };
        let model = ModelConfig {
            heads: vec![head],
            ..ModelConfig::encoder(Backbone::Resnet18, Pool::Mean)
        };
        let error = model.graph([1, 64, 64]).unwrap_err();
        assert_eq!(error, CheckpointError::Language);
        assert!(error.to_string().contains("[prior]"), "{error}");
    }
}
