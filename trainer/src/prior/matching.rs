//! Which query answered which sentence: the cheapest one-to-one assignment (Kuhn 1955, Munkres 1957).

use pathfinding::{kuhn_munkres::kuhn_munkres_min, matrix::Matrix};

/// Costs become whole numbers of this size; exact, so ties break the same everywhere.
const UNIT: f64 = (1u64 << 32) as f64;

/// `cost[query][target]`, square and row by row → for every query its target.
pub fn assign(cost: &[f64], size: usize) -> Vec<usize> {
    assert_eq!(cost.len(), size * size, "the cost is square");
    let whole = cost.iter().map(|c| (c * UNIT).clamp(-1e15, 1e15) as i64).collect();
    let matrix = Matrix::from_vec(size, size, whole).expect("checked above");
    kuhn_munkres_min(&matrix).1
}

/// The order that undoes `assign`: for every target its query.
pub(super) fn invert(columns: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; columns.len()];
    columns.iter().enumerate().for_each(|(query, &target)| inverse[target] = query);
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_of_three_is_undone_by_its_inverse_not_by_itself() {
        // Query 0 wrote sentence 1, query 1 sentence 2, query 2 sentence 0.
        let cost = [9.0, 0.1, 9.0, 9.0, 9.0, 0.2, 0.3, 9.0, 9.0];
        let columns = assign(&cost, 3);
        assert_eq!(columns, [1, 2, 0]);
        assert_eq!(invert(&columns), [2, 0, 1]);
    }

    #[test]
    fn no_other_assignment_is_cheaper() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / 2f64.powi(31)
        };
        for _ in 0..50 {
            let cost: Vec<f64> = (0..25).map(|_| next()).collect();
            let total = |columns: &[usize]| -> f64 {
                columns.iter().enumerate().map(|(q, t)| cost[q * 5 + t]).sum()
            };
            let mut best = f64::MAX;
            permutations(5, &mut |p| best = best.min(total(p)));
            assert!((total(&assign(&cost, 5)) - best).abs() < 1e-8);
        }
    }

    fn permutations(n: usize, visit: &mut impl FnMut(&[usize])) {
        fn go(taken: &mut Vec<usize>, n: usize, visit: &mut impl FnMut(&[usize])) {
            if taken.len() == n {
                return visit(taken);
            }
            for x in 0..n {
                if !taken.contains(&x) {
                    taken.push(x);
                    go(taken, n, visit);
                    taken.pop();
                }
            }
        }
        go(&mut Vec::new(), n, visit);
    }
}
