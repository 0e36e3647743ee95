"""A rotation function, without the Lambda that would run it."""

import json
from types import SimpleNamespace

from documented import CURRENT, holder
from localstack.services.secretsmanager import provider
from localstack.utils.aws import arns
from moto.secretsmanager.models import secretsmanager_backends


class Lambda:
    """Takes each function of the name `rotate` for one that makes a value of the version's id."""

    def get_function(self, FunctionName):
        if not FunctionName.endswith(":function:rotate"):
            raise LookupError(FunctionName)

    def invoke(self, FunctionName, Payload):
        function, event = arns.parse_arn(FunctionName), json.loads(Payload)
        backend = secretsmanager_backends[function["account"]][function["region"]]
        secret_id, token = event["SecretId"], event["ClientRequestToken"]
        if event["Step"] == "createSecret":
            backend.put_secret_value(
                secret_id=secret_id,
                secret_string=f"rotated {token}",
                secret_binary=None,
                client_request_token=token,
                version_stages=["AWSPENDING"],
            )
        if event["Step"] == "finishSecret":
            current = holder(backend.secrets[secret_id], CURRENT)
            backend.update_secret_version_stage(secret_id, CURRENT, current, token)
        return {}


provider.connect_to = lambda **_: SimpleNamespace(lambda_=Lambda())
