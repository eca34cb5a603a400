//! Numbers without visible order that are the same in every run.

/// An endless sequence (SplitMix64).
pub(crate) fn noise() -> impl Iterator<Item = u64> {
    (1_u64..).map(|n| {
        let mut bits = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}
