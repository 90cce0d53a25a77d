//! The model and its losses.

use super::{
    Batch, Noise, Objective, PriorConfig, Quirks, Term, Weights, align,
    attention::LocalAttention,
    bank::{Bank, gumbel},
    batch::Slots,
    image_decoder::ImageDecoder,
    matching,
};
use crate::network::{AttentionPool, Network};
use crate::text::bert::{Decoder, Encoder};
use crate::{device, init};
use anyhow::{Result, ensure};
use graph::{Graph, Output};
use std::rc::Rc;
use tch::{Kind, Reduction, Tensor, nn};
use torch_ext::Group;

/// All networks of the method. Parameter names are the released code's.
#[derive(Debug)]
pub struct Prior {
    config: PriorConfig,
    image: Network,
    text: Encoder,
    report_pool: AttentionPool,
    global_image: nn::Linear,
    local_image: nn::Linear,
    local_text: nn::Linear,
    predictor: [nn::Linear; 2],
    local: LocalAttention,
    bank: Bank,
    sentence_decoder: Decoder,
    queries: Tensor,
    image_decoder: ImageDecoder,
    /// Logarithms of the factors before a softmax over the batch and within a report.
    logit_scale: Tensor,
    local_logit_scale: Tensor,
    group: Option<Rc<Group>>,
}

/// The terms of one batch, unweighted, each `[]`.
#[derive(Debug)]
pub struct Losses {
    pub terms: Vec<(Term, Tensor)>,
}

impl Losses {
    /// Their sum, each with its weight.
    pub fn total(&self, weights: &Weights) -> Tensor {
        self.terms
            .iter()
            .map(|(term, loss)| loss * weights.of(*term))
            .reduce(|sum, loss| sum + loss)
            .expect("an objective has at least one term")
    }
}

/// An image as the joint space sees it.
struct Seen {
    /// `v [B, D]`
    global: Tensor,
    /// `V [B, P, D]`
    places: Tensor,
    /// Size of the feature map.
    grid: [i64; 2],
}

/// A batch of reports as the joint space reads them.
struct Read {
    /// Sentences or their prototypes, padded with zeros, `[B, S, D]`.
    sentences: Tensor,
    /// The same sentences without padding, `[N, D]`.
    flat: Tensor,
    /// Similarity of the sentences to the prototypes `[N, K]`.
    logits: Option<Tensor>,
    /// `L_proto`
    distance: Option<Tensor>,
    /// `t [B, D]`
    global: Tensor,
}

impl Prior {
    /// Fresh weights under `p` around the image encoder `graph`, whose output `embedding` is the global
    /// feature. `group` joins the batches of several processes.
    pub fn new(
        p: &nn::Path<'_>,
        graph: &Graph,
        config: PriorConfig,
        group: Option<Rc<Group>>,
    ) -> Result<Self> {
        let (graph, width) = with_places(graph)?;
        let (d, hidden) = (config.embed, config.text.hidden_size);
        ensure!(d % 32 == 0, "prior.embed is {d}, expected a multiple of 32");
        let narrow = |name: &str, from: i64| init::projection(&(p / name), from, d);
        let predictor = p / "predictor";
        Ok(Self {
            image: Network::with_names(p, &graph, group.as_ref(), |node| match node {
                "attnpool" => "image_encoder.atten_pool".to_owned(),
                node => format!("image_encoder.encoder.{node}"),
            })?,
            text: Encoder::new(&(p / "text_encoder" / "encoder"), &config.text),
            report_pool: AttentionPool::new(&(p / "global_text_attention"), d, 8, None),
            global_image: narrow("global_image_projection", width),
            local_image: narrow("local_image_projection", width),
            local_text: narrow("local_text_projection", hidden),
            predictor: [
                init::projection(&(&predictor / 0), d, d / 2),
                init::linear(&(&predictor / 2), d / 2, d),
            ],
            local: LocalAttention::new(&(p / "local_cross_attention"), d),
            bank: Bank::new(&(p / "sentence_bank"), config.prototypes, d),
            sentence_decoder: Decoder::new(
                &(p / "sentence_decoder"),
                &config.decoder(),
                config.released_quirks.causal,
            ),
            queries: p.var("prototype_queries", &[1, config.queries, d], init::normal(1.0)),
            image_decoder: ImageDecoder::new(&(p / "image_decoder"), 2 * d, group.as_ref()),
            logit_scale: scale(p, "logit_scale", config.temperature),
            local_logit_scale: scale(p, "local_logit_scale", config.temperature),
            group,
            config,
        })
    }

    /// Every term `objective` gives weight to.
    pub fn losses(
        &self,
        batch: &Batch,
        objective: &Objective,
        noise: &Noise,
        train: bool,
    ) -> Losses {
        let weights = &objective.weights;
        let slots = self.slots(batch, objective);
        let seen = self.see(&batch.image, train);
        let read = self.read(batch, &slots, objective, noise.prototypes.as_ref(), train);
        let group = self.group.as_deref();
        let mut terms = Vec::new();
        let mut add = |term: Term, loss: Tensor| {
            if weights.of(term) > 0.0 {
                terms.push((term, loss));
            }
        };

        let scale = self.logit_scale.exp();
        add(Term::Global, align::info_nce(&seen.global, &read.global, &scale, group));
        let attended = self.local.forward(&seen.places, &read.sentences, &slots.present);
        let predict = |x: &Tensor| x.apply(&self.predictor[0]).relu().apply(&self.predictor[1]);
        add(Term::LocalImage, align::simsiam(&seen.places, &attended.places, predict));
        let local_scale = self.local_logit_scale.exp();
        let (image, text) = (&attended.sentences, &read.sentences);
        add(Term::LocalText, align::info_nce_within(image, text, &local_scale, &slots.present));
        if let Some(distance) = &read.distance {
            add(Term::Prototype, distance.shallow_clone());
        }

        if weights.image > 0.0 {
            let image = self.redraw(&seen, &attended.places, noise.channels.as_ref(), train);
            add(Term::Image, image.l1_loss(&batch.image, Reduction::Mean));
        }
        if weights.decodes_sentences() {
            let tau = objective.tau;
            let noise = noise.foretold.as_ref();
            let foretold = self.foretell(&seen, &read, &slots, tau, noise, train);
            add(Term::Sentence, foretold.sentence);
            add(Term::Divergence, foretold.divergence);
            let loss = align::info_nce(&foretold.global, &read.global, &scale, group);
            add(Term::Report, loss);
        }
        Losses { terms }
    }

    /// Which defects of the released code it reproduces.
    pub fn quirks(&self) -> Quirks {
        self.config.released_quirks
    }

    /// Keeps the logit scales at most 100, as CLIP does; call after every optimizer step.
    pub fn clamp_logit_scales(&self) {
        if !self.config.released_quirks.unclamped {
            tch::no_grad(|| {
                for scale in [&self.logit_scale, &self.local_logit_scale] {
                    let _ = scale.shallow_clone().clamp_max_(100_f64.ln());
                }
            });
        }
    }

    /// Global features of images `[B, 1, H, W]` → `[B, D]`, length 1, and places `[B, P, D]`.
    pub fn embed_images(&self, image: &Tensor) -> (Tensor, Tensor) {
        let seen = self.see(image, false);
        (align::unit(&seen.global), seen.places)
    }

    /// Reports `[B, D]`, length 1; sentences are prototypes where `prototypes`.
    pub fn embed_reports(&self, batch: &Batch, objective: &Objective) -> Tensor {
        let read = self.read(batch, &self.slots(batch, objective), objective, None, false);
        align::unit(&read.global)
    }

    /// Similarity of each sentence to each prototype `[N, K]`, where `objective` has prototypes.
    pub fn prototypes(&self, batch: &Batch, objective: &Objective) -> Option<Tensor> {
        self.read(batch, &self.slots(batch, objective), objective, None, false).logits
    }

    /// Images drawn again from their places and what their reports say of them, `[B, 1, H, W]`.
    pub fn redrawn(&self, batch: &Batch, objective: &Objective) -> Tensor {
        let slots = self.slots(batch, objective);
        let seen = self.see(&batch.image, false);
        let read = self.read(batch, &slots, objective, None, false);
        let attended = self.local.forward(&seen.places, &read.sentences, &slots.present);
        self.redraw(&seen, &attended.places, None, false)
    }

    /// How well each of these images (their places `[B, P, D]`) fits one text `[1, S, D]`: the mean of both attention
    /// maps, `[B]`.
    pub fn local_score(&self, places: &Tensor, batch: &Batch, objective: &Objective) -> Tensor {
        let slots = self.slots(batch, objective);
        let read = self.read(batch, &slots, objective, None, false);
        let text = read.sentences.expand([places.size()[0], -1, -1], false);
        let present = slots.present.expand([places.size()[0], -1], false);
        let attended = self.local.forward(places, &text, &present);
        let mean = |map: Tensor| map.mean_dim([1_i64, 2].as_slice(), false, None);
        (mean(attended.place_map) + mean(attended.sentence_map)) / 2.0
    }

    /// How much one phrase, a text of one sentence, looks at each place of these images (`[B, P, D]`) and how much the
    /// place listens, before the sigmoid: `[B, P]` each.
    pub fn local_logits(
        &self,
        places: &Tensor,
        phrase: &Batch,
        objective: &Objective,
    ) -> [Tensor; 2] {
        let read = self.read(phrase, &self.slots(phrase, objective), objective, None, false);
        let text = read.sentences.narrow(1, 0, 1).expand([places.size()[0], -1, -1], false);
        let [look, listen] = self.local.logits(places, &text);
        [look.squeeze_dim(1), listen.squeeze_dim(2)]
    }

    /// Factor of the global similarities in zero-shot classification; the released code forgets to
    /// exponentiate it.
    pub fn zero_shot_scale(&self) -> Tensor {
        if self.config.released_quirks.scale {
            self.logit_scale.shallow_clone()
        } else {
            self.logit_scale.exp()
        }
    }

    fn see(&self, image: &Tensor, train: bool) -> Seen {
        let features = self.image.forward(image, train);
        let map = &features["places"];
        let (b, c, h, w) = map.size4().expect("feature maps are [B, C, h, w]");
        let places = if self.config.released_quirks.layout {
            map.contiguous().view([b, h * w, c]) // mixes channels and places
        } else {
            map.flatten(2, 3).transpose(1, 2)
        };
        Seen {
            global: features["embedding"].apply(&self.global_image),
            places: places.apply(&self.local_image),
            grid: [h, w],
        }
    }

    /// Sentences are decoded into at most `Q`, so no more of a report take part.
    fn slots(&self, batch: &Batch, objective: &Objective) -> Slots {
        let decodes = objective.weights.decodes_sentences();
        batch.slots(if decodes { self.config.queries } else { i64::MAX }, self.config.queries)
    }

    fn read(
        &self,
        batch: &Batch,
        slots: &Slots,
        objective: &Objective,
        noise: Option<&Tensor>,
        train: bool,
    ) -> Read {
        let words = self.text.forward(&batch.ids, &batch.mask, train).apply(&self.local_text);
        // Means of the tokens of each sentence.
        let names = Tensor::arange_start(1, slots.most + 1, (Kind::Int64, words.device()));
        let member = batch.sentence.unsqueeze(1).eq_tensor(&names.view([1, -1, 1]));
        let member = member.to_kind(words.kind());
        let tokens = member.sum_dim_intlist(2, true, None).clamp_min(1.0); // [B, S, 1]
        let raw = member.matmul(&words) / tokens; // [B, S, D]
        let mut flat = raw.reshape([-1, self.config.embed]).index_select(0, &slots.rows);
        let (mut logits, mut distance) = (None, None);
        if objective.weights.uses_prototypes() {
            let similarity = self.bank.logits(&flat);
            let prototype = self.prototype(&similarity, objective.tau, noise, train);
            distance = Some(self.row_mean((&prototype - &flat).abs().mean_dim(1, false, None)));
            (logits, flat) = (Some(similarity), prototype);
        }
        let sentences = spread(&flat, &slots.rows, slots.reports, slots.most);
        let global = self.report_pool.forward(&sentences, Some(&slots.present));
        Read { sentences, flat, logits, distance, global }
    }

    /// Mixture of prototypes: noisy in training, and always in the released code.
    fn prototype(&self, logits: &Tensor, tau: f64, noise: Option<&Tensor>, train: bool) -> Tensor {
        let noisy = train || self.config.released_quirks.noise;
        let noise = noisy.then(|| match noise {
            Some(noise) => noise.narrow(0, 0, logits.size()[0]),
            None => gumbel(logits),
        });
        self.bank.mix(logits, tau, noise.as_ref())
    }

    /// Conditional reconstruction of the image: its places, half of their channels hidden, and the text.
    fn redraw(&self, seen: &Seen, text: &Tensor, noise: Option<&Tensor>, train: bool) -> Tensor {
        let [h, w] = seen.grid;
        let map = |x: &Tensor| {
            let (b, _, d) = x.size3().expect("places are [B, P, D]");
            if self.config.released_quirks.layout {
                x.contiguous().view([b, d, h, w])
            } else {
                x.transpose(1, 2).reshape([b, d, h, w])
            }
        };
        let image = match noise {
            Some(factors) => map(&seen.places) * factors,
            None => map(&seen.places).feature_dropout(self.config.image_dropout, train),
        };
        self.image_decoder.forward(&Tensor::cat(&[image, map(text)], 1), train)
    }

    /// Conditional reconstruction of the report: queries look at the image, are matched to the prototypes
    /// of its sentences (the rest of the slots wants zero), and make a report of their own.
    fn foretell(
        &self,
        seen: &Seen,
        read: &Read,
        slots: &Slots,
        tau: f64,
        noise: Option<&Tensor>,
        train: bool,
    ) -> Foretold {
        let (b, q, d) = (slots.reports, self.config.queries, self.config.embed);
        let queries = self.queries.expand([b, -1, -1], false);
        let written = self.sentence_decoder.forward(&queries, &seen.places, train);
        let query_rows =
            slots.query_rows.as_ref().expect("no report has more sentences than queries");
        let wanted = spread(&read.flat, query_rows, b, q);
        let order = self.match_up(&written, &wanted);
        let matched = written.gather(1, &order.unsqueeze(-1).expand([-1, -1, d], false), false);

        let real = matched.reshape([b * q, d]).index_select(0, query_rows); // [N, D]
        let logits = self.bank.logits(&real);
        let target = read.logits.as_ref().expect("prototypes are in use").log_softmax(-1, None);
        let divergence = target.exp() * (target - logits.log_softmax(-1, None));
        let prototype = self.prototype(&logits, tau, noise, train);
        let sentences = spread(&prototype, &slots.rows, b, slots.most);
        Foretold {
            sentence: matched.l1_loss(&wanted, Reduction::Mean),
            divergence: self.row_mean(divergence.sum_dim_intlist(1, false, None)),
            global: self.report_pool.forward(&sentences, Some(&slots.present)),
        }
    }

    /// For every target `[B, Q]` the query that matches it best. The one transfer of a step.
    fn match_up(&self, written: &Tensor, wanted: &Tensor) -> Tensor {
        let (b, q, _) = written.size3().expect("queries are [B, Q, D]");
        let cost = tch::no_grad(|| {
            let (x, y) = (wide(written), wide(wanted));
            let cost = Tensor::cdist(&x, &y, 1.0, None::<i64>);
            device::download(&cost).to_kind(Kind::Double).contiguous().view([-1])
        });
        let cost = Vec::<f64>::try_from(&cost).expect("a flat list of doubles");
        let size = q as usize;
        let order: Vec<i64> = cost
            .chunks_exact(size * size)
            .flat_map(|cost| {
                let columns = matching::assign(cost, size);
                if self.config.released_quirks.matching {
                    columns
                } else {
                    matching::invert(&columns)
                }
            })
            .map(|query| query as i64)
            .collect();
        device::upload(&Tensor::from_slice(&order).view([b, q]), written.device())
    }

    /// Mean over the rows `[N]` of all processes, in such a way that averaging it over the processes gives
    /// the mean of the joined batch although `N` differs.
    fn row_mean(&self, rows: Tensor) -> Tensor {
        let Some(group) = &self.group else { return rows.mean(None) };
        let count = Tensor::full([1], rows.size()[0], (Kind::Float, rows.device()));
        group.all_reduce(&count, torch_ext::Reduce::Sum).expect("the group is alive");
        rows.sum(None) * group.world as f64 / count.squeeze().to_kind(rows.kind())
    }
}

struct Foretold {
    sentence: Tensor,
    divergence: Tensor,
    global: Tensor,
}

/// The graph with its last feature map as an output `places`, and the width of that map.
fn with_places(graph: &Graph) -> Result<(Graph, i64)> {
    let (pool, width) = graph.pooled()?;
    let mut with_places = graph.clone();
    let places = pool.inputs[0].clone();
    with_places.outputs.push(Output { name: "places".into(), node: places });
    Ok((with_places, width as i64))
}

/// `flat [N, D]` at its rows among `b · slots`, zeros elsewhere: `[B, slots, D]`
fn spread(flat: &Tensor, rows: &Tensor, b: i64, slots: i64) -> Tensor {
    let d = flat.size()[1];
    let empty = Tensor::zeros([b * slots, d], (flat.kind(), flat.device()));
    empty.index_copy(0, rows, flat).view([b, slots, d])
}

/// Distances want more than 16 bits.
fn wide(x: &Tensor) -> Tensor {
    if x.kind() == Kind::Double { x.shallow_clone() } else { x.to_kind(Kind::Float) }
}

fn scale(p: &nn::Path<'_>, name: &str, temperature: f64) -> Tensor {
    p.var(name, &[], nn::Init::Const((1.0 / temperature).ln()))
}
