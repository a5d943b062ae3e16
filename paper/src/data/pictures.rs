//! Image files: found by their class, decoded in parallel.

use advantage_nas::network::nas_bench_201::{CHANNELS, IMAGE, PIXELS};
use png::{BitDepth, ColorType, Transformations};
use rayon::prelude::*;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::archive::Member;
use crate::error::{Error, Result};

/// `set`, `class` and `file` of a path that ends in `set/class/file`; nothing if the path is shorter or a part is hidden.
pub(super) fn place(name: &str) -> Option<(&str, &str, &str)> {
    let mut parts = name.rsplit('/');
    let (file, class, set) = (parts.next()?, parts.next()?, parts.next()?);
    let seen = [file, class].iter().all(|part| !part.starts_with('.'));
    (seen && matches!(set, "train" | "test")).then_some((set, class, file))
}

/// Decodes all pictures in parallel, `[pictures, 3, 32, 32]`. `source` is where they are from, for errors; the first in order is the
/// one that is reported.
pub(super) fn decode(source: &str, pictures: &[&Member]) -> Result<Vec<u8>> {
    let mut pixels = vec![0; pictures.len() * PIXELS];
    let decoded: Vec<Result<()>> = pictures
        .par_iter()
        .zip(pixels.par_chunks_exact_mut(PIXELS))
        .map(|(picture, out)| {
            let file = || format!("{source}: {}", picture.name);
            let wrong = |found: String| Error::wrong(file(), "a JPEG or PNG image of 32x32 pixels", found);
            decode_one(&picture.content, out).map_err(wrong)
        })
        .collect();
    decoded.into_iter().collect::<Result<()>>()?;
    Ok(pixels)
}

/// Decodes one picture to `[3, 32, 32]`; the error is what was found instead.
fn decode_one(content: &[u8], out: &mut [u8]) -> Result<(), String> {
    let interleaved = match content {
        [0xff, 0xd8, ..] => decode_jpeg(content)?,
        [0x89, b'P', b'N', b'G', ..] => decode_png(content)?,
        [] => return Err("an empty file".to_owned()),
        _ => return Err(format!("{} bytes that are neither", content.len())),
    };
    for (channel, plane) in out.chunks_exact_mut(IMAGE * IMAGE).enumerate() {
        for (out, pixel) in plane.iter_mut().zip(interleaved.chunks_exact(CHANNELS)) {
            *out = pixel[channel];
        }
    }
    Ok(())
}

fn check_size(width: usize, height: usize) -> Result<(), String> {
    if (width, height) == (IMAGE, IMAGE) { Ok(()) } else { Err(format!("{width}x{height} pixels")) }
}

fn decode_jpeg(content: &[u8]) -> Result<Vec<u8>, String> {
    let corrupt =
        |error: zune_jpeg::errors::DecodeErrors| format!("a JPEG image that is truncated or corrupt: {error:?}");
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(content), options);
    decoder.decode_headers().map_err(corrupt)?;
    let info = decoder.info().ok_or("a JPEG image without a header")?;
    check_size(info.width.into(), info.height.into())?;
    // The decoder makes up the last few bytes of a truncated file; a whole one has its end marker, give or take what programs append.
    if !content.windows(2).rev().take(64).any(|marker| marker == [0xff, 0xd9]) {
        return Err("a JPEG image that is truncated or corrupt: it has no end marker".to_owned());
    }
    let pixels = decoder.decode().map_err(corrupt)?;
    if pixels.len() == PIXELS { Ok(pixels) } else { Err(format!("a JPEG image of {} values", pixels.len())) }
}

fn decode_png(content: &[u8]) -> Result<Vec<u8>, String> {
    let corrupt = |error: png::DecodingError| format!("a PNG image that is truncated or corrupt: {error}");
    let mut decoder = png::Decoder::new(std::io::Cursor::new(content));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(corrupt)?;
    check_size(reader.info().width as usize, reader.info().height as usize)?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("a PNG image that is too large")?];
    let info = reader.next_frame(&mut pixels).map_err(corrupt)?;
    reader.finish().map_err(corrupt)?;
    match (info.color_type, info.bit_depth) {
        (ColorType::Rgb, BitDepth::Eight) => Ok(pixels),
        (ColorType::Grayscale, BitDepth::Eight) => Ok(pixels.iter().flat_map(|value| [*value; CHANNELS]).collect()),
        (color, _) => Err(format!("a PNG image with colours {color:?}")),
    }
}

/// Pictures for tests.
#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A PNG of `pixels` that are `[height, width, 3]`.
    pub(in crate::data) fn png(width: u32, height: u32, pixels: &[u8], color: ColorType) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, width, height);
        encoder.set_color(color);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        out
    }

    fn member(content: Vec<u8>) -> Member {
        Member { name: "train/cat/1.png".to_owned(), content }
    }

    #[test]
    fn png_is_exact() {
        let pixels: Vec<u8> = (0..PIXELS).map(|at| (at * 7 % 256) as u8).collect();
        let picture = member(png(32, 32, &pixels, ColorType::Rgb));
        let decoded = decode("folder", &[&picture]).unwrap();
        for row in 0..32 {
            for column in 0..32 {
                for channel in 0..3 {
                    let expected = pixels[(row * 32 + column) * 3 + channel];
                    assert_eq!(decoded[channel * 1024 + row * 32 + column], expected);
                }
            }
        }
        let grey = member(png(32, 32, &pixels[..1024], ColorType::Grayscale));
        let decoded = decode("folder", &[&grey, &picture]).unwrap();
        assert_eq!((&decoded[..1024], &decoded[2048..3072]), (&pixels[..1024], &pixels[..1024]));
    }

    fn jpeg(width: u16, height: u16, pixels: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut out, 100);
        encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1);
        encoder.encode(pixels, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
        out
    }

    #[test]
    fn jpeg_is_close_and_whole() {
        // Smooth, with different channels and no symmetry.
        let value = |row: usize, column: usize, channel: usize| (3 * row + 2 * column + 40 * channel) as u8;
        let pixels: Vec<u8> = (0..PIXELS).map(|at| value(at / 96, at / 3 % 32, at % 3)).collect();
        let content = jpeg(32, 32, &pixels);
        let decoded = decode("folder", &[&member(content.clone())]).unwrap();
        for (at, found) in decoded.iter().enumerate() {
            let expected = value(at / 32 % 32, at % 32, at / 1024);
            assert!(found.abs_diff(expected) <= 3, "{found} is not {expected}");
        }
        // No beginning of it is a picture.
        for cut in 0..content.len() {
            let cut = member(content[..cut].to_vec());
            assert!(decode("folder", &[&cut]).is_err(), "{} of {} bytes", cut.content.len(), content.len());
        }
        let message = decode("folder", &[&member(jpeg(32, 16, &pixels[..1536]))]).unwrap_err().to_string();
        assert!(message.ends_with("found 32x16 pixels"), "{message}");
    }

    #[test]
    fn wrong_pictures_are_named() {
        let good = png(32, 32, &[9; PIXELS], ColorType::Rgb);
        let refused = |content: Vec<u8>, found: &str| {
            let pictures = [&member(good.clone()), &member(content)];
            let message = decode("a.tar", &pictures).unwrap_err().to_string();
            let start = "a.tar: train/cat/1.png: expected a JPEG or PNG image of 32x32 pixels, found ";
            assert!(message.starts_with(start) && message.contains(found), "{message}");
            assert_eq!(message.lines().count(), 1);
        };
        refused(vec![], "an empty file");
        refused(b"GIF89a".to_vec(), "6 bytes that are neither");
        refused(png(16, 32, &[0; 1536], ColorType::Rgb), "16x32 pixels");
        refused(png(32, 32, &[0; 4096], ColorType::Rgba), "colours Rgba");
        refused(good[..good.len() / 2].to_vec(), "truncated or corrupt");
        let mut flipped = good.clone();
        let at = good.len() - 20;
        flipped[at] ^= 1;
        refused(flipped, "truncated or corrupt");
        refused(vec![0xff, 0xd8, 0xff], "truncated or corrupt");
    }

    #[test]
    fn places_in_a_tree() {
        assert_eq!(place("train/cat/1.jpg"), Some(("train", "cat", "1.jpg")));
        assert_eq!(place("cifar10/test/cat/1.jpg"), Some(("test", "cat", "1.jpg")));
        for name in ["cat/1.jpg", "1.jpg", "train/1.jpg", "train/cat/.DS_Store", "train/.x/1.jpg", "valid/cat/1.jpg"] {
            assert_eq!(place(name), None, "{name}");
        }
    }
}
