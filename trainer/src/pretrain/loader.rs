//! Batches prepared off the training thread, in an order only the seed decides.
//!
//! Worker `w` of `W` prepares batches `w, w + W, …`, each into its own short queue, and the reader takes from
//! the queues in turn: so the order does not depend on who is fast, and memory is bounded.

use super::{Pairs, Pictures, Sample};
use crate::{
    data::augment::Augmentation,
    prior::Quirks,
    text::{Encoded, Words},
};
use anyhow::{Context, Result, anyhow};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

/// Batches a worker may be ahead.
const AHEAD: usize = 2;

/// Everything a worker needs.
#[derive(Debug)]
pub struct Loading {
    pub pairs: Pairs,
    /// At the size of [`super::PretrainConfig::kept`].
    pub pictures: Pictures,
    pub augmentation: Augmentation,
    /// Rows and columns of the network's input.
    pub input: [usize; 2],
    pub words: Words,
    pub batch: usize,
    pub max_tokens: usize,
    /// Share of a report's words left out each time.
    pub hide_words: f64,
    pub quirks: Quirks,
    pub seed: u64,
    /// This process among all that share the data.
    pub rank: usize,
    pub world: usize,
    pub workers: usize,
}

/// One batch in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// `[B, H, W]`, normalised.
    pub images: Vec<f32>,
    pub reports: Vec<Encoded>,
    pub ids: Vec<String>,
}

/// The rest of an epoch.
#[derive(Debug)]
pub struct Loader {
    queues: Vec<Receiver<Result<Prepared>>>,
    next: usize,
    left: usize,
}

impl Loading {
    /// Batches this process makes of one epoch. Pairs that fill no batch wait for another epoch's order, or (a quirk)
    /// make a smaller one.
    pub fn batches(&self) -> usize {
        let (pairs, joined) = (self.pairs.all.len(), self.batch * self.world);
        if self.quirks.last_batch { pairs.div_ceil(joined) } else { pairs / joined }
    }

    /// Batches of one epoch that are full.
    pub fn full_batches(&self) -> usize {
        self.pairs.all.len() / (self.batch * self.world)
    }

    /// Batches `first..` of the epoch with this number, which must never be used twice in a run.
    pub fn epoch(self: &Arc<Self>, epoch: u64, first: usize) -> Loader {
        let mut order: Vec<usize> = (0..self.pairs.all.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(mix(&[self.seed, epoch, 0])));
        let order = Arc::new(order);
        let queues = (0..self.workers)
            .map(|worker| {
                let (queue, reader) = sync_channel(AHEAD);
                let (loading, order) = (Arc::clone(self), Arc::clone(&order));
                thread::spawn(move || {
                    for batch in (first + worker..loading.batches()).step_by(loading.workers) {
                        let prepared = loading.prepare(epoch, &order, batch);
                        let failed = prepared.is_err();
                        if queue.send(prepared).is_err() || failed {
                            return; // nobody reads any more
                        }
                    }
                });
                reader
            })
            .collect();
        Loader { queues, next: 0, left: self.batches().saturating_sub(first) }
    }

    fn prepare(&self, epoch: u64, order: &[usize], batch: usize) -> Result<Prepared> {
        let mut prepared = Prepared { images: Vec::new(), reports: Vec::new(), ids: Vec::new() };
        // Where the last batch cannot be shared out evenly, the first pairs of the epoch fill it up, as PyTorch's
        // `DistributedSampler` does.
        let pairs = self.pairs.all.len();
        let first = batch * self.world * self.batch;
        let own = self.batch.min((pairs - first).div_ceil(self.world));
        for at in (0..own).map(|at| order[(first + self.rank * own + at) % pairs]) {
            let pair = &self.pairs.all[at];
            let mut rng = ChaCha8Rng::seed_from_u64(mix(&[self.seed, epoch, 1 + at as u64]));
            let image = match &pair.images[..] {
                [only] => only,
                several => &several[rng.random_range(0..several.len())],
            };
            let pixels = self
                .pictures
                .read(image)
                .with_context(|| format!("cannot train on {}", pair.id))?;
            prepared.images.extend(self.pictures.augmented(
                pixels,
                &self.augmentation,
                self.input,
                if self.quirks.nearest { Sample::Nearest } else { Sample::Bilinear },
                &mut rng,
            ));
            let mut sentences = pair.sentences.clone();
            sentences.shuffle(&mut rng);
            if self.hide_words > 0.0 {
                for sentence in &mut sentences {
                    *sentence = thinned(sentence, self.hide_words, &mut rng);
                }
            }
            prepared.reports.push(if self.quirks.joined {
                self.words.encode_as_released(&sentences, self.max_tokens)?
            } else {
                self.words.encode(&sentences, self.max_tokens)?
            });
            prepared.ids.push(pair.id.clone());
        }
        Ok(prepared)
    }
}

/// A sentence without about this share of its words; at least one stays.
fn thinned(sentence: &str, share: f64, rng: &mut impl Rng) -> String {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let mut kept = words.clone();
    kept.retain(|_| !rng.random_bool(share));
    if kept.is_empty() {
        kept.extend(words.get(rng.random_range(0..words.len().max(1))));
    }
    kept.join(" ")
}

impl Iterator for Loader {
    type Item = Result<Prepared>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let workers = self.queues.len();
        let queue = &self.queues[self.next % workers];
        self.next += 1;
        self.left -= 1;
        Some(queue.recv().unwrap_or_else(|_| Err(anyhow!("a worker that prepares images died"))))
    }
}

/// One number from several; SplitMix64's finaliser after each.
pub(super) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state, part| {
        let mut z = state ^ part.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::Crop;
    use crate::pretrain::Pair;
    use graph::Preprocess;
    use std::path::Path;

    const PUBLISHED: Augmentation = Augmentation { rotation: 5.0, flip: 0.5, ..Augmentation::NONE };
    const CROP: Crop = Crop { from: 48, least_area: 0.3, aspect: 1.3 };

    fn loading(folder: &Path, workers: usize, rank: usize, world: usize) -> Arc<Loading> {
        with(folder, workers, rank, world, PUBLISHED)
    }

    fn with(
        folder: &Path,
        workers: usize,
        rank: usize,
        world: usize,
        augmentation: Augmentation,
    ) -> Arc<Loading> {
        let all: Vec<Pair> = (0..13)
            .map(|n| {
                let image = folder.join(format!("{n}.png"));
                if !image.exists() {
                    let shade = |x, y| image::Luma([(n as u32 * 9 + x + 2 * y) as u8]);
                    image::GrayImage::from_fn(40, 40, shade).save(&image).unwrap();
                }
                let sentences = vec![format!("Case {n}."), "Heart normal.".to_owned()];
                Pair {
                    id: n.to_string(),
                    images: vec![image],
                    sentences,
                    report_group: String::new(),
                }
            })
            .collect();
        let texts: Vec<String> = all.iter().flat_map(|pair| pair.sentences.clone()).collect();
        let side = augmentation.crop.map_or(32, |crop| crop.from);
        let kept =
            Preprocess { height: side, width: side, mean: 0.5, std: 0.25, ..Preprocess::PRIOR };
        Arc::new(Loading {
            pairs: Pairs { all, left_out: 0 },
            pictures: Pictures::new(kept, None).unwrap(),
            augmentation,
            input: [32, 32],
            words: Words::build(texts.iter().map(String::as_str), 512).unwrap(),
            batch: 2,
            max_tokens: 32,
            hide_words: 0.0,
            quirks: Quirks::default(),
            seed: 7,
            rank,
            world,
            workers,
        })
    }

    fn batches(loader: Loader) -> Vec<Prepared> {
        loader.map(Result::unwrap).collect()
    }

    #[test]
    fn the_number_of_workers_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let one = batches(loading(folder.path(), 1, 0, 1).epoch(0, 0));
        assert_eq!(one.len(), 6);
        assert!(one == batches(loading(folder.path(), 3, 0, 1).epoch(0, 0)));
        assert!(one != batches(loading(folder.path(), 1, 0, 1).epoch(1, 0)));
    }

    #[test]
    fn each_option_changes_the_images_and_leaves_their_size_whatever_the_number_of_workers() {
        let folder = tempfile::tempdir().unwrap();
        let published = batches(loading(folder.path(), 1, 0, 1).epoch(0, 0));
        for option in [
            Augmentation { light: 0.3, ..PUBLISHED },
            Augmentation { erase: 0.9, ..PUBLISHED },
            Augmentation { crop: Some(CROP), ..PUBLISHED },
        ] {
            let prepared =
                |workers| batches(with(folder.path(), workers, 0, 1, option).epoch(0, 0));
            let one = prepared(1);
            assert!(one.iter().all(|batch| batch.images.len() == 2 * 32 * 32), "{option:?}");
            assert!(one.iter().zip(&published).all(|(a, b)| a.images != b.images), "{option:?}");
            assert!(one == prepared(3), "{option:?}");
        }
    }

    #[test]
    fn hidden_words_are_others_each_time_the_rest_keeps_its_order_and_no_sentence_ends_up_empty() {
        let sentence = "The heart is normal in size and the lungs are clear.";
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut seen = 0;
        for _ in 0..400 {
            let kept = thinned(sentence, 0.3, &mut rng);
            let mut rest = sentence.split(' ');
            assert!(kept.split(' ').all(|word| rest.any(|w| w == word)), "{kept}");
            seen += kept.split(' ').count();
        }
        let share = f64::from(seen as u32) / (400.0 * 11.0);
        assert!((share - 0.7).abs() < 0.03, "{share}");
        assert!((0..50).all(|_| thinned("Normal heart.", 0.999, &mut rng).split(' ').count() == 1));

        let folder = tempfile::tempdir().unwrap();
        let reports = |workers, share, epoch| -> Vec<Encoded> {
            let mut loading = Arc::into_inner(loading(folder.path(), workers, 0, 1)).unwrap();
            loading.hide_words = share;
            let batches = batches(Arc::new(loading).epoch(epoch, 0));
            batches.into_iter().flat_map(|batch| batch.reports).collect()
        };
        assert!(reports(1, 0.5, 0) == reports(3, 0.5, 0));
        assert!(reports(1, 0.5, 0) != reports(1, 0.0, 0));
        assert!(reports(1, 0.5, 0) != reports(1, 0.5, 1));
    }

    #[test]
    fn an_epoch_can_be_entered_in_the_middle() {
        let folder = tempfile::tempdir().unwrap();
        let loading = loading(folder.path(), 2, 0, 1);
        assert!(batches(loading.epoch(4, 0))[3..] == batches(loading.epoch(4, 3))[..]);
    }

    #[test]
    fn processes_share_an_epoch_without_overlap() {
        let folder = tempfile::tempdir().unwrap();
        let ids = |rank, world| -> Vec<String> {
            let batches = batches(loading(folder.path(), 1, rank, world).epoch(0, 0));
            batches.into_iter().flat_map(|batch| batch.ids).collect()
        };
        let mut both = [ids(0, 2), ids(1, 2)].concat();
        assert_eq!(both.len(), 12);
        both.sort();
        both.dedup();
        assert_eq!(both.len(), 12);
    }

    #[test]
    fn the_released_epoch_ends_with_a_smaller_batch_that_processes_share_evenly() {
        let folder = tempfile::tempdir().unwrap();
        let prepared = |rank, world| {
            let mut loading = Arc::into_inner(loading(folder.path(), 2, rank, world)).unwrap();
            loading.quirks.last_batch = true;
            batches(Arc::new(loading).epoch(0, 0))
        };
        let sizes = |batches: &[Prepared]| batches.iter().map(|b| b.ids.len()).collect::<Vec<_>>();
        // Thirteen pairs, two at a time.
        let alone = prepared(0, 1);
        assert_eq!(sizes(&alone), [2, 2, 2, 2, 2, 2, 1]);
        let usual = batches(loading(folder.path(), 2, 0, 1).epoch(0, 0));
        assert!(alone[..6] == usual[..]);
        let mut all: Vec<String> = alone.iter().flat_map(|batch| batch.ids.clone()).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 13);
        // The thirteenth and, to fill up, the first of the epoch.
        let (first, second) = (prepared(0, 2), prepared(1, 2));
        assert_eq!((sizes(&first), sizes(&second)), (vec![2, 2, 2, 1], vec![2, 2, 2, 1]));
        assert_eq!(first[3].ids, alone[6].ids);
        assert_eq!(second[3].ids[0], first[0].ids[0]);
    }

    #[test]
    fn an_unreadable_image_ends_the_epoch_naming_it() {
        let folder = tempfile::tempdir().unwrap();
        let loading = loading(folder.path(), 2, 0, 1);
        std::fs::write(folder.path().join("5.png"), b"not a picture").unwrap();
        let error = loading.epoch(0, 0).find_map(Result::err).unwrap();
        assert!(format!("{error:#}").contains("5.png"));
    }
}
