//! The nearest training sentences, under a heading that says what they are not.

use super::canvas::{self, Canvas, Weight};
use super::{DIM, LINE, POSITIVE, TEXT};
use results::NearSentence;

const HEADING: &str = "Nearest training sentences, not a report";
const SIZE: f32 = 16.0;
const LEADING: f32 = 21.0;
/// Lines of a sentence; what is longer ends in an ellipsis.
const LINES: usize = 2;

/// Pixels that they take; none without any.
pub(super) fn height(sentences: &[NearSentence], width: f32, unit: f32) -> f32 {
    if sentences.is_empty() {
        return 0.0;
    }
    let lines: usize = sentences.iter().map(|near| lines(near, width, unit).len()).sum();
    (LEADING * (1 + lines) as f32 + 6.0 * sentences.len() as f32 + 16.0) * unit
}

pub(super) fn draw(
    canvas: &mut Canvas,
    sentences: &[NearSentence],
    [x, mut y]: [f32; 2],
    width: f32,
    unit: f32,
) {
    if sentences.is_empty() {
        return;
    }
    canvas.fill(x, y, width, unit.max(1.0), LINE, 1.0);
    y += 8.0 * unit;
    canvas.text(x, y, HEADING, SIZE * unit, Weight::Bold, POSITIVE);
    y += LEADING * unit;
    for near in sentences {
        for (at, line) in lines(near, width, unit).iter().enumerate() {
            let colour = if at == 0 { TEXT } else { DIM };
            canvas.text(x, y, line, SIZE * unit, Weight::Regular, colour);
            y += LEADING * unit;
        }
        y += 6.0 * unit;
    }
}

/// `0.83 the sentence`, broken between words.
fn lines(near: &NearSentence, width: f32, unit: f32) -> Vec<String> {
    let text = format!("{:.2}  {}", near.similarity, near.sentence);
    let fits = |line: &str| canvas::text_width(line, SIZE * unit, Weight::Regular) <= width;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one");
        let longer = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
        if fits(&longer) || last.is_empty() {
            *last = longer;
        } else {
            lines.push(word.to_owned());
        }
    }
    if lines.len() > LINES {
        lines.truncate(LINES);
        let last = lines.last_mut().expect("there are some");
        while !fits(&format!("{last}…")) && last.pop().is_some() {}
        last.push('…');
    }
    lines
}
