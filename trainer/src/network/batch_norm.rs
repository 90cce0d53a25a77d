//! Batch normalisation, over one process or over a group of them.

use std::rc::Rc;
use tch::{Kind, Tensor, nn};
use torch_ext::Group;

/// Batch normalisation over `[B, C, H, W]`, momentum 0.1 as everywhere; weights begin at 1.
///
/// With a group, mean and variance are those of the joined batch of all processes.
#[derive(Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    eps: f64,
    group: Option<Rc<Group>>,
}

const MOMENTUM: f64 = 0.1;

impl BatchNorm {
    pub fn new(p: &nn::Path<'_>, channels: i64, eps: f64, group: Option<&Rc<Group>>) -> Self {
        Self {
            weight: p.ones("weight", &[channels]),
            bias: p.zeros("bias", &[channels]),
            running_mean: p.zeros_no_train("running_mean", &[channels]),
            running_var: p.ones_no_train("running_var", &[channels]),
            eps,
            group: group.cloned(),
        }
    }

    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        match &self.group {
            Some(group) if train => self.synchronised(x, group),
            _ => x.batch_norm(
                Some(&self.weight),
                Some(&self.bias),
                Some(&self.running_mean),
                Some(&self.running_var),
                train,
                MOMENTUM,
                self.eps,
                true,
            ),
        }
    }

    /// What each process finds of its own images meets in one collective and is merged (Chan 1979), all of it
    /// relative to means that no gradient flows to: a mean may be a thousand deviations from 0.
    fn synchronised(&self, x: &Tensor, group: &Group) -> Tensor {
        const PLACES: [i64; 3] = [0, 2, 3];
        let kind = if x.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let (batch, channels, height, width) = x.size4().expect("images are [B, C, H, W]");
        let image = |t: &Tensor| t.reshape([1, channels, 1, 1]);

        let wide = x.to_kind(kind);
        let centre = tch::no_grad(|| wide.mean_dim(PLACES.as_slice(), false, None)); // [C]
        let centred = wide - image(&centre);
        let (var, offset) = centred.var_mean_dim(PLACES.as_slice(), false, false);
        let count = Tensor::full([1], batch * height * width, (kind, x.device()));
        let own = Tensor::cat(&[&centre, &offset, &var, &count], 0).unsqueeze(0);
        let all = group.gather(&own).expect("the group is alive"); // [world, 3 · C + 1]

        let [centres, offsets, vars] = [0, 1, 2].map(|at| all.narrow(1, at * channels, channels));
        let counts = all.narrow(1, 3 * channels, 1); // [world, 1]
        let n = counts.sum_dim_intlist(0, false, None); // [1]
        let joined = |rows: Tensor| (rows * &counts / &n).sum_dim_intlist(0, false, None);
        // Relative to the first rank's, so that every rank comes to the same bits.
        let origin = centres.get(0);
        let means = centres - &origin + offsets;
        let mean = joined(means.shallow_clone());
        let var = joined(vars + (means - &mean).square());

        tch::no_grad(|| {
            let unbiased = &var * (&n / (&n - 1.0));
            let (all, kind) = (&origin + &mean, self.running_mean.kind());
            for (running, now) in [(&self.running_mean, all), (&self.running_var, unbiased)] {
                let _ = running.shallow_clone().lerp_(&now.to_kind(kind), MOMENTUM);
            }
        });
        let scale = (var + self.eps).rsqrt() * &self.weight;
        let shift = &self.bias - (mean + (origin - centre)) * &scale;
        (centred * image(&scale) + image(&shift)).to_kind(x.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, net::TcpListener, process::Command};
    use tch::Device;
    use torch_ext::Ranks;

    const SHAPE: [i64; 4] = [6, 3, 5, 7];
    const WORLD: i64 = 2;
    const OUT: &str = "BATCH_NORM_TEST_RANK_WRITES";

    /// Activations whose means are a thousand to a hundred thousand deviations from 0, and a weight for each output.
    fn case() -> [Tensor; 2] {
        let draw = |seed: i64| {
            let at = Tensor::arange(SHAPE.iter().product::<i64>(), (Kind::Double, Device::Cpu));
            ((at * 12.9898 + seed as f64).sin() * 43758.5453).frac().reshape(SHAPE)
        };
        let mean = Tensor::from_slice(&[1e3_f64, -3e4, 1e5]).reshape([1, 3, 1, 1]);
        let by_image = Tensor::arange(SHAPE[0], (Kind::Double, Device::Cpu)).reshape([-1, 1, 1, 1]);
        // In single precision, so that all see the same numbers.
        [(draw(1) + by_image * 0.2 + mean).to_kind(Kind::Float), draw(2).to_kind(Kind::Float)]
    }

    /// Output, gradients of input, weight and bias, running mean and variance after one step on images from `first` on.
    fn step(
        kind: Kind,
        images: [i64; 2],
        group: Option<&Rc<Group>>,
    ) -> Vec<(&'static str, Tensor)> {
        let mut store = nn::VarStore::new(Device::Cpu);
        let norm = BatchNorm::new(&store.root(), SHAPE[1], 1e-5, group);
        store.set_kind(kind);
        tch::no_grad(|| {
            norm.weight.shallow_clone().copy_(&Tensor::from_slice(&[0.5_f32, 1.5, 2.0]));
        });
        let [x, by] = case().map(|t| t.narrow(0, images[0], images[1]).to_kind(kind));
        let x = x.set_requires_grad(true);
        let y = norm.forward(&x, true);
        (&y * by).sum(None).backward();
        let gradient = |t: &Tensor| {
            let gradient = t.grad();
            if let Some(group) = group {
                group.all_reduce(&gradient, torch_ext::Reduce::Sum).unwrap();
            }
            gradient
        };
        let gather = |t: Tensor| group.map_or(t.shallow_clone(), |group| group.gather(&t).unwrap());
        vec![
            ("output", gather(y.detach())),
            ("gradient of input", gather(x.grad())),
            ("gradient of weight", gradient(&norm.weight)),
            ("gradient of bias", gradient(&norm.bias)),
            ("running mean", norm.running_mean.shallow_clone()),
            ("running variance", norm.running_var.shallow_clone()),
        ]
    }

    /// Every result of the ranks is that of one process in double precision with the joined batch.
    fn check(ranks: &[(&'static str, Tensor)]) {
        let one = step(Kind::Double, [0, SHAPE[0]], None);
        for ((name, expected), (_, found)) in one.iter().zip(ranks) {
            let most = |t: &Tensor| t.abs().max().double_value(&[]);
            let off = most(&(expected - found.to_kind(Kind::Double))) / most(expected);
            assert!(off < 1e-4, "{name} is off by {off:e}");
        }
    }

    fn group(world: i32) -> Vec<(&'static str, String)> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        vec![("MASTER_PORT", port.to_string()), ("WORLD_SIZE", world.to_string())]
    }

    #[test]
    fn a_group_of_one_normalises_activations_far_from_zero_as_double_precision_does() {
        let [(_, port), _] = &group(1)[..] else { unreachable!() };
        let port = port.parse().unwrap();
        let alone = Ranks { host: "127.0.0.1".into(), port, rank: 0, world: 1, local_rank: 0 };
        let group = Rc::new(Group::join(&alone, Device::Cpu).unwrap());
        check(&step(Kind::Float, [0, SHAPE[0]], Some(&group)));
    }

    #[test]
    fn two_ranks_normalise_activations_far_from_zero_as_one_process_does() {
        if env::var_os(OUT).is_some() {
            let group =
                Rc::new(Group::join(&Ranks::from_env().unwrap().unwrap(), Device::Cpu).unwrap());
            let own = SHAPE[0] / WORLD;
            return check(&step(Kind::Float, [group.rank * own, own], Some(&group)));
        }
        let variables = group(WORLD as i32);
        let ranks: Vec<_> = (0..WORLD)
            .map(|rank| {
                Command::new(env::current_exe().unwrap())
                    .args(["--exact", "network::batch_norm::tests::two_ranks_normalise_activations_far_from_zero_as_one_process_does"])
                    .env(OUT, "")
                    .env("MASTER_ADDR", "127.0.0.1")
                    .env("RANK", rank.to_string())
                    .env("OMP_NUM_THREADS", "1")
                    .envs(variables.iter().map(|(name, value)| (name, value)))
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for rank in ranks {
            let output = rank.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
    }
}
