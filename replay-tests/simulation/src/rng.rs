//! The simulation's only source of chance. Written out here, so that a seed means the same for ever.

/// xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64 as its authors advise.
#[derive(Clone, Debug)]
pub(crate) struct Rng([u64; 4]);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Rng([next(), next(), next(), next()])
    }

    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`, which is at least 1. The bias of one in 2^32 is no matter here.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.small()) * u64::from(bound)) >> 32) as u32
    }

    pub(crate) fn small(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    /// True in `part` of `whole` cases.
    pub(crate) fn chance(&mut self, part: u32, whole: u32) -> bool {
        self.below(whole) < part
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u32) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut rng = Rng::new(7);
        let drawn: Vec<u64> = (0..3).map(|_| rng.next()).collect();
        let mut again = Rng::new(7);
        assert_eq!(drawn, [again.next(), again.next(), again.next()]);
        assert_ne!(Rng::new(8).next(), drawn[0]);
    }

    #[test]
    fn every_number_below_the_bound_comes_and_no_other() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 5];
        (0..1_000).for_each(|_| seen[rng.below(5) as usize] += 1);
        assert!(seen.iter().all(|times| *times > 100), "{seen:?}");
    }
}
