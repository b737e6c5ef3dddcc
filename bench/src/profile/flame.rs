//! Draws a flame graph as one SVG file. Width is time; a click widens a frame to the whole picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 1400.0;
const ROW: u32 = 17;
/// Narrower frames cannot be seen.
const WIDTH_MIN: f64 = 0.2;
const LETTER: f64 = 6.6;

/// A frame, and all frames that it called.
#[derive(Debug, Default)]
struct Node {
    count: u64,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn depth(&self) -> u32 {
        1 + self.children.values().map(Node::depth).max().unwrap_or(0)
    }
}

/// Draws stacks, which begin with the outermost frame, with their counts.
pub fn draw<'a>(title: &str, stacks: impl Iterator<Item = (Vec<&'a str>, u64)>) -> String {
    let mut root = Node::default();
    for (stack, count) in stacks {
        root.count += count;
        let mut node = &mut root;
        for frame in stack {
            node = node.children.entry(frame.to_owned()).or_default();
            node.count += count;
        }
    }
    let height = (root.depth() + 2) * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"monospace\" font-size=\"11\">\n<text x=\"4\" y=\"12\">{}</text>\n",
        escaped(title)
    );
    let drawing = Drawing { total: root.count.max(1), height };
    drawing.put(&mut svg, "all", &root, 0, 0);
    svg.push_str(SCRIPT);
    svg.push_str("</svg>\n");
    svg
}

struct Drawing {
    total: u64,
    height: u32,
}

impl Drawing {
    /// The outermost frame is at the bottom.
    fn put(&self, svg: &mut String, name: &str, node: &Node, before: u64, depth: u32) {
        let scale = |count: u64| super::count(count) / super::count(self.total) * WIDTH;
        let (x, width) = (scale(before), scale(node.count));
        if width < WIDTH_MIN {
            return;
        }
        let y = self.height - (depth + 1) * ROW;
        let share = super::count(node.count) / super::count(self.total) * 100.0;
        let name = escaped(name);
        let _ = writeln!(
            svg,
            "<g data-x=\"{x:.2}\" data-w=\"{width:.2}\"><title>{name}: {share:.2}%, {} samples</title>\
             <rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{}\" fill=\"{}\"/>\
             <text x=\"{:.2}\" y=\"{}\" data-t=\"{name}\">{}</text></g>",
            node.count,
            ROW - 1,
            colour(&name),
            x + 2.0,
            y + 12,
            fitting(&name, width),
        );
        let mut at = before;
        for (child, node) in &node.children {
            self.put(svg, child, node, at, depth + 1);
            at += node.count;
        }
    }
}

/// The part of a name that fits. An escaped name is cut between entities.
fn fitting(name: &str, width: f64) -> &str {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of letters")]
    let letters = ((width - 4.0).max(0.0) / LETTER) as usize;
    if name.chars().count() <= letters {
        return name;
    }
    let end = name.char_indices().nth(letters).map_or(0, |(at, _)| at);
    let cut = &name[..end];
    match cut.rfind('&') {
        Some(at) if !cut[at..].contains(';') => &cut[..at],
        _ if letters < 3 => "",
        _ => cut,
    }
}

/// The kernel is orange, the broker green, everything else yellow.
fn colour(name: &str) -> String {
    let shade = name.bytes().fold(0_u32, |sum, byte| (sum * 31 + u32::from(byte)) % 40);
    let hue = if name.ends_with("[k]") {
        20
    } else if name.contains("rustmq") {
        110
    } else {
        48
    };
    format!("hsl({hue},70%,{}%)", 58 + shade / 2)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A click on a frame widens it and the frames that it called to the whole picture. A click on the
/// lowest frame resets the picture.
const SCRIPT: &str = r#"<script><![CDATA[
const W = 1400, groups = [...document.querySelectorAll("g")];
for (const g of groups) g.addEventListener("click", () => {
  const x0 = +g.dataset.x, w0 = +g.dataset.w;
  for (const o of groups) {
    const x = +o.dataset.x, w = +o.dataset.w, [r, t] = [o.querySelector("rect"), o.querySelector("text")];
    const left = Math.max(x, x0), right = Math.min(x + w, x0 + w0);
    o.style.display = right - left > 1e-3 ? "" : "none";
    const nx = (left - x0) / w0 * W, nw = (right - left) / w0 * W;
    r.setAttribute("x", nx); r.setAttribute("width", Math.max(nw, 0)); t.setAttribute("x", nx + 2);
    const n = Math.floor((nw - 4) / 6.6); t.textContent = n < 3 ? "" : t.dataset.t.slice(0, n);
  }
});
]]></script>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_wide_as_their_share() {
        let stacks = [(vec!["a", "b"], 3), (vec!["a", "<c>"], 1)];
        let svg = draw("x & y", stacks.into_iter());
        assert!(svg.contains("x &amp; y"));
        assert!(svg.contains("<g data-x=\"0.00\" data-w=\"1400.00\"><title>a: 100.00%, 4 samples"), "{svg}");
        assert!(svg.contains("data-w=\"1050.00\"><title>b: 75.00%, 3 samples"), "{svg}");
        assert!(svg.contains("&lt;c&gt;: 25.00%"), "{svg}");
    }

    #[test]
    fn names_are_cut_between_entities() {
        assert_eq!(fitting("abcdef", 100.0), "abcdef");
        assert_eq!(fitting("abcdef", 4.0 + 6.6 * 4.0), "abcd");
        assert_eq!(fitting("abc&lt;def", 4.0 + 6.6 * 5.0), "abc");
    }
}
