//! The names of a key in AWS KMS; see
//! <https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html>.

use strongroom_core::Problems;

/// The longest key id, in bytes.
const MAX_LENGTH: usize = 2048;

/// Adds a problem unless a text can be the id, the ARN or the alias of a key in `region`. No problem shows the
/// text, because it may be a secret by mistake.
pub(super) fn check_key_id(id: &str, region: &str, region_setting: &str, problems: &mut Problems) {
    let is_text = (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(is_allowed);
    let named = if id.starts_with("arn:") { region_of_arn(id) } else { Some(region) };
    match named.filter(|_| is_text) {
        None => problems.add(
            "the id of the KMS key is not an id, an alias such as `alias/strongroom`, or an ARN such as \
             `arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab`",
        ),
        Some(named) if named != region => problems.add(format!(
            "the ARN of the KMS key is of another region than `{region}`; set `{region_setting}` to that of the \
             key"
        )),
        Some(_) => {}
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_/:".contains(&byte)
}

/// The region in the ARN of a key or an alias: `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`.
fn region_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let (_scheme, _partition, service) = (next()?, next()?, next()?);
    let (region, _account, resource) = (next()?, next()?, next()?);
    let is_key = resource.starts_with("key/") || resource.starts_with("alias/");
    (service == "kms" && is_key).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(id: &str) -> Option<String> {
        let mut problems = Problems::new();
        check_key_id(id, "eu-central-1", "AWS_REGION", &mut problems);
        problems.into_result().err().map(|error| error.to_string())
    }

    #[test]
    fn accepts_every_name_of_a_key() {
        for id in [
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            "alias/strongroom/orders_1",
            "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-cn:kms:eu-central-1:123456789012:alias/strongroom",
        ] {
            assert_eq!(problem(id), None, "{id}");
        }
    }

    #[test]
    fn a_problem_says_what_to_give_and_does_not_show_the_text() {
        for id in [
            "",
            "hunter2 hunter2",
            "hunter2\n",
            "arn:aws:kms:eu-central-1:123456789012:hunter2",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:hunter2",
            "arn:hunter2",
            &"x".repeat(2049),
        ] {
            let problem = problem(id).unwrap();
            assert!(problem.contains("`alias/strongroom`"), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        let other = problem("arn:aws:kms:us-east-1:123456789012:alias/strongroom").unwrap();
        assert!(other.contains("another region than `eu-central-1`"), "{other}");
    }
}
