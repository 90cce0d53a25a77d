//! Pictures ready for the network, decoded once and kept on disk.

use crate::data::augment::{Augmentation, Moves};
use anyhow::{Context, Result};
use graph::Preprocess;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};
use tch::Tensor;

/// Reads pictures at the network's size.
///
/// Resized pixels are kept as the 32-bit numbers the box computes, so that training and serving see the same
/// bits; reading them back is some twenty times faster than decoding.
#[derive(Clone, Debug)]
pub struct Pictures {
    preprocess: Preprocess,
    cache: Option<PathBuf>,
}

impl Pictures {
    /// With `cache`, resized pictures are kept in that folder.
    pub fn new(preprocess: Preprocess, cache: Option<PathBuf>) -> Result<Self> {
        if let Some(folder) = &cache {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(Self { preprocess, cache })
    }

    /// `[H, W]` in 0 … 1.
    pub fn read(&self, path: &Path) -> Result<Vec<f32>> {
        let Preprocess { height, width, .. } = self.preprocess;
        let Some(folder) = &self.cache else { return self.decode(path) };
        let kept = folder.join(self.key(path)?);
        // Pixels and their checksum: a power cut can leave a renamed file of the right length full of zeros.
        if let Ok(bytes) = fs::read(&kept)
            && let Some((pixels, sum)) = bytes.split_at_checked(height * width * 4)
            && sum == checksum(pixels).to_le_bytes()
        {
            return Ok(pixels.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect());
        }
        let pixels = self.decode(path)?;
        let mut bytes: Vec<u8> = pixels.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes.extend(checksum(&bytes).to_le_bytes());
        // Aside and renamed: a reader never sees half a picture.
        tempfile::NamedTempFile::new_in(folder)
            .and_then(|mut file| {
                file.write_all(&bytes)?;
                file.persist(&kept).map_err(|error| error.error)
            })
            .with_context(|| format!("cannot keep {}", kept.display()))?;
        Ok(pixels)
    }

    /// Changed by luck, then normalised; a picture of this size ends as the network's `input` (rows, columns).
    pub fn augmented(
        &self,
        pixels: Vec<f32>,
        amount: &Augmentation,
        input: [usize; 2],
        sample: Sample,
        rng: &mut ChaCha8Rng,
    ) -> Vec<f32> {
        let Preprocess { height, width, .. } = self.preprocess;
        let published = Augmentation { light: 0.0, erase: 0.0, crop: None, ..*amount };
        if *amount == published {
            return self.normalised(turned(&pixels, [height, width], amount, sample, rng));
        }
        let moves = Moves::draw(amount, 1, input, rng);
        let pixels = Tensor::from_slice(&self.normalised(pixels));
        let picture = moves.pictures(&pixels.view([1, 1, height as i64, width as i64]));
        Vec::try_from(&picture.contiguous().view([-1])).expect("a picture is f32 on the CPU")
    }

    /// As the box normalises.
    pub fn normalised(&self, pixels: Vec<f32>) -> Vec<f32> {
        self.preprocess.normalised(pixels)
    }

    fn decode(&self, path: &Path) -> Result<Vec<f32>> {
        Ok(radiograph::fitted(&radiograph::read_file(path)?.image, &self.preprocess))
    }

    /// Changes with the file and with the size and fit asked for.
    fn key(&self, path: &Path) -> Result<String> {
        let about =
            fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let Preprocess { height, width, fit, .. } = self.preprocess;
        let text =
            format!("3|{}|{}|{changed:?}|{height}x{width} {fit:?}", path.display(), about.len());
        let digest = Sha256::digest(text.as_bytes());
        Ok(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Which pixels a rotated one is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// The four around its place, by their distance.
    Bilinear,
    /// The one it falls on, as torchvision does unless asked otherwise.
    Nearest,
}

/// FNV-1a over words of four bytes.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(4).fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        let word = u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What the published recipe does: rotated either way and perhaps mirrored.
fn turned(
    pixels: &[f32],
    [height, width]: [usize; 2],
    amount: &Augmentation,
    sample: Sample,
    rng: &mut impl Rng,
) -> Vec<f32> {
    // Both numbers are always drawn, so that settings do not shift each other's luck.
    let (angle, mirror) = (rng.random_range(-1.0..=1.0) * amount.rotation, rng.random_bool(0.5));
    let mut pixels = rotate(pixels, [height, width], angle.to_radians(), sample);
    if amount.flip > 0.0 && mirror {
        pixels.chunks_exact_mut(width).for_each(<[f32]>::reverse);
    }
    pixels
}

/// About the centre, black outside.
fn rotate(pixels: &[f32], [height, width]: [usize; 2], angle: f64, sample: Sample) -> Vec<f32> {
    if angle == 0.0 {
        return pixels.to_vec();
    }
    let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
    let (cy, cx) = ((height as f32 - 1.0) / 2.0, (width as f32 - 1.0) / 2.0);
    let at = |y: i64, x: i64| -> f32 {
        let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
        if inside { pixels[y as usize * width + x as usize] } else { 0.0 }
    };
    let mut out = Vec::with_capacity(pixels.len());
    for y in 0..height {
        for x in 0..width {
            let (dy, dx) = (y as f32 - cy, x as f32 - cx);
            let (sy, sx) = (cy + cos * dy - sin * dx, cx + sin * dy + cos * dx);
            if sample == Sample::Nearest {
                out.push(at((sy + 0.5).floor() as i64, (sx + 0.5).floor() as i64));
                continue;
            }
            let (fy, fx) = (sy.floor(), sx.floor());
            let (ty, tx) = (sy - fy, sx - fx);
            let (iy, ix) = (fy as i64, fx as i64);
            let top = at(iy, ix) * (1.0 - tx) + at(iy, ix + 1) * tx;
            let bottom = at(iy + 1, ix) * (1.0 - tx) + at(iy + 1, ix + 1) * tx;
            out.push(top * (1.0 - ty) + bottom * ty);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::Fit;
    use rand::SeedableRng;
    use std::fs::File;

    const SIZE: Preprocess =
        Preprocess { height: 32, width: 32, mean: 0.5, std: 0.25, ..Preprocess::PRIOR };

    fn png(path: &Path) {
        let image = image::GrayImage::from_fn(50, 40, |x, y| image::Luma([(x * 3 + y * 2) as u8]));
        image.save(path).unwrap();
    }

    #[test]
    fn what_training_sees_is_what_the_box_computes_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.png");
        png(&file);
        let picture = radiograph::read_file(&file).unwrap().image;
        for fit in [Fit::Stretch, Fit::Pad] {
            let preprocess = Preprocess { fit, ..SIZE };
            let served = radiograph::network_input(&picture, &preprocess);
            let pictures = Pictures::new(preprocess, Some(folder.path().join("cache"))).unwrap();
            for _ in 0..2 {
                // decoded, then from the cache
                let trained = pictures.normalised(pictures.read(&file).unwrap());
                assert!(trained.iter().zip(&served).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }

    #[test]
    fn a_damaged_cache_is_read_again_and_a_missing_image_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache) = (folder.path().join("a.png"), folder.path().join("cache"));
        png(&file);
        let pictures = Pictures::new(SIZE, Some(cache.clone())).unwrap();
        let pixels = pictures.read(&file).unwrap();
        let kept = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&kept).unwrap();
        for damage in [b"half".to_vec(), vec![0; whole.len()], [&whole[4..], &[0; 4]].concat()] {
            fs::write(&kept, damage).unwrap();
            assert_eq!(pictures.read(&file).unwrap(), pixels);
        }
        let error = pictures.read(&folder.path().join("absent.png")).unwrap_err();
        assert!(format!("{error:#}").contains("absent.png"));
    }

    #[test]
    fn a_kept_picture_is_used_until_its_source_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache) = (folder.path().join("a.png"), folder.path().join("cache"));
        png(&file);
        let pictures = Pictures::new(SIZE, Some(cache)).unwrap();
        let pixels = pictures.read(&file).unwrap();
        // Rubbish of the same length and time: only the kept picture can answer.
        let about = fs::metadata(&file).unwrap();
        fs::write(&file, vec![7; about.len() as usize]).unwrap();
        let time = fs::FileTimes::new().set_modified(about.modified().unwrap());
        File::options().write(true).open(&file).unwrap().set_times(time).unwrap();
        assert_eq!(pictures.read(&file).unwrap(), pixels);
        // Another picture of the same name.
        image::GrayImage::from_pixel(50, 40, image::Luma([200])).save(&file).unwrap();
        assert_ne!(pictures.read(&file).unwrap(), pixels);
        // Another size asked for.
        let larger = Preprocess { height: 64, ..SIZE };
        let larger = Pictures::new(larger, Some(folder.path().join("cache"))).unwrap();
        assert_eq!(larger.read(&file).unwrap().len(), 64 * 32);
    }

    #[test]
    fn runs_that_share_a_cache_at_the_same_time_see_whole_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let files: Vec<PathBuf> = (0..8)
            .map(|n| {
                let file = folder.path().join(format!("{n}.png"));
                image::GrayImage::from_pixel(64, 64, image::Luma([n * 20])).save(&file).unwrap();
                file
            })
            .collect();
        let plain = Pictures::new(SIZE, None).unwrap();
        let expected: Vec<_> = files.iter().map(|file| plain.read(file).unwrap()).collect();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let pictures = Pictures::new(SIZE, Some(cache.clone())).unwrap();
                    for (file, expected) in files.iter().zip(&expected) {
                        assert_eq!(&pictures.read(file).unwrap(), expected);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(&cache).unwrap().count(), files.len(), "nothing is left aside");
    }

    #[test]
    fn the_nearest_pixel_invents_no_shade() {
        let pixels: Vec<f32> = (0..64).map(|x| ((x / 8 + x % 8) % 2) as f32).collect();
        let turned = |sample| rotate(&pixels, [8, 8], 5_f64.to_radians(), sample);
        assert!(turned(Sample::Nearest).iter().all(|&x| x == 0.0 || x == 1.0));
        assert!(turned(Sample::Bilinear).iter().any(|&x| x > 0.1 && x < 0.9));
    }

    #[test]
    fn a_half_turn_reverses_and_equal_luck_gives_equal_pictures() {
        let pixels: Vec<f32> = (0..12).map(|x| x as f32).collect();
        for sample in [Sample::Bilinear, Sample::Nearest] {
            let turned = rotate(&pixels, [3, 4], std::f64::consts::PI, sample);
            for (a, b) in turned.iter().zip(pixels.iter().rev()) {
                assert!((a - b).abs() < 1e-3, "{a} {b}");
            }
        }
        let pictures = Pictures::new(SIZE, None).unwrap();
        let pixels: Vec<f32> = (0..1024).map(|x| x as f32 / 1024.0).collect();
        let amount = Augmentation { rotation: 5.0, flip: 0.5, ..Augmentation::NONE };
        let once = |seed| {
            let luck = &mut ChaCha8Rng::seed_from_u64(seed);
            pictures.augmented(pixels.clone(), &amount, [32, 32], Sample::Bilinear, luck)
        };
        assert_eq!(once(1), once(1));
        assert_ne!(once(1), once(2));
    }
}
