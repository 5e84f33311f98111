//! Chain ids: the name of a stack of layers, made from the digests of their tars.

use dhow_archive::hash::Hasher;
use dhow_spec::{Algorithm, Digest};

use crate::db::ChainId;

/// The chain ids of a stack, lowest first: each names its layer together with all below.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<ChainId> {
    let mut chain: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => *diff_id,
            Some(below) => {
                let mut hasher = Hasher::new(Algorithm::Sha256);
                hasher.update(format!("{below} {diff_id}").as_bytes());
                hasher.finish().digest
            }
        };
        chain.push(ChainId(next));
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_others_compute_them() {
        let digest = |text: &str| Digest::parse(text).expect("a digest");
        let low = digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let chain = chain_ids(&[low, low]);
        assert_eq!(chain[0], ChainId(low), "the lowest is its own name");
        // printf 'sha256:e3b0… sha256:e3b0…' | sha256sum
        assert_eq!(
            chain[1].to_string(),
            "sha256:de9d9016b852e46e9f3973e20d3a6d17e120f7144931d50cd6e2a8ad53e81960"
        );
        assert_eq!(chain_ids(&[]), []);
    }
}
