//! Questions about many bytes at once. Answers are words of bits, one for each byte, the first byte's lowest.
//!
//! They are answered in two ways: by what processors with AVX2 have, where it is found at run time, and by what all have.
//! The answers are the same.

#![expect(unsafe_code, reason = "what a processor has is known at run time alone; each use says why it is sound")]

use wide::u8x16;

/// Bytes that a word of 64 bits speaks of.
pub(super) const BLOCK: usize = 64;
/// Bytes that a word of 32 bits speaks of.
pub(super) const HALF: usize = 32;

/// What is where in a block.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) quotes: u64,
    pub(super) commas: u64,
    /// Whether there is a backslash or a control character.
    pub(super) odd: bool,
    /// Whether there is a byte beyond ASCII.
    pub(super) high: bool,
}

/// A way to answer.
pub(super) trait Bits: Copy {
    fn block(self, bytes: &[u8; BLOCK]) -> Block;

    /// Where two texts have the same byte.
    fn same(self, left: &[u8; HALF], right: &[u8; HALF]) -> u32;

    /// Where decimal digits are.
    fn digits(self, bytes: &[u8; HALF]) -> u32;

    /// Each bit as the parity of those up to it: ones from a quote to the one before the next.
    fn prefix_xor(self, bits: u64) -> u64;
}

/// Work that asks such questions. To be inlined whole, so that all of it is compiled for the processor.
pub(super) trait Task {
    type Answer;

    fn run(self, bits: impl Bits) -> Self::Answer;
}

/// The best way that this processor has.
#[derive(Copy, Clone, Debug)]
pub(super) enum Best {
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    Plain,
}

impl Best {
    pub(super) fn found() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = avx2::Avx2::found() {
            return Self::Avx2(avx2);
        }
        Self::Plain
    }

    #[inline]
    pub(super) fn run<T: Task>(self, task: T) -> T::Answer {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.run(task),
            Self::Plain => task.run(Plain),
        }
    }
}

/// What every processor has.
#[derive(Copy, Clone, Debug)]
pub(super) struct Plain;

impl Plain {
    #[inline(always)]
    fn half(left: &[u8; HALF], of: impl Fn(u8x16, usize) -> u8x16) -> u32 {
        let word = |index: usize| of(u8x16::new(left.as_chunks().0[index]), index).to_bitmask();
        word(0) | word(1) << 16
    }
}

impl Bits for Plain {
    #[inline(always)]
    fn block(self, bytes: &[u8; BLOCK]) -> Block {
        let (backslash, last_control) = (u8x16::splat(b'\\'), u8x16::splat(0x1f));
        let (quote, comma) = (u8x16::splat(b'"'), u8x16::splat(b','));
        let (mut odd, mut all) = (u8x16::splat(0), u8x16::splat(0));
        let (mut quotes, mut commas) = (0, 0);
        for (index, quarter) in bytes.as_chunks::<16>().0.iter().enumerate() {
            let part = u8x16::new(*quarter);
            odd |= part.simd_eq(backslash) | part.min(last_control).simd_eq(part);
            all |= part;
            quotes |= u64::from(part.simd_eq(quote).to_bitmask()) << (16 * index);
            commas |= u64::from(part.simd_eq(comma).to_bitmask()) << (16 * index);
        }
        Block { quotes, commas, odd: odd.to_bitmask() != 0, high: all.to_bitmask() != 0 }
    }

    #[inline(always)]
    fn same(self, left: &[u8; HALF], right: &[u8; HALF]) -> u32 {
        Self::half(left, |part, index| part.simd_eq(u8x16::new(right.as_chunks().0[index])))
    }

    #[inline(always)]
    fn digits(self, bytes: &[u8; HALF]) -> u32 {
        Self::half(bytes, |part, _| {
            let value = part - u8x16::splat(b'0');
            value.min(u8x16::splat(9)).simd_eq(value)
        })
    }

    #[inline(always)]
    fn prefix_xor(self, mut bits: u64) -> u64 {
        for shift in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << shift;
        }
        bits
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_set1_epi8, _mm256_cmpeq_epi8,
        _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_sub_epi8, _mm256_testz_si256,
    };

    use super::{BLOCK, Bits, Block, HALF, Task};

    /// The processor has AVX2, carry-less multiplication, and the instructions for bits that come with them: there is no
    /// other way to one of these than [`Avx2::found`].
    #[derive(Copy, Clone, Debug)]
    pub(in super::super) struct Avx2(());

    impl Avx2 {
        pub(super) fn found() -> Option<Self> {
            let found = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("pclmulqdq")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            found.then_some(Self(()))
        }

        #[inline]
        pub(super) fn run<T: Task>(self, task: T) -> T::Answer {
            // SAFETY: the processor has what the function is compiled for.
            unsafe { run(self, task) }
        }
    }

    #[target_feature(enable = "avx2,pclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
    fn run<T: Task>(avx2: Avx2, task: T) -> T::Answer {
        task.run(avx2)
    }

    impl Bits for Avx2 {
        #[inline(always)]
        fn block(self, bytes: &[u8; BLOCK]) -> Block {
            // SAFETY: the processor has what the function is compiled for.
            unsafe { block(bytes) }
        }

        #[inline(always)]
        fn same(self, left: &[u8; HALF], right: &[u8; HALF]) -> u32 {
            // SAFETY: as above.
            unsafe { same(left, right) }
        }

        #[inline(always)]
        fn digits(self, bytes: &[u8; HALF]) -> u32 {
            // SAFETY: as above.
            unsafe { digits(bytes) }
        }

        #[inline(always)]
        fn prefix_xor(self, bits: u64) -> u64 {
            // SAFETY: as above.
            unsafe { prefix_xor(bits) }
        }
    }

    #[inline(always)]
    fn load(bytes: &[u8; HALF]) -> __m256i {
        bytemuck::cast(*bytes)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn block(bytes: &[u8; BLOCK]) -> Block {
        let [low, high] = [0, 1].map(|index| load(&bytes.as_chunks().0[index]));
        let equal = |byte: u8| {
            let byte = _mm256_set1_epi8(byte.cast_signed());
            [_mm256_cmpeq_epi8(low, byte), _mm256_cmpeq_epi8(high, byte)]
        };
        let word = |[low, high]: [__m256i; 2]| u64::from(mask(low)) | u64::from(mask(high)) << HALF;
        let last_control = _mm256_set1_epi8(0x1f);
        let control = |part: __m256i| _mm256_cmpeq_epi8(_mm256_min_epu8(part, last_control), part);
        let [low_backslash, high_backslash] = equal(b'\\');
        let backslash = _mm256_or_si256(low_backslash, high_backslash);
        let odd = _mm256_or_si256(backslash, _mm256_or_si256(control(low), control(high)));
        Block {
            quotes: word(equal(b'"')),
            commas: word(equal(b',')),
            odd: _mm256_testz_si256(odd, odd) == 0,
            high: mask(_mm256_or_si256(low, high)) != 0,
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(part: __m256i) -> u32 {
        _mm256_movemask_epi8(part).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn same(left: &[u8; HALF], right: &[u8; HALF]) -> u32 {
        mask(_mm256_cmpeq_epi8(load(left), load(right)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn digits(bytes: &[u8; HALF]) -> u32 {
        let value = _mm256_sub_epi8(load(bytes), _mm256_set1_epi8(b'0'.cast_signed()));
        mask(_mm256_cmpeq_epi8(_mm256_min_epu8(value, _mm256_set1_epi8(9)), value))
    }

    /// A product without carries, by ones alone.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn prefix_xor(bits: u64) -> u64 {
        let bits = _mm_cvtsi64_si128(bits.cast_signed());
        _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0>(bits, _mm_set1_epi8(-1))).cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// All answers about some bytes.
    struct All<'a>(&'a [u8; BLOCK], &'a [u8; BLOCK]);

    impl Task for All<'_> {
        type Answer = (Block, u32, u32, u64);

        fn run(self, bits: impl Bits) -> Self::Answer {
            let half = |bytes: &[u8; BLOCK]| -> [u8; HALF] { *bytes.first_chunk().unwrap() };
            let block = bits.block(self.0);
            (block, bits.same(&half(self.0), &half(self.1)), bits.digits(&half(self.0)), bits.prefix_xor(block.quotes))
        }
    }

    /// The same a byte at a time.
    fn slowly(one: &[u8; BLOCK], other: &[u8; BLOCK]) -> (Block, u32, u32, u64) {
        let bits = |is: &dyn Fn(usize) -> bool| (0..BLOCK).map(|at| u64::from(is(at)) << at).sum::<u64>();
        let quotes = bits(&|at| one[at] == b'"');
        let block = Block {
            quotes,
            commas: bits(&|at| one[at] == b','),
            odd: one.iter().any(|&byte| byte == b'\\' || byte < b' '),
            high: !one.is_ascii(),
        };
        let parity = bits(&|at| one[..=at].iter().filter(|&&byte| byte == b'"').count() % 2 == 1);
        let low = |word: u64| word as u32;
        (block, low(bits(&|at| one[at] == other[at])), low(bits(&|at| one[at].is_ascii_digit())), parity)
    }

    #[test]
    fn every_way_gives_the_answers_that_a_look_at_each_byte_gives() {
        let mut chance = ChaCha8Rng::seed_from_u64(11);
        const LIKELY: &[u8] = b"\"\",:{}0123456789 ab/;[]^!#";
        const ANY: &[u8] = b"\\\x00\x1f\x20\x7f\x80\xff";
        for round in 0..20_000 {
            let mut bytes = || -> [u8; BLOCK] {
                std::array::from_fn(|_| match chance.random_range(0..if round % 2 == 0 { 40 } else { 4000 }) {
                    0 => ANY[chance.random_range(0..ANY.len())],
                    1 => chance.random(),
                    _ => LIKELY[chance.random_range(0..LIKELY.len())],
                })
            };
            let (one, other) = (bytes(), bytes());
            let expected = slowly(&one, &other);
            assert_eq!(Best::Plain.run(All(&one, &other)), expected, "{one:?} {other:?}");
            assert_eq!(Best::found().run(All(&one, &other)), expected, "{one:?} {other:?}");
        }
    }
}
