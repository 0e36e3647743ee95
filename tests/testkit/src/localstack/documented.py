"""Corrects LocalStack's Secrets Manager to what AWS documents, where tests depend on it.

What a function corrects, its first line says as the API reference of AWS Secrets Manager does.
"""

import time
from base64 import b64encode

from localstack.aws.api.secretsmanager import (
    InvalidNextTokenException,
    InvalidParameterException,
    InvalidRequestException,
    ResourceExistsException,
)
from localstack.aws.skeleton import Skeleton
from localstack.services.secretsmanager.provider import (
    MAX_OUTDATED_SECRET_VERSIONS,
    SecretNotFoundException,
    SecretsmanagerProvider,
    ValidationException,
)
from localstack.utils.patch import patch
from moto.secretsmanager.models import FakeSecret, SecretsManagerBackend

CURRENT = "AWSCURRENT"
PREVIOUS = "AWSPREVIOUS"
MOST_TAGS = 50
# Their lengths are checked elsewhere, with another exception.
CHECKED_ELSEWHERE = {"ClientRequestTokenType", "SecretVersionIdType"}


def now():
    return round(time.time(), 3)


def holder(secret, label):
    """The id of the version that has the label."""
    versions = secret.versions.items()
    return next((it for it, version in versions if label in version["version_stages"]), None)


def remove_labels(secret, labels):
    """A version that loses its last label is deprecated: it is kept."""
    for version in secret.versions.values():
        version["version_stages"] = [it for it in version["version_stages"] if it not in labels]


def move_label(secret, label, version_id):
    """AWSPREVIOUS moves to the version that AWSCURRENT was removed from."""
    before = holder(secret, label)
    remove_labels(secret, [label])
    secret.versions[version_id]["version_stages"].append(label)
    if label == CURRENT and before != version_id:
        secret.default_version_id = version_id
        if before:
            move_label(secret, PREVIOUS, before)


def check_lengths(shape, value, name):
    """Every parameter has the lengths of the API reference; a text value's is in bytes."""
    if shape.type_name == "structure":
        for member, inner in value.items():
            check_lengths(shape.members[member], inner, member)
    if shape.type_name == "list":
        for inner in value:
            check_lengths(shape.member, inner, name)
    if shape.type_name not in ("string", "blob", "list") or shape.name in CHECKED_ELSEWHERE:
        return
    length = len(value.encode() if shape.name == "SecretStringType" else value)
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", length)
    if not least <= length <= most:
        raise ValidationException(
            f"1 validation error detected: Value at '{name[:1].lower()}{name[1:]}' failed to"
            f" satisfy constraint: Member must have length from {least} to {most}"
        )


def check_tags(tags):
    """A secret has at most 50 tags."""
    if len({tag["Key"] for tag in tags or []}) > MOST_TAGS:
        raise InvalidParameterException(f"A secret can have at most {MOST_TAGS} tags.")


@patch(Skeleton.dispatch_request)
def check_parameters(fn, self, serializer, context, request):
    """Every parameter of a request has the lengths of the API reference."""
    if self.service.service_name == "secretsmanager":
        check_lengths(context.operation.input_shape, request or {}, "")
    return fn(self, serializer, context, request)


@patch(SecretsManagerBackend._check_with_existing_secrets_and_versions)
def check_token(_, self, name, token, text, binary):
    """A version's token with the same value does nothing; with another one, it is refused."""
    secret = self.secrets.get(name)
    version = secret.versions.get(token) if secret else None
    # A rotation starts with an empty version, which its function fills.
    if version is None or not version.keys() & {"secret_string", "secret_binary"}:
        return None
    if (version.get("secret_string"), version.get("secret_binary")) == (text, binary):
        return secret.to_short_dict(include_version_stages=True, version_id=token)
    raise ResourceExistsException(
        f"You can't use ClientRequestToken {token} because that value is already in use for a"
        f" version of secret {secret.arn}."
    )


@patch(SecretsManagerBackend.create_secret)
def create_secret(fn, self, name, **request):
    """The operation is idempotent for the same ClientRequestToken and value."""
    check_tags(request["tags"])
    secret = self.secrets.get(name)
    if secret and not secret.is_deleted():
        token_and_value = ("client_request_token", "secret_string", "secret_binary")
        done = check_token(None, self, name, *map(request.get, token_and_value))
        if done:
            return done
    return fn(self, name, **request)


@patch(SecretsManagerBackend._add_secret)
def add_secret(fn, self, secret_id, *args, version_id=None, **kwargs):
    """A version's CreatedDate has milliseconds; about 100 versions without a label are kept."""
    version_id = self._from_client_request_token(version_id)
    secret, is_new = fn(self, secret_id, *args, version_id=version_id, **kwargs)
    if is_new:
        secret.versions[version_id]["createdate"] = now()
    deprecated = [it for it, version in secret.versions.items() if not version["version_stages"]]
    for oldest in deprecated[:-MAX_OUTDATED_SECRET_VERSIONS]:
        del secret.versions[oldest]
    return secret, is_new


@patch(FakeSecret.reset_default_version)
def add_current_version(_, self, version, version_id):
    """A new version takes its labels from others, which keep the rest of theirs."""
    labels, version["version_stages"] = version["version_stages"], []
    self.versions[version_id] = version
    for label in labels:
        move_label(self, label, version_id)


@patch(FakeSecret.remove_version_stages_from_old_versions)
def before_other_version(_, self, labels):
    """A new version without AWSCURRENT leaves AWSCURRENT and AWSPREVIOUS where they are."""
    remove_labels(self, labels)


def in_base64(fn, self, *args, secret_binary=None, **kwargs):
    """A binary value is read as it was written, not only after CreateSecret."""
    if isinstance(secret_binary, bytes):
        secret_binary = b64encode(secret_binary).decode()
    return fn(self, *args, secret_binary=secret_binary, **kwargs)


@patch(SecretsManagerBackend.update_secret_version_stage)
def update_secret_version_stage(
    _, self, secret_id, version_stage, remove_from_version_id, move_to_version_id
):
    """A label of another version moves only if RemoveFromVersionId names that version."""
    label, old, new = version_stage, remove_from_version_id, move_to_version_id
    secret = self.secrets.get(secret_id)
    if not secret:
        raise SecretNotFoundException()
    for version_id in filter(None, (old, new)):
        if version_id not in secret.versions:
            raise InvalidParameterException(f"Not a valid version: {version_id}")
    attached = holder(secret, label)
    if old and old != attached:
        raise InvalidParameterException(f"Version stage {label} not found in version {old}")
    if new and attached not in (None, new, old):
        raise InvalidParameterException(
            f"The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently"
            f" attached to version {attached}, so you must explicitly reference that version in"
            " RemoveFromVersionId."
        )
    if new:
        move_label(secret, label, new)
    elif label == CURRENT:
        raise InvalidParameterException("A secret always has a version labeled AWSCURRENT.")
    elif old:
        remove_labels(secret, [label])
    return secret.arn, secret.name


@patch(SecretsManagerBackend.tag_resource)
def tag_resource(fn, self, secret_id, tags):
    """TagResource, too, leaves a secret with at most 50 tags."""
    secret = self.secrets.get(secret_id)
    check_tags((secret.tags or []) + tags if secret else [])
    fn(self, secret_id, tags)


@patch(SecretsManagerBackend.get_secret_value)
def get_secret_value(fn, self, secret_id, version_id, version_stage):
    """The default is AWSCURRENT. A batch reports what lacks it; a deletion comes before that."""
    secret = self.secrets.get(secret_id)
    if secret and secret.is_deleted():
        version_id = version_stage = None
    elif not version_id and not version_stage:
        version_stage = CURRENT
    return fn(self, secret_id, version_id, version_stage)


@patch(SecretsManagerBackend._get_secret_values_page_and_next_token)
def page(fn, self, entries, max_results, next_token):
    """A NextToken that no answer gave is refused."""
    if next_token and not next_token.isdecimal():
        raise InvalidNextTokenException("The NextToken value is invalid.")
    return fn(self, entries, max_results, next_token)


@patch(SecretsmanagerProvider.list_secret_version_ids)
def list_secret_version_ids(fn, self, context, request):
    """ListSecretVersionIds answers in pages."""
    answer = fn(self, context, request)
    backend = self.get_moto_backend_for_resource(request["SecretId"], context)
    answer["Versions"], next_token = backend._get_secret_values_page_and_next_token(
        answer["Versions"], request.get("MaxResults"), request.get("NextToken")
    )
    return answer | ({"NextToken": next_token} if next_token else {})


@patch(SecretsManagerBackend.update_secret)
def update_secret(fn, self, secret_id, description=None, **kwargs):
    """A new description, too, is a modification of the secret."""
    answer = fn(self, secret_id, description=description, **kwargs)
    if description is not None:
        self.secrets[secret_id].last_changed_date = now()
    return answer


def modifies(fn, self, secret_id, *args, **kwargs):
    """LastChangedDate is when the secret was last modified in any way."""
    secret = self.secrets.get(secret_id)
    answer = fn(self, secret_id, *args, **kwargs)
    if secret:
        secret.last_changed_date = now()
    return answer


def unless_deleted(fn, self, secret_id, *args, **kwargs):
    """A secret that is scheduled for deletion can be restored, and else not changed."""
    secret = self.secrets.get(secret_id)
    if secret and secret.is_deleted():
        raise InvalidRequestException(
            "You can't perform this operation on the secret because it was marked for deletion."
        )
    return fn(self, secret_id, *args, **kwargs)


def correct(correction, *names):
    for name in names:
        patch(getattr(SecretsManagerBackend, name))(correction)


STAGES_AND_TAGS = ("update_secret_version_stage", "tag_resource", "untag_resource")
VALUES = ("put_secret_value", "update_secret")
correct(in_base64, *VALUES)
correct(modifies, *STAGES_AND_TAGS, "delete_secret", "restore_secret")
correct(unless_deleted, *STAGES_AND_TAGS, *VALUES, "rotate_secret")
