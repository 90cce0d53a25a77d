//! How often a step waits for the device.

use super::{losses, open, records, run, turn};
use torch_ext::Waits;
use trainer::{
    checkpoint,
    device::{self, DeviceArg},
};

#[test]
fn a_step_waits_for_the_device_only_to_match_sentences_and_at_its_end() {
    // Whatever makes the host look at numbers the device has computed.
    const WAITING: [&str; 12] = [
        "aten::_local_scalar_dense",
        "aten::item",
        "aten::is_nonzero",
        "aten::nonzero",
        "aten::nonzero_numpy",
        "aten::masked_select",
        "aten::equal",
        "aten::_unique2",
        "aten::unique_consecutive",
        "aten::bincount",
        "aten::repeat_interleave",
        "aten::_assert_async",
    ];
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    for (stage, changes, waits) in
        [("alignment", vec![], 1), ("reconstruction", vec!["stage.0.epochs=0"], 2)]
    {
        for precision in ["f32", "bf16"] {
            let precise = format!("precision={precision}");
            let changes = [&changes[..], &[precise.as_str()]].concat();
            let mut run = run(data, &data.join(format!("{stage}-{precision}")), false, &changes);
            losses(&mut run, 1); // what only the first step does
            let before = device::downloads();
            let (_, operations) = torch_ext::profile(|| losses(&mut run, 1)).unwrap();
            assert_eq!(device::downloads() - before, waits, "{stage}");
            let calls =
                |name: &str| operations.iter().find(|o| o.name == name).map_or(0, |o| o.calls);
            // The fused optimizer's CPU kernel reads its own step counters so, which lie beside it; a card's does not.
            let optimizer =
                checkpoint::load_optimizer(&data.join(format!("{stage}-{precision}"))).unwrap();
            let counters = optimizer
                .iter()
                .filter(|(name, n)| name.ends_with(".step") && n.double_value(&[]) > 0.0)
                .count() as u64;
            let waiting: Vec<_> = WAITING
                .into_iter()
                .map(|name| {
                    let reads = matches!(name, "aten::item" | "aten::_local_scalar_dense");
                    (name, calls(name), if reads { counters } else { 0 })
                })
                .filter(|(_, found, expected)| found != expected)
                .collect();
            assert!(waiting.is_empty(), "{stage}: {waiting:?}");
            assert!(calls("aten::convolution") >= 20, "the step was recorded");
        }
    }
}

/// What the card itself says, through libtorch's sync debug mode; with accumulation, so that there is work to wait for
/// while the second batch is uploaded.
#[test]
fn gpu_a_step_waits_for_a_card_only_to_match_sentences_and_at_its_end() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let card = DeviceArg::Cuda(Some(0)).open(0).unwrap();
    for (stage, waits) in [("alignment", 1), ("reconstruction", 3)] {
        let skip = format!("stage.0.epochs={}", u8::from(stage == "alignment"));
        let changes = [skip.as_str(), "accumulate=2"];
        let mut run = open(&records(data), &data.join(stage), false, &changes, card).unwrap();
        let (mut counting, mut found) = (None, None);
        run.train(|progress| {
            if let Some(counting) = counting.take() {
                found = Some(Waits::end(counting)?);
            }
            let warm = progress.step == 1; // what only the first step does
            counting = warm.then(Waits::begin).transpose()?;
            Ok(warm)
        })
        .unwrap();
        assert_eq!(found, Some(waits), "{stage}");
    }
}
