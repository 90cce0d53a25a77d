//! The steps of a write, apart from the disk, so that a test can cut the power between any two.

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step<'a> {
    /// Into the file aside.
    Write(&'a [u8]),
    /// The file aside.
    Sync,
    /// The file aside to its place.
    Rename,
    SyncFolder,
}

pub(crate) fn plan(bytes: &[u8]) -> [Step<'_>; 4] {
    [Step::Write(bytes), Step::Sync, Step::Rename, Step::SyncFolder]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[u8] = b"old";
    const NEW: &[u8] = b"the new contents";

    /// A file, or one that is not there.
    type Contents = Option<Vec<u8>>;

    /// A disk that keeps of what was not synced whatever it likes.
    #[derive(Clone)]
    struct Disk {
        aside: Vec<u8>,
        /// How many bytes of `aside` are sure to last.
        synced: usize,
        /// What the name leads to after a cut: one of these.
        outcomes: Vec<Contents>,
        renamed: bool,
    }

    impl Disk {
        fn new(old: Contents) -> Self {
            Self { aside: Vec::new(), synced: 0, outcomes: vec![old], renamed: false }
        }

        fn run(&mut self, step: Step<'_>) {
            match step {
                Step::Write(bytes) => self.aside = bytes.to_vec(),
                Step::Sync => self.synced = self.aside.len(),
                Step::Rename => {
                    // The name may last before the bytes do: any prefix that is not synced may be lost.
                    let kept = self.synced..=self.aside.len();
                    self.outcomes.extend(kept.map(|n| Some(self.aside[..n].to_vec())));
                    self.renamed = true;
                }
                Step::SyncFolder if self.renamed => {
                    self.outcomes.remove(0);
                }
                Step::SyncFolder => {}
            }
        }
    }

    /// What readers may find after a cut behind each of `steps`.
    fn after_cuts(steps: &[Step<'_>], old: Contents) -> Vec<Vec<Contents>> {
        (0..=steps.len())
            .map(|cut| {
                let mut disk = Disk::new(old.clone());
                steps[..cut].iter().for_each(|&step| disk.run(step));
                disk.outcomes
            })
            .collect()
    }

    fn is_whole(cuts: &[Vec<Contents>], old: &Contents) -> bool {
        let whole = |found: &Contents| found == old || found.as_deref() == Some(NEW);
        cuts.iter().flatten().all(whole)
            && cuts.last().is_some_and(|end| end == &[Some(NEW.into())])
    }

    #[test]
    fn a_cut_behind_any_step_leaves_the_old_file_or_the_new_and_the_end_only_the_new() {
        for old in [None, Some(OLD.to_vec())] {
            assert!(is_whole(&after_cuts(&plan(NEW), old.clone()), &old));
        }
    }

    #[test]
    fn the_model_of_a_disk_finds_a_plan_without_either_sync_or_in_another_order() {
        let [write, sync, rename, folder] = plan(NEW);
        let old = Some(OLD.to_vec());
        let plans = [
            vec![write, rename, folder],
            vec![write, sync, rename],
            vec![write, rename, sync, folder],
            vec![write, sync, folder, rename],
        ];
        for wrong in plans {
            assert!(!is_whole(&after_cuts(&wrong, old.clone()), &old), "{wrong:?}");
        }
    }
}
