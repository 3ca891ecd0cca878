/// Changes bytes as accidents and strangers do, the same for the same seed.
#[derive(Debug)]
pub struct Mutator(u64);

/// Lengths that lie: in LEB128, in MessagePack (array, map, text, bytes), and in MessagePack's own widths.
const LENGTHS: [&[u8]; 12] = [
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x01],
    &[0xdd, 0xff, 0xff, 0xff, 0xff],
    &[0xdf, 0xff, 0xff, 0xff, 0xff],
    &[0xdb, 0xff, 0xff, 0xff, 0xff],
    &[0xc6, 0xff, 0xff, 0xff, 0xff],
    &[0xdc, 0xff, 0xff],
    &[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0],
    &[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1],
];

/// Nesting: an array of one, a map of one with a name, a map whose key is the next map.
const NESTS: [&[u8]; 3] = [&[0x91], &[0x81, 0xa1, b'x'], &[0x81]];

/// How deep: around the decoder's bound, and far beyond any stack.
const DEPTHS: [usize; 5] = [3, 60, 70, 1_000, 20_000];

impl Mutator {
    /// Begins from a seed.
    pub fn new(seed: u64) -> Mutator {
        Mutator(seed)
    }

    /// A number below `bound`. Splitmix64 (Steele, Lea, Flood 2014).
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }

    /// One of `corpus`, changed one to four times.
    pub fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.one_of(corpus).to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, corpus);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        match self.below(12) {
            // A flipped bit, by far the likeliest accident.
            0..=3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + self.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            6 => {
                let noise: Vec<u8> = (0..=self.below(8)).map(|_| self.below(256) as u8).collect();
                bytes.splice(at..at, noise);
            }
            // The end of another one behind the beginning of this one, or a piece of it in between.
            7 => {
                let other = self.one_of(corpus);
                let (from, len) = (self.below(other.len() + 1), self.below(other.len() + 1));
                let piece = other[from..(from + len).min(other.len())].to_vec();
                let end = if self.below(2) == 0 { bytes.len() } else { (at + piece.len()).min(bytes.len()) };
                bytes.splice(at..end, piece);
            }
            8 | 9 => {
                let lie = self.one_of(&LENGTHS);
                let end = if self.below(2) == 0 { at } else { (at + lie.len()).min(bytes.len()) };
                bytes.splice(at..end, lie.iter().copied());
            }
            10 => {
                let nest = self.one_of(&NESTS).repeat(*self.one_of(&DEPTHS));
                bytes.splice(at..at, nest);
            }
            // Some bytes again and again: a count of many small values.
            _ => {
                let piece = bytes[at..(at + 1 + self.below(24)).min(bytes.len())].to_vec();
                let again = piece.repeat(1 + self.below(400));
                bytes.splice(at..at, again);
            }
        }
    }

    fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}
