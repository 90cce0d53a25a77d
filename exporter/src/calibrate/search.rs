//! What is looked for with images that calibrated nothing: ranges, codes, layers that must stay in float.

use super::{
    Evaluator, Observations, RoundingOptions, Sensitivity,
    choose::Choice,
    evaluate_candidate::Loss,
    outcome::{Budget, Chosen, FloatLayers, Outcome},
};
use crate::{
    passes::{
        adaround, bias,
        quantized::{Plan, Quantized, is_layer},
    },
    read::{images::ImageSet, weights::Weights},
};
use anyhow::{Context, Result, ensure};
use calibration::{Method, Table};
use engine::decode::Detector;
use graph::{Graph, Node, Preprocess};
use std::collections::BTreeSet;
use terminal::Terminal;

/// More than this share of detection's metric is too much for its last convolutions.
const DETECTION_DROP: f64 = 0.01;

/// A folded network, what images did to it, and who measures candidates.
pub(super) struct Search<'a> {
    pub(super) options: &'a RoundingOptions,
    pub(super) graph: &'a Graph,
    pub(super) weights: &'a Weights,
    pub(super) preprocess: &'a Preprocess,
    /// A head of ours finds boxes; names of a foreign network say nothing.
    pub(super) detects: bool,
    /// Those that calibrate.
    pub(super) images: &'a ImageSet,
    pub(super) observations: Observations,
    pub(super) evaluator: &'a Evaluator<'a>,
    /// Whether the evaluator's images are those that calibrate.
    pub(super) judged_by_their_own: bool,
    pub(super) terminal: Terminal,
}

/// What is rounded in the same way whatever stays in float.
struct Rounding {
    table: Table,
    codes: Option<adaround::Codes>,
}

impl Search<'_> {
    /// `plan` leaves in float what the user wants there.
    pub(super) fn run(self, plan: &Plan) -> Result<Outcome> {
        let (table, ranges) = self.ranges(plan)?;
        let codes = self.options.adaround.then(|| self.codes(&table)).transpose()?;
        let adaround = codes.is_some();
        let rounding = Rounding { table, codes };
        let sensitivities = if self.options.ranks_layers() {
            let progress = self.terminal.progress(0).with_message("ranking layers");
            self.evaluator.sensitivities(&rounding.table.params(), &progress)?
        } else {
            Vec::new()
        };
        let (model, float) = self.float_layers(plan, &rounding, &sensitivities)?;
        let chosen = Chosen { ranges, adaround, float };
        let (table, observations) = (rounding.table, self.observations);
        Ok(Outcome { model, observations, table, chosen, sensitivities })
    }

    /// By the method asked for, or by the best; and what that was.
    fn ranges(&self, plan: &Plan) -> Result<(Table, String)> {
        let Self { options, observations, preprocess, .. } = self;
        if options.observer != Method::Auto {
            let symmetric = options.symmetric;
            let table = observations.table(self.graph, options.observer, preprocess, symmetric)?;
            return Ok((table, options.observer.to_string()));
        }
        let choice = Choice {
            evaluator: self.evaluator,
            plan,
            weights: self.weights,
            observations,
            preprocess,
            symmetric: options.symmetric,
            corrects_biases: !options.no_bias_correction,
            on_their_own: self.judged_by_their_own,
        };
        let (table, why) =
            choice.table(&self.terminal.progress(0).with_message("choosing ranges"))?;
        Ok((table, format!("auto: {why}")))
    }

    fn codes(&self, table: &Table) -> Result<adaround::Codes> {
        let everything = Plan::new(self.graph)?;
        let nearest = Quantized::new(self.graph.clone(), everything, self.weights, &table.params());
        let progress = self.terminal.progress(0).with_message("rounding");
        adaround::round(&nearest, self.weights, self.images, self.preprocess, &progress)
    }

    /// Rounds; adds float layers to those of `plan` where detection or `--max-drop` ask for them.
    fn float_layers(
        &self,
        plan: &Plan,
        rounding: &Rounding,
        sensitivities: &[Sensitivity],
    ) -> Result<(Quantized, FloatLayers)> {
        let mut float = plan.float().clone();
        let mut why = FloatLayers::default();
        if self.detects && !self.options.int8_detection {
            let coarsest = self.coarsest_level();
            why.coarsest_level = !coarsest.is_empty();
            float.extend(coarsest);
        }
        let mut model = self.model(&float, rounding)?;
        let last: Vec<String> = [Detector::AnchorFree, Detector::Yolov3]
            .into_iter()
            .flat_map(|kind| kind.levels().map(move |level| kind.last_layer(level)))
            .filter(|name| self.graph.node(name).is_some())
            .collect();
        if !last.is_empty() && !self.options.int8_detection {
            let loss = self.evaluator.loss_of_boxes(&model)?;
            if let Some(loss) = loss.filter(|loss| loss.share > DETECTION_DROP) {
                why.last_convolutions = Some(loss);
                float.extend(last);
                model = self.model(&float, rounding)?;
            }
        }
        let Some(share) = self.options.max_drop else { return Ok((model, why)) };
        let mut left = self.evaluator.loss(&model)?;
        for layer in sensitivities {
            if left.share <= share {
                break;
            }
            log::info!(
                "{} loses {:.4}: `{}` ({:.1} dB) in float",
                left.task,
                left.share,
                layer.node,
                layer.sqnr_db
            );
            float.insert(layer.node.clone());
            model = self.model(&float, rounding)?;
            left = self.evaluator.loss(&model)?;
        }
        let Loss { task, share: lost } = &left;
        ensure!(
            *lost <= share,
            "--max-drop {share}: {task} still loses {lost:.4} with every layer in float; activations alone cost that"
        );
        why.budget = Some(Budget { share, layers: float.len(), left });
        Ok((model, why))
    }

    /// Layers of the anchor-free head on C5: its activations have the heaviest tails, a few large objects are found on
    /// its few cells, and it is the cheapest level. Rounding its activations costs most of what int8 costs boxes.
    fn coarsest_level(&self) -> Vec<String> {
        let of_level = |node: &&Node| node.name.starts_with("det.p5.") && is_layer(node);
        self.graph.nodes.iter().filter(of_level).map(|node| node.name.clone()).collect()
    }

    fn model(&self, float: &BTreeSet<String>, rounding: &Rounding) -> Result<Quantized> {
        let plan = Plan::with_float(self.graph, float).context("the layers in float")?;
        let params = rounding.table.params();
        let mut model = Quantized::new(self.graph.clone(), plan, self.weights, &params);
        model.signed = self.options.symmetric;
        if let Some(codes) = &rounding.codes {
            adaround::apply(&mut model, codes);
        }
        if !self.options.no_bias_correction {
            bias::correct(&mut model, self.weights, &self.observations.means);
        }
        Ok(model)
    }
}
