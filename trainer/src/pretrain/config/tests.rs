use super::*;
use std::path::PathBuf;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

#[test]
fn every_example_is_valid() {
    let mut count = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with(['p', 'c', 'd']) {
            let text = fs::read_to_string(&path).unwrap();
            if text.contains("[[stage]]") {
                PretrainConfig::read(&path, &[]).unwrap();
                count += 1;
            }
        }
    }
    assert!(count >= 3);
}

#[test]
fn the_published_configuration_is_the_papers_table() {
    let config = PretrainConfig::read(&examples().join("prior-resnet50.toml"), &[]).unwrap();
    let epochs: Vec<u64> = config.stage.iter().map(|stage| stage.epochs).collect();
    assert_eq!(epochs, [20, 30, 100]);
    let weights = &config.stage[2].weights;
    assert_eq!((weights.global, weights.sentence, weights.prototype), (10.0, 10.0, 10.0));
    assert!(!config.stage[0].weights.uses_prototypes());
}

#[test]
fn what_the_released_code_does_not_know_is_refused_beside_its_way_of_rotating() {
    let path = examples().join("demo.toml");
    let read = |quirks: &str| {
        let changes = ["light=0.1".to_owned(), format!("model.released_quirks={quirks}")];
        PretrainConfig::read(&path, &changes)
    };
    let error = format!("{:#}", read("true").unwrap_err());
    assert!(error.contains("released_quirks.nearest"), "{error}");
    assert!(read("{ layout = true }").unwrap().model.released_quirks.layout);
}

#[test]
fn a_finer_map_goes_without_the_image_decoder_that_is_built_for_the_published_one() {
    let read = |changes: &[&str]| {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        PretrainConfig::read(&examples().join("phantom.toml"), &changes)
    };
    let error = format!("{:#}", read(&["model.output_stride=8"]).unwrap_err());
    assert!(error.contains("stage reconstruction draws images again"), "{error}");
    let config = read(&["model.output_stride=8", "stage.2.weights.image=0.0"]).unwrap();
    let graph = config.checkpoint().graph().unwrap();
    assert_eq!(graph.shapes().unwrap()["layer4.1.relu"], [128, 12, 12]);
    let error = format!("{:#}", read(&["model.output_stride=12"]).unwrap_err());
    assert!(error.contains("output_stride is 12, expected 8, 16 or 32"), "{error}");
}

#[test]
fn settings_reach_into_stages_and_unknown_ones_are_refused() {
    let path = examples().join("demo.toml");
    let changes = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
    let changed = changes(&["stage.0.epochs=7", "model.pool=mean", "batch=4"]);
    let config = PretrainConfig::read(&path, &changed).unwrap();
    assert_eq!((config.stage[0].epochs, config.batch), (7, 4));
    assert_eq!(config.model.pool, Pool::Mean);
    for bad in [
        "stage.9.epochs=1",
        "batches=4",
        "joint.embed=33",
        "batch",
        "seed.x=1",
        "erase=1.5",
        "light=-0.1",
        "hide-words=1.0",
        "crop={from=96,least-area=0.0,aspect=1.3}",
        "crop={from=96,least-area=0.5,aspect=0.7}",
        "model.released_quirks={layuot=true}",
        "model.released_quirks=3",
    ] {
        let error = PretrainConfig::read(&path, &changes(&[bad])).unwrap_err();
        assert!(!format!("{error:#}").contains('\n'), "{bad}: {error:#}");
    }
}
