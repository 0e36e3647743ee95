//! The published test vectors of SLIP-0039, from `python-shamir-mnemonic` (MIT, copyright 2019 `SatoshiLabs`; see
//! `slip-0039/LICENSE`).

use strongroom_recovery::{Share, ShareSet};

/// A description, the shares, the master secret in hex, which is empty if they have none, and a key that is derived from it.
type Vector = (String, Vec<String>, String, String);

fn recover(shares: &[String]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut set = ShareSet::new();
    for share in shares {
        set.add(Share::parse(share)?)?;
    }
    Ok(set.recover(b"TREZOR")?.to_vec())
}

#[test]
fn all_published_vectors_pass() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("slip-0039/vectors.json")).unwrap();
    let mut counts = [0, 0];
    for (description, shares, secret, _) in &vectors {
        let recovered = recover(shares);
        if secret.is_empty() {
            counts[0] += 1;
            let error = recovered.map(drop).expect_err(description).to_string();
            for word in shares.iter().flat_map(|share| share.split(' ')).filter(|w| w.len() > 5) {
                let stated = error.split(|c: char| !c.is_alphabetic()).any(|stated| stated == word);
                assert!(!stated, "{description}: a word is in: {error}");
            }
        } else {
            counts[1] += 1;
            assert_eq!(hex::encode(recovered.expect(description)), *secret, "{description}");
        }
    }
    assert_eq!(counts, [30, 15], "invalid and valid ones");
}
