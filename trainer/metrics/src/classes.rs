//! One class out of several: accuracy, macro precision, recall and F1, Cohen's κ.

/// `counts[truth][predicted]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassTable {
    counts: Vec<Vec<u64>>,
}

impl ClassTable {
    /// Panics on a class of `classes` or above.
    pub fn new(classes: usize, predicted: &[usize], truth: &[usize]) -> Self {
        let mut counts = vec![vec![0; classes]; classes];
        predicted.iter().zip(truth).for_each(|(&p, &t)| counts[t][p] += 1);
        Self { counts }
    }

    pub fn accuracy(&self) -> Option<f64> {
        let right: u64 = (0..self.counts.len()).map(|class| self.counts[class][class]).sum();
        let total = self.total();
        (total > 0).then(|| right as f64 / total as f64)
    }

    /// Mean over the classes that occur in truth or prediction; a class never predicted has precision 0 (scikit-learn's `zero_division=0`).
    pub fn macro_precision(&self) -> Option<f64> {
        self.mean(|class| share(self.counts[class][class], self.predicted(class)))
    }

    pub fn macro_recall(&self) -> Option<f64> {
        self.mean(|class| share(self.counts[class][class], self.true_count(class)))
    }

    pub fn macro_f1(&self) -> Option<f64> {
        self.mean(|class| {
            share(2 * self.counts[class][class], self.predicted(class) + self.true_count(class))
        })
    }

    /// Cohen's κ; `None` when truth and prediction are always one same class.
    pub fn kappa(&self) -> Option<f64> {
        let total = self.total() as f64;
        let classes = 0..self.counts.len();
        let agree =
            classes.map(|class| self.predicted(class) as f64 * self.true_count(class) as f64);
        let chance = agree.sum::<f64>() / (total * total);
        let observed = self.accuracy()?;
        (chance < 1.0).then(|| (observed - chance) / (1.0 - chance))
    }

    fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    fn predicted(&self, class: usize) -> u64 {
        self.counts.iter().map(|row| row[class]).sum()
    }

    fn true_count(&self, class: usize) -> u64 {
        self.counts[class].iter().sum()
    }

    fn mean(&self, of_class: impl Fn(usize) -> f64) -> Option<f64> {
        let present: Vec<usize> = (0..self.counts.len())
            .filter(|&class| self.predicted(class) + self.true_count(class) > 0)
            .collect();
        let sum: f64 = present.iter().map(|&class| of_class(class)).sum();
        (!present.is_empty()).then(|| sum / present.len() as f64)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_three_class_table_is_worked_by_hand() {
        let table = ClassTable::new(3, &[0, 2, 1, 0, 0, 1], &[0, 1, 2, 0, 1, 2]);
        assert_eq!(table.accuracy(), Some(2.0 / 6.0));
        // scikit-learn's documentation example of macro averages: 0.22, 0.33, 0.26
        assert!((table.macro_precision().unwrap() - 2.0 / 9.0).abs() < 1e-12);
        assert!((table.macro_recall().unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert!((table.macro_f1().unwrap() - 0.8 / 3.0).abs() < 1e-12);
        assert!((table.kappa().unwrap() - 0.0).abs() < 1e-12);
    }

    #[test]
    fn one_class_only_has_accuracy_but_no_kappa() {
        let table = ClassTable::new(2, &[1, 1], &[1, 1]);
        assert_eq!((table.accuracy(), table.kappa()), (Some(1.0), None));
        assert_eq!(ClassTable::new(2, &[], &[]).accuracy(), None);
    }
}
