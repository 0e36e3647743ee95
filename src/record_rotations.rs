//! The events of the rotation engine in the audit of the access rules.

use strongroom_access::{Access, RotationRecord, RotationStage};
use strongroom_core::Result;
use strongroom_rotation::{RotationEvent, RotationStep};

/// An observer of a rotation engine that records each event in the audit of access rules, as `rotation.started`,
/// `rotation.stored` and so on, for the tenant of the secret. Recording never delays a rotation; what cannot be
/// recorded is logged.
///
/// # Examples
/// ```
/// use strongroom::SecretsManager;
/// use strongroom::access::Access;
/// use strongroom::rotation::RotationEngine;
///
/// fn engine(secrets: &SecretsManager, access: &Access) -> RotationEngine {
///     RotationEngine::new(secrets.clone()).observer(strongroom::record_rotations(access))
/// }
/// ```
pub fn record_rotations(access: &Access) -> impl Fn(&RotationEvent) + Send + Sync + use<> {
    let access = access.clone();
    move |event| {
        if let Err(error) = record(&access, event) {
            tracing::warn!(path = %event.path, %error, "a step of a rotation is not recorded");
        }
    }
}

fn record(access: &Access, event: &RotationEvent) -> Result<()> {
    let stage: RotationStage = event.step.name().parse()?;
    let record = RotationRecord::new(stage);
    let record = match &event.step {
        RotationStep::Stored { generation }
        | RotationStep::Switched { generation }
        | RotationStep::Finished { generation } => record.generation(*generation),
        RotationStep::Failed { error } | RotationStep::RevocationFailed { error, .. } => {
            record.error(error)
        }
        _ => record,
    };
    access.record_rotation(&event.path, record)
}
