//! `trainer pretrain`: a run begun or gone on with, its losses told, its report written.

use crate::{
    checkpoint,
    device::DeviceArg,
    index::{self, Record, Split},
    pretrain::{
        Damaged, Events, History, Line, Pairs, Pictures, PretrainConfig, Progress, Run, Setup,
        Shown, TEXT_ENCODER, leave_out, write_report,
    },
    terminal::Terminal,
    text::{Words, bert::BertConfig, hugging_face::Pretrained},
};
use ::checkpoint::prior::parameters;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use graph::Graph;
use serde_json::json;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
    time::Instant,
};
use tch::Tensor;
use torch_ext::{Group, Ranks};

/// Learns from radiographs and their reports: an image encoder, a text encoder, and what joins them
#[derive(Debug, Args)]
pub struct PretrainArgs {
    /// Model, stages and schedules
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Index of images and reports; its train split is used
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Checkpoint folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Continue the run in the checkpoint folder
    #[arg(long)]
    resume: bool,
    /// Change the configuration, `stage.0.epochs=2`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Hugging Face folder of a BERT to begin with: config.json, tokenizer.json or vocab.txt, model.safetensors or
    /// pytorch_model.bin
    #[arg(long, value_name = "DIR")]
    text_encoder: Option<PathBuf>,
    /// Checkpoint of an image encoder to begin with
    #[arg(long, value_name = "DIR")]
    image_encoder: Option<PathBuf>,
    /// PRIOR checkpoint to begin with, words and all: to go on with larger images, other stages or other data
    #[arg(long, value_name = "DIR", conflicts_with_all = ["text_encoder", "image_encoder"])]
    prior: Option<PathBuf>,
    /// Keep resized images here; default: `cache` in the checkpoint folder
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Read every image first and leave out as many as N that cannot be read; they are listed at the end
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_bad_images: usize,
}

impl PretrainArgs {
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        let config = PretrainConfig::read(&self.config, &self.changes)?;
        ensure!(
            self.resume || !checkpoint::exists(&self.out),
            "{} holds a checkpoint already: continue it with --resume or choose another folder",
            self.out.display()
        );
        ensure!(
            !self.resume || checkpoint::exists(&self.out),
            "{} holds no checkpoint to resume",
            self.out.display()
        );
        let ranks = Ranks::from_env()?;
        if ranks.is_some() && self.device != DeviceArg::Cpu {
            torch_ext::need_nccl()?;
        }
        let device = self.device.open(ranks.as_ref().map_or(0, |ranks| ranks.local_rank))?;
        let group = ranks.map(|ranks| Group::join(&ranks, device)).transpose();
        let group = group.context("cannot join the other processes")?.map(Rc::new);
        let records = index::read(&self.data)?;
        let train = |record: &Record| record.split.is_none_or(|split| split == Split::Train);
        let mut pairs = Pairs::of(&records, config.min_sentences, train);
        log::info!(
            "{} pairs, {} images without a report of {} sentences",
            pairs.all.len(),
            pairs.left_out,
            config.min_sentences
        );
        let first = group.as_ref().is_none_or(|group| group.rank == 0);
        let silent = Terminal::SILENT;
        let terminal = if first { terminal } else { &silent };
        let cache = self.cache.clone().unwrap_or_else(|| self.out.join("cache"));
        let damaged = self.damaged(&config, &mut pairs, &cache, terminal)?;
        let (words, text, mut start) = self.text(&config, &pairs)?;
        if let Some(folder) = &self.image_encoder {
            start.extend(image_start(folder)?);
        }
        let mut run = Run::new(
            Setup {
                prior: config.prior(text),
                config,
                pairs: pairs.clone(),
                words,
                start,
                cache: Some(cache),
                out: self.out.clone(),
                device,
                group: group.clone(),
            },
            self.resume,
        )?;
        let mut reporter = Reporter::new(&run, terminal, first.then_some(self.out.as_path()))?;
        run.train(|progress| reporter.step(progress).map(|()| true))?;
        reporter.end();
        if let Some(group) = &group {
            group.barrier()?; // nobody leaves while others still talk to it
        }
        let step = run.state().step;
        drop(run); // its memory, before the page opens the checkpoint
        drop(group); // all leave now: NCCL's ranks wait for each other
        if first {
            self.end(step, &records, &pairs, &damaged, terminal)?;
        }
        Ok(())
    }

    /// Leaves out what cannot be read, where that is allowed.
    fn damaged(
        &self,
        config: &PretrainConfig,
        pairs: &mut Pairs,
        cache: &Path,
        terminal: &Terminal,
    ) -> Result<Vec<Damaged>> {
        if self.skip_bad_images == 0 {
            return Ok(Vec::new());
        }
        let pictures = Pictures::new(config.kept()?, Some(cache.to_owned()))?;
        let images: usize = pairs.all.iter().map(|pair| pair.images.len()).sum();
        let bar = terminal.progress(images as u64).with_message("reading every image once");
        let damaged =
            leave_out(pairs, &pictures, self.skip_bad_images, config.workers, || bar.inc(1))?;
        bar.finish_and_clear();
        Ok(damaged)
    }

    /// The page, and what is said at the end.
    fn end(
        &self,
        step: u64,
        records: &[Record],
        pairs: &Pairs,
        damaged: &[Damaged],
        terminal: &Terminal,
    ) -> Result<()> {
        let unseen = Pairs::of(records, 1, |record| record.split == Some(Split::Val)).all;
        let (images, images_are) = match unseen.is_empty() {
            true => (&pairs.all, "The run was trained on them"),
            false => (&unseen, "The run has never seen them"),
        };
        let shown = Shown { trained_on: pairs, images, images_are, damaged };
        let page = write_report(&self.out, &shown)?;
        terminal.json(&json!({
            "event": "end", "checkpoint": self.out, "step": step, "report": page, "skipped": damaged,
        }))?;
        terminal.say(format!("{step} steps, checkpoint in {}", self.out.display()))?;
        terminal.say(format!("what came of it: {}", page.display()))?;
        for Damaged { id, image, reason } in damaged {
            terminal.say(format!("left out {} of {id}: {reason}", image.display()))?;
        }
        Ok(())
    }

    /// Words, shape and weights of the text encoder.
    fn text(
        &self,
        config: &PretrainConfig,
        pairs: &Pairs,
    ) -> Result<(Words, BertConfig, HashMap<String, Tensor>)> {
        if let Some(folder) = &self.text_encoder {
            let Pretrained { words, config: text, weights } = Pretrained::open(folder)?;
            ensure!(
                config.max_tokens as i64 <= text.max_position_embeddings,
                "max-tokens is {}, the BERT of {} reads {}",
                config.max_tokens,
                folder.display(),
                text.max_position_embeddings
            );
            let ours = |(name, tensor)| (format!("{TEXT_ENCODER}{name}"), tensor);
            return Ok((words, text, weights.into_iter().map(ours).collect()));
        }
        if let Some(folder) = &self.prior {
            return prior_start(folder, config);
        }
        ensure!(!config.freeze_text, "freeze-text is set, and there is no --text-encoder to keep");
        let words = if self.resume {
            Words::open(&self.out)?
        } else {
            let sentences = pairs.all.iter().flat_map(|pair| pair.sentences.iter());
            Words::build(sentences.map(String::as_str), config.text.vocabulary)?
        };
        let text = config.text_encoder(words.count());
        Ok((words, text, HashMap::new()))
    }
}

/// Where an attention pool's positions are.
const POSITIONS: &str = "image_encoder.atten_pool.positional_embedding";

/// Words and weights of a PRIOR checkpoint, all of them; those that do not fit are refused by name when the run begins.
fn prior_start(
    folder: &Path,
    config: &PretrainConfig,
) -> Result<(Words, BertConfig, HashMap<String, Tensor>)> {
    let checkpoint = checkpoint::load(folder)?;
    let name = folder.display();
    ensure!(
        checkpoint.tables.contains_key("prior"),
        "{name} has no [prior], expected the checkpoint of `trainer pretrain`"
    );
    let words = Words::open(folder)?;
    let text = config.text_encoder(words.count());
    let graph = config.checkpoint().graph()?;
    let wanted = parameters(&graph, &config.prior(text.clone()))?;
    if let Some(missing) = wanted.iter().find(|param| !checkpoint.weights.contains_key(&param.name))
    {
        bail!("{name} has no `{}`, expected all that this configuration has", missing.name);
    }
    let mut weights = checkpoint.weights;
    if let Some(table) = weights.get_mut(POSITIONS) {
        *table = positions(table, grid(&checkpoint.config.graph()?)?, grid(&graph)?);
    }
    Ok((words, text, weights))
}

/// Rows and columns of the map that `graph` pools.
fn grid(graph: &Graph) -> Result<[i64; 2]> {
    let (pool, _) = graph.pooled()?;
    let shapes = graph.shapes()?;
    let map = &shapes[pool.inputs[0].as_str()];
    Ok([map[1] as i64, map[2] as i64])
}

/// Positions of an attention pool, the mean token's and those of places, for a map of another size: bilinear between the
/// middles of places. One that is not of `from` stays as it is.
fn positions(table: &Tensor, from: [i64; 2], to: [i64; 2]) -> Tensor {
    let own = matches!(table.size()[..], [rows, _] if rows == 1 + from[0] * from[1]);
    if from == to || !own {
        return table.shallow_clone();
    }
    let places = table.narrow(0, 1, from[0] * from[1]).tr().reshape([1, -1, from[0], from[1]]);
    let places = places.upsample_bilinear2d(to, false, None, None).flatten(2, 3).squeeze_dim(0);
    Tensor::cat(&[table.narrow(0, 0, 1), places.tr()], 0)
}

/// Weights of an image encoder by our names; heads are not used.
fn image_start(folder: &Path) -> Result<HashMap<String, Tensor>> {
    let checkpoint = checkpoint::load(folder)?;
    let trunk =
        |name: &str| ["conv1.", "bn1.", "layer"].iter().any(|prefix| name.starts_with(prefix));
    Ok(checkpoint::encoder_weights(&checkpoint)
        .into_iter()
        .filter_map(|(name, tensor)| {
            let pool = name.strip_prefix("attnpool.");
            let ours = match pool {
                Some(rest) => Some(format!("image_encoder.atten_pool.{rest}")),
                None => trunk(&name).then(|| format!("image_encoder.encoder.{name}")),
            };
            Some((ours?, tensor))
        })
        .collect())
}

/// Shows and records progress.
struct Reporter<'a> {
    terminal: &'a Terminal,
    bar: indicatif::ProgressBar,
    events: Option<Events>,
    history: Option<History>,
    begun: Instant,
    begun_at: u64,
    epoch: Option<(String, u64)>,
    pairs: usize,
}

impl<'a> Reporter<'a> {
    fn new(run: &Run, terminal: &'a Terminal, out: Option<&Path>) -> Result<Self> {
        let bar = terminal.progress(run.steps());
        bar.set_position(run.state().step);
        Ok(Self {
            terminal,
            bar,
            events: out.map(|out| Events::create(&out.join("events"))).transpose()?,
            history: out.map(|out| History::open(out, run.state().step)).transpose()?,
            begun: Instant::now(),
            begun_at: run.state().step,
            epoch: None,
            pairs: 0,
        })
    }

    fn step(&mut self, now: &Progress<'_>) -> Result<()> {
        self.pairs += now.pairs;
        let seconds = self.begun.elapsed().as_secs_f64();
        let speed = self.pairs as f64 / seconds.max(1e-9);
        let done = now.step - self.begun_at;
        let remaining = seconds / done as f64 * (now.steps - now.step) as f64;
        let terms: serde_json::Map<_, _> =
            now.outcome.terms.iter().map(|(term, loss)| (term.to_string(), json!(loss))).collect();
        let values: Vec<String> =
            now.outcome.terms.iter().map(|(term, loss)| format!("{term} {loss:.3}")).collect();
        self.bar.set_position(now.step);
        self.bar.set_message(format!(
            "{} epoch {} loss {:.3} ({}) {speed:.1} images/s",
            now.stage.name,
            now.epoch + 1,
            now.outcome.loss,
            values.join(", "),
        ));
        self.terminal.json(&json!({
            "event": "step", "stage": now.stage.name, "epoch": now.epoch, "step": now.step, "steps": now.steps,
            "rate": now.rate, "loss": now.outcome.loss, "terms": terms, "gradient": now.outcome.gradient,
            "images_per_second": speed, "seconds_left": remaining,
        }))?;
        if let Some(events) = &mut self.events {
            let mut scalars: Vec<(String, f64)> = now
                .outcome
                .terms
                .iter()
                .map(|(term, loss)| (format!("loss/{term}"), *loss))
                .collect();
            scalars.extend([
                ("loss/total".to_owned(), now.outcome.loss),
                ("learning-rate".to_owned(), now.rate),
                ("gradient-norm".to_owned(), now.outcome.gradient),
                ("temperature".to_owned(), now.tau),
            ]);
            events.scalars(now.step, &scalars)?;
        }
        if let Some(history) = &mut self.history {
            history.push(&Line {
                step: now.step,
                stage: now.stage.name.clone(),
                rate: now.rate,
                loss: now.outcome.loss,
                gradient: Some(now.outcome.gradient).filter(|norm| norm.is_finite()),
                terms: now.outcome.terms.iter().copied().collect(),
            })?;
        }
        let epoch = (now.stage.name.clone(), now.epoch);
        if self.epoch.as_ref() != Some(&epoch) {
            self.epoch = Some(epoch);
            log::info!(
                "{} epoch {}/{}: loss {:.3}, {speed:.1} images/s, {} left",
                now.stage.name,
                now.epoch + 1,
                now.stage.epochs,
                now.outcome.loss,
                humantime::format_duration(std::time::Duration::from_secs(remaining as u64)),
            );
        }
        Ok(())
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
