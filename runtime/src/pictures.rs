//! Overlays, drawn when somebody looks at them: by one thread of low priority, so that people who look hold up no
//! answer. What it draws is kept in the spool's cache.
//!
//! A picture is made of an image and its record alone, so it is the same whichever bundle answers today.

use crate::{
    overlay,
    spool::{Key, Spool},
};
use anyhow::{Context, Result, anyhow, bail};
use engine::Mask;
use results::{HeatMap, Record, Segment, Status};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};
use tokio::sync::oneshot;

/// Where pictures are asked for.
#[derive(Debug)]
pub(crate) struct Pictures {
    spool: Arc<Spool>,
    sender: SyncSender<Request>,
}

#[derive(Debug)]
struct Request {
    key: Key,
    /// Whose heat map alone is drawn.
    finding: Option<String>,
    answer: oneshot::Sender<Result<Vec<u8>>>,
}

/// Requests that may wait.
const WAITING: usize = 100;
/// How much less urgent than answers; 19 is the least.
const NICENESS: i32 = 15;

impl Pictures {
    /// `longer`: pixels of the radiograph's longer side.
    pub(crate) fn new(spool: Arc<Spool>, longer: u32) -> Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let drawn = spool.clone();
        thread::Builder::new()
            .name("pictures".into())
            .spawn(move || work(&drawn, longer, &receiver))
            .context("cannot start the thread that draws")?;
        Ok(Self { spool, sender })
    }

    /// The overlay of an answered image as a PNG file; of heat maps, that of `finding` alone if there is one.
    pub(crate) async fn png(&self, key: &Key, finding: Option<String>) -> Result<Vec<u8>> {
        if finding.is_none() {
            let (spool, wanted) = (self.spool.clone(), key.clone());
            let kept = tokio::task::spawn_blocking(move || spool.overlay(&wanted)).await;
            if let Ok(Ok(png)) = kept {
                return Ok(png);
            }
        }
        let (answer, drawn) = oneshot::channel();
        let request = Request { key: key.clone(), finding, answer };
        if self.sender.try_send(request).is_err() {
            bail!("too many pictures are asked for");
        }
        drawn.await.context("nobody draws any more")?
    }
}

fn work(spool: &Spool, longer: u32, requests: &Receiver<Request>) {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICENESS) {
        log::warn!("drawing has the priority of answers: {error}");
    }
    for Request { key, finding, answer } in requests {
        if answer.is_closed() {
            continue; // whoever asked has left
        }
        let draw = || match (&finding, spool.overlay(&key)) {
            (None, Ok(png)) => Ok(png),
            _ => draw(spool, &key, longer, finding.as_deref()),
        };
        let drawn =
            catch_unwind(AssertUnwindSafe(draw)).unwrap_or_else(|_| Err(anyhow!("panicked")));
        let _ = answer.send(drawn);
    }
}

/// Kept if it is the one that everybody sees.
fn draw(spool: &Spool, key: &Key, longer: u32, finding: Option<&str>) -> Result<Vec<u8>> {
    let record: Record = serde_json::from_slice(&spool.result(key).context("no answer")?)
        .context("the answer cannot be read")?;
    if record.status != Status::Analysed {
        bail!("the image was not analysed");
    }
    record.heat_maps.iter().try_for_each(HeatMap::check)?;
    if let Some(name) = finding.filter(|name| record.heat_map(name).is_none()) {
        bail!("the result has no heat map of {name:?}");
    }
    let image = fs::read(spool.image_path(key)).context("no image")?;
    let picture = radiograph::read(&image)?.image;
    let masks = record.segments.iter().map(mask).collect::<Result<Vec<_>>>()?;
    let png = overlay::png(&picture, &masks, &record, longer, finding)?;
    if finding.is_none()
        && let Err(error) = spool.keep_overlay(key, &png)
    {
        log::warn!("{}: its overlay is not kept: {error}", key.label());
    }
    Ok(png)
}

/// A mask as it was found.
pub(crate) fn mask(segment: &Segment) -> Result<Mask> {
    let (height, width) = (segment.rows as usize, segment.columns as usize);
    Ok(Mask { name: segment.name.clone(), height, width, data: segment.pixels()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::SpoolConfig, uid::Uid};
    use results::BundleId;
    use std::path::Path;

    /// An answered image with a mask on its left half.
    fn answered(folder: &Path, status: Status) -> (Arc<Spool>, Key) {
        let spool = Spool::open(&SpoolConfig::at(folder.join("spool"))).unwrap();
        let mut png = Vec::new();
        let grey = image::GrayImage::from_pixel(300, 200, image::Luma([100]));
        grey.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        let mut incoming = spool.begin().unwrap();
        incoming.write(&png).unwrap();
        let key = incoming.commit(Uid::parse("1.1").unwrap()).unwrap().key().clone();
        let record = Record::not_analysed("x".into(), BundleId::default(), "why".into());
        let left: Vec<u8> = (0..300 * 200).map(|at| u8::from(at % 300 < 150)).collect();
        let segments = vec![Segment::pack("lung", [200, 300], &left)];
        let record = Record { status, reason: None, segments, ..record };
        spool.answer(&key, &serde_json::to_vec(&record).unwrap()).unwrap();
        spool.publish(&key);
        (Arc::new(spool), key)
    }

    #[tokio::test]
    async fn a_picture_is_drawn_from_the_record_when_asked_for_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, key) = answered(folder.path(), Status::Analysed);
        assert!(spool.overlay(&key).is_err(), "nobody has asked");
        let pictures = Pictures::new(spool.clone(), 600).unwrap();
        let png = pictures.png(&key, None).await.unwrap();
        let drawn = image::load_from_memory(&png).unwrap().to_rgb8();
        let (left, right) = (drawn.get_pixel(100, 200), drawn.get_pixel(500, 200));
        assert!(left[1] > left[0], "tinted: {left:?}");
        assert_eq!(right[0], right[1], "grey: {right:?}");
        assert_eq!(spool.overlay(&key).unwrap(), png);
        fs::remove_file(spool.image_path(&key)).unwrap();
        assert_eq!(pictures.png(&key, None).await.unwrap(), png, "kept");
    }

    #[tokio::test]
    async fn the_heat_map_of_one_finding_is_drawn_alone_and_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, key) = answered(folder.path(), Status::Analysed);
        let mut record: Record = serde_json::from_slice(&spool.result(&key).unwrap()).unwrap();
        let heat = |name: &str, values: [f32; 2], x| HeatMap {
            name: name.into(),
            rows: 1,
            columns: 2,
            x,
            y: 100.0,
            most: 0.9,
            area: [0.0, 0.0, 300.0, 200.0],
            values: values.into(),
        };
        record.segments.clear();
        record.heat_maps = vec![heat("left", [0.9, 0.1], 75.0), heat("right", [0.1, 0.9], 225.0)];
        spool.answer(&key, &serde_json::to_vec(&record).unwrap()).unwrap();
        let pictures = Pictures::new(spool.clone(), 600).unwrap();
        for (name, tinted, grey) in [("left", 100, 500), ("right", 500, 100)] {
            let png = pictures.png(&key, Some(name.into())).await.unwrap();
            let drawn = image::load_from_memory(&png).unwrap().to_rgb8();
            let colour = |x| drawn.get_pixel(x, 130).0;
            assert!(colour(tinted)[0] > colour(tinted)[1] + 30, "{name}: {:?}", colour(tinted));
            assert_eq!(colour(grey)[0], colour(grey)[1], "{name}: {:?}", colour(grey));
        }
        assert!(spool.overlay(&key).is_err(), "kept is what everybody sees");
        let why = pictures.png(&key, Some("heart".into())).await.unwrap_err().to_string();
        assert_eq!(why, "the result has no heat map of \"heart\"");
    }

    #[tokio::test]
    async fn there_is_no_picture_of_what_was_not_analysed_or_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, key) = answered(folder.path(), Status::NotAnalysed);
        let pictures = Pictures::new(spool.clone(), 600).unwrap();
        let why = pictures.png(&key, None).await.unwrap_err().to_string();
        assert_eq!(why, "the image was not analysed");
        let damaged = br#"{"file":"x","status":"analysed","bundle":{"id":"","digest":""},"segments":[{"name":"lung","rows":9,"columns":9,"bits":"zz"}],"milliseconds":{"read":0,"preprocess":0,"infer":0,"total":0}}"#;
        spool.answer(&key, damaged).unwrap();
        assert!(pictures.png(&key, None).await.is_err());
        assert!(spool.overlay(&key).is_err());
    }
}
