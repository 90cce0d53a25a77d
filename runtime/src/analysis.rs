//! What happens to one image: bytes → radiograph → gate → network → report.

use crate::looks::{self, Known, Offer};
use crate::packs::{self, Packs};
use ::drift::Seen;
use anyhow::{Context, Result, ensure};
use bundle::Bundle;
use engine::{Analyzer, Findings, Heat, Mask, NearestSentence, Options, Stage, Vectors};
use radiograph::{File, Header, Radiograph, RadiographError, Source};
use results::{
    Account, BundleId, Finding, FoundBox, HeatMap, LabelCode, MaskSummary, Milliseconds,
    NearSentence, Record, Segment, SourceId, Status,
};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A bundle ready to answer. One image at a time.
pub(crate) struct Loaded {
    analyzer: Mutex<Analyzer>,
    id: BundleId,
    codes: Vec<LabelCode>,
    vectors: Vectors,
    packs: Packs,
    /// How images should look, or why nobody knows.
    known: Result<Arc<Known>, String>,
}

/// What came of one image, and what is needed to draw it beside the image itself.
#[derive(Debug)]
pub(crate) struct Analysis {
    pub(crate) report: Record,
    pub(crate) masks: Vec<Mask>,
    /// If the network was asked, and the bundle says how images should look.
    pub(crate) seen: Option<Offer>,
}

impl Loaded {
    pub(crate) fn new(bundle: &Bundle, threads: usize) -> Result<Self> {
        let analyzer = Analyzer::open(bundle, &Options::threads(threads))?;
        let mut codes = bundle.codes()?;
        codes.extend(analyzer.zero_shot_codes());
        let (id, version) = (bundle.manifest.id.clone(), bundle.manifest.version.clone());
        let id = BundleId { id, digest: bundle.digest(), version, packs: packs::names(bundle) };
        let known = Known::of_bundle(bundle).map(Arc::new);
        let (analyzer, vectors) = (Mutex::new(analyzer), Vectors::of(bundle)?);
        Ok(Self { analyzer, id, codes, vectors, packs: Packs::of(bundle)?, known })
    }

    /// Findings by phrases, which no head of the manifest names.
    pub(crate) fn zero_shot(&self) -> Vec<String> {
        self.lock().zero_shot_codes().into_iter().map(|code| code.label).collect()
    }

    /// How images should look, or why nobody knows.
    pub(crate) fn known(&self) -> Result<Arc<Known>, String> {
        self.known.clone()
    }

    /// Reproduces the golden vectors of the bundle and its packs, after loading and now and then; how many there are.
    pub(crate) fn self_test(&self) -> Result<u32> {
        let result = self.lock().reproduce(&self.vectors)?;
        if let Some(mismatch) = result.mismatch {
            return Err(anyhow::Error::msg(mismatch.to_string()).context("self-test failed"));
        }
        let vectors = u32::try_from(result.vectors).unwrap_or(u32::MAX);
        ensure!(vectors > 0, "the bundle has no golden vectors to prove itself with");
        self.packs.prove().context("self-test failed")?;
        Ok(vectors)
    }

    /// An image in memory; `name` is for the report. What cannot be read is not analysed, which is an
    /// answer; errors are about us.
    pub(crate) fn analyse(&self, name: &str, bytes: &[u8]) -> Result<Analysis> {
        self.analyse_hashed(name, bytes, || Sha256::digest(bytes).into())
    }

    /// As [`Self::analyse`], for whoever may know the SHA-256 of the bytes.
    pub(crate) fn analyse_hashed(
        &self,
        name: &str,
        bytes: &[u8],
        sha256: impl Fn() -> [u8; 32],
    ) -> Result<Analysis> {
        let began = Instant::now();
        match radiograph::read(bytes) {
            Ok(radiograph) => self.analyse_radiograph(name, &radiograph, bytes, sha256, began),
            Err(error) => {
                let reason = format!("cannot be read: {:#}", anyhow::Error::new(error));
                let report = Record::not_analysed(name.to_owned(), self.id.clone(), reason);
                let sha256 = hex::encode(sha256());
                let account = Some(Account::new(sha256.clone(), None));
                let header = radiograph::header(bytes).ok();
                let source = header.map(|header| source_id(&header, sha256));
                Ok(Analysis {
                    report: Record { source, account, cause: Some("unreadable".into()), ..report },
                    masks: Vec::new(),
                    seen: None,
                })
            }
        }
    }

    /// A file, as it was read for whoever draws; what cannot be read is an error that names it.
    pub(crate) fn analyse_file(&self, path: &Path) -> Result<(Analysis, File), AnalyseError> {
        let began = Instant::now();
        let file = File::open(path).map_err(AnalyseError::Read)?;
        let radiograph = file.read().map_err(AnalyseError::Read)?;
        let (name, sha256) = (path.display().to_string(), || Sha256::digest(file.bytes()).into());
        let analysis = self.analyse_radiograph(&name, &radiograph, file.bytes(), sha256, began);
        let analysis = analysis.map_err(AnalyseError::Run)?;
        drop(radiograph);
        Ok((analysis, file))
    }

    fn analyse_radiograph(
        &self,
        name: &str,
        radiograph: &Radiograph<'_>,
        bytes: &[u8],
        sha256: impl Fn() -> [u8; 32],
        began: Instant,
    ) -> Result<Analysis> {
        let mut lap = Lap(began);
        let mut milliseconds = Milliseconds { read: lap.end(), ..Milliseconds::default() };
        let outcome = self.lock().analyze_with_input(radiograph, |stage| match stage {
            // Both look at the pixels.
            Stage::Gate | Stage::Preprocess => milliseconds.preprocess += lap.end(),
            Stage::Infer => milliseconds.infer = lap.end(),
        });
        milliseconds.total = ms(began.elapsed());
        let (outcome, input) = outcome.context("the network failed")?;
        let (report, masks, digest, seen) = match outcome {
            engine::Analysis::NotAnalysed(reason) => {
                let cause = Some(reason.word().to_owned());
                let reason = reason.to_string();
                let report = Record::not_analysed(name.to_owned(), self.id.clone(), reason);
                (Record { milliseconds, cause, ..report }, Vec::new(), None, None)
            }
            engine::Analysis::Analysed(findings) => {
                let report = self.report(name, &findings, milliseconds);
                let seen = self.known.is_ok().then(|| {
                    let (embedding, scores) = (findings.embedding.clone(), findings.figures());
                    Offer { source: looks::source(bytes), seen: Seen { input, embedding, scores } }
                });
                (report, findings.masks, findings.input_digest, seen)
            }
        };
        let sha256 = hex::encode(sha256());
        let source = match &radiograph.source {
            Source::Dicom(header) => Some(source_id(header, sha256.clone())),
            Source::Png { .. } | Source::Jpeg => None,
        };
        let account = Some(Account::new(sha256, digest));
        Ok(Analysis { report: Record { source, account, ..report }, masks, seen })
    }

    fn report(&self, name: &str, found: &Findings, milliseconds: Milliseconds) -> Record {
        let finding = |f: &engine::Finding| Finding {
            name: f.name.clone(),
            probability: f.probability,
            threshold: f.threshold,
            positive: f.positive,
        };
        let summary = |mask: &Mask| MaskSummary {
            name: mask.name.clone(),
            area_fraction: mask.area_fraction(),
        };
        let found_box = |b: &engine::Detection| FoundBox {
            name: b.name.clone(),
            score: b.score,
            x: b.x,
            y: b.y,
            width: b.width,
            height: b.height,
        };
        let heat_map = |heat: &Heat| {
            let [x, y] = heat.peak;
            HeatMap {
                name: heat.name.clone(),
                rows: heat.rows as u32,
                columns: heat.columns as u32,
                x,
                y,
                most: heat.values.iter().copied().fold(0.0, f32::max),
                area: heat.area,
                values: heat.values.clone(),
            }
        };
        let sentence = |near: &NearestSentence| NearSentence {
            sentence: near.sentence.clone(),
            similarity: near.similarity,
            x: near.place[0],
            y: near.place[1],
        };
        let segment =
            |mask: &Mask| Segment::pack(&mask.name, [mask.height, mask.width], &mask.data);
        Record {
            status: Status::Analysed,
            reason: None,
            findings: found.findings.iter().map(finding).collect(),
            mask: found.masks.first().map(summary),
            masks: if found.masks.len() > 1 {
                found.masks.iter().map(summary).collect()
            } else {
                Vec::new()
            },
            boxes: found.boxes.as_ref().map(|boxes| boxes.iter().map(found_box).collect()),
            embedding_digest: found.embedding_digest.clone(),
            milliseconds,
            segments: found.masks.iter().map(segment).collect(),
            codes: self.codes.clone(),
            heat_maps: found.heat.iter().map(heat_map).collect(),
            nearest: found.nearest.iter().map(sentence).collect(),
            ..Record::not_analysed(name.to_owned(), self.id.clone(), String::new())
        }
    }

    /// So many of the threads work from the next image on.
    pub(crate) fn use_threads(&self, threads: usize) {
        self.lock().engine().use_threads(threads);
    }

    /// What broken memory does: the golden vectors come out otherwise.
    #[cfg(test)]
    pub(crate) fn damage(&mut self) {
        self.vectors.golden.vectors[0].outputs[0].bytes[0] ^= 1;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Analyzer> {
        // After a panic the model is loaded anew (`Model::distrust`); until then the lock is usable.
        self.analyzer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which DICOM image this is; other pictures have no identity.
fn source_id(header: &Header, sha256: String) -> SourceId {
    SourceId {
        sop_class_uid: header.sop_class_uid.clone(),
        study_instance_uid: header.study_instance_uid.clone(),
        series_instance_uid: header.series_instance_uid.clone(),
        sha256,
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a file has no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnalyseError {
    #[error(transparent)]
    Read(RadiographError),
    #[error(transparent)]
    Run(anyhow::Error),
}

/// Milliseconds since the end of the part before.
struct Lap(Instant);

impl Lap {
    fn end(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.0, Instant::now());
        ms(self.0 - before)
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
