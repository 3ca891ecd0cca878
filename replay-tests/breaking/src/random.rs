/// A seeded stream of numbers: splitmix64 (Steele, Lea, Flood 2014). Equal seeds, equal streams, on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// A number between two others, the small ones as often as the large: each doubling has the same share.
    pub fn spread(&mut self, from: u64, to: u64) -> u64 {
        let from = from.max(1);
        let doublings = u64::from((to / from).max(1).ilog2()) + 1;
        let low = from << self.below(doublings);
        (low + self.below(low)).min(to)
    }

    /// A stream of its own for a part, so that what one part draws does not move the others.
    pub fn part(&mut self) -> Random {
        Random(self.draw())
    }
}
