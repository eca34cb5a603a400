//! How many distinct addresses there were, when they are too many to be kept: HyperLogLog.
//!
//! An address is hashed; its first octet chooses a register, and the register keeps the longest run
//! of zeros that the rest ever began with (Flajolet, Fusy, Gandouet and Meunier, 2007). To count an
//! address twice changes nothing, and registers of different times are merged without an error of
//! their own. With 256 registers the standard error of the estimate is 6.5 %.
//!
//! Registers are kept in files: the hash must stay as it is.

use std::{array::TryFromSliceError, net::IpAddr};

/// Registers of an estimate, one octet each.
pub const REGISTERS: usize = 256;

/// What remains of many addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers([u8; REGISTERS]);

/// Where an address is counted, and what its register is at least afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) register: usize,
    pub(crate) rank: u8,
}

impl Registers {
    /// Those of some octets that were kept.
    pub(crate) const fn new(octets: [u8; REGISTERS]) -> Self {
        Self(octets)
    }

    /// Counts an address.
    pub fn count(&mut self, address: IpAddr) {
        let Mark { register, rank } = Mark::of(address);
        self.0[register] = self.0[register].max(rank);
    }

    /// Counts what others have counted.
    pub fn merge(&mut self, others: &Self) {
        for (register, other) in self.0.iter_mut().zip(others.0) {
            *register = other.max(*register);
        }
    }

    /// How many distinct addresses were counted, about.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "small numbers, and an estimate"
    )]
    pub fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let bias = 0.7213 / (1.0 + 1.079 / registers);
        let sum: f64 = self.0.iter().map(|&rank| (-f64::from(rank)).exp2()).sum();
        let estimate = bias * registers * registers / sum;
        let empty: u32 = self.0.iter().map(|&rank| u32::from(rank == 0)).sum();
        // Few addresses leave registers empty, and how many is the better estimate then.
        if empty > 0 && estimate <= 2.5 * registers {
            (registers * (registers / f64::from(empty)).ln()).round() as u64
        } else {
            estimate.round() as u64
        }
    }

    /// The octets to keep.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self([0; REGISTERS])
    }
}

/// From octets that were kept.
impl TryFrom<&[u8]> for Registers {
    type Error = TryFromSliceError;

    fn try_from(octets: &[u8]) -> Result<Self, TryFromSliceError> {
        octets.try_into().map(Self)
    }
}

impl Mark {
    pub(crate) fn of(address: IpAddr) -> Self {
        let hash = hash(address);
        // Eight bits are used up; a one behind the other 56 ends the run.
        let rest = hash << 8 | 1 << 7;
        Self { register: (hash >> 56) as usize, rank: rest.leading_zeros() as u8 + 1 }
    }
}

/// The same for an address at any time, on any machine.
fn hash(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => mix(u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            mix(mix((bits >> 64) as u64) ^ bits as u64)
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): neighbours come out far apart.
const fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64 from seed 0, as its authors' program prints it: what is kept stays readable.
    #[test]
    fn the_hash_is_the_one_of_the_files() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
        let mark = Mark::of([0, 0, 0, 0].into());
        assert_eq!((mark.register, mark.rank), (0xe2, 3), "0x20… begins with two zeros");
    }

    /// Fleets have neighbouring addresses. Three standard errors are a miss in 400.
    #[test]
    fn the_estimate_is_about_right() {
        for most in [1_u32, 20, 100, 1_000, 10_000, 100_000] {
            let mut four = Registers::default();
            let mut six = Registers::default();
            for n in 0..most {
                let low = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
                let high = IpAddr::from((0x2001_0db8 << 96 | u128::from(n)).to_be_bytes());
                for _ in 0..2 {
                    four.count(low);
                    six.count(high);
                }
            }
            for estimate in [four.estimate(), six.estimate()] {
                let error = estimate.abs_diff(most.into());
                assert!(error * 1000 < u64::from(most) * 195, "{most} were taken for {estimate}");
            }
        }
    }

    #[test]
    fn merged_is_counted_together() {
        let count = |numbers: std::ops::Range<u32>| {
            let mut registers = Registers::default();
            numbers.for_each(|n| registers.count(n.to_be_bytes().into()));
            registers
        };
        let mut merged = count(0..600);
        merged.merge(&count(300..1_000));
        assert_eq!(merged, count(0..1_000));
        assert!(Registers::try_from(merged.as_bytes()).is_ok_and(|kept| kept == merged));
        assert!(Registers::try_from(&merged.as_bytes()[1..]).is_err());
        assert_eq!(Registers::default().estimate(), 0);
    }
}
