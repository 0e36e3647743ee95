//! What an operator tells the instances through the store.

use strongroom_core::{
    Backend, Error, ErrorKind, Operation, PutOptions, Result, SecretPath, VersionSelector,
};

use super::record;

/// How often the mark is written again after an instance has changed the record meanwhile.
const ATTEMPTS: usize = 8;

/// Marks the current key of a secret as compromised, from outside of the service that rotates it.
///
/// The instances of the service replace that key and revoke it as if one of them had called
/// [`rotate_compromised`](crate::RotatingKey::rotate_compromised). They notice the mark within a third of
/// [`propagation_timeout`](crate::RotationPolicy::propagation_timeout). If none of them runs, the next one that starts
/// does.
///
/// Returns `false`, and changes nothing, if no rotation has written the secret: then its value is the whole secret,
/// and it needs a new one from its issuer.
///
/// # Errors
/// [`ErrorKind::Conflict`] if a rotation is under way, so that the secret has two keys;
/// [`ErrorKind::Unsupported`] if a later version of this library has written the record; and the errors of a store that
/// cannot read or write the secret.
///
/// # Examples
/// ```
/// # async fn example(store: &dyn strongroom_core::Backend) -> strongroom_core::Result<()> {
/// let path = strongroom_core::SecretPath::parse("openai/api-key")?;
/// if !strongroom_rotation::report_compromised(store, &path).await? {
///     println!("no service rotates {path}");
/// }
/// # Ok(())
/// # }
/// ```
pub async fn report_compromised(store: &dyn Backend, path: &SecretPath) -> Result<bool> {
    let context =
        |error: Error, operation| error.during(operation).at(path).from_backend(store.info().kind);
    for _ in 0..ATTEMPTS {
        let secret = store
            .get(path, &VersionSelector::Active)
            .await
            .map_err(|error| context(error, Operation::Get))?;
        let Some(marked) =
            record::mark_compromised(&secret).map_err(|error| context(error, Operation::Put))?
        else {
            return Ok(false);
        };
        let options = PutOptions::new().must_be_version(secret.version());
        match store.put(path, marked, options).await {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(context(error, Operation::Put)),
        }
    }
    let error = Error::new(ErrorKind::Conflict, "try again")
        .because("the instances of the service keep changing the secret");
    Err(context(error, Operation::Put))
}
